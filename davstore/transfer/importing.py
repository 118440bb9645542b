"""A local folder into a share."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from davstore import paths
from davstore.errors import Exists, Forbidden, NotFound
from davstore.stores.base import Context, Guard, Node, Store, Update
from davstore.transfer import local
from davstore.transfer.contents import Members, has_time, is_alike, is_same, members
from davstore.transfer.local import LocalTree, must_be_plain
from davstore.transfer.pending import Pending
from davstore.transfer.pool import Pool
from davstore.transfer.sending import Sender
from davstore.transfer.tally import LeftOut, Tally, Total


class _Folder(NamedTuple):
    """A folder whose members come next. `is_new`: there is nothing in the target yet."""

    source: str
    target: str
    is_new: bool


class Import:
    """Brings what is in `source` below the folder `target` of the store; removes nothing there.

    Run again it goes on where it stopped: a file that is there with the same size and time
    is not read; with `checksum` its content is compared. `guard` is asked as for any
    change; `pending` is the folder that remembers unfinished uploads. Raises OSError when
    `source` cannot be opened.

    What if the process dies: each file is there whole or not at all. What if somebody else
    writes the same file: the store judges the two one after the other.
    """

    def __init__(
        self,
        source: Path,
        store: Store,
        target: str,
        *,
        tally: Tally,
        pending: Path,
        mount: str = paths.ROOT,
        guard: Guard | None = None,
        jobs: int = 4,
        checksum: bool = False,
    ) -> None:
        self._top = source
        self._source = LocalTree(source)
        self._store = store
        self._target = target
        self._tally = tally
        self._guard = guard
        self._jobs = jobs
        self._checksum = checksum
        self._ctx = Context()
        self._pending = Pending(pending, mount, store, self._ctx)
        self._sender = Sender(store, self._ctx, guard, self._pending, tally)

    def count(self) -> Total:
        """How much there is to do, as far as it can be seen. Raises Stopped."""
        files = size = 0
        folders = [""]
        while folders:
            self._tally.must_go_on()
            path = folders.pop()
            try:
                with self._source.folder(path) as fd, os.scandir(fd) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(local.join(path, entry.name))
                        elif entry.is_file(follow_symlinks=False):
                            files += 1
                            size += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue  # told when the transfer comes to it
        return Total(files, size)

    def run(self, tick: Callable[[], None]) -> None:
        """Raises StoreError when the target folder cannot be made or is a file; Stopped."""
        is_new = self._make_target()
        folders = [_Folder("", self._target, is_new)]
        with Pool(self._jobs, self._tally, tick) as pool:
            while folders:
                folder = folders.pop()
                with self._leaving_out(folder.source):
                    found = list(self._folder(folder, pool))
                    folders += reversed(found)

    def close(self) -> None:
        self._source.close()

    def _make_target(self) -> bool:
        """Make the target folder and those above it; whether it was not there."""
        is_new = False
        for path in (*paths.ancestors(self._target), self._target):
            try:
                self._store.stat(self._ctx, path)
            except NotFound:
                is_new = self._make_folder(path)
        self._store.list(self._ctx, self._target, None, 1)
        return is_new

    def _make_folder(self, path: str) -> bool:
        """Whether it was not there. Raises StoreError."""
        try:
            self._store.create_folder(self._ctx, path, self._guard)
        except Exists:
            return False
        self._tally.folder_made()
        return True

    def _folder(self, folder: _Folder, pool: Pool) -> Iterator[_Folder]:
        """Hand out the files, make the folders; yields these. Raises OSError, StoreError."""
        with self._source.folder(folder.source) as fd:
            names = self._names(folder.source, fd)
            listing = () if folder.is_new else members(self._store, self._ctx, folder.target)
            there = Members(listing)
            for name, own in names:
                pool.look_up()
                source = local.join(folder.source, own)
                target = paths.join(folder.target, name)
                with self._leaving_out(source):
                    node = there.find(name)
                    found = os.stat(own, dir_fd=fd, follow_symlinks=False)
                    must_be_plain(found)
                    paths.normalise(target)  # that the whole of it is not too long
                    if stat.S_ISDIR(found.st_mode):
                        yield self._subfolder(source, target, node)
                    else:
                        self._file(source, target, found, node, pool)

    def _names(self, folder: str, fd: int) -> list[tuple[str, str]]:
        """The members' names as the store has them, in order, each with the name on disk."""
        found = []
        for own in os.listdir(fd):
            if own == paths.RESERVED_PREFIX:
                continue  # where davstore keeps unfinished uploads: nobody's data
            with self._leaving_out(local.join(folder, own)):
                name = unicodedata.normalize("NFC", own)
                paths.check_name(name)
                if name.startswith(paths.RESERVED_PREFIX):
                    raise Forbidden(name, "Such names belong to davstore itself.")
                found.append((name, own))
        found.sort()
        return list(self._distinct(folder, found))

    def _distinct(self, folder: str, found: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Without those that the store cannot tell from the one before."""
        last = ""
        for name, own in found:
            with self._leaving_out(local.join(folder, own)):
                if name == last:
                    raise LeftOut("Another name in this folder differs in Unicode form only.")
                last = name
                yield name, own

    def _subfolder(self, source: str, target: str, node: Node | None) -> _Folder:
        if node is not None and not node.is_folder:
            raise LeftOut("In the share this is a file.")
        is_new = node is None and self._make_folder(target)
        return _Folder(source, target, is_new)

    def _file(
        self, source: str, target: str, found: os.stat_result, node: Node | None, pool: Pool
    ) -> None:
        if node is not None and node.is_folder:
            raise LeftOut("In the share this is a folder.")
        if node is not None and is_alike(node, found) and not self._checksum:
            self._pending.drop(target)
            self._tally.was_there(found.st_size)
        else:
            pool.submit(partial(self._job, source, target, node))

    def _job(self, source: str, target: str, node: Node | None) -> None:
        """One file, in a thread of the pool. Raises Stopped only."""
        self._tally.must_go_on()
        with self._leaving_out(source), self._source.file(source) as fd:
            if self._checksum and node is not None and self._is_there(target, node, fd):
                self._tally.was_there(node.size)
            else:
                self._sender.send(target, fd)

    def _is_there(self, target: str, node: Node, fd: int) -> bool:
        """Whether the content is there; then it also has the file's time after this."""
        if not is_same(self._store, self._ctx, target, node, fd=fd, tally=self._tally):
            return False
        found = os.fstat(fd)
        if not has_time(node, found):
            change = Update(modified=float(local.seconds(found)))
            self._store.update(self._ctx, target, change, self._guard)
        return True

    def _leaving_out(self, path: str) -> AbstractContextManager[None]:
        return self._tally.leaving_out(str(self._top / path))
