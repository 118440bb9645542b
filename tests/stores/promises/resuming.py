"""Persistent uploads: suspended, resumed, swept when their lease is over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection

import pytest

from davstore.errors import (
    DigestMismatch,
    LengthMismatch,
    Locked,
    NoSuchUpload,
    PreconditionFailed,
    StoreError,
    UploadInUse,
)
from davstore.stores.base import Attributes, Kept, ResumableUploads, Store, Sweepable, Upload
from tests.stores.harness import (
    CTX,
    Harness,
    Opener,
    Refusal,
    digests_of,
    names,
    opened,
    pattern,
    put,
    read,
    settle,
    tree,
    until,
)

HOUR = 3600.0


def resume(store: Store, upload_id: str) -> Upload:
    assert isinstance(store, ResumableUploads)
    return store.resume(CTX, upload_id)


def look_up(store: Store, upload_id: str) -> Kept:
    assert isinstance(store, ResumableUploads)
    return store.look_up(CTX, upload_id)


def sweep(store: Store, now: float) -> None:
    assert isinstance(store, Sweepable)
    settle(store, now)


def begin(store: Store, path: str, content: bytes, lease: float = HOUR) -> str:
    """A suspended persistent upload that has received `content`."""
    upload = store.upload(CTX, path, Attributes("text/x", 1e9))
    upload.write(content)
    upload_id = upload.persist(lease)
    upload.suspend()
    assert upload.is_over
    return upload_id


def write_and_wait_for_death(opener: Opener, sender: Connection) -> None:
    """The body of a process that is killed in the middle of a persistent upload."""
    store = opener()
    upload = store.upload(CTX, "/a")
    upload.write(pattern(700_000))
    sender.send(upload.persist(HOUR))
    signal.pause()


class Resuming(Harness):
    def test_a_suspended_upload_goes_on_where_it_stopped(self, store: Store) -> None:
        content = pattern(2_500_000)
        upload_id = begin(store, "/a", content[:700_001])
        assert names(store) == []
        with resume(store, upload_id) as upload:
            assert (upload.id, upload.path, upload.offset) == (upload_id, "/a", 700_001)
            assert not upload.is_over
            upload.write(content[700_001:])
            committed = upload.commit(expected_length=len(content))
        assert committed.created
        assert read(store, "/a") == content
        assert (committed.node.content_type, committed.node.modified) == ("text/x", 1e9)

    def test_digests_are_right_after_any_number_of_resumptions(self, store: Store) -> None:
        content = pattern(300_000)
        upload_id = begin(store, "/a", content[:1])
        for start, end in ((1, 65_537), (65_537, 65_537), (65_537, 200_000)):
            with resume(store, upload_id) as upload:
                assert upload.offset == start
                upload.write(content[start:end])
                upload.suspend()
        with resume(store, upload_id) as upload:
            upload.write(content[200_000:])
            node = upload.commit(expected_digests=digests_of(content, ("md5", "sha256"))).node
        assert dict(node.digests) == digests_of(content, self.kept_digests)

    def test_a_persistent_upload_can_be_committed_without_being_suspended(
        self, store: Store
    ) -> None:
        with store.upload(CTX, "/a") as upload:
            upload.persist(HOUR)
            upload.write(b"content")
            upload.commit(expected_length=7)
        assert read(store, "/a") == b"content"

    def test_another_instance_can_resume(self, store: Store, other: Store) -> None:
        upload_id = begin(store, "/a", b"first ")
        with resume(other, upload_id) as upload:
            upload.write(b"second")
            upload.commit()
        assert read(store, "/a") == b"first second"

    def test_an_upload_in_use_is_not_resumed_by_another(self, store: Store, other: Store) -> None:
        with store.upload(CTX, "/a") as upload:
            upload_id = upload.persist(HOUR)
            for instance in (store, other):
                with pytest.raises(UploadInUse):
                    resume(instance, upload_id)
            upload.suspend()
        with resume(store, upload_id) as upload:
            for instance in (store, other):
                with pytest.raises(UploadInUse):
                    resume(instance, upload_id)

    def test_unknown_and_malformed_ids_are_no_uploads(self, store: Store) -> None:
        for upload_id in ("nothing", "", "../x", "a/b", "\x00", "0" * 32, "x" * 5000, "ä\ud800"):
            with pytest.raises(NoSuchUpload):
                resume(store, upload_id)
            with pytest.raises(NoSuchUpload):
                look_up(store, upload_id)

    def test_it_is_looked_up_without_being_opened(self, store: Store, other: Store) -> None:
        with store.upload(CTX, "/a") as upload:
            upload.write(pattern(300_001))
            upload_id = upload.persist(HOUR, "noted")
            for instance in (store, other):
                kept = look_up(instance, upload_id)
                assert (kept.path, kept.offset, kept.memo) == ("/a", 300_001, "noted")
                assert kept.expires is not None
                assert abs(kept.expires - time.time() - HOUR) < 60
            upload.persist(HOUR)
            upload.suspend()
        with resume(other, upload_id) as upload:
            assert upload.memo == "noted"
            upload.persist(HOUR, "noted anew")
            upload.suspend()
        assert look_up(store, upload_id).memo == "noted anew"

    def test_one_whose_lease_is_over_is_not_looked_up(self, store: Store) -> None:
        upload_id = begin(store, "/a", b"1")
        with resume(store, upload_id) as upload:
            upload.persist(0.0, "noted")
            upload.suspend()
        with pytest.raises(NoSuchUpload):
            look_up(store, upload_id)

    def test_with_a_memo_it_is_known_to_have_been_committed(
        self, store: Store, other: Store
    ) -> None:
        upload_id = begin(store, "/a", pattern(70_000))
        with resume(store, upload_id) as upload:
            upload.persist(HOUR, "noted")
            upload.commit()
        for instance in (store, other):
            kept = look_up(instance, upload_id)
            assert (kept.path, kept.offset, kept.memo) == ("/a", None, "noted")
            with pytest.raises(NoSuchUpload):
                resume(instance, upload_id)
        put(store, "/a", b"something else")
        assert look_up(store, upload_id).offset is None

    def test_one_that_was_given_up_is_not_taken_for_committed(self, store: Store) -> None:
        upload = store.upload(CTX, "/a")
        upload_id = upload.persist(HOUR, "noted")
        upload.abort()
        with pytest.raises(NoSuchUpload):
            look_up(store, upload_id)

    @pytest.mark.parametrize("kept", [0, 1, 65_536, 1 << 20, (1 << 20) + 5, 3 << 20, 3_500_000])
    def test_an_upload_is_rewound(self, store: Store, kept: int) -> None:
        """What came after is gone, also for who opens it later, and nothing of it is left over."""
        content, wrong = pattern(3_500_000), b"\xff" * 2_000_000
        upload_id = begin(store, "/a", content[:kept])
        with resume(store, upload_id) as upload:
            upload.write(wrong)
            upload.persist(HOUR)
            upload.write(wrong)
            upload.rewind(kept)
            assert upload.offset == kept
            with pytest.raises(ValueError):
                upload.rewind(kept + 1)
            upload.suspend()
        assert look_up(store, upload_id).offset == kept
        end = min(kept + 100, len(content))
        with resume(store, upload_id) as upload:
            assert upload.offset == kept
            upload.write(wrong)
            upload.rewind(kept)
            upload.write(content[kept:end])
            node = upload.commit(expected_length=end).node
        assert read(store, "/a") == content[:end]
        assert dict(node.digests) == digests_of(content[:end], self.kept_digests)

    def test_an_upload_that_is_not_persistent_is_rewound(self, store: Store) -> None:
        for size in (10, 2_500_000):
            with store.upload(CTX, "/a") as upload:
                upload.write(pattern(size))
                upload.rewind(size // 2)
                upload.write(b"the end")
                upload.commit(expected_length=size // 2 + 7)
            assert read(store, "/a") == pattern(size)[: size // 2] + b"the end"

    def test_an_upload_that_was_not_made_persistent_cannot_be_resumed(self, store: Store) -> None:
        with store.upload(CTX, "/a") as upload:
            upload.write(b"x")
            with pytest.raises((NoSuchUpload, UploadInUse)):
                resume(store, upload.id)
        with pytest.raises(NoSuchUpload):
            resume(store, upload.id)

    def test_after_commit_or_abort_there_is_no_such_upload(self, store: Store) -> None:
        first, second = begin(store, "/a", b"1"), begin(store, "/b", b"2")
        resume(store, first).commit()
        resume(store, second).abort()
        for upload_id in (first, second):
            with pytest.raises(NoSuchUpload):
                resume(store, upload_id)
        assert tree(store) == {"a": b"1"}

    def test_leaving_the_context_of_a_persistent_upload_aborts_it(self, store: Store) -> None:
        with store.upload(CTX, "/a") as upload:
            upload_id = upload.persist(HOUR)
        with pytest.raises(NoSuchUpload):
            resume(store, upload_id)

    def test_a_sweep_spares_an_upload_whose_lease_runs_and_ends_one_whose_lease_is_over(
        self, store: Store
    ) -> None:
        upload_id = begin(store, "/a", pattern(100_000), lease=HOUR)
        sweep(store, time.time() + HOUR - 60)
        resume(store, upload_id).suspend()
        sweep(store, time.time() + HOUR + 60)
        with pytest.raises(NoSuchUpload):
            resume(store, upload_id)
        assert names(store) == []

    def test_a_lease_can_be_renewed(self, store: Store) -> None:
        upload_id = begin(store, "/a", b"x", lease=60)
        with resume(store, upload_id) as upload:
            assert upload.persist(2 * HOUR) == upload_id
            upload.suspend()
        sweep(store, time.time() + HOUR)
        resume(store, upload_id).abort()

    def test_a_sweep_spares_what_somebody_is_writing_even_past_its_lease(
        self, store: Store, other: Store
    ) -> None:
        with store.upload(CTX, "/a") as plain, store.upload(CTX, "/b") as persistent:
            plain.write(b"plain ")
            persistent.write(b"persistent ")
            persistent.persist(0)
            for instance in (store, other):
                sweep(instance, time.time() + 1000 * HOUR)
            plain.write(b"goes on")
            persistent.write(b"goes on")
            plain.commit()
            persistent.commit()
        assert tree(store) == {"a": b"plain goes on", "b": b"persistent goes on"}

    @pytest.mark.parametrize("error", [Locked, PreconditionFailed])
    def test_a_persistent_upload_survives_a_refusal_of_its_commit(
        self, store: Store, error: type[StoreError]
    ) -> None:
        upload_id = begin(store, "/a", b"content")
        with resume(store, upload_id) as upload:
            with pytest.raises(error):
                upload.commit(guard=Refusal(error=error))
            assert not upload.is_over
            upload.suspend()
        with resume(store, upload_id) as upload:
            assert upload.offset == 7
            upload.commit()
        assert read(store, "/a") == b"content"

    def test_a_persistent_upload_that_is_still_too_short_survives_its_commit(
        self, store: Store
    ) -> None:
        upload_id = begin(store, "/a", b"1234")
        with resume(store, upload_id) as upload:
            with pytest.raises(LengthMismatch):
                upload.commit(expected_length=6)
            assert not upload.is_over
            upload.write(b"56")
            upload.commit(expected_length=6)
        assert read(store, "/a") == b"123456"

    def test_a_persistent_upload_that_is_too_long_or_has_another_digest_is_over(
        self, store: Store
    ) -> None:
        first, second = begin(store, "/a", b"1234"), begin(store, "/b", b"1234")
        upload = resume(store, first)
        with pytest.raises(LengthMismatch):
            upload.commit(expected_length=3)
        assert upload.is_over
        upload = resume(store, second)
        with pytest.raises(DigestMismatch):
            upload.commit(expected_digests={"md5": "0" * 32})
        assert upload.is_over
        for upload_id in (first, second):
            with pytest.raises(NoSuchUpload):
                resume(store, upload_id)

    def test_many_uploads_to_one_path_can_be_suspended_at_once(self, store: Store) -> None:
        ids = [begin(store, "/a", str(number).encode()) for number in range(5)]
        assert len(set(ids)) == 5
        for number, upload_id in enumerate(ids):
            with resume(store, upload_id) as upload:
                upload.commit()
            assert read(store, "/a") == str(number).encode()

    def test_a_suspended_upload_survives_closing_and_opening_again(self, opener: Opener) -> None:
        self.needs_durability()
        content = pattern(1_500_000)
        with opened(opener) as store:
            upload_id = begin(store, "/a", content[:900_000])
        with opened(opener) as again:
            sweep(again, time.time())
            with resume(again, upload_id) as upload:
                assert upload.offset == 900_000
                upload.write(content[900_000:])
                node = upload.commit(expected_length=len(content)).node
            assert dict(node.digests) == digests_of(content, self.kept_digests)
            assert read(again, "/a") == content

    def test_what_a_killed_process_had_written_can_be_resumed(self, opener: Opener) -> None:
        """At least what was written before `persist` returned is kept."""
        self.needs_durability()
        spawn = multiprocessing.get_context("spawn")
        receiver, sender = spawn.Pipe(duplex=False)
        process = spawn.Process(target=write_and_wait_for_death, args=(opener, sender))
        process.start()
        try:
            assert receiver.poll(30), "the process did not begin its upload"
            upload_id = receiver.recv()
            assert process.pid
            os.kill(process.pid, signal.SIGKILL)
        finally:
            process.kill()
            process.join(10)
            process.close()
            receiver.close()
            sender.close()
        content = pattern(1_000_000)
        with opened(opener) as store:
            with resume(store, upload_id) as upload:
                assert upload.offset == 700_000
                upload.write(content[700_000:])
                upload.commit(expected_digests=digests_of(content, ("sha256",)))
            assert read(store, "/a") == content

    def test_a_plain_upload_next_to_a_suspended_one_is_unaffected(self, store: Store) -> None:
        upload_id = begin(store, "/a", b"later")
        put(store, "/a", b"now")
        with resume(store, upload_id) as upload:
            assert not upload.commit().created
        assert read(store, "/a") == b"later"
        until(lambda: names(store) == ["a"], "one file")
