"""The settings of the REST face."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from davstore.config.section import Section
from davstore.config.values import CommaSeparated, Duration, http_url, mounted_prefix


def _origin(text: str) -> str:
    """An origin as browsers write it (RFC 6454, 6.2): lower case, without a default port."""
    try:
        url = http_url(text).lower()
    except ValueError:
        raise ValueError('is not an origin such as "https://files.example.org"') from None
    scheme, _, host = url.partition("://")
    return f"{scheme}://{host.removesuffix({'http': ':80', 'https': ':443'}[scheme])}"


class Rest(Section):
    """Verbs and nouns over plain HTTP, beside WebDAV."""

    enabled: bool = True
    #: Below it the face answers, at `prefix`/v1.0.0/ and `prefix`/v1.0.0.0/.
    prefix: Annotated[str, AfterValidator(mounted_prefix)] = "/filestorage"
    #: Where web pages come from that may send requests from a browser:
    #: "https://app.example.org". None but this server's own by default.
    origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], CommaSeparated] = ()
    #: The path of the MongoDB share that the original endpoints (mongodb/uploadsmall, ...) work
    #: on; None: the first one.
    share: str | None = None
    #: How long an unfinished resumable upload is kept after the last sign of life.
    upload_lease: Duration = 7 * 86400.0
