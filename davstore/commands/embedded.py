"""The private mongods that a configuration asks for: running while a command does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from davstore.commands.configuration import fail, faults_told
from davstore.config import Config, MongoShare
from davstore.errors import Unavailable
from davstore.stores.mongo.embedded import EmbeddedMongod


@contextmanager
def embedded_running(config: Config) -> Iterator[Config]:
    """Start what `embedded:DIR` asks for; the configuration with their real addresses.

    Two shares with one folder have one mongod, each its own database. All are stopped at the
    end. Ends the command with status 2 when there is no mongod or the folder is of no use.
    """
    with ExitStack() as stack:
        running: dict[Path, EmbeddedMongod] = {}
        shares = dict(config.shares)
        for mount, share in config.shares.items():
            if isinstance(share, MongoShare) and share.embedded is not None:
                folder = share.embedded
                if folder not in running:
                    running[folder] = _started(stack, mount, folder)
                shares[mount] = share.model_copy(update={"uri": running[folder].uri})
        yield config.model_copy(update={"shares": shares})


def _started(stack: ExitStack, mount: str, folder: Path) -> EmbeddedMongod:
    mongod = EmbeddedMongod(folder)
    with faults_told():
        try:
            mongod.start()
        except Unavailable as error:
            fail(f"the share {mount}: {error}")
    stack.callback(mongod.stop)
    return mongod
