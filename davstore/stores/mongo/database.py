"""The database: its indexes, its format version, its root."""

from __future__ import annotations

import logging
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel, MongoClient
from pymongo.errors import (
    ConfigurationError,
    InvalidName,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from davstore.errors import ConfigError, FormatTooNew, Unavailable
from davstore.stores.mongo.documents import FOLDER, ROOT, Terms, fixed_id, new_op
from davstore.stores.mongo.driver_log import listen_to_driver
from davstore.stores.mongo.operations import (
    CHUNKS,
    CONTENTS,
    NODES,
    NOW,
    Document,
    Find,
    Insert,
)
from davstore.stores.mongo.runner import Connection, Runner

_log = logging.getLogger(__name__)

#: Of the documents' form. A database with a newer one is refused.
FORMAT: Final = 1
DEFAULT_NAME: Final = "davstore"
_META: Final = "davstore"
#: The oldest server whose update pipelines and projections do what is needed here.
_OLDEST_SERVER: Final = (4, 4)
#: Seconds after which a database that does not answer is given up (design, section 5).
PATIENCE_REPLICATED: Final = 15.0
PATIENCE_STANDALONE: Final = 5.0


def connect(
    uri: str, name: str | None, write_concern: str | int, grace: float
) -> tuple[Connection, Runner]:
    """Open the database `name`; None: the one that `uri` names, else "davstore".

    Raises ConfigError when the address cannot be understood or the server is of no use, and
    Unavailable when it does not answer.
    """
    guess = _names_a_set(uri)
    for is_set in (guess, not guess):
        patience = PATIENCE_REPLICATED if is_set else PATIENCE_STANDALONE
        client = _client(uri, patience)
        try:
            opened = _opened(client, name, write_concern)
        except BaseException:
            client.close()
            raise
        # What the database is only the database knows; the client's patience is set before.
        if is_set == opened.is_replicated or is_set != guess:
            break
        client.close()
    return opened, Runner(opened, Terms(grace=grace), patience)


def _names_a_set(uri: str) -> bool:
    """Whether the address looks like that of a replica set."""
    hosts, _, options = uri.partition("://")[2].partition("?")
    return uri.startswith("mongodb+srv:") or "," in hosts or "replicaset=" in options.lower()


def _client(uri: str, patience: float) -> MongoClient[Document]:
    """Every operation of it ends within `patience` seconds, elections and repetitions included."""
    milliseconds = int(patience * 1000)
    listen_to_driver()
    try:
        return MongoClient(
            uri,
            appname="davstore",
            timeoutMS=milliseconds,
            serverSelectionTimeoutMS=milliseconds,
            maxPoolSize=64,
        )
    except (InvalidURI, ConfigurationError, ValueError, TypeError) as error:
        raise ConfigError([f"the MongoDB address cannot be used: {error}"]) from error


def _opened(
    client: MongoClient[Document], name: str | None, write_concern: str | int
) -> Connection:
    try:
        name = name or client.get_default_database(DEFAULT_NAME).name
        _check_server(client)
        connection = Connection(client, name, write_concern=write_concern)
        _check_format(connection)
        _make_indexes(connection)
    except InvalidName as error:
        raise ConfigError([f"the name of the MongoDB database: {error}"]) from error
    except PyMongoError as error:
        if isinstance(error, OperationFailure) and not error.timeout:
            # The rest of it is the command, as it was sent.
            reason = str((error.details or {}).get("errmsg", error)).partition(" {")[0]
            raise ConfigError([f"the MongoDB server refuses: {reason}"]) from error
        # At a start nobody has set up logging yet, and the sentence says enough.
        _log.info("the database cannot be opened: %s", error)
        raise Unavailable("/", "The database does not answer at the moment.") from error
    return connection


def _check_server(client: MongoClient[Document]) -> None:
    version = client.server_info()["versionArray"]
    if tuple(version[:2]) < _OLDEST_SERVER:
        text = ".".join(map(str, version[:3]))
        wanted = ".".join(map(str, _OLDEST_SERVER))
        raise ConfigError(
            [f"the MongoDB server is of version {text}; {wanted} is the oldest usable"]
        )


def _check_format(connection: Connection) -> None:
    """Two that open a new database at once write the same."""
    meta = connection.collection(_META)
    found = meta.find_one_and_update(
        {"_id": "format"}, {"$setOnInsert": {"version": FORMAT}}, upsert=True, return_document=True
    )
    version = (found or {}).get("version")
    if not isinstance(version, int) or version > FORMAT:
        name = connection.database.name
        raise ConfigError([f"the MongoDB database {name!r}: {FormatTooNew.meaning}"])


def _make_indexes(connection: Connection) -> None:
    """Does nothing where they are there. Partial ones hold only what has the field.

    All of a collection at once: on a new database that takes two thirds of the time (0.2 s).
    """
    nodes = [IndexModel([("p", ASCENDING), ("n", ASCENDING), ("g", DESCENDING)], unique=True)]
    nodes += [_where_present(name) for name in ("gc", "c", "old.c", "mk.exp")]
    connection.collection(NODES).create_indexes(nodes)
    # The second one as GridFS has it, and that of the chunks.
    by_name = IndexModel([("filename", ASCENDING), ("uploadDate", ASCENDING)])
    connection.collection(CONTENTS).create_indexes([_where_present("metadata.gc"), by_name])
    by_number = IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)
    connection.collection(CHUNKS).create_indexes([by_number])


def _where_present(name: str) -> IndexModel:
    return IndexModel([(name, ASCENDING)], partialFilterExpression={name: {"$exists": True}})


def make_root(runner: Runner) -> None:
    """The root's document, when there is none yet. Two that do this at once are no matter."""

    def algorithm() -> Any:
        if (yield Find(NODES, {"_id": ROOT}, limit=1, only=("g",))):
            return
        op = new_op()
        root = {"_id": ROOT, "p": fixed_id(0), "n": "", "g": 0, "t": FOLDER}
        yield Insert(NODES, {**root, "v": op, "ops": [op], "ct": NOW, "mt": NOW}, op)

    runner.run(algorithm())
