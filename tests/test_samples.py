"""The sample configurations: each is complete, right, and loaded as a user would."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from davstore.auth.users import set_password
from davstore.cli import main
from davstore.config import Config, read_config
from tests.test_config import make_certificate

TOP = Path(__file__).parent.parent
#: All but the one that is Docker's, see test_containers.py.
SAMPLES = sorted(set((TOP / "config").glob("*.yaml")) - {TOP / "config/compose.yaml"})

#: Where the files of the container's image lie; nothing of it is on the machine of a test.
CONTAINER = {
    "DAVSTORE_SHARES": '{"/": {"root": "./data", "create": true}}',
    "DAVSTORE_STATE": "./state",
    "DAVSTORE_AUTH__USERS": "./users",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the samples name: folders to serve, users, a certificate."""
    home = tmp_path / "config"
    for folder in ("../data", "srv/documents", "srv/photos", "srv/archive", "srv/team"):
        (home / folder).mkdir(parents=True)
    set_password(home / "users", "alice", "secret")
    make_certificate(home / "certificate.pem", home / "key.pem")
    monkeypatch.chdir(home)
    return home


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_each_sample_is_right(place: Path, sample: Path) -> None:
    file = shutil.copy(sample, place)
    environ = CONTAINER if sample.stem == "container" else {}
    done = CliRunner().invoke(main, ["check-config", str(file)], env=environ)
    assert done.exit_code == 0, done.output
    assert ": right; serves /" in done.output


def test_there_is_a_sample_for_each_way_to_serve() -> None:
    names = {sample.stem for sample in SAMPLES}
    assert {
        "single-folder",
        "several-shares",
        "users",
        "tls",
        "mongodb",
        "mongodb-embedded",
        "cluster",
    } <= names


def test_the_container_sample_serves_what_the_image_declares() -> None:
    config = read_config(TOP / "config/container.yaml", {}, {})
    dockerfile = (TOP / "Dockerfile").read_text()
    assert 'VOLUME ["/data", "/state"]' in dockerfile
    assert config.admin is not None
    assert f"EXPOSE {config.listen.port} {config.admin.port}" in dockerfile
    assert str(config.state) == "/state"
    assert config.shares["/"].model_dump()["root"] == Path("/data")


def test_the_file_that_is_read_by_default_serves_the_folder_data_to_this_machine(
    place: Path,
) -> None:
    file = place / "davstore.yaml"
    shutil.copy(TOP / "davstore.yaml", file)
    config = read_config(file, {}, {})
    assert config.listen == Config().listen
    assert config.shares["/"].model_dump()["root"] == place / "data"
    assert CliRunner().invoke(main, ["check-config", str(file)]).exit_code == 0


def test_the_file_that_is_read_by_default_shows_every_setting_with_its_default(
    place: Path,
) -> None:
    """Take the comment signs away, and it says what the models say."""
    lines = (TOP / "davstore.yaml").read_text().splitlines()
    start = lines.index("listen:")
    text = "\n".join(_uncommented(line) for line in lines[start:])
    (place / "all.yaml").write_text(text)
    settings = yaml.safe_load(text)
    for section, model in Config.model_fields.items():
        default = model.get_default(call_default_factory=True)
        if section in ("listen", "limits", "dav", "log"):
            assert set(settings[section]) == set(type(default).model_fields), section
    assert set(settings) == set(Config.model_fields)
    config = read_config(place / "all.yaml", {}, {})
    assert (config.listen, config.limits, config.dav, config.log) == (
        Config().listen, Config().limits, Config().dav, Config().log,
    )  # fmt: skip
    share, default_share = config.shares["/"].model_dump(), Config().shares["/"].model_dump()
    assert share | {"root": 0, "quota": 0} == default_share | {"root": 0, "quota": 0}
    assert config.auth.model_dump(exclude={"users"}) == Config().auth.model_dump(exclude={"users"})


def _uncommented(line: str) -> str:
    """A setting in a comment as it would stand without the sign; other lines as they are."""
    body = line.lstrip()
    if not body.startswith("# "):
        return line
    indent = line[: len(line) - len(body)]
    return indent + body[2:]
