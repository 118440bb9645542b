"""The access log (one line per request) and the application log, as text or as JSON lines.

Both go to standard error. Every line leaves in one write(2), so that the lines of several
processes never mix: a line of the access log has at most 4,096 bytes, which is what a pipe
takes in one piece (PIPE_BUF, pipe(7)). What a client chose (target, user, agent) is escaped,
so that it can neither begin a new line nor end a quoted field.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import time
from collections.abc import Callable
from typing import IO, Literal, NamedTuple, Protocol

Format = Literal["text", "json"]

_quoted_json = json.encoder.encode_basestring_ascii

#: What cannot stand in a field of the text format as it is: everything but printable ASCII,
#: the quote that ends a field, and the backslash that escapes.
_UNSAFE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
_UNSAFE_BARE = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]")

#: C0 and C1 controls, DEL, the line separators and lone surrogates, which no stream can encode.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_LONGEST_LINE = select.PIPE_BUF


class AccessRecord(NamedTuple):
    """One answered request.

    `time` is when it came, in seconds since 1970. `target` is the request target as it stood
    in the request line. `received` and `sent` are bytes of the bodies. `seconds` is how long
    it took until the last byte was sent.
    """

    time: float
    remote: str
    user: str | None
    method: str
    target: str
    status: int
    received: int
    sent: int
    seconds: float
    request_id: str
    agent: str
    protocol: str


class LogSettings(Protocol):
    """What `setup_logging` needs to know; `davstore.config.Log` has it."""

    @property
    def format(self) -> Format: ...

    @property
    def level(self) -> str: ...


def _escape_match(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Clock:
    """Seconds since 1970 as text, made once per second."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._last = (0, "")

    def text(self, moment: float) -> str:
        second = int(moment)
        # One tuple is read and replaced as a whole, so threads may share it without a lock.
        known, text = self._last
        if known != second:
            text = time.strftime(self._pattern, time.gmtime(second))
            self._last = (second, text)
        return text


_clf_clock = _Clock("%d/%b/%Y:%H:%M:%S +0000")
_iso_clock = _Clock("%Y-%m-%dT%H:%M:%S")


def _iso(moment: float) -> str:
    return f"{_iso_clock.text(moment)}.{int(moment % 1 * 1000):03d}Z"


def format_text(record: AccessRecord) -> str:
    """The Combined Log Format, and after it: bytes received, seconds, request id."""
    (moment, remote, user, method, target, status, received, sent, seconds, request_id, agent,
     protocol) = record  # fmt: skip
    request = f"{method} {target} {protocol}"
    if _UNSAFE.search(request):
        request = _UNSAFE.sub(_escape_match, request)
    if _UNSAFE.search(agent):
        agent = _UNSAFE.sub(_escape_match, agent)
    if _UNSAFE_BARE.search(request_id):
        request_id = _UNSAFE_BARE.sub(_escape_match, request_id)
    if user is None:
        user = "-"
    elif _UNSAFE_BARE.search(user):
        user = _UNSAFE_BARE.sub(_escape_match, user)
    return (
        f'{remote} - {user} [{_clf_clock.text(moment)}] "{request}" {status} {sent} "-"'
        f' "{agent or "-"}" {received} {seconds:.6f} {request_id or "-"}\n'
    )


def format_json(record: AccessRecord) -> str:
    """One JSON object; `"log": "access"` tells it from the application log's lines."""
    user = "null" if record.user is None else _quoted_json(record.user)
    return (
        f'{{"log": "access", "time": "{_iso(record.time)}", '
        f'"remote": {_quoted_json(record.remote)}, "user": {user}, '
        f'"method": {_quoted_json(record.method)}, "target": {_quoted_json(record.target)}, '
        f'"protocol": {_quoted_json(record.protocol)}, "status": {record.status}, '
        f'"received": {record.received}, "sent": {record.sent}, '
        f'"seconds": {record.seconds:.6f}, "request_id": {_quoted_json(record.request_id)}, '
        f'"agent": {_quoted_json(record.agent)}}}\n'
    )


_FORMATS: dict[Format, Callable[[AccessRecord], str]] = {"text": format_text, "json": format_json}


def _shortened(record: AccessRecord) -> AccessRecord:
    """`record` with everything that a client chose cut, so that its line is short enough.

    An escaped character takes twelve bytes at most (JSON, beyond U+FFFF).
    """

    def cut(text: str, length: int) -> str:
        return text if len(text) <= length else text[:length] + "..."

    return record._replace(
        user=None if record.user is None else cut(record.user, 30),
        method=cut(record.method, 20),
        target=cut(record.target, 160),
        request_id=cut(record.request_id, 30),
        agent=cut(record.agent, 50),
        protocol=cut(record.protocol, 10),
    )


class AccessLog:
    """Writes records as lines. Threads and processes may share the stream.

    A line that cannot be written (disk full, reader gone) is lost and counted in `lost`;
    the request that it tells of is not disturbed.
    """

    def __init__(self, format: Format, stream: IO[str] | IO[bytes]) -> None:
        self._format = _FORMATS[format]
        self._fd = stream.fileno()
        self.lost = 0

    def write(self, record: AccessRecord) -> None:
        line = self._format(record)
        if len(line) > _LONGEST_LINE:
            line = self._format(_shortened(record))
        try:
            os.write(self._fd, line.encode("ascii", "backslashreplace"))
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                logging.getLogger(__name__).warning("The access log cannot be written: %s", error)


class TextFormatter(logging.Formatter):
    """`time level logger: message`; a traceback follows, each of its lines indented."""

    def format(self, record: logging.LogRecord) -> str:
        message = _CONTROLS.sub(_escape_match, record.getMessage())
        line = f"{_iso(record.created)} {record.levelname.lower()} {record.name}: {message}"
        trace = _trace(self, record)
        return line + "".join(f"\n    {_CONTROLS.sub(_escape_match, x)}" for x in trace)


class JsonFormatter(logging.Formatter):
    """One JSON object per record; a traceback is one field of it."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "log": "application",
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        trace = _trace(self, record)
        if trace:
            fields["traceback"] = "\n".join(trace)
        return json.dumps(fields)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    lines = []
    if record.exc_info:
        lines += formatter.formatException(record.exc_info).split("\n")
    if record.stack_info:
        lines += formatter.formatStack(record.stack_info).split("\n")
    return lines


class OneWriteHandler(logging.Handler):
    """Writes each record with one write(2), unlike StreamHandler, whose stream may split it."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(self._fd, self.format(record).encode(errors="backslashreplace") + b"\n")
        except OSError:
            # There is nobody left to tell, and whoever logs must not fail for it.
            return
        except Exception:  # a record whose arguments do not fit its message
            self.handleError(record)


_FORMATTERS: dict[Format, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def setup_logging(settings: LogSettings) -> None:
    """Send the application's log, and Python's warnings, to standard error; replaces what was.

    Call it once in each process, before threads start.
    """
    handler = OneWriteHandler(sys.stderr.fileno())
    handler.setFormatter(_FORMATTERS[settings.format]())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
