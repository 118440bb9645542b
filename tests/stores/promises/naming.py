"""Names: any that a path may hold come back as they are; those of the store's own do not exist."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from davstore import paths
from davstore.errors import Forbidden, NotFound, StoreError
from davstore.stores.base import Store, Update
from tests.stores.harness import CTX, Harness, build, find, names, put, read, settle, tree

ODD_NAMES = [
    " ", " a ", "a b", "#", "%", "%41", "%2F", "?", "&", "a;b", "+", "=", "'", '"', "<b>", "\\",
    "..a", "...", ".hidden", "~", "$HOME", "a.b.c", "*", "|", ":", "C:", "nul", "CON", "-rf",
    "ä", "ß", "é", "中文", "日本語", "עברית", "\U0001f600", "\U0001f468\u200d\U0001f469",
    "a\u0301\u0323b", "\u00a0", "\u200b", "_id", "a\u00a0b", "\ufb01", "\u0130", "\u0131", "\u212a",
]  # fmt: skip

RESERVED = paths.RESERVED_PREFIX
NFC = "/" + unicodedata.normalize("NFC", "Zoë-Å")
NFD = "/" + unicodedata.normalize("NFD", "Zoë-Å")


class Naming(Harness):
    def test_every_odd_name_is_a_name_like_any_other(self, store: Store) -> None:
        wanted = {paths.normalise(name)[1:] for name in ODD_NAMES}
        for name in wanted:
            put(store, f"/{name}", name.encode())
        assert names(store) == sorted(wanted)
        for name in wanted:
            assert read(store, f"/{name}") == name.encode()
            assert store.stat(CTX, f"/{name}").name == name

    def test_every_odd_name_can_be_a_folders_and_be_moved(self, store: Store) -> None:
        wanted = {paths.normalise(name)[1:] for name in ODD_NAMES}
        store.create_folder(CTX, "/to")
        for name in wanted:
            store.create_folder(CTX, f"/{name}")
            put(store, f"/{name}/{name}", b"1")
            store.move(CTX, f"/{name}", f"/to/{name}", overwrite=False)
        assert names(store, "/to") == sorted(wanted)
        for name in wanted:
            assert names(store, f"/to/{name}") == [name]

    def test_case_makes_a_difference(self, store: Store) -> None:
        build(store, {"/a": b"lower", "/A": b"upper", "/Ab": None, "/aB": None})
        assert tree(store) == {"a": b"lower", "A": b"upper", "Ab": None, "aB": None}

    def test_a_decomposed_name_finds_the_composed_one_once_normalised(self, store: Store) -> None:
        put(store, paths.normalise(NFD), b"1")
        assert names(store) == [NFC[1:]]
        assert read(store, paths.normalise(NFC)) == b"1"
        store.delete(CTX, paths.normalise(NFD))
        assert names(store) == []

    @pytest.mark.parametrize("letter", ["x", "ü", "中", "\U0001f600"])
    def test_a_name_has_up_to_255_bytes(self, store: Store, letter: str) -> None:
        size = len(letter.encode())
        name = letter * (255 // size) + "y" * (255 % size)
        build(store, {f"/{name}": b"1", "/d": None, f"/d/{name}": None})
        put(store, f"/{name}", b"2")
        store.update(CTX, f"/{name}", Update(modified=1e9))
        store.move(CTX, f"/{name}", f"/d/{name}/{name}", overwrite=False)
        store.copy(CTX, f"/d/{name}/{name}", f"/{name}", overwrite=False)
        store.copy(CTX, f"/{name}", f"/d/{name}", overwrite=True)
        store.delete(CTX, f"/{name}")
        assert tree(store) == {"d": None, f"d/{name}": b"2"}

    def test_a_name_of_256_bytes_is_an_error_of_the_store_and_changes_nothing(
        self, store: Store
    ) -> None:
        put(store, "/a", b"1")
        long = "/" + "x" * 256
        for call in (
            lambda: put(store, long, b""),
            lambda: store.create_folder(CTX, long),
            lambda: store.move(CTX, "/a", long, overwrite=True),
            lambda: store.copy(CTX, "/a", long, overwrite=True),
            lambda: store.stat(CTX, long),
            lambda: store.delete(CTX, long),
        ):
            with pytest.raises(StoreError):
                call()
        assert tree(store) == {"a": b"1"}

    def test_a_path_of_4096_bytes_works_in_every_call(self, store: Store) -> None:
        deep = ""
        while len(deep) + 202 <= paths.MAX_PATH_BYTES - 2:
            deep += "/" + "d" * 200
            store.create_folder(CTX, deep)
        path = deep + "/" + "f" * (paths.MAX_PATH_BYTES - len(deep) - 1)
        assert len(path) == paths.MAX_PATH_BYTES
        put(store, path, b"1")
        put(store, path, b"2")
        store.update(CTX, path, Update(set_props={"{urn:x}p": "<p/>"}))
        assert read(store, path) == b"2"
        assert names(store, deep) == [paths.name(path)]
        store.move(CTX, path, deep + "/short", overwrite=False)
        store.copy(CTX, deep + "/short", path, overwrite=False)
        assert store.stat(CTX, path).props == {"{urn:x}p": "<p/>"}
        store.delete(CTX, path)
        store.delete(CTX, "/" + "d" * 200)
        settle(store)
        assert names(store) == []

    def test_a_tree_deeper_than_pythons_stack_is_copied_moved_and_deleted(
        self, store: Store
    ) -> None:
        depth = 32
        for level in range(1, depth + 1):
            store.create_folder(CTX, "/a" * level)
        while depth <= sys.getrecursionlimit():
            store.copy(CTX, "/a", "/b", overwrite=False)
            store.move(CTX, "/b", "/a" * depth + "/a", overwrite=False)
            depth *= 2
        deepest = "/a" * depth
        assert store.stat(CTX, deepest).is_folder
        assert names(store, deepest) == []
        with pytest.raises(NotFound):
            store.stat(CTX, deepest[:-1] + "b")
        store.move(CTX, "/a", "/c", overwrite=False)
        put(store, "/c" + deepest[2:] + "/f", b"1")
        assert read(store, "/c" + deepest[2:] + "/f") == b"1"
        store.delete(CTX, "/c")
        settle(store)
        assert names(store) == []

    @pytest.mark.parametrize("name", [RESERVED, RESERVED + "x", RESERVED + "tmp-1"])
    def test_a_reserved_name_is_never_there(self, store: Store, name: str) -> None:
        store.create_folder(CTX, "/d")
        for path in (f"/{name}", f"/d/{name}", f"/{name}/below"):
            with pytest.raises(NotFound):
                store.stat(CTX, path)
            with pytest.raises(NotFound):
                store.list(CTX, path)
            with pytest.raises(NotFound):
                store.open(CTX, path)
            with pytest.raises(NotFound):
                store.delete(CTX, path)
            with pytest.raises(NotFound):
                store.update(CTX, path, Update(modified=1.0))
            with pytest.raises(NotFound):
                store.move(CTX, path, "/e", overwrite=True)
            with pytest.raises(NotFound):
                store.copy(CTX, path, "/e", overwrite=True)

    @pytest.mark.parametrize("name", [RESERVED, RESERVED + "x", RESERVED + "tmp-1"])
    def test_a_reserved_name_cannot_be_created(self, store: Store, name: str) -> None:
        build(store, {"/d": None, "/a": b"1"})
        for path in (f"/{name}", f"/d/{name}", f"/{name}/below"):
            with pytest.raises(Forbidden):
                store.upload(CTX, path)
            with pytest.raises(Forbidden):
                store.create_folder(CTX, path)
            with pytest.raises(Forbidden):
                store.move(CTX, "/a", path, overwrite=True)
            with pytest.raises(Forbidden):
                store.copy(CTX, "/a", path, overwrite=True)
            assert find(store, path) is None
        assert tree(store) == {"d": None, "a": b"1"}

    def test_what_only_resembles_a_reserved_name_is_a_name(self, store: Store) -> None:
        for name in ("x" + RESERVED, RESERVED[:-1], RESERVED.upper()):
            put(store, f"/{name}", b"1")
            assert read(store, f"/{name}") == b"1"
