"""Whether a share in MongoDB works now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pymongo
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from davstore.errors import Unavailable
from davstore.stores.mongo.documents import ROOT
from davstore.stores.mongo.operations import NODES
from davstore.stores.mongo.runner import Connection

#: Server errors that tell of credentials: AuthenticationFailed, Unauthorized.
_REFUSED: Final = (18, 13)


def probe(connect: Callable[[], Connection], seconds: float) -> None:
    """See `davstore.stores.base.Probed`. Raises Unavailable, and what `connect` raises.

    A replica set is asked for a linearizable read of the root: the primary answers once a
    majority has confirmed that it is the primary, which is what a write has to wait for as well.
    It costs the set one empty entry in its log. What the driver says stays out of the sentences:
    it may hold what an address holds.
    """
    try:
        with pymongo.timeout(seconds):
            connection = connect()
            nodes = connection.collection(NODES)
            if connection.is_replicated:
                nodes = nodes.with_options(read_concern=ReadConcern("linearizable"))
            found = nodes.find_one({"_id": ROOT}, {"_id": 1})
    except PyMongoError as error:
        raise Unavailable("/", _sentence(error)) from error
    if found is None:
        raise Unavailable("/", "The tree's root is missing in the database.")


def _sentence(error: PyMongoError) -> str:
    if isinstance(error, ConnectionFailure) or error.timeout:
        return "The database does not answer, or it has no primary."
    if isinstance(error, OperationFailure) and error.code in _REFUSED:
        return "The database does not accept the credentials."
    return f"The database refuses to answer (code {getattr(error, 'code', None)})."
