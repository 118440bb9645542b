"""The one suite for every store.

An implementation's test file subclasses `StoreContract`, gives the `opener` fixture and,
where it differs, the class variables of `tests.stores.harness.Harness`:

    class TestThatStore(StoreContract):
        @pytest.fixture
        def opener(self, tmp_path: Path) -> Opener:
            return functools.partial(open_that_store, tmp_path)
"""

from __future__ import annotations

from tests.stores.harness import Opener
from tests.stores.machine import run_machine
from tests.stores.promises.competing import Competing
from tests.stores.promises.fencing import Fencing
from tests.stores.promises.judging import Judging
from tests.stores.promises.limiting import Counting, Limiting
from tests.stores.promises.moving import Copying, Moving, Updating
from tests.stores.promises.naming import Naming
from tests.stores.promises.reading import Reading
from tests.stores.promises.resuming import Resuming
from tests.stores.promises.sharing import Dying, Sharing
from tests.stores.promises.trees import Deleting, Folders, Transfers
from tests.stores.promises.writing import Writing
from tests.stores.steps import Steps


class StoreContract(
    Reading,
    Writing,
    Folders,
    Deleting,
    Transfers,
    Moving,
    Copying,
    Updating,
    Judging,
    Naming,
    Resuming,
    Competing,
    Fencing,
    Limiting,
    Counting,
    Sharing,
    Dying,
    Steps,
):
    """Everything that `davstore.stores.base` promises."""

    def test_it_does_what_the_twin_in_memory_does_whatever_the_calls(self, opener: Opener) -> None:
        run_machine(opener)
