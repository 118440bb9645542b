"""How names and sizes are written for a person at a terminal."""

from __future__ import annotations


def on_one_line(text: str) -> str:
    """Names of files can hold anything, line ends and what no stream can encode included."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def in_words(size: float) -> str:
    """Such as "3.4 MiB"."""
    if size < 1024:
        return f"{int(size)} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"
