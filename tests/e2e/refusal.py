"""What a refusal has to look like, and that it left everything as it was."""

from __future__ import annotations

from tests.components.content import litter, names_on_disk
from tests.components.davserver import DavServer
from tests.components.http import Answer
from tests.components.processes import wait_until
from tests.e2e.conftest import Place

LOCK_BODY = (
    b'<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    b"<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
CHANGE_BODY = (
    b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x:p xmlns:x="urn:x">v</x:p></D:prop>'
    b"</D:set></D:propertyupdate>"
)


def is_refused(answer: Answer, *statuses: int) -> None:
    """A status of `statuses` (any 4xx when there are none), and at most a short text."""
    assert answer.status in (statuses or range(400, 500)), (answer.status, answer.body[:500])
    assert len(answer.body) < 2000
    assert b"Traceback" not in answer.body


class Unchanged:
    """A context in which nothing below `place` may change."""

    def __init__(self, server: DavServer, place: Place) -> None:
        self._server, self._place = server, place

    def _seen(self) -> dict[str, bytes | None]:
        folder = self._place.folder
        return {
            name: (folder / name).read_bytes() if (folder / name).is_file() else None
            for name in names_on_disk(folder)
        }

    def __enter__(self) -> None:
        assert self._server.root is not None
        self._root = self._server.root
        self._before = self._seen()
        self._beside = sorted(path.name for path in self._root.iterdir())

    def __exit__(self, *exc: object) -> None:
        assert self._seen() == self._before
        assert sorted(path.name for path in self._root.iterdir()) == self._beside
        wait_until(lambda: not litter(self._root), 10, "the end of temporary files")
