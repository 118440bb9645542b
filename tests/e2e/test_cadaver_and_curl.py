"""cadaver in a scripted session, and curl as most people use it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.components.davserver import DavServer
from tests.components.found import require
from tests.components.http import Client
from tests.e2e.conftest import Place

_SESSION = """
mkcol folder
cd folder
put {local} first.txt
copy first.txt second.txt
move second.txt third.txt
ls
lock third.txt
discover third.txt
put {local} third.txt
unlock third.txt
propset first.txt color blue
propget first.txt color
get third.txt {back}
delete first.txt
cd ..
copy folder folder2
rmcol folder2
quit
"""


def test_a_session_of_cadaver_creates_copies_moves_locks_and_removes(
    server: DavServer, place: Place, tmp_path: Path
) -> None:
    local, back = tmp_path / "local.txt", tmp_path / "back.txt"
    local.write_bytes(b"from cadaver\n" * 1000)
    url = server.url.rstrip("/") + place.path
    done = subprocess.run(
        [require("cadaver"), url],
        input=_SESSION.format(local=local, back=back),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "failed" not in said, said
    assert said.count("succeeded") >= 10, said
    assert "Value of color is: blue" in said, said
    assert back.read_bytes() == local.read_bytes()
    assert sorted(path.name for path in place.folder.iterdir()) == ["folder"]
    assert sorted(path.name for path in (place.folder / "folder").iterdir()) == ["third.txt"]


def _curl(*arguments: str) -> str:
    """curl's standard output; fails the test when curl does."""
    done = subprocess.run(
        [str(require("curl")), "-sS", *arguments], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done
    return done.stdout.decode()


def test_curl_uploads_reads_ranges_and_goes_on_with_a_download_that_stopped(
    server: DavServer, place: Place, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 20_000
    local, back = tmp_path / "local.bin", tmp_path / "back.bin"
    local.write_bytes(data)
    url = f"{server.url.rstrip('/')}{place.path}file.bin"
    status = "-w", "%{http_code}"
    assert _curl("-T", str(local), *status, url) == "201"
    assert _curl("-T", str(local), "-H", "Transfer-Encoding: chunked", *status, url) == "204"

    for wanted, expected in (
        ("0-99", data[:100]),
        ("-77", data[-77:]),
        ("5000000-", data[5_000_000:]),
    ):
        assert _curl("-r", wanted, "-o", str(back), *status, url) == "206"
        assert back.read_bytes() == expected
    several = _curl("-r", "0-0,-1", "-o", str(back), "-w", "%{http_code} %{content_type}", url)
    assert several.startswith("206 multipart/byteranges")

    back.write_bytes(data[:1_234_567])
    assert _curl("-C", "-", "-o", str(back), *status, url) == "206"
    assert back.read_bytes() == data


def test_an_upload_that_curl_wants_to_continue_in_the_middle_is_refused_and_changes_nothing(
    server: DavServer, place: Place, client: Client, tmp_path: Path
) -> None:
    local = tmp_path / "local.txt"
    local.write_bytes(b"0123456789")
    client("PUT", f"{place.path}file.txt", b"01234")
    url = f"{server.url.rstrip('/')}{place.path}file.txt"
    assert _curl("-T", str(local), "-C", "5", "-w", "%{http_code}", "-o", "/dev/null", url) == "400"
    assert (place.folder / "file.txt").read_bytes() == b"01234"
