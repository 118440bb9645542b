"""A share, or a folder of one, into a local folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from davstore import paths
from davstore.errors import NotAFolder, StoreError
from davstore.stores.base import Context, Node, Store
from davstore.transfer import local
from davstore.transfer.contents import has_time, is_alike, is_same, members
from davstore.transfer.fetching import PART, SAME_NAME, Fetcher, remove_parts, set_time
from davstore.transfer.local import LocalTree, look
from davstore.transfer.pool import Pool
from davstore.transfer.tally import LeftOut, Tally, Total


class Export:
    """Brings what is in the folder `source` of the store into `target`; removes nothing there.

    Run again it goes on where it stopped, see `Import`. Paths are told as those of the URL
    space, in which the store is at `mount`. Raises OSError when `target` cannot be opened.

    What if the process dies: each file is there whole or not at all; an unfinished one lies
    beside it under a name of davstore's own and is gone on with. What if another export
    does the same: that file is left out.
    """

    def __init__(
        self,
        store: Store,
        source: str,
        target: Path,
        *,
        tally: Tally,
        mount: str = paths.ROOT,
        jobs: int = 4,
        checksum: bool = False,
    ) -> None:
        self._store = store
        self._source = source
        self._target = LocalTree(target)
        self._tally = tally
        self._mount = mount
        self._jobs = jobs
        self._checksum = checksum
        self._ctx = Context()
        self._fetcher = Fetcher(store, self._ctx, self._target, tally)

    def count(self) -> Total:
        """How much there is to do, as far as it can be seen. Raises Stopped."""
        files = size = 0
        folders = [self._source]
        while folders:
            path = folders.pop()
            try:
                for node in members(self._store, self._ctx, path):
                    self._tally.must_go_on()
                    if node.is_folder:
                        folders.append(paths.join(path, node.name))
                    else:
                        files += 1
                        size += node.size
            except StoreError:
                continue  # told when the transfer comes to it
        return Total(files, size)

    def run(self, tick: Callable[[], None]) -> None:
        """Raises StoreError when there is nothing, or a file, at the source; Stopped."""
        if not self._store.stat(self._ctx, self._source).is_folder:
            raise NotAFolder(self._source)
        folders = [(self._source, "")]
        visited_parts: list[str] = []
        with Pool(self._jobs, self._tally, tick) as pool:
            while folders:
                source, target = folders.pop()
                with self._leaving_out(source):
                    found = list(self._folder(source, target, pool, visited_parts))
                    folders += reversed(found)
        if not self._tally.left_out:
            # Of files that have changed, or gone, since an earlier run was interrupted.
            remove_parts(self._target, visited_parts)

    def close(self) -> None:
        self._target.close()

    def _folder(
        self, source: str, target: str, pool: Pool, parts: list[str]
    ) -> Iterator[tuple[str, str]]:
        """Hand out the files, make the folders; yields these. Raises OSError, StoreError.

        Adds to `parts` what earlier runs have left here.
        """
        with self._target.folder(target) as fd:
            there = set(os.listdir(fd))  # noqa: PTH208 - a descriptor, no path
            parts += (local.join(target, name) for name in there if name.startswith(PART))
            for node in members(self._store, self._ctx, source):
                pool.look_up()
                path = paths.join(source, node.name)
                with self._leaving_out(path):
                    found = _what_is_there(node.name, fd, there)
                    own = local.join(target, node.name)
                    if node.is_folder:
                        self._make_folder(node.name, fd, found)
                        yield path, own
                    else:
                        self._file(path, own, node, found, pool)

    def _make_folder(self, name: str, parent: int, found: os.stat_result | None) -> None:
        if found is None:
            os.mkdir(name, dir_fd=parent)
            os.fsync(parent)
            self._tally.folder_made()
        elif not stat.S_ISDIR(found.st_mode):
            raise LeftOut("In the local folder this is a file.")

    def _file(
        self, source: str, target: str, node: Node, found: os.stat_result | None, pool: Pool
    ) -> None:
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise LeftOut("In the local folder this is a folder.")
        if found is not None and is_alike(node, found) and not self._checksum:
            self._tally.was_there(node.size)
        else:
            pool.submit(partial(self._job, source, target, node, is_new=found is None))

    def _job(self, source: str, target: str, node: Node, *, is_new: bool) -> None:
        """One file, in a thread of the pool. Raises Stopped only."""
        self._tally.must_go_on()
        with self._leaving_out(source):
            if self._checksum and not is_new and self._is_there(source, target, node):
                self._tally.was_there(node.size)
            else:
                self._fetcher.fetch(source, target, is_new=is_new)

    def _is_there(self, source: str, target: str, node: Node) -> bool:
        """Whether the content is there; then it also has the node's time after this."""
        with self._target.file(target) as fd:
            if not is_same(self._store, self._ctx, source, node, fd=fd, tally=self._tally):
                return False
            if not has_time(node, os.fstat(fd)):
                set_time(fd, node)
        return True

    def _leaving_out(self, path: str) -> AbstractContextManager[None]:
        return self._tally.leaving_out(paths.rebase(path, paths.ROOT, self._mount))


def _what_is_there(name: str, folder: int, listed: set[str]) -> os.stat_result | None:
    """What the name is in the open folder, of which `listed` were the members.

    Raises LeftOut for what must not be replaced, InvalidName for a name that would lead out
    of the folder: whoever can write to a database must not be able to write anywhere here.
    """
    paths.check_name(name)
    found = look(name, folder)
    if found is None:
        return None
    if name not in listed:
        raise LeftOut(SAME_NAME)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise LeftOut("In the local folder this is something else than a file or a folder.")
    return found
