"""The tree of Python objects that the reference store keeps."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from davstore import paths
from davstore.errors import Exists, Forbidden, IsAFolder, NotAFolder, NotFound, ParentMissing
from davstore.stores.base import Node


@dataclass(slots=True)
class Entry:
    """A node without its name. `members` is None for a file.

    Mappings and content are replaced as wholes, never changed in place, so that Nodes and
    readers can share them.
    """

    members: dict[str, Entry] | None
    content: bytes = b""
    content_type: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    props: Mapping[str, str] = field(default_factory=dict)
    created: float = field(default_factory=time.time)
    modified: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    etag: str = field(default_factory=lambda: uuid.uuid4().hex)

    def node(self, name: str) -> Node:
        return Node(
            id=self.id,
            name=name,
            is_folder=self.members is not None,
            size=len(self.content),
            created=self.created,
            modified=self.modified,
            etag=self.etag,
            content_type=self.content_type,
            digests=self.digests,
            props=self.props,
        )

    def touch(self) -> None:
        """The entries of this folder changed; two changes never leave the same time."""
        now = time.time()
        self.modified = now if now != self.modified else math.nextafter(now, math.inf)

    def clone(self, *, recursive: bool) -> Entry:
        """A copy as COPY makes it: new nodes, with these ones' attributes and `modified`."""
        copy = self._clone_alone()
        left = [(self, copy)] if recursive else []
        while left:
            source, target = left.pop()
            if source.members is not None and target.members is not None:
                for name, member in source.members.items():
                    target.members[name] = member._clone_alone()
                    left.append((member, target.members[name]))
        return copy

    def total(self) -> int:
        """Bytes of content here and below."""
        size, left = 0, [self]
        while left:
            entry = left.pop()
            size += len(entry.content)
            left += (entry.members or {}).values()
        return size

    def _clone_alone(self) -> Entry:
        return replace(
            self,
            members=None if self.members is None else {},
            id=uuid.uuid4().hex,
            etag=uuid.uuid4().hex,
            created=time.time(),
        )


class Tree:
    """Entries by path, and how many bytes of content they hold. Not safe for threads."""

    def __init__(self) -> None:
        self.used = 0
        self._root = Entry(members={})

    def find(self, path: str) -> Entry | None:
        entry: Entry | None = self._root
        for name in paths.names(path):
            entry = entry.members.get(name) if entry and entry.members is not None else None
        return entry

    def get(self, path: str) -> Entry:
        """Raises NotFound."""
        entry = self.find(path)
        if entry is None:
            raise NotFound(path)
        return entry

    def file_to_replace(self, path: str) -> Entry | None:
        """What an upload to `path` replaces. Raises what forbids it."""
        if path == paths.ROOT:
            raise IsAFolder(path)
        found = self._siblings(path).get(paths.name(path))
        if found is not None and found.members is not None:
            raise IsAFolder(path)
        return found

    def target(self, path: str, *, overwrite: bool) -> Entry | None:
        """What a move or copy to `path` replaces. Raises what forbids it."""
        found = self._siblings(path).get(paths.name(path))
        if found is not None and not overwrite:
            raise Exists(path)
        return found

    def put(self, path: str, entry: Entry) -> None:
        """Place `entry` at `path`, instead of what is there."""
        replaced = self.find(path)
        self._siblings(path)[paths.name(path)] = entry
        self.used += entry.total() - (replaced.total() if replaced else 0)
        self.get(paths.parent(path)).touch()

    def take(self, path: str) -> Entry:
        """Remove what is at `path`, with everything below."""
        entry = self._siblings(path).pop(paths.name(path))
        self.used -= entry.total()
        self.get(paths.parent(path)).touch()
        return entry

    def _siblings(self, path: str) -> dict[str, Entry]:
        """The members of the folder in which `path` is, or may be made."""
        if paths.is_reserved(path):
            raise Forbidden(path)
        paths.check_name(paths.name(path), path)
        folder = self.find(paths.parent(path))
        if folder is None:
            raise ParentMissing(path)
        if folder.members is None:
            raise NotAFolder(path)
        return folder.members
