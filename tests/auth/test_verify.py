"""Passwords: right ones, wrong ones, and how rarely the slow hash is computed."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import argon2
import bcrypt
import pytest

from davstore.auth.users import UserFile, hash_password
from davstore.auth.verify import CAPACITY, Verifier, check_hash
from davstore.handoff import set_place
from tests.auth.test_users import Clock

_QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def quick_hash(password: str) -> str:
    return _QUICK.hash(password)


class Counted:
    """`check_hash`, and how often it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, secret: str, password: str) -> bool:
        self.calls.append((secret, password))
        return check_hash(secret, password)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.write_text(f"alice:{quick_hash('secret')}\nbob:{quick_hash('hidden')}\n")
    return file


def verifier(
    file: Path, check: Callable[[str, str], bool] = check_hash, clock: Clock | None = None
) -> Verifier:
    clock = clock or Clock()
    return Verifier(UserFile(file, clock), 60, clock, check)


def test_the_right_password_and_no_other(file: Path) -> None:
    it = verifier(file)
    assert it.verify("alice", "secret") == "alice"
    for name, password in (
        ("alice", "hidden"), ("alice", ""), ("alice", "secret "), ("Alice", "secret"),
        ("", "secret"), ("nobody", "secret"), ("alice", "secret\0"), ("alice", "\ud800"),
        ("alice", "x" * 100_000),
    ):  # fmt: skip
        assert it.verify(name, password) is None, (name, password)


def test_windows_may_put_a_domain_before_the_name(file: Path) -> None:
    assert verifier(file).verify("OFFICE\\alice", "secret") == "alice"
    assert verifier(file).verify("OFFICE\\nobody", "secret") is None


@pytest.mark.parametrize("kind", ["2b", "2y", "2a"])
def test_bcrypt_as_htpasswd_writes_it(kind: str) -> None:
    secret = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", f"${kind}$")
    assert check_hash(secret, "secret")
    assert not check_hash(secret, "Secret")
    assert not check_hash(secret, "sec\0ret")


def test_bcrypt_looks_at_the_first_72_bytes_as_htpasswd_does() -> None:
    secret = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    assert check_hash(secret, "x" * 100)


def test_what_davstore_hashes_is_argon2id_and_is_checked_in_any_composition() -> None:
    secret = hash_password("Zo\u00eb")
    assert secret.startswith("$argon2id$v=19$m=65536,")
    assert check_hash(secret, "Zoe\u0308")
    assert check_hash(secret, "Zo\u00eb")
    assert not check_hash(secret, "Zoe")


def test_what_another_program_hashed_uncomposed_is_right_as_it_was_typed() -> None:
    assert check_hash(quick_hash("Zoe\u0308"), "Zoe\u0308")


def test_a_hash_that_is_damaged_is_wrong_and_no_crash() -> None:
    assert not check_hash(quick_hash("x")[:-1] + "\u20ac", "x")
    assert not check_hash("$argon2id$v=19$m=1,t=0,p=0$AAAA$AAAA", "x")
    assert not check_hash("$2b$04$" + "!" * 53, "x")


def test_right_credentials_are_hashed_once_until_they_are_forgotten(file: Path) -> None:
    clock, check = Clock(), Counted()
    it = verifier(file, check, clock)
    for _ in range(100):
        assert it.verify("alice", "secret")
    assert len(check.calls) == 1
    clock.now += 59.9
    it.verify("alice", "secret")
    assert len(check.calls) == 1
    clock.now += 0.2
    it.verify("alice", "secret")
    assert len(check.calls) == 2


def test_wrong_credentials_are_never_remembered_as_right(file: Path) -> None:
    check = Counted()
    it = verifier(file, check)
    for _ in range(3):
        assert it.verify("alice", "wrong") is None
    assert len(check.calls) == 3
    assert it.verify("alice", "secret")
    assert it.verify("alice", "wrong") is None
    assert it.verify("bob", "secret") is None


def test_name_and_password_cannot_be_shifted_into_each_other(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text(f"a:{quick_hash('bc')}\nab:{quick_hash('x')}\n")
    it = verifier(file)
    assert it.verify("a", "bc")
    assert it.verify("ab", "c") is None


def test_a_changed_password_or_a_removed_user_is_out_at_once(file: Path) -> None:
    clock = Clock()
    it = verifier(file, clock=clock)
    assert it.verify("alice", "secret")
    assert it.verify("bob", "hidden")
    file.write_text(f"alice:{quick_hash('changed')}\n")
    clock.now += 1
    assert it.verify("alice", "secret") is None
    assert it.verify("bob", "hidden") is None
    assert it.verify("alice", "changed")


def test_a_burst_of_the_same_credentials_is_hashed_once(file: Path) -> None:
    for password, answer in (("secret", "alice"), ("wrong", None)):
        release, calls = threading.Event(), []

        def slow(secret: str, password: str) -> bool:
            calls.append(password)  # noqa: B023
            assert release.wait(10)  # noqa: B023
            return check_hash(secret, password)

        it = verifier(file, slow)
        waiting = threading.Semaphore(0)

        def ask() -> str | None:
            set_place(waiting.release)  # noqa: B023  # called right before the thread waits
            return it.verify("alice", password)  # noqa: B023

        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(ask) for _ in range(16)]
            for _ in range(16):
                assert waiting.acquire(timeout=10)
            release.set()
            assert [each.result() for each in answers] == [answer] * 16
        assert calls == [password]


def test_a_check_that_fails_fails_for_all_who_wait_and_is_tried_again_later(file: Path) -> None:
    failing = True

    def check(secret: str, password: str) -> bool:
        if failing:
            raise MemoryError
        return check_hash(secret, password)

    it = verifier(file, check)
    for _ in range(2):
        with pytest.raises(MemoryError):
            it.verify("alice", "secret")
    failing = False
    assert it.verify("alice", "secret")


def test_no_more_hashes_run_at_once_than_there_are_processors(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    running, most, guard = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    def check(secret: str, password: str) -> bool:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        both.wait(10)
        with guard:
            running -= 1
        return False

    it = verifier(file, check)
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda number: it.verify("alice", str(number)), range(8)))
    assert most == 2


def test_memory_is_bounded_however_many_credentials_are_right(file: Path) -> None:
    it = verifier(file, lambda *_: True)
    for number in range(CAPACITY + 100):
        it.verify("alice", str(number))
    assert len(it._good_until) == CAPACITY


def test_the_cache_holds_no_password(file: Path) -> None:
    it = verifier(file)
    it.verify("alice", "secret")
    assert b"secret" not in b"".join(it._good_until)
    other = verifier(file)
    other.verify("alice", "secret")
    assert set(it._good_until) != set(other._good_until), "each process has a key of its own"


def test_an_unknown_name_takes_as_long_as_a_wrong_password(tmp_path: Path) -> None:
    """Else it could be found out which names there are."""
    file = tmp_path / "users"
    file.write_text(f"alice:{hash_password('secret')}\n")
    it = verifier(file)
    took: dict[str, list[float]] = {"alice": [], "nobody": []}
    for _ in range(7):
        for name, times in took.items():
            start = time.perf_counter()
            it.verify(name, "wrong")
            times.append(time.perf_counter() - start)
    known, unknown = (statistics.median(times) for times in took.values())
    assert known / 2 < unknown < known * 2


def test_an_unknown_name_always_costs_the_same_users_kind_of_hash(file: Path) -> None:
    check = Counted()
    it = verifier(file, check)
    for _ in range(5):
        it.verify("nobody", "x")
    assert len(check.calls) == 5
    assert len(set(check.calls)) == 1
