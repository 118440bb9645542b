"""Settings: where they come from, which goes before which, and that all faults are told at once."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davstore.config import Config, FolderShare, MemoryShare, is_loopback, load_config, read_config
from davstore.config.values import parse_duration
from davstore.errors import ConfigError


def config_of(
    folder: Path,
    text: str,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    file = folder / "davstore.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, overrides, environ or {})


def faults_of(
    folder: Path,
    text: str,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_of(folder, text, overrides, environ)
    return list(caught.value.faults)


def only_fault_of(folder: Path, text: str, **more: Mapping[str, Any]) -> str:
    faults = faults_of(folder, text, **more)
    assert len(faults) == 1, faults
    return faults[0]


def serving(folder: Path, more: str = "") -> str:
    """A configuration that is right but for `more`."""
    (folder / "data").mkdir(exist_ok=True)
    return f"shares: {{/: ./data}}\n{more}"


#: What a YAML file can hold.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class TestDefaults:
    def test_nothing_at_all_serves_the_folder_data_to_this_machine_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        config = load_config(None, {}, {})
        assert config.listen.host == "127.0.0.1"
        assert config.listen.port == 8080
        assert config.shares == {"/": FolderShare(root=tmp_path / "data", create=True)}
        assert config.state == tmp_path / "state"
        assert config.workers == len(os.sched_getaffinity(0))
        assert config.admits_anonymous

    def test_loading_makes_no_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        load_config(None, {}, {})
        assert not list(tmp_path.iterdir())

    def test_an_empty_file_and_keys_without_values_mean_the_defaults(self, tmp_path: Path) -> None:
        config = config_of(tmp_path, "listen:\nlimits:\n  threads:\ntls:\n")
        assert (config.listen.port, config.limits.threads, config.tls) == (8080, 512, None)

    def test_a_share_keeps_what_the_design_promises_unless_told_otherwise(
        self, tmp_path: Path
    ) -> None:
        share = config_of(tmp_path, serving(tmp_path)).shares["/"]
        assert isinstance(share, FolderShare)
        assert (share.durability, share.digests) == ("full", ("sha1", "sha256"))
        assert not share.read_only
        assert share.quota is None


class TestShapes:
    def test_a_share_can_be_a_path_or_a_section(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
        config = config_of(tmp_path, "shares:\n  /a: a\n  /b: {root: ./b, quota: 2GiB}\n")
        assert config.shares["/a"] == FolderShare(root=tmp_path / "a")
        assert config.shares["/b"].quota == 2 << 30

    def test_a_share_in_memory_takes_one_worker_by_itself(self, tmp_path: Path) -> None:
        config = config_of(tmp_path, "shares: {/: {store: memory}}")
        assert config.shares["/"] == MemoryShare(store="memory")
        assert config.workers == 1

    def test_sizes_and_durations_are_written_as_people_write_them(self, tmp_path: Path) -> None:
        text = "limits: {xml_bytes: 16KiB, header_bytes: 9000, drain_timeout: 1m30s}"
        limits = config_of(tmp_path, serving(tmp_path, text)).limits
        assert (limits.xml_bytes, limits.header_bytes) == (16 * 1024, 9000)
        assert limits.drain_timeout == 90.0

    def test_lists_are_also_written_with_commas(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        text = "shares: {/: {root: d, digests: 'md5, sha1'}}\ndav: {hosts: nas.lan}"
        config = config_of(tmp_path, text)
        share = config.shares["/"]
        assert isinstance(share, FolderShare)
        assert share.digests == ("md5", "sha1")
        assert config.dav.hosts == ("nas.lan",)

    def test_relative_paths_in_a_file_are_relative_to_its_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in ("here/data", "elsewhere"):
            (tmp_path / folder).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        config = config_of(tmp_path / "here", "shares: {/: data}\nstate: ../kept")
        share = config.shares["/"]
        assert isinstance(share, FolderShare)
        assert share.root == tmp_path / "here/data"
        assert config.state.resolve() == tmp_path / "kept"

    def test_relative_paths_of_the_environment_are_relative_to_the_working_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path)
        text = serving(tmp_path / "here")
        config = config_of(tmp_path / "here", text, environ={"DAVSTORE_STATE": "kept"})
        assert config.state == tmp_path / "kept"

    def test_nothing_in_a_configuration_can_be_changed_later(self, tmp_path: Path) -> None:
        config = config_of(tmp_path, serving(tmp_path))
        with pytest.raises(ValueError, match="frozen"):
            config.listen.port = 1

    @given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
    def test_durations_add_up(self, hours: int, minutes: int, seconds: int) -> None:
        text = f"{hours}h{minutes}m{seconds}s"
        assert parse_duration(text) == hours * 3600 + minutes * 60 + seconds


class TestPrecedence:
    TEXT = "listen: {host: 127.0.0.2, port: 1000}\nlog: {format: json}"

    def test_command_line_before_environment_before_file_before_defaults(
        self, tmp_path: Path
    ) -> None:
        environ = {"DAVSTORE_LISTEN__PORT": "2000", "DAVSTORE_LISTEN__HOST": "127.0.0.3"}
        config = config_of(tmp_path, serving(tmp_path, self.TEXT), {"listen.port": "3000"}, environ)
        assert config.listen.port == 3000
        assert config.listen.host == "127.0.0.3"
        assert config.log.format == "json"
        assert config.log.level == "info"

    def test_every_setting_can_come_from_the_environment(self, tmp_path: Path) -> None:
        """Each gets its own default, or what is as good, as text."""
        environ = {
            f"DAVSTORE_{section.upper()}__{name.upper()}": str(value) if value != () else "a,b"
            for section in ("listen", "limits", "dav", "log")
            for name, value in getattr(Config(), section).model_dump().items()
        }
        environ |= {
            "DAVSTORE_WORKERS": "3",
            "DAVSTORE_STATE": str(tmp_path / "kept"),
            "DAVSTORE_AUTH__ANONYMOUS": "yes",
            "DAVSTORE_AUTH__REALM": "Files",
            "DAVSTORE_AUTH__CACHE_SECONDS": "5m",
        }
        config = config_of(tmp_path, serving(tmp_path), environ=environ)
        assert config.limits == Config().limits
        assert config.dav.hosts == ("a", "b")
        assert (config.workers, config.auth.anonymous) == (3, True)
        assert (config.auth.realm, config.auth.cache_seconds) == ("Files", 300.0)

    def test_shares_come_from_the_environment_as_yaml_or_json(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        environ = {"DAVSTORE_SHARES": f'{{"/x": {{"root": "{tmp_path}/x", "read_only": true}}}}'}
        config = config_of(tmp_path, serving(tmp_path), environ=environ)
        assert config.shares == {"/x": FolderShare(root=tmp_path / "x", read_only=True)}

    def test_a_share_of_the_command_line_replaces_all_others(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        shares = {"/": {"store": "folder", "root": tmp_path / "x"}}
        config = config_of(tmp_path, "shares: {/a: ./nowhere}", {"shares": shares})
        assert list(config.shares) == ["/"]

    def test_an_empty_variable_counts_as_not_given(self, tmp_path: Path) -> None:
        config = config_of(tmp_path, serving(tmp_path), environ={"DAVSTORE_LISTEN__PORT": ""})
        assert config.listen.port == 8080

    def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_setting(
        self, tmp_path: Path
    ) -> None:
        environ = {
            "DAVSTORE_SERVICE_HOST": "10.0.0.1",
            "DAVSTORE_SERVICE_PORT": "8080",
            "DAVSTORE_PORT": "tcp://10.0.0.1:8080",
            "DAVSTORE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
            "DAVSTORE_PORT_8080_TCP_ADDR": "10.0.0.1",
        }
        assert config_of(tmp_path, serving(tmp_path), environ=environ).listen.port == 8080

    def test_a_folder_given_on_the_command_line_has_a_state_folder_of_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
        states = set()
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            root = {"store": "folder", "root": tmp_path / name}
            states.add(load_config(None, {"shares": {"/": root}}, {}).state)
        assert len(states) == 2
        assert {state.parent for state in states} == {tmp_path / "xdg/davstore"}

    def test_such_a_state_folder_has_a_name_that_file_systems_take(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
        names = set()
        for end in ("a", "b"):
            root = tmp_path / ("x" * 200) / ("y" * 200) / end
            root.mkdir(parents=True)
            names.add(load_config(None, {"shares": {"/": {"root": root}}}, {}).state.name)
        assert len(names) == 2
        assert all(len(name) < 255 for name in names)


class TestFaults:
    def test_all_are_told_together_each_with_key_and_value(self, tmp_path: Path) -> None:
        text = """
