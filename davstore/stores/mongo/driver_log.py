"""What the driver logs of its own accord: nothing that a database which is away explains."""

from __future__ import annotations

import logging
from typing import Final

from pymongo.errors import ConnectionFailure

#: Where the driver tells of its threads: closing cursors, keeping connections.
_DRIVER: Final = "pymongo.client"

_log = logging.getLogger(__name__)


def no_outages(record: logging.LogRecord) -> bool:
    """A filter for the driver's log. It puts a sentence in place of the traceback of a thread of
    the driver's that found no database: requests say themselves what an outage does to them."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, ConnectionFailure):
        return True
    _log.info("The driver could not tidy up at a database that is away: %s", error)
    return False


def listen_to_driver() -> None:
    """From now on, once for this process however often it is called."""
    logging.getLogger(_DRIVER).addFilter(no_outages)
