"""What every test of a store needs: the fixtures, short forms of calls, guards that remember."""

from __future__ import annotations

import contextlib
import hashlib
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from davstore import paths
from davstore.errors import PreconditionFailed, StoreError
from davstore.stores.base import (
    Attributes,
    Closable,
    Committed,
    Context,
    Effect,
    Guard,
    HasUsage,
    Node,
    Store,
    Sweepable,
)

CTX = Context(identity="tester", request_id="t-1")

#: A time that no clock gives any more, in seconds since 1970.
LONG_AGO = 1_000_000_000.0

Opener = Callable[[], Store]


class Harness:
    """The base of every group of promises: where the store under test comes from.

    An implementation's test class gives `opener` and sets the class variables.
    """

    #: Whether what was written is still there after close and another opening, and in other
    #: processes. `opener` has to be picklable then.
    durable: ClassVar[bool] = True
    #: Algorithms that the store under test is configured to keep.
    kept_digests: ClassVar[tuple[str, ...]] = ("sha1", "sha256")
    #: Size of the pieces in which the store keeps or moves content, in bytes.
    chunk_size: ClassVar[int] = 1 << 20
    #: Largest content that the store may keep within the node itself, in bytes.
    inline_limit: ClassVar[int] = 16384

    @pytest.fixture
    @abstractmethod
    def opener(self, tmp_path: Path) -> Opener:
        """Opens one more instance on the data of this test; empty at the first call."""

    @pytest.fixture
    def store(self, opener: Opener) -> Iterator[Store]:
        with opened(opener) as store:
            yield store

    @pytest.fixture
    def other(self, opener: Opener, store: Store) -> Iterator[Store]:
        """Another instance on the same data, as another worker process has it."""
        with opened(opener) as other:
            yield other

    def needs_durability(self) -> None:
        if not self.durable:
            pytest.skip("this store keeps nothing beyond its process")


@contextlib.contextmanager
def opened(opener: Opener) -> Iterator[Store]:
    store = opener()
    try:
        yield store
    finally:
        if isinstance(store, Closable):
            store.close()


def put(
    store: Store,
    path: str,
    content: bytes = b"",
    *,
    content_type: str | None = None,
    modified: float | None = None,
    guard: Guard | None = None,
) -> Committed:
    """Write a file in pieces of at most 64 KiB."""
    with store.upload(CTX, path, Attributes(content_type, modified)) as upload:
        for at in range(0, len(content), 1 << 16):
            upload.write(content[at : at + (1 << 16)])
        return upload.commit(expected_length=len(content), guard=guard)


def read(store: Store, path: str) -> bytes:
    with store.open(CTX, path) as reader:
        return b"".join(reader.chunks(0, reader.node.size))


def names(
    store: Store, path: str = "/", after: str | None = None, limit: int | None = None
) -> list[str]:
    return [node.name for node in store.list(CTX, path, after, limit)]


def find(store: Store, path: str) -> Node | None:
    """The node at `path`, or None."""
    with contextlib.suppress(StoreError):
        return store.stat(CTX, path)
    return None


def tree(store: Store, path: str = "/") -> dict[str, bytes | None]:
    """Every path below `path`, relative to it: the content of a file, None for a folder."""
    found: dict[str, bytes | None] = {}
    for node in store.list(CTX, path):
        at = f"{path.rstrip('/')}/{node.name}"
        found[node.name] = None if node.is_folder else read(store, at)
        if node.is_folder:
            found.update({f"{node.name}/{rest}": what for rest, what in tree(store, at).items()})
    return found


def attributes(node: Node) -> tuple[object, ...]:
    """What two stores must agree on. The time only where it was set, not where it is now, and of
    files: a copy of a folder may have either."""
    modified = node.modified if node.modified == LONG_AGO and not node.is_folder else None
    digests = {} if node.is_folder else dict(node.digests)
    return (
        node.name, node.is_folder, node.size, node.content_type, digests, dict(node.props), modified
    )  # fmt: skip


def attributes_of_tree(store: Store, path: str = paths.ROOT) -> dict[str, object]:
    """Every path with its attributes and content."""
    found: dict[str, object] = {}
    if path == paths.ROOT:
        found[path] = attributes(store.stat(CTX, path))[5]
    for node in store.list(CTX, path):
        at = paths.join(path, node.name)
        found[at] = (attributes(node), None if node.is_folder else read(store, at))
        if node.is_folder:
            found.update(attributes_of_tree(store, at))
    return found


def build(store: Store, wanted: Mapping[str, bytes | None]) -> None:
    """Make files and folders, in the order given: content of a file, None for a folder."""
    for path, content in wanted.items():
        if content is None:
            store.create_folder(CTX, path)
        else:
            put(store, path, content)


def digests_of(content: bytes, algorithms: tuple[str, ...]) -> dict[str, str]:
    return {name: hashlib.new(name, content).hexdigest() for name in algorithms}


def pattern(size: int) -> bytes:
    """`size` bytes in which no piece looks like another one."""
    block = b"".join(at.to_bytes(4, "big") for at in range(min(size, 1 << 20) // 4 + 1))
    return (block * (size // len(block) + 1))[:size]


def settle(store: Store, now: float | None = None) -> None:
    """Let the store do its background duties until there are none."""
    if isinstance(store, Sweepable):
        until(lambda: store.sweep(now or time.time(), 1.0) == 0, "the duties to be done")


def used(store: Store) -> int:
    """The bytes that the store says it holds, once its duties are done."""
    assert isinstance(store, HasUsage)
    settle(store)
    until(lambda: store.usage(CTX).used is not None, "the usage to be known")
    found = store.usage(CTX).used
    assert found is not None
    return found


def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for `holds`, with a deadline."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s in vain for {what}"
        time.sleep(0.002)


class Witness:
    """A guard that lets everything pass and remembers what it was asked.

    A store may ask again when it has to try again, so the calls are a set: path, the
    node's id (None: nothing was there) and the effect.
    """

    def __init__(self) -> None:
        self.asked: set[tuple[str, str | None, Effect]] = set()
        self.nodes: dict[str, Node | None] = {}

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        self.asked.add((path, node.id if node else None, effect))
        self.nodes[path] = node


class Refusal:
    """A guard that refuses one effect at one path, or everything."""

    def __init__(
        self,
        path: str | None = None,
        error: type[StoreError] = PreconditionFailed,
    ) -> None:
        self.path = path
        self.error = error

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        if self.path in (None, path):
            raise self.error(path)


class MustNotExist:
    """If-None-Match: *"""

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        if node is not None:
            raise PreconditionFailed(path)


class MustHave:
    """If-Match with one entity tag."""

    def __init__(self, etag: str) -> None:
        self.etag = etag

    def judge(self, path: str, node: Node | None, effect: Effect) -> None:
        if node is None or node.etag != self.etag:
            raise PreconditionFailed(path)
