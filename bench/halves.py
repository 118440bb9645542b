"""The two halves of the benchmark: one folder for everybody, and trees over databases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.contenders import RENAME, Contender, Found, folder_contenders, tree_contenders
from bench.loads import COLUMNS, Column
from bench.mongo_tree import BARE, FIRST_BYTE, GET_64M, MongoTree, default_cache_gib


@dataclass(frozen=True)
class Required:
    """Our figure has to be at least `ratio` times as good as that of `peer`."""

    column: str
    peer: str
    ratio: float


@dataclass(frozen=True)
class Limit:
    """Our figure itself has to be at most this."""

    column: str
    most: float


@dataclass(frozen=True)
class Half:
    """`ours` is the name of the contender that is compared with the others.

    `more` are the columns of lines that not everybody has.
    """

    key: str
    title: str
    ours: str
    find: Callable[[list[str] | None], Found]
    required: Sequence[Required]
    notes: Sequence[str]
    limits: Sequence[Limit] = ()
    more: Sequence[Column] = ()

    def column(self, key: str) -> Column:
        return next(column for column in (*COLUMNS, *self.more) if column.key == key)


FOLDER = Half(
    "folder",
    "A folder",
    RENAME,
    folder_contenders,
    (
        Required("propfind-100", "Apache mod_dav", 0.8),
        Required("propfind-100", "rclone serve", 2.5),
        Required("get-4k", "rclone serve", 0.45),
        Required("get-4k", "stock WsgiDAV", 4.0),
        Required("get-512m", "Apache mod_dav", 0.8),
        Required("put-4k", "rclone serve", 1.0),
    ),
    (
        "one folder on disk for everybody",
        "rclone answers listings and sizes from memory and looks at the folder again after five"
        " minutes, as it comes; the others look at the disk each time",
        "davstore with as many workers as cores; the others as their configuration comes,"
        " lighttpd and nginx with as many workers as cores",
        "davstore's `rename` promises what the others promise; its default, `full`, also keeps"
        " an acknowledged upload when the power fails, which none of the others does",
    ),
)

_MONGO = MongoTree.name
_JUICE = "JuiceFS webdav"
_WEED = "SeaweedFS webdav"

TREE = Half(
    "tree",
    "A tree over a database",
    _MONGO,
    tree_contenders,
    (
        Required("propfind-100", _WEED, 1.0),
        Required("propfind-100", _JUICE, 5.0),
        Required("propfind-10000", _WEED, 1.0),
        Required("propfind-10000", _JUICE, 1.0),
        Required("get-1m", _JUICE, 1.0),
        Required("put-512m", _WEED, 0.8),
        Required("get-4k", _JUICE, 0.2),
        Required("propfind-0", _JUICE, 0.2),
        Required("put-4k", _WEED, 0.4),
        Required("get-64m", BARE, 0.8),
    ),
    (
        "everything on this machine, the same files uploaded to each through WebDAV before",
        "davstore with as many workers as cores, over one mongod that is a replica set of one,"
        f" with MongoDB's own sizes of cache ({default_cache_gib():.1f} GiB here) and oplog",
        "JuiceFS with its names in Redis and its blocks in a local folder; SeaweedFS with master,"
        " volume server and filer in one process and its gateway in another; settings as they"
        " come",
        "the promises differ, see the last column; only davstore waits for the disk",
        "the bare loop is `find` on `fs.chunks`, sorted, two chunks at a time, in a process that"
        " is connected already; GET of the same file is read by a loop as plain, in turns with it",
    ),
    (Limit(FIRST_BYTE.key, 15.0),),
    (GET_64M, FIRST_BYTE),
)

HALVES = (FOLDER, TREE)


@dataclass(frozen=True)
class Run:
    """Who was measured in one half, who was not, and how."""

    half: Half
    contenders: Sequence[Contender]
    missing: Sequence[str]
    rounds: int
    seconds: int
