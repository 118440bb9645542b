"""Requests, on the node that answers: once, or again for as long as it is worth it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

from davstore import __version__, paths
from davstore.client.errors import PASSING, ClientError, Damaged, Refused, Unreachable, refusal
from davstore.client.patience import Patience
from davstore.client.places import Places

#: Bytes that go to the socket at once. The time-out holds for each such block: for a whole piece
#: it would cut off everybody whose line is slow.
_BLOCK: Final = 1 << 16

#: Bytes of a download read at once.
_READ: Final = 1 << 18

#: Seconds that trouble is borne before anything has ever answered: a wrong address is told soon.
_AT_FIRST: Final = 5.0

#: Everything that requests raises for a connection that broke or was never there.
_BROKEN: Final = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)

#: What is sent, made anew for each try.
Body = Callable[[], "bytes | Sending"]


class Sending(io.BytesIO):
    """Bytes on their way; `told` hears how many of them have been taken so far."""

    def __init__(self, data: bytes, told: Callable[[int], None]) -> None:
        super().__init__(data)
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self._told(self.tell())
        return block


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, blocksize=_BLOCK)


class Wire:
    """`root` is what comes before every endpoint: "/filestorage/v1.0.0".

    `timeout` is seconds to connect (and to send each block), and to wait for each part of an
    answer; `patience` how many seconds without progress trouble is borne.
    """

    def __init__(
        self,
        places: Places,
        root: str,
        *,
        auth: tuple[str, str] | None,
        verify: bool | str,
        timeout: tuple[float, float],
        patience: float,
    ) -> None:
        self.places = places
        self._root = places.prefix + root
        self._timeout = timeout
        self._seconds = patience
        self._has_answered = False
        self._session = requests.Session()
        self._session.verify = verify
        if auth is not None:
            # Bytes, as requests encodes text in Latin-1, which has not every letter.
            self._session.auth = HTTPBasicAuth(auth[0].encode(), auth[1].encode())
        # Compressed, ranges and lengths would be those of something else.
        self._session.headers["Accept-Encoding"] = "identity"
        self._session.headers["User-Agent"] = f"davstore-client/{__version__}"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())

    def close(self) -> None:
        self._session.close()

    def at(self, endpoint: str, path: str) -> str:
        """The path of the URL at which `path` of the tree is found at an endpoint."""
        return f"{self._root}/{endpoint}{paths.to_href(path)}"

    def patience(self, seconds: float | None = None) -> Patience:
        wanted = self._seconds if seconds is None else max(seconds, self._seconds)
        at_first = min(self._seconds, _AT_FIRST)
        return Patience(lambda: wanted if self._has_answered else at_first)

    def once(
        self,
        method: str,
        address: str,
        about: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        body: Body | None = None,
        stream: bool = False,
        longer: float = 0.0,
    ) -> requests.Response:
        """The answer of one try at `address`, a path of URLs; `about` is one of the tree.

        Raises Unreachable, Unavailable and every other Refused. With `stream` the body is still
        to be read, with `blocks`. It is waited for `longer` seconds more than usual.
        """
        origin = self.places.current(about)
        try:
            response = self._session.request(
                method,
                origin + address,
                params=params,
                headers=headers,
                json=json,
                data=None if body is None else body(),
                timeout=(self._timeout[0], self._timeout[1] + longer),
                allow_redirects=False,
                stream=stream,
            )
        except _BROKEN as error:
            raise self._broken(error, origin, about) from error
        except (requests.RequestException, UnicodeError) as error:
            raise ClientError(f"{origin} cannot be asked: {error}") from error
        self._has_answered = True
        if response.status_code < 300:
            return response
        with closing(response):
            try:
                refused = refusal(response)
            except _BROKEN as error:
                raise self._broken(error, origin, about) from error
        if isinstance(refused, PASSING):
            refused.elsewhere = self.places.leave(origin, about)
        raise refused

    def ask(self, method: str, address: str, about: str, **request: Any) -> requests.Response:
        """As `once`, tried again while trouble may go by: only for what may happen twice."""
        patience = self.patience()
        lost = False
        while True:
            try:
                return self.once(method, address, about, **request)
            except PASSING as trouble:
                lost = True
                patience.bear(trouble)
            except Refused as refused:
                refused.after_loss = lost
                raise

    def blocks(self, response: requests.Response, about: str) -> Iterator[bytes]:
        """The body of a streamed answer. Raises Unreachable when it breaks off, and Damaged."""
        origin = self.places.current(about)
        try:
            yield from response.iter_content(_READ)
        except _BROKEN as error:
            raise self._broken(error, origin, about) from error
        except requests.RequestException as error:
            raise Damaged(f"the answer of {origin} cannot be read: {error}") from error

    def _broken(self, error: Exception, origin: str, about: str) -> ClientError:
        reason = _reason(error)
        if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE" in str(error):
            return ClientError(f"the certificate of {origin} is not trusted: {reason}")
        made = Unreachable(f"{origin} does not answer: {reason}")
        made.elsewhere = self.places.leave(origin, about)
        return made


def _reason(error: BaseException) -> str:
    """What the system said, which lies deep in what requests makes of it."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    if isinstance(error, requests.Timeout):
        return "it takes too long"
    return "the connection broke"
