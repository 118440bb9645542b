"""Behind a proxy: who is believed, and what Destination, If, hrefs and the log then say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davstore.dav.app import DavApp
from davstore.dav.forwarded import parse_address, parse_forwarded
from davstore.dav.proxy import HEARD_HOST_KEY, Proxies
from davstore.web.browser import render_folder
from tests.dav.client import DAV, Answer, Dav, lockinfo, proppatch_body
from tests.dav.conftest import MakeApp

PEER = "10.0.0.5"
TRUSTED = {"trusted": ["10.0.0.0/8", "127.0.0.1"]}


def environ(remote: str = PEER, **fields: str) -> dict[str, Any]:
    """Of a request with these header fields, as the server makes it."""
    headers = {f"HTTP_{name.upper()}": value for name, value in fields.items()}
    return {
        "REMOTE_ADDR": remote,
        "HTTP_HOST": "node:8080",
        "SCRIPT_NAME": "",
        "wsgi.url_scheme": "http",
        **headers,
    }


def seen(remote: str = PEER, prefix: str = "", **fields: str) -> tuple[str, str, str, str]:
    """Client, scheme, host and prefix after what proxies say was taken into account."""
    found = environ(remote, **fields)
    Proxies(TRUSTED["trusted"], prefix).apply(found)
    return (
        found["REMOTE_ADDR"],
        found["wsgi.url_scheme"],
        found["HTTP_HOST"],
        found["SCRIPT_NAME"],
    )


AS_IT_CAME = (PEER, "http", "node:8080", "")


class TestWhoIsBelieved:
    def test_without_trust_nothing_is_looked_at(self) -> None:
        assert Proxies.of((), "") is None

    @pytest.mark.parametrize("peer", ["192.0.2.1", "", "nonsense", "2001:db8::1"])
    def test_what_others_than_trusted_proxies_say_changes_nothing(self, peer: str) -> None:
        found = seen(
            peer,
            x_forwarded_for="198.51.100.7",
            x_forwarded_proto="https",
            x_forwarded_host="public.example",
            x_forwarded_prefix="/drive",
            forwarded="for=198.51.100.7;host=public.example;proto=https",
        )
        assert found == (peer, "http", "node:8080", "")

    def test_a_trusted_proxy_says_client_scheme_host_and_prefix(self) -> None:
        found = seen(
            x_forwarded_for="198.51.100.7",
            x_forwarded_proto="https",
            x_forwarded_host="public.example",
            x_forwarded_prefix="/drive/",
        )
        assert found == ("198.51.100.7", "https", "public.example", "/drive")

    def test_a_peer_is_known_as_ipv4_also_on_a_socket_for_both_families(self) -> None:
        assert seen("::ffff:10.0.0.5", x_forwarded_proto="https")[1] == "https"

    def test_forwarded_says_the_same(self) -> None:
        found = seen(forwarded='For="[2001:db8::7]:4711";Proto=HTTPS ; host="public.example:8443"')
        assert found == ("2001:db8::7", "https", "public.example:8443", "")

    def test_a_clients_own_forwarded_is_not_believed_beside_the_proxys_fields(self) -> None:
        found = seen(
            x_forwarded_for="198.51.100.7",
            x_forwarded_proto="https",
            forwarded="for=127.0.0.1;host=evil.example;proto=http",
        )
        assert found == ("198.51.100.7", "https", "node:8080", "")


class TestTheWayThroughSeveralProxies:
    def test_the_client_is_the_first_from_the_right_that_is_no_trusted_proxy(self) -> None:
        found = seen(x_forwarded_for="127.0.0.1, 192.0.2.66,198.51.100.7 , 10.0.0.9, 10.1.1.1")
        assert found[0] == "198.51.100.7"

    def test_where_all_are_trusted_it_is_the_outermost(self) -> None:
        assert seen(x_forwarded_for="10.0.0.7, 10.0.0.9")[0] == "10.0.0.7"

    @pytest.mark.parametrize("hidden", ["unknown", "_proxy", "", "1.2.3", "10.0.0.9.9", "a b"])
    def test_it_ends_at_what_is_no_address(self, hidden: str) -> None:
        assert seen(x_forwarded_for=f"198.51.100.7, {hidden}, 10.0.0.9")[0] == "10.0.0.9"

    def test_appended_schemes_and_hosts_go_by_the_hop(self) -> None:
        found = seen(
            x_forwarded_for="192.0.2.66, 198.51.100.7, 10.0.0.9",
            x_forwarded_proto="ftp, https, http",
            x_forwarded_host="evil.example, public.example, inner",
        )
        assert found[:3] == ("198.51.100.7", "https", "public.example")

    def test_a_scheme_that_an_inner_proxy_passes_on_counts(self) -> None:
        found = seen(x_forwarded_for="198.51.100.7, 10.0.0.9", x_forwarded_proto="https")
        assert found[1] == "https"

    def test_forwarded_is_walked_likewise(self) -> None:
        found = seen(
            forwarded="for=192.0.2.66;host=evil.example, for=198.51.100.7;host=public.example,"
            " for=10.0.0.9;proto=https;host=inner"
        )
        assert found[:3] == ("198.51.100.7", "https", "public.example")


class TestWhatIsMalformed:
    @pytest.mark.parametrize(
        "field",
        [
            "for",
            "for=",
            "for=a b",
            'for="10.0.0.9',
            "for=198.51.100.7;;",
            "for=198.51.100.7,",
            "for=198.51.100.7;for=198.51.100.8",
            "for=[2001:db8::1]",
            ";",
            ",",
            "=",
            "\xff=\xfe",
        ],
    )
    def test_a_forwarded_that_is_not_of_the_grammar_is_ignored(self, field: str) -> None:
        assert parse_forwarded(field) is None
        assert seen(forwarded=field) == AS_IT_CAME

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("proto", "ftp"),
            ("proto", "https://"),
            ("host", "public.example/path"),
            ("host", 'a"b'),
            ("host", "user@public.example"),
            ("host", "public.example:port"),
            ("prefix", "drive"),
            ("prefix", "//evil.example"),
            ("prefix", '/"><script>'),
            ("prefix", "/a b"),
            ("prefix", "/%2e"),
            ("for", "<script>"),
        ],
    )
    def test_and_so_is_each_other_field_that_cannot_be_right(self, name: str, value: str) -> None:
        assert seen(**{f"x_forwarded_{name}": value}) == AS_IT_CAME

    @given(st.text(alphabet='for=;,"\\ 1.2[]:h\t\xff', max_size=60))
    def test_nothing_that_a_proxy_says_is_an_error(self, text: str) -> None:
        parse_address(text)
        seen(forwarded=text)
        seen(x_forwarded_for=text, x_forwarded_host=text, x_forwarded_port=text)

    def test_a_list_as_long_as_a_head_may_be_costs_little(self) -> None:
        found = seen(x_forwarded_for="10.0.0.1," * 7000 + "10.0.0.9")
        assert found[0] == "10.0.0.1"


class TestThePort:
    @pytest.mark.parametrize(
        ("scheme", "host", "port", "expected"),
        [
            ("https", "public.example", "443", "public.example"),
            ("http", "public.example", "80", "public.example"),
            ("https", "public.example", "8443", "public.example:8443"),
            ("https", "public.example:1", "8443", "public.example:1"),
            ("https", "[2001:db8::1]", "8443", "[2001:db8::1]:8443"),
            ("https", "public.example", "x", "public.example"),
        ],
    )
    def test_goes_to_a_host_without_one(
        self, scheme: str, host: str, port: str, expected: str
    ) -> None:
        found = seen(x_forwarded_proto=scheme, x_forwarded_host=host, x_forwarded_port=port)
        assert found[2] == expected


class TestThePrefix:
    def test_of_the_settings_is_there_whoever_asks(self) -> None:
        assert seen("192.0.2.1", prefix="/drive")[3] == "/drive"

    def test_of_the_settings_wins_over_what_a_proxy_passes_on(self) -> None:
        assert seen(prefix="/drive", x_forwarded_prefix="/evil")[3] == "/drive"


class Behind(Dav):
    """A client that reaches the application through a proxy."""

    def __init__(self, app: DavApp, remote: str = PEER, **fields: str) -> None:
        super().__init__(app)
        self.remote = remote
        self.fields = {f"HTTP_{name.upper()}": value for name, value in fields.items()}
        self.last: dict[str, Any] = {}

    def _call(self, environ: dict[str, Any]) -> Answer:
        self.last = environ | {"REMOTE_ADDR": self.remote} | self.fields
        return super()._call(self.last)


PUBLIC = {
    "host": "node:8080",
    "x_forwarded_for": "198.51.100.7",
    "x_forwarded_proto": "https",
    "x_forwarded_host": "public.example",
    "x_forwarded_prefix": "/drive",
}


@pytest.fixture
def public(make_app: MakeApp) -> Behind:
    return Behind(make_app(proxy=TRUSTED, dav={"hosts": ["public.example", "node"]}), **PUBLIC)


class TestRequests:
    @pytest.mark.parametrize("method", ["COPY", "MOVE"])
    @pytest.mark.parametrize(
        "destination",
        [
            "https://public.example/drive/b.txt",
            "https://public.example:443/drive/b.txt",
            "http://PUBLIC.example/drive/b.txt",
            "/drive/b.txt",
            "/%64rive/b.txt",
        ],
    )
    def test_a_destination_is_told_as_the_client_sees_it(
        self, public: Behind, method: str, destination: str
    ) -> None:
        public.put("/a.txt", b"a")
        assert public(method, "/a.txt", destination=destination).status == 201
        assert public.get("/b.txt") == b"a"

    @pytest.mark.parametrize(
        "destination",
        [
            "https://other.example/drive/b.txt",
            "http://node:8080/drive/b.txt",
            "https://public.example/b.txt",
            "https://public.example/drivers/b.txt",
            "/b.txt",
        ],
    )
    def test_another_host_or_another_path_than_the_prefix_is_another_server(
        self, public: Behind, destination: str
    ) -> None:
        public.put("/a.txt", b"a")
        assert public("MOVE", "/a.txt", destination=destination).status == 502
        assert public.get("/a.txt") == b"a"

    def test_an_untrusted_client_cannot_say_which_host_this_is(self, make_app: MakeApp) -> None:
        app = make_app(proxy=TRUSTED, dav={"hosts": ["*"]})
        spoofing = Behind(app, "192.0.2.1", **PUBLIC)
        spoofing.put("/a.txt", b"a")
        there = "https://public.example/drive/b.txt"
        assert spoofing("MOVE", "/a.txt", destination=there).status == 502
        assert spoofing("MOVE", "/a.txt", destination="http://node/b.txt").status == 201
        assert list(spoofing.propfind("/b.txt").responses()) == ["/b.txt"]
        assert spoofing.last["REMOTE_ADDR"] == "192.0.2.1"

    def test_hrefs_begin_with_the_prefix(self, public: Behind) -> None:
        public.mkcol("/f")
        public.put("/f/a b.txt")
        assert list(public.propfind("/", depth="1").responses()) == ["/drive/", "/drive/f/"]
        found = public.propfind("/f", depth="1").responses()
        assert list(found) == ["/drive/f/", "/drive/f/a%20b.txt"]
        body = proppatch_body({"{x:}color": "red"})
        assert list(public("PROPPATCH", "/f", body).responses()) == ["/drive/f/"]

    def test_roots_of_locks_begin_with_the_prefix(self, public: Behind) -> None:
        public.mkcol("/f")
        public.put("/f/a.txt")
        answer = public("LOCK", "/f/a.txt", lockinfo())
        root = f"{DAV}lockroot/{DAV}href"
        assert answer.xml().findtext(f".//{root}") == "/drive/f/a.txt"
        status, discovery = public.propfind("/f/a.txt").responses()["/drive/f/a.txt"][
            DAV + "lockdiscovery"
        ]
        assert (status, discovery.findtext(f".//{root}")) == (200, "/drive/f/a.txt")
        refused = public("PUT", "/f/a.txt", b"other")
        assert refused.status == 423
        assert refused.xml().findtext(f".//{DAV}href") == "/drive/f/a.txt"
        below = public("DELETE", "/f")
        assert below.status == 207
        assert below.statuses() == {"/drive/f/a.txt": 423}
        conflict = public("LOCK", "/f/a.txt", lockinfo())
        assert conflict.status == 423
        assert conflict.xml().findtext(f".//{DAV}href") == "/drive/f/a.txt"

    def test_tags_in_if_are_told_as_the_client_sees_them(self, public: Behind) -> None:
        public.put("/a.txt", b"a")
        token = public.lock("/a.txt")
        for tag, status in (
            ("https://public.example/drive/a.txt", 204),
            ("/drive/a.txt", 204),
            ("/a.txt", 412),
            ("https://other.example/drive/a.txt", 412),
        ):
            answer = public("PUT", "/a.txt", b"b", if_=f"<{tag}> (<{token}>)")
            assert answer.status == status, tag

    def test_links_of_a_page_begin_with_the_prefix(self, public: Behind) -> None:
        public.mkcol("/f")
        public.mkcol("/f/g")
        public.put("/f/g/a.txt")
        page = public.get("/f/g").decode()
        for link in ("/drive/", "/drive/f/", "/drive/f/g/a.txt"):
            assert f'href="{link}"' in page
        assert 'href="/f' not in page

    def test_a_static_prefix_needs_no_trust(self, make_app: MakeApp) -> None:
        direct = Dav(make_app(proxy={"prefix": "/drive"}))
        direct.put("/a.txt", b"a")
        assert list(direct.propfind("/").responses()) == ["/drive/"]
        assert direct("MOVE", "/a.txt", destination="http://localhost/drive/b.txt").status == 201

    def test_who_the_client_is_goes_to_whoever_asks_later(self, public: Behind) -> None:
        public.get("/")
        assert public.last["REMOTE_ADDR"] == "198.51.100.7"
        assert public.last["wsgi.url_scheme"] == "https"


class TestExpectedHosts:
    """Nobody has a password here, so a page whose name points to this machine must not get in."""

    def test_a_forwarded_host_has_to_be_an_expected_one(self, make_app: MakeApp) -> None:
        app = make_app(proxy=TRUSTED)
        fields = {"host": "localhost", "x_forwarded_host": "public.example"}
        assert Behind(app, "127.0.0.1", **fields)("GET", "/").status == 421

    def test_and_so_has_the_host_that_came(self, make_app: MakeApp) -> None:
        """A rebound page can set X-Forwarded-Host, and comes from a trusted address."""
        app = make_app(proxy=TRUSTED)
        fields = {"host": "evil.example", "x_forwarded_host": "localhost"}
        page = Behind(app, "127.0.0.1", **fields)
        assert page("GET", "/").status == 421
        assert page.last[HEARD_HOST_KEY] == "evil.example"

    def test_a_name_of_the_settings_gets_in(self, make_app: MakeApp) -> None:
        app = make_app(proxy=TRUSTED, dav={"hosts": ["public.example"]})
        fields = {"host": "public.example", "x_forwarded_host": "public.example"}
        assert Behind(app, "127.0.0.1", **fields)("GET", "/").status == 200


def test_the_page_of_a_folder_has_the_prefix_in_its_trail() -> None:
    page = b"".join(render_folder("/f/g", iter(()), prefix="/drive")).decode()
    assert 'href="/drive/f/"' in page and 'href="/drive/"' in page
