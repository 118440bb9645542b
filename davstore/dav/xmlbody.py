"""Reading an XML body: capped, without entities, whatever its transfer coding."""

from __future__ import annotations

from typing import Any

from lxml import etree
from wsgidav.dav_error import DAVError

from davstore.dav import errors

Element = etree._Element


def read_xml(environ: dict[str, Any], limit: int) -> Element | None:
    """The root element of the request's body; None when there is no body.

    Raises DAVError: 413 when the body has more than `limit` bytes, 400 when it is not
    well-formed, 403 (no-external-entities, RFC 4918, 17.6 and 20.6) when it has a DTD.
    """
    body = _read(environ, limit)
    if not body.strip():
        return None
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise errors.bad_request("The XML of the request is not well-formed.") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DAVError(403, err_condition=errors.NO_EXTERNAL_ENTITIES)
    return root


def _read(environ: dict[str, Any], limit: int) -> bytes:
    length = environ.get("CONTENT_LENGTH")
    if length and int(length) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    received = 0
    while part := environ["wsgi.input"].read(min(limit + 1 - received, 65536)):
        parts.append(part)
        received += len(part)
        if received > limit:
            raise _too_large(limit)
    return b"".join(parts)


def _too_large(limit: int) -> DAVError:
    return DAVError(413, f"The XML of a request may have at most {limit} bytes.")


def children(element: Element) -> list[Element]:
    """The child elements, without comments and the like."""
    return [child for child in element if isinstance(child.tag, str)]


def serialise(element: Element) -> str:
    """The whole element as XML that can stand anywhere: it declares its own namespaces.

    An xml:lang in scope is kept (RFC 4918, 4.3).
    """
    lang = "{http://www.w3.org/XML/1998/namespace}lang"
    if element.get(lang) is None:
        inherited = next((a.get(lang) for a in element.iterancestors() if a.get(lang)), None)
        if inherited is not None:
            element.set(lang, inherited)
    return etree.tostring(element, encoding="unicode", with_tail=False)
