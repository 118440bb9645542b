"""A member of an open folder, as a change needs to know it."""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import Self

from davstore import paths
from davstore.errors import Forbidden, NotAFolder, NotFound, ParentMissing
from davstore.stores.folder.nodes import is_shown
from davstore.stores.folder.oserrors import reported, store_error
from davstore.stores.folder.resolve import FOLDER, LOOK, Tree, spelling


class Place:
    """Where `path` is: the open folder `parent` and the spelling `name` in it.

    `own` is what lies there itself, a link not followed; `seen` what clients see, None when
    that is nothing. To be closed.
    """

    __slots__ = ("name", "own", "parent", "path", "seen")

    def __init__(self, tree: Tree, path: str) -> None:
        """Raises NotFound or NotAFolder of the parent's path, and others."""
        self.path = path
        self.parent = _open_parent(tree, paths.parent(path))
        try:
            with reported(path):
                self._look(tree)
        except BaseException:
            os.close(self.parent)
            raise

    def _look(self, tree: Tree) -> None:
        wanted = paths.name(self.path)
        self.name = spelling(self.parent, wanted) or wanted
        self.own: os.stat_result | None = None
        self.seen: os.stat_result | None = None
        try:
            self.own = os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISLNK(self.own.st_mode):
            self.seen = _followed(tree, self.path)
        elif is_shown(self.own):
            self.seen = self.own

    @property
    def is_link(self) -> bool:
        return self.own is not None and stat.S_ISLNK(self.own.st_mode)

    @property
    def is_folder(self) -> bool:
        """Whether a folder itself lies here, not a link to one."""
        return self.own is not None and stat.S_ISDIR(self.own.st_mode)

    @property
    def shows_folder(self) -> bool:
        return self.seen is not None and stat.S_ISDIR(self.seen.st_mode)

    def must_show(self) -> os.stat_result:
        """What clients see here. Raises NotFound."""
        if self.seen is None:
            raise NotFound(self.path)
        return self.seen

    def must_be_usable(self) -> None:
        """Raises Forbidden where something lies that clients must not see, nor replace."""
        if self.own is not None and self.seen is None:
            raise Forbidden(self.path, "Something that cannot be served has this name.")

    def is_same_entry(self, other: Place) -> bool:
        """Whether both are one entry of one folder, reached in two ways."""
        return self.name == other.name and os.path.samestat(
            os.fstat(self.parent), os.fstat(other.parent)
        )

    def close(self) -> None:
        os.close(self.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open_parent(tree: Tree, folder: str) -> int:
    try:
        return tree.open(folder, FOLDER)
    except NotADirectoryError as error:
        if _is_file(tree, folder):
            raise NotAFolder(folder) from error
        raise NotFound(folder) from error
    except OSError as error:
        raise store_error(error, folder) from error


def _is_file(tree: Tree, path: str) -> bool:
    try:
        os.close(tree.open(path, LOOK))
    except OSError:
        return False
    return True


def _followed(tree: Tree, path: str) -> os.stat_result | None:
    """What the link at `path` leads to, when that is in the share and to be shown."""
    try:
        fd = tree.open(path, LOOK)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    return found if is_shown(found) else None


def place_for_member(tree: Tree, path: str) -> Place:
    """The place that something is to be put at. Raises ParentMissing, NotAFolder."""
    try:
        return Place(tree, path)
    except NotFound as error:
        raise ParentMissing(path) from error
    except NotAFolder as error:
        raise NotAFolder(path) from error


def place_of_existing(tree: Tree, path: str) -> Place:
    """The place of something that should be there. Raises NotFound also below a file."""
    try:
        return Place(tree, path)
    except (NotFound, NotAFolder) as error:
        raise NotFound(path) from error


def behind_link(tree: Tree, place: Place) -> Place:
    """The place of the file that the link at `place` leads to, whose content is to change.

    Raises Forbidden when it moves about too fast to be found.
    """
    with reported(place.path):
        fd = tree.open(place.path, LOOK)
        try:
            real = tree.real_path(fd)
            found = os.fstat(fd)
        finally:
            os.close(fd)
    if real is not None:
        there = Place(tree, real)
        if there.own is not None and os.path.samestat(there.own, found):
            return there
        there.close()
    raise Forbidden(place.path)
