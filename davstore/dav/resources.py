"""Files and folders of a store as wsgidav's resources, for other WsgiDAV code."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from lxml import etree
from wsgidav.dav_error import DAVError
from wsgidav.dav_provider import DAVCollection, DAVNonCollection

from davstore import paths
from davstore.dav import properties
from davstore.dav.errors import as_dav_error
from davstore.errors import NotFound, StoreError
from davstore.stores.base import Context, HasUsage, Node, Reader, Store, Update, Upload

T = TypeVar("T")
Resource = Any


def resource_at(store: Store, path: str, environ: dict[str, Any]) -> Resource | None:
    """The resource at a decoded path of the share; None when there is none."""
    try:
        canonical = paths.normalise(path)
        node = store.stat(_context(environ), canonical)
    except NotFound:
        return None
    except StoreError as error:
        raise as_dav_error(error) from None
    return resource_of(store, canonical, node, environ)


def resource_of(store: Store, path: str, node: Node, environ: dict[str, Any]) -> Resource:
    kind = FolderResource if node.is_folder else FileResource
    return kind(store, path, node, environ)


def _context(environ: dict[str, Any]) -> Context:
    return Context(environ.get("wsgidav.auth.user_name") or None)


class _StoreResource:
    """What files and folders have in common. Store errors become wsgidav's."""

    store: Store
    node: Node
    ctx: Context
    path: str

    def _bind(self, store: Store, node: Node, environ: dict[str, Any]) -> None:
        self.store, self.node, self.ctx = store, node, _context(environ)

    def _do(self, change: Callable[[], T]) -> T:
        try:
            return change()
        except StoreError as error:
            raise as_dav_error(error) from None

    def get_creation_date(self) -> float:
        return self.node.created

    def get_last_modified(self) -> float:
        return self.node.modified

    def get_display_name(self) -> str:
        return self.node.name or "/"

    def get_property_names(self, *, is_allprop: bool) -> list[str]:
        names: list[str] = super().get_property_names(is_allprop=is_allprop)  # type: ignore[misc]
        return names + list(self.node.props)

    def get_property_value(self, name: str) -> Any:
        """Dead properties as elements; live ones as wsgidav has them."""
        if name in self.node.props:
            return etree.fromstring(self.node.props[name])
        return super().get_property_value(name)  # type: ignore[misc]

    def set_property_value(self, name: str, value: Any, *, dry_run: bool = False) -> bool:
        """One property; None removes it. Live ones are protected (403)."""
        if name in properties.LIVE:
            raise DAVError(403, err_condition="{DAV:}cannot-modify-protected-property")
        if dry_run:
            return True
        change = (
            Update(remove_props=(name,))
            if value is None
            else Update({name: etree.tostring(value, encoding="unicode", with_tail=False)})
        )
        self.node = self._do(lambda: self.store.update(self.ctx, self.path, change))
        return True

    def support_recursive_delete(self) -> bool:
        return True

    def delete(self) -> None:
        self._do(lambda: self.store.delete(self.ctx, self.path))

    def handle_delete(self) -> bool:
        """A tree goes in one step, not member by member."""
        self.delete()
        return True

    def handle_move(self, dest_path: str) -> bool:
        target = paths.normalise(dest_path)
        self._do(lambda: self.store.move(self.ctx, self.path, target, overwrite=True))
        return True

    def handle_copy(self, dest_path: str, *, depth_infinity: bool) -> bool:
        target = paths.normalise(dest_path)
        self._do(
            lambda: self.store.copy(
                self.ctx, self.path, target, overwrite=True, recursive=depth_infinity
            )
        )
        return True


class FileResource(_StoreResource, DAVNonCollection):
    def __init__(self, store: Store, path: str, node: Node, environ: dict[str, Any]) -> None:
        DAVNonCollection.__init__(self, path, environ)
        self._bind(store, node, environ)
        self._upload: Upload | None = None

    def get_content_length(self) -> int:
        return self.node.size

    def get_content_type(self) -> str:
        return properties.content_type(self.node)

    def get_etag(self) -> str:
        return self.node.etag

    def support_etag(self) -> bool:
        return True

    def support_ranges(self) -> bool:
        return True

    def get_content(self) -> io.BufferedReader:
        return io.BufferedReader(
            _ReaderFile(self._do(lambda: self.store.open(self.ctx, self.path)))
        )

    def begin_write(self, *, content_type: str | None = None) -> io.RawIOBase:
        """A file whose content becomes visible at `end_write`, all at once."""
        upload = self._do(lambda: self.store.upload(self.ctx, self.path))
        self._upload = upload
        return _UploadFile(upload)

    def end_write(self, *, with_errors: bool) -> None:
        upload = self._upload
        if upload is None:
            return
        if with_errors:
            upload.abort()
        else:
            self._do(upload.commit)


class FolderResource(_StoreResource, DAVCollection):
    def __init__(self, store: Store, path: str, node: Node, environ: dict[str, Any]) -> None:
        DAVCollection.__init__(self, path, environ)
        self._bind(store, node, environ)

    def get_member_names(self) -> list[str]:
        return [node.name for node in self._members()]

    def get_member_list(self) -> list[Resource]:
        return [
            resource_of(self.store, paths.join(self.path, node.name), node, self.environ)
            for node in self._members()
        ]

    def _members(self) -> Iterator[Node]:
        return self._do(lambda: self.store.list(self.ctx, self.path))

    def get_member(self, name: str) -> Resource | None:
        return resource_at(self.store, paths.join(self.path, name), self.environ)

    def create_empty_resource(self, name: str) -> Resource:
        path = paths.normalise(paths.join(self.path, name))
        with self._do(lambda: self.store.upload(self.ctx, path)) as upload:
            self._do(upload.commit)
        return resource_at(self.store, path, self.environ)

    def create_collection(self, name: str) -> None:
        path = paths.normalise(paths.join(self.path, name))
        self._do(lambda: self.store.create_folder(self.ctx, path))

    def get_used_bytes(self) -> int | None:
        return self.store.usage(self.ctx).used if isinstance(self.store, HasUsage) else None

    def get_available_bytes(self) -> int | None:
        return self.store.usage(self.ctx).available if isinstance(self.store, HasUsage) else None


class _ReaderFile(io.RawIOBase):
    """A reader as the seekable file that wsgidav sends."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._reader.node.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._reader.node.size - self._at))
        filled = 0
        for chunk in self._reader.chunks(self._at, wanted):
            buffer[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        self._at += filled
        return filled

    def close(self) -> None:
        self._reader.close()
        super().close()


class _UploadFile(io.RawIOBase):
    """An upload as a file that wsgidav writes to and closes before `end_write`."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._upload.write(data)
        return len(data)
