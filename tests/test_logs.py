"""The access log and the application log."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import select
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davstore.logs import (
    AccessLog,
    AccessRecord,
    Format,
    JsonFormatter,
    TextFormatter,
    format_json,
    format_text,
)

RECORD = AccessRecord(
    time=1_700_000_000.25,
    remote="192.0.2.7",
    user="alice",
    method="GET",
    target="/a%20b.txt",
    status=200,
    received=0,
    sent=4096,
    seconds=0.0123,
    request_id="r1",
    agent="rclone/v1.75.2",
    protocol="HTTP/1.1",
)

#: What a client can say, whatever it is; text that was decoded with surrogates included.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)


def test_a_text_line_is_in_the_combined_log_format_with_three_fields_more() -> None:
    assert format_text(RECORD) == (
        '192.0.2.7 - alice [14/Nov/2023:22:13:20 +0000] "GET /a%20b.txt HTTP/1.1" 200 4096 "-"'
        ' "rclone/v1.75.2" 0 0.012300 r1\n'
    )


def test_a_json_line_has_the_same_fields() -> None:
    assert json.loads(format_json(RECORD)) == {
        "log": "access",
        "time": "2023-11-14T22:13:20.250Z",
        "remote": "192.0.2.7",
        "user": "alice",
        "method": "GET",
        "target": "/a%20b.txt",
        "protocol": "HTTP/1.1",
        "status": 200,
        "received": 0,
        "sent": 4096,
        "seconds": 0.0123,
        "request_id": "r1",
        "agent": "rclone/v1.75.2",
    }


def test_without_a_user_and_an_agent_the_text_has_dashes_and_json_has_null() -> None:
    record = RECORD._replace(user=None, agent="", request_id="")
    assert " - - [" in format_text(record)
    assert format_text(record).endswith('"-" "-" 0 0.012300 -\n')
    assert json.loads(format_json(record))["user"] is None


def test_a_forged_line_stays_within_its_field() -> None:
    evil = '/x HTTP/1.1" 200 0 "-" "-"\r\n192.0.2.9 - root [x] "GET /\\\x1b[2J\x85\u2028'
    line = format_text(RECORD._replace(target=evil, agent=evil, user=evil))
    assert line.count("\n") == 1
    assert len(re.findall(r'(?<!\\)"', line)) == 6
    assert line.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", line)


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_whatever_a_client_says_is_one_line_that_can_be_read_back(
    user: str, method: str, target: str, agent: str
) -> None:
    record = RECORD._replace(user=user, method=method, target=target, agent=agent)
    text, line = format_text(record), format_json(record)
    for made in (text, line):
        assert made.isascii()
        assert made.endswith("\n")
        assert made[:-1].isprintable()
    pattern = r'\S+ - \S* \[[^]]+\] "([^"\\]|\\[xuU])*" 200 4096 "-" "([^"\\]|\\[xuU])*" 0 \S+ r1\n'
    assert re.fullmatch(pattern, text)
    assert json.loads(line)["target"] == target


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("character", ["a", "\n", "ü", "\U0001f600", '"'])
def test_no_line_is_longer_than_a_pipe_takes_in_one_piece(
    tmp_path: Path, style: Format, character: str
) -> None:
    flood = character * 70_000
    record = RECORD._replace(
        user=flood, method=flood, target=flood, agent=flood, request_id=flood, protocol=flood
    )
    with (tmp_path / "log").open("w+b") as stream:
        AccessLog(style, stream).write(record)
        stream.seek(0)
        line = stream.read()
    assert 0 < len(line) <= select.PIPE_BUF
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("style", ["text", "json"])
def test_the_lines_of_several_processes_do_not_mix(style: Format) -> None:
    reading, writing = os.pipe()
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            os.close(reading)
            log = AccessLog(style, os.fdopen(writing, "wb", closefd=False))
            for _ in range(500):
                log.write(RECORD._replace(target="/" + str(number) * 1500))
            os._exit(0)
        children.append(child)
    os.close(writing)
    with os.fdopen(reading) as stream:
        lines = stream.read().splitlines()
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert len(lines) == 2000
    for line in lines:
        assert len({*re.findall(r"/(\d)\1{1499}[ \"]", line)}) == 1


def test_a_log_that_cannot_be_written_disturbs_nobody_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Path("/dev/full").open("wb", buffering=0) as stream:
        log = AccessLog("text", stream)
        for _ in range(3):
            log.write(RECORD)
    assert log.lost == 3
    assert len(caplog.records) == 1


def application_record(message: str, *args: object, error: Any = None) -> logging.LogRecord:
    return logging.LogRecord("davstore.x", logging.ERROR, __file__, 1, message, args, error)


def test_a_message_of_the_application_log_is_one_line_of_text() -> None:
    line = TextFormatter().format(application_record("no %s", "a\nb\x1b\u2028"))
    assert line.endswith(" error davstore.x: no a\\x0ab\\x1b\\u2028")


def test_a_traceback_is_indented_in_text_and_one_field_in_json() -> None:
    try:
        raise ValueError("first\nforged line")
    except ValueError:
        record = application_record("failed", error=sys.exc_info())
    first, *trace = TextFormatter().format(record).split("\n")
    assert first.endswith("error davstore.x: failed")
    assert all(line.startswith("    ") for line in trace)
    fields = json.loads(JsonFormatter().format(record))
    assert (fields["level"], fields["logger"], fields["message"]) == (
        "error", "davstore.x", "failed",
    )  # fmt: skip
    assert "ValueError: first" in fields["traceback"]


def test_the_process_logs_messages_and_warnings_to_standard_error() -> None:
    script = """
        import logging, warnings
        from davstore.config import Log
        from davstore.logs import setup_logging
        setup_logging(Log(format="json", level="warning"))
        logging.getLogger("x").info("not this")
        logging.getLogger("x").warning("but %d", 1)
        logging.getLogger("x").error("surrogate \\udc80")
        warnings.warn("careful")
    """
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", textwrap.dedent(script)],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines][:2] == ["but 1", "surrogate \udc80"]
    assert "careful" in lines[2]["message"]
    assert done.stdout == ""


def test_a_stream_without_a_descriptor_is_refused() -> None:
    with pytest.raises(io.UnsupportedOperation):
        AccessLog("text", io.StringIO())