listen: {port: abc, hots: 127.0.0.1}
shares:
  /: ./nowhere
  /a/: {store: memory}
  /b: {store: tape}
  /d: {store: mongo, uri: 'http://db', chunk_size: 20MiB}
  /c: {root: ./c, quota: 5x, digests: [sha5], duraility: full}
auth: {users: ./nobody, cache_seconds: soon}
tls: {certificate: ./missing.pem}
limits: 5
log: {level: loud}
unknown: 1
"""
        (tmp_path / "c").mkdir()
        faults = faults_of(tmp_path, text, {"workers": "0"}, {"DAVSTORE_LISTEN__PROT": "3"})
        expected = [
            ("listen.port", "'abc'", "whole number", "line 2"),
            ("listen.hots", "127.0.0.1", "did you mean listen.host", "line 2"),
            ("listen.prot", "'3'", "did you mean listen.port", "DAVSTORE_LISTEN__PROT"),
            ("shares./a/", "'/a/'", "'/a'", "line 5"),
            ("shares./b.store", "'tape'", "'folder', 'mongo', 'memory'", "line 6"),
            ("shares./d.uri", "'http://db'", "mongodb://host:port/database", "line 7"),
            ("shares./d.chunk_size", "20MiB", "line 7"),
            ("shares./c.quota", "'5x'", "size", "line 8"),
            ("shares./c.digests.0", "'sha5'", "'md5'", "line 8"),
            ("shares./c.duraility", "'full'", "durability", "line 8"),
            ("auth.users", "nobody", "does not exist", "line 9"),
            ("auth.cache_seconds", "'soon'", "duration", "line 9"),
            ("tls.key", "missing", "line 10"),
            ("limits", "5", "section", "line 11"),
            ("log.level", "'loud'", "'debug'", "line 12"),
            ("unknown", "1", "no such setting", "line 13"),
            ("workers", "'0'", "at least 1", "command line"),
            ("shares./.root", "nowhere", "does not exist"),
        ]
        for key, *parts in expected:
            matching = [fault for fault in faults if fault.startswith(f"{key}:")]
            assert len(matching) == 1, (key, faults)
            assert all(part in matching[0] for part in parts), (parts, matching)
        assert len(faults) == len(expected), faults

    @pytest.mark.parametrize(
        "port", ["-1", "65536", "80.5", "true", "0x50", "''", "99999999999999"]
    )
    def test_a_port_is_a_whole_number_up_to_65535(self, tmp_path: Path, port: str) -> None:
        fault = only_fault_of(tmp_path, serving(tmp_path), overrides={"listen.port": port})
        assert fault.startswith("listen.port: ")

    @pytest.mark.parametrize(
        "text",
        [
            "listen: {port: true}",
            "workers: yes",
            "limits: {threads: on}",
            "limits: {xml_bytes: no}",
        ],
    )
    def test_true_and_false_are_no_numbers(self, tmp_path: Path, text: str) -> None:
        fault = only_fault_of(tmp_path, serving(tmp_path, text))
        assert "is not a " in fault

    @pytest.mark.parametrize("text", ["a: [", "a: 'x", "a: b: c", "\tlisten: 1", "a: &x *y"])
    def test_a_syntax_error_is_told_with_line_and_column(self, tmp_path: Path, text: str) -> None:
        fault = only_fault_of(tmp_path, f"listen:\n  port: 1\n{text}")
        assert "line " in fault
        assert "column " in fault

    @pytest.mark.parametrize("text", ["- a", "just text", "5", "a: !!python/object:os.system {}"])
    def test_what_is_no_mapping_of_settings_is_refused(self, tmp_path: Path, text: str) -> None:
        assert "davstore.yaml" in only_fault_of(tmp_path, text)

    def test_a_file_that_is_not_utf_8_or_holds_controls_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "c.yaml"
        for content, sentence in ((b"a: \xff", "byte 4 is not UTF-8"), (b"a: \0", "character 4")):
            file.write_bytes(content)
            with pytest.raises(ConfigError, match=sentence):
                load_config(file, {}, {})

    def test_a_file_that_cannot_be_read_is_a_fault(self, tmp_path: Path) -> None:
        for file in (tmp_path / "none.yaml", tmp_path):
            with pytest.raises(ConfigError, match="cannot be read"):
                load_config(file, {}, {})

    def test_a_file_nested_without_end_is_a_fault(self, tmp_path: Path) -> None:
        assert "nested" in only_fault_of(tmp_path, "a: " + "[" * 100_000)

    def test_a_key_given_twice_is_a_fault(self, tmp_path: Path) -> None:
        text = serving(tmp_path, "listen: {port: 1}\nlisten: {port: 2}")
        assert "listen: is given twice" in only_fault_of(tmp_path, text)

    def test_an_unknown_variable_is_a_fault(self, tmp_path: Path) -> None:
        for variable in ("DAVSTORE_PORT", "DAVSTORE_LISTEN_PORT"):
            fault = only_fault_of(tmp_path, serving(tmp_path), environ={variable: "80"})
            assert "did you mean listen.port (DAVSTORE_LISTEN__PORT)?" in fault

    def test_variables_that_contradict_each_other_are_a_fault(self, tmp_path: Path) -> None:
        environ = {"DAVSTORE_LOG": "x", "DAVSTORE_LOG__LEVEL": "debug"}
        assert faults_of(tmp_path, serving(tmp_path), environ=environ)

    def test_a_variable_in_broken_braces_is_a_fault(self, tmp_path: Path) -> None:
        fault = only_fault_of(tmp_path, serving(tmp_path), environ={"DAVSTORE_SHARES": "{/: "})
        assert fault.startswith("DAVSTORE_SHARES: ")

    @pytest.mark.parametrize("path", ["a", "/a/", "/a//b", "/../a", "//", "", "/.davstore~x"])
    def test_a_mount_path_that_is_not_canonical_is_a_fault(self, tmp_path: Path, path: str) -> None:
        assert only_fault_of(tmp_path, f"shares: {{{path!r}: {{store: memory}}}}")

    def test_no_share_at_all_is_a_fault(self, tmp_path: Path) -> None:
        assert "at least one" in only_fault_of(tmp_path, "shares: {}")

    def test_a_share_mounted_within_another_is_a_fault_unless_that_is_the_root(
        self, tmp_path: Path
    ) -> None:
        memory = "{store: memory}"
        text = f"shares: {{/: {memory}, /a: {memory}, /ab: {memory}}}"
        assert list(config_of(tmp_path, text).shares) == ["/", "/a", "/ab"]
        fault = only_fault_of(tmp_path, f"shares: {{/a: {memory}, /a/b: {memory}}}")
        assert fault.startswith("shares./a/b: ")

    def test_the_rest_face_must_not_hide_a_share(self, tmp_path: Path) -> None:
        memory = "{store: memory}"
        for mount, prefix in (
            ("/filestorage", "/filestorage"),
            ("/filestorage/v1.0.0/a", "/filestorage"),
            ("/a", "/a/b"),
            ("/v1.0.0.0", "''"),
        ):
            text = f"shares: {{{mount}: {memory}}}\nrest: {{prefix: {prefix}}}"
            assert only_fault_of(tmp_path, text).startswith("rest.prefix: "), (mount, prefix)
            assert config_of(tmp_path, text, {"rest.enabled": "false"})
        for mount, prefix in (
            ("/", "/filestorage"),
            ("/a", "/b"),
            ("/filestorage/a", "/filestorage"),
        ):
            text = f"shares: {{{mount}: {memory}}}\nrest: {{prefix: {prefix}}}"
            assert config_of(tmp_path, text).rest.prefix == prefix

    def test_the_share_of_the_original_endpoints_is_one_in_mongodb(self, tmp_path: Path) -> None:
        shares = "shares: {/: {store: memory}, /m: {store: mongo, uri: 'mongodb://h/d'}}\n"
        assert config_of(tmp_path, f"{shares}rest: {{share: /m}}").rest.share == "/m"
        for share in ("/", "/n", "m"):
            fault = only_fault_of(tmp_path, f"{shares}rest: {{share: {share}}}")
            assert fault.startswith("rest.share: ") and "MongoDB" in fault

    def test_origins_are_written_as_browsers_send_them(self, tmp_path: Path) -> None:
        text = serving(tmp_path, "rest: {origins: ['HTTPS://App.example:443/', 'http://h:81']}")
        assert config_of(tmp_path, text).rest.origins == ("https://app.example", "http://h:81")
        for origin in ("*", "app.example", "https://app.example/page", "null", "ftp://h"):
            text = serving(tmp_path, f"rest: {{origins: ['{origin}']}}")
            assert only_fault_of(tmp_path, text).startswith("rest.origins.0: "), origin

    def test_a_root_that_is_a_file_or_missing_is_a_fault(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "not a folder" in only_fault_of(tmp_path, "shares: {/: ./file}")
        assert "does not exist" in only_fault_of(tmp_path, "shares: {/: ./none}")
        assert config_of(tmp_path, "shares: {/: {root: ./none, create: true}}")

    def test_one_folder_cannot_be_written_through_two_shares(self, tmp_path: Path) -> None:
        (tmp_path / "a/b").mkdir(parents=True)
        (tmp_path / "link").symlink_to("a/b")
        for other in ("./a", "./a/b", "./link"):
            fault = only_fault_of(tmp_path, f"shares: {{/x: ./a, /y: {other}}}")
            assert "locks" in fault
            assert config_of(tmp_path, f"shares: {{/x: ./a, /y: {{root: {other}, read_only: 1}}}}")

    def test_the_state_folder_must_not_be_served(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "link").symlink_to("data")
        for state in ("./data", "./data/state", "./link/state"):
            assert "inside" in only_fault_of(tmp_path, f"shares: {{/: ./data}}\nstate: {state}")
        assert "inside" in only_fault_of(tmp_path, "shares: {/: .}")

    def test_a_state_that_is_no_folder_is_a_fault(self, tmp_path: Path) -> None:
        (tmp_path / "state").touch()
        assert "not a folder" in only_fault_of(tmp_path, serving(tmp_path))

    def test_a_folder_below_a_file_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        text = "shares: {/: {root: ./file/x/y, create: true}}\nstate: ./file/state"
        for fault in faults_of(tmp_path, text):
            assert f"cannot be made: '{tmp_path}/file' is not a folder" in fault

    def test_paths_that_no_file_system_takes_are_faults(self, tmp_path: Path) -> None:
        name = "x" * 300
        text = (
            f"shares: {{/a: ./a{name}, /b: {{root: ./{name}/y, create: true}}}}\nstate: ./{name}\n"
            f"auth: {{users: ./{name}}}\ntls: {{certificate: ./{name}, key: ./{name}}}"
        )
        faults = faults_of(tmp_path, text)
        assert len(faults) == 6
        assert all("File name too long" in fault for fault in faults), faults

    def test_users_and_certificates_are_files(self, tmp_path: Path) -> None:
        text = serving(tmp_path, "auth: {users: .}\ntls: {certificate: ., key: .}")
        faults = faults_of(tmp_path, text)
        assert len(faults) == 3
        assert all(f"'{tmp_path}' is not a file" in fault for fault in faults), faults

    def test_memory_is_not_shared_by_several_workers(self, tmp_path: Path) -> None:
        fault = only_fault_of(tmp_path, "shares: {/: {store: memory}}\nworkers: 2")
        assert fault.startswith("workers: 2 workers")

    def test_without_users_only_this_machine_is_served_unless_said_otherwise(
        self, tmp_path: Path
    ) -> None:
        for host in ("0.0.0.0", "::", "nas.lan", "192.168.1.5"):
            fault = only_fault_of(tmp_path, serving(tmp_path), overrides={"listen.host": host})
            assert "davstore user add" in fault
            assert "--anonymous" in fault
            overrides = {"listen.host": host, "auth.anonymous": True}
            assert config_of(tmp_path, serving(tmp_path), overrides).admits_anonymous

    def test_a_users_file_that_is_missing_says_how_to_make_it(self, tmp_path: Path) -> None:
        text = serving(tmp_path, "auth: {users: ./users}")
        assert "davstore user add" in only_fault_of(tmp_path, text)
        assert read_config(tmp_path / "davstore.yaml", {}, {}).auth.users == tmp_path / "users"

    def test_certificate_and_key_have_to_exist_and_to_belong_together(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            make_certificate(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        tls = "tls: {{certificate: ./{}.pem, key: ./{}.key}}"
        assert config_of(tmp_path, serving(tmp_path, tls.format("one", "one"))).tls
        fault = only_fault_of(tmp_path, serving(tmp_path, tls.format("one", "two")))
        assert fault == (
            f"tls.key: '{tmp_path}/two.key' is not the key of '{tmp_path}/one.pem'"
            f" ({tmp_path}/davstore.yaml, line 2)"
        )
        fault = only_fault_of(tmp_path, serving(tmp_path, tls.format("one", "none")))
        assert fault.startswith("tls.key: ")

    def test_what_is_not_a_certificate_or_a_key_is_told(self, tmp_path: Path) -> None:
        make_certificate(tmp_path / "c.pem", tmp_path / "c.key")
        (tmp_path / "other").write_text("text")
        tls = "tls: {{certificate: ./{}, key: ./{}}}"
        fault = only_fault_of(tmp_path, serving(tmp_path, tls.format("other", "c.key")))
        assert fault.startswith(f"tls.certificate: '{tmp_path}/other' holds no certificate")
        fault = only_fault_of(tmp_path, serving(tmp_path, tls.format("c.pem", "other")))
        assert fault.startswith(f"tls.key: '{tmp_path}/other' holds no private key")

    def test_an_encrypted_key_is_refused_without_asking_for_a_passphrase(
        self, tmp_path: Path
    ) -> None:
        make_certificate(tmp_path / "c.pem", tmp_path / "c.key", "-passout", "pass:secret")
        text = serving(tmp_path, "tls: {certificate: ./c.pem, key: ./c.key}")
        assert "passphrase" in only_fault_of(tmp_path, text)

    def test_a_default_lock_longer_than_the_longest_is_a_fault(self, tmp_path: Path) -> None:
        text = serving(tmp_path, "dav: {max_lock_seconds: 60}")
        assert "dav.default_lock_seconds" in only_fault_of(tmp_path, text)

    def test_a_folder_that_this_user_cannot_read_or_write_is_a_fault(self) -> None:
        with tempfile.TemporaryDirectory() as name:  # pytest's own folders let nobody in
            folder = Path(name)
            folder.chmod(0o777)
            (folder / "read-only").mkdir(mode=0o555)
            (folder / "another").mkdir(mode=0o555)
            (folder / "closed").mkdir(mode=0o000)
            (folder / "shut").mkdir(mode=0o000)
            text = (
                "shares: {/r: ./read-only, /c: ./closed, /below: ./shut/x,"
                " /new: {root: ./another/x, create: true}}\nstate: ./shut/s\n"
                "auth: {users: ./shut/u}\ntls: {certificate: ./shut/c, key: ./shut/k}"
            )
            (folder / "davstore.yaml").write_text(text)
            faults = faults_as_nobody(folder / "davstore.yaml")
        assert [fault.partition(":")[0] for fault in faults] == [
            "shares./r.root",
            "shares./c.root",
            "shares./below.root",
            "shares./new.root",
            "state",
            "auth.users",
            "tls.certificate",
            "tls.key",
        ]
        assert "read_only: true" in faults[0]
        assert "permission denied" in faults[1]
        assert "permission denied" in faults[2]
        assert f"cannot write to '{folder}/another'" in faults[3]
        assert all("permission denied" in fault for fault in faults[4:])

    @given(st.dictionaries(st.text(), ANYTHING))
    def test_whatever_stands_in_the_settings_is_told_and_never_a_crash(
        self, settings: dict[str, Any]
    ) -> None:
        for key in ("listen", "shares", "auth", "tls", "limits"):
            try:
                read_config(None, {key: settings}, {})
            except ConfigError as error:
                assert all(isinstance(fault, str) for fault in error.faults)


class TestHosts:
    def test_where_everybody_on_this_machine_may_enter_only_its_names_are_answered(
        self, tmp_path: Path
    ) -> None:
        config = config_of(tmp_path, serving(tmp_path, "dav: {hosts: [Files.Test]}"))
        expected = frozenset({"localhost", "127.0.0.1", "[::1]", "files.test"})
        assert config.expected_hosts == expected

    def test_an_address_of_its_own_is_among_them(self, tmp_path: Path) -> None:
        config = config_of(tmp_path, serving(tmp_path, "listen: {host: 127.0.0.5}"))
        assert "127.0.0.5" in (config.expected_hosts or ())

    @pytest.mark.parametrize(
        "more",
        [
            "dav: {hosts: ['*']}",
            "auth: {users: ./users}",
            "listen: {host: '::'}\nauth: {anonymous: 1}",
        ],
    )
    def test_otherwise_any_name_is_answered(self, tmp_path: Path, more: str) -> None:
        (tmp_path / "users").touch()
        assert config_of(tmp_path, serving(tmp_path, more)).expected_hosts is None

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "a.localhost"])
    def test_loopback(self, host: str) -> None:
        assert is_loopback(host)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "nas", "localhost.example.org"])
    def test_not_loopback(self, host: str) -> None:
        assert not is_loopback(host)


def faults_as_nobody(file: Path) -> list[str]:
    """What `load_config` finds when it is not root who asks: root may do everything."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setresuid(65534, 65534, 65534)
            load_config(file, {}, {})
        except ConfigError as error:
            os.write(writing, "\n".join(error.faults).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read().splitlines()


def make_certificate(certificate: Path, key: Path, *more: str) -> None:
    protect = more or ("-nodes",)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate), *protect],
        check=True, capture_output=True,
    )  # fmt: skip
