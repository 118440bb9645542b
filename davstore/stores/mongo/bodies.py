"""fsck's look at the contents of files: are they complete, are they what was written?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from isal.isal_zlib import crc32

from davstore.stores.mongo.contents import DEAD, NEW
from davstore.stores.mongo.documents import Id
from davstore.stores.mongo.findings import flaw_of_content
from davstore.stores.mongo.operations import CHUNKS, CONTENTS, Algorithm, Compare, Document, Find

#: Bytes of chunks that are fetched at once.
_FETCHED: Final = 8 << 20


class Fault(NamedTuple):
    """A kind of finding, and a sentence on where."""

    kind: str
    detail: str = ""


class Through(NamedTuple):
    """What reading a whole content came to. `digests` by algorithm, when all was there."""

    fault: Fault | None
    digests: Mapping[str, str] = {}


def fault_of_body(node: Document, *, verify: bool) -> Algorithm[Fault | None]:
    """What is wrong with the content of a live file, given with `data`.

    Whatever is read here stays as it is as long as the node refers to it; so when the node
    was not written meanwhile, what was found is there to stay.
    """
    if "data" in node and "c" in node:
        return Fault("two-bodies")
    if "data" in node:
        return fault_of_inline(node, verify=verify)
    if "c" not in node:
        return Fault("no-body")
    content = yield from content_at(node["c"])
    fault = fault_of_reference(node, content)
    if fault is not None or content is None:
        return fault
    through = yield from read_through(content, node.get("dg", ()) if verify else None)
    fault = through.fault or differs(through.digests, node)
    if fault is None:
        return None
    # Chunks are only removed once it is dead, which it never ceases to be.
    again = yield from content_at(node["c"])
    return fault if again is not None and is_same(content, again) else None


def fault_of_inline(node: Document, *, verify: bool) -> Fault | None:
    if len(node["data"]) != node["size"]:
        return Fault("wrong-size", f"{len(node['data'])} bytes instead of {node['size']}")
    if not verify:
        return None
    hashes = _hashes(node.get("dg", ()))
    for digest in hashes.values():
        digest.update(node["data"])
    return differs(_hex(hashes), node)


def fault_of_reference(node: Document, content: Document | None) -> Fault | None:
    """Whether the `content` that a live file refers to is a usable one, of its size."""
    if content is None:
        return Fault("no-content")
    flaw = flaw_of_content(content)
    if flaw:
        return Fault("no-content", f"it is not of davstore's form: {flaw}")
    if content["metadata"]["state"] in (NEW, DEAD):
        return Fault("no-content", f"it is {content['metadata']['state']}")
    if content["length"] != node["size"]:
        return Fault("wrong-size", f"{content['length']} bytes instead of {node['size']}")
    return None


def content_at(key: Id) -> Algorithm[Document | None]:
    found = yield Find(CONTENTS, {"_id": key}, limit=1)
    return found[0] if found else None


def is_same(before: Document, after: Document) -> bool:
    """Whether nobody wrote to the content in between, nor began to remove it."""
    return (
        after.get("length") == before["length"]
        and after["metadata"].get("state") not in (NEW, DEAD)
        and before["metadata"]["state"] not in (NEW, DEAD)
    )


def differs(digests: Mapping[str, str], node: Document) -> Fault | None:
    """Whether the bytes have another digest than the one that is kept."""
    for algorithm, digest in digests.items():
        kept = node.get("dg", {}).get(algorithm)
        if kept is not None and kept != digest:
            return Fault("damaged", f"its {algorithm} is not the one that was kept")
    return None


def read_through(content: Document, digests: Iterable[str] | None) -> Algorithm[Through]:
    """All chunks of a content, a few at a time.

    `digests` are the algorithms to verify with, beside the chunks' own sums; None: only that
    each chunk is there and has the right length.
    """
    hashes = _hashes(digests or ())
    length, size = content["length"], content["chunkSize"]
    number, count = 0, -(-length // size)
    batch = max(1, _FETCHED // size)
    while True:
        where = {"files_id": content["_id"], "n": Compare("$gte", number)}
        page = yield Find(CHUNKS, where, sort=(("files_id", 1), ("n", 1)), limit=batch)
        for chunk in page:
            fault = _fault_of_chunk(chunk, number, count, min(size, length - number * size))
            if fault is None and digests is not None:
                fault = _fault_of_sum(chunk)
            if fault is not None:
                return Through(fault)
            for digest in hashes.values():
                digest.update(chunk["data"])
            number += 1
        if len(page) < batch:
            break
    if number < count:
        return Through(_missing(number, count))
    return Through(None, _hex(hashes))


def _fault_of_chunk(chunk: Document, number: int, count: int, size: int) -> Fault | None:
    if number >= count:
        return Fault("chunks", f"there is a chunk {chunk['n']}, beyond its end")
    if chunk["n"] != number:
        return _missing(number, count)
    data = chunk.get("data")
    if not isinstance(data, bytes):
        return Fault("chunks", f"chunk {number} of {count} holds no bytes")
    if len(data) != size:
        return Fault("chunks", f"chunk {number} of {count} has {len(data)} bytes, not {size}")
    return None


def _missing(number: int, count: int) -> Fault:
    return Fault("chunks", f"chunk {number} of {count} is missing")


def _fault_of_sum(chunk: Document) -> Fault | None:
    """Other GridFS writers keep no sum."""
    if "crc" in chunk and chunk["crc"] != crc32(chunk["data"]):
        return Fault("damaged", f"chunk {chunk['n']} is not what was written")
    return None


def _hashes(algorithms: Iterable[str]) -> dict[str, Any]:
    return {
        name: hashlib.new(name, usedforsecurity=False)
        for name in algorithms
        if name in hashlib.algorithms_guaranteed and not name.startswith("shake")
    }


def _hex(hashes: Mapping[str, Any]) -> dict[str, str]:
    return {name: digest.hexdigest() for name, digest in hashes.items()}
