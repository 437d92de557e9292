"""What the reader of requests accepts, and what it understands: the near misses of the refusals.

Each row names only what it is about; `usual` is the rest. Each runs whole, byte by byte, by sevens
and with the next request behind it, and says the same each time.
"""

import pytest

from fourseven.protocols import probe
from fourseven.protocols.message import Framing, KnownHeader, Method
from fourseven.snapshot.layout import Relax

HOST = b"Host: a\r\n"
NEXT = b"POST /next HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n\r\nx"


def line(first: bytes) -> bytes:
    return first + b"\r\n" + HOST + b"\r\n"


def get(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + b"".join(lines) + b"\r\n"


def host(value: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost:" + value + b"\r\n\r\n"


def get_10(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.0\r\n" + b"".join(lines) + b"\r\n"


CHUNKED, LENGTH, NONE = Framing.FRAMING_CHUNKED, Framing.FRAMING_LENGTH, Framing.FRAMING_NONE
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
usual = {
    "method": b"GET",
    "version": 11,
    "path": b"/",
    "query": None,
    "host": b"a",
    "framing": NONE,
    "content_length": 0,
    "keep_alive": 1,
    "expect_continue": 0,
    "upgrade": 0,
}

ACCEPTED = [
    ("plain", get(), {}),
    ("one empty line before", b"\r\n" + get(), {}),
    ("two empty lines before", b"\r\n\r\n" + get(), {}),
    # framing
    ("TE by tab", get(b"TE:\tx\r\nTransfer-Encoding:\tchunked\t\r\n"), {"framing": CHUNKED}),
    ("TE in capitals", get(b"TRANSFER-ENCODING: ChunkeD\r\n"), {"framing": CHUNKED}),
    ("CL 0", get(b"Content-Length: 0\r\n"), {"framing": LENGTH}),
    ("CL 5", get(b"content-length:5\r\n"), {"framing": LENGTH, "content_length": 5}),
    ("CL zeros", get(b"Content-Length: 0007\r\n"), {"framing": LENGTH, "content_length": 7}),
    (
        "CL 2^63-1",
        get(b"Content-Length: 9223372036854775807\r\n"),
        {"framing": LENGTH, "content_length": 2**63 - 1},
    ),
    # hosts
    ("host without space", host(b"a"), {}),
    ("host in capitals", host(b" ExAmple.COM"), {"host": b"example.com"}),
    ("host port", host(b" a:8080"), {"authority": b"a:8080"}),
    ("host final dot", host(b" a.b.:80"), {"host": b"a.b"}),
    ("host underscore", host(b" my_app"), {"host": b"my_app"}),
    ("host v4", host(b" 127.0.0.1:1"), {"host": b"127.0.0.1"}),
    ("host v6", host(b" [::1]"), {"host": b"[::1]"}),
    ("host v6 port", host(b" [::1]:65535"), {"host": b"[::1]", "authority": b"[::1]:65535"}),
    ("host v6 spelled", host(b" [2001:DB8:0:0::0001]"), {"host": b"[2001:db8::1]"}),
    ("host 255 bytes", host(b"a" * 255), {"host": b"a" * 255}),
    ("host last", b"GET / HTTP/1.1\r\nA: b\r\nHOST: a\r\n\r\n", {}),
    ("1.0 without host", get_10(), {"version": 10, "host": None, "keep_alive": 0}),
    ("1.0 with host", get_10(HOST), {"version": 10, "keep_alive": 0}),
    # targets
    ("absolute", line(b"GET http://a/x?y HTTP/1.1"), {"path": b"/x", "query": b"y"}),
    ("absolute in capitals", line(b"GET HTTP://A/ HTTP/1.1"), {"authority": b"A"}),
    ("absolute, usual port", line(b"GET http://a:80/ HTTP/1.1"), {"authority": b"a:80"}),
    ("absolute, https", line(b"GET https://a:443/ HTTP/1.1"), {}),
    ("absolute, no path", line(b"GET http://a HTTP/1.1"), {"target": b"http://a"}),
    ("absolute, only query", line(b"GET http://a?x HTTP/1.1"), {"query": b"x"}),
    (
        "absolute, 1.0 without host",
        b"GET http://B/ HTTP/1.0\r\n\r\n",
        {"host": b"b", "version": 10, "keep_alive": 0},
    ),
    ("absolute, v6", b"GET http://[::1]/ HTTP/1.1\r\nHost: [0::1]\r\n\r\n", {"host": b"[::1]"}),
    ("OPTIONS *", line(b"OPTIONS * HTTP/1.1"), {"method": b"OPTIONS", "path": b"*"}),
    ("OPTIONS http://a", line(b"OPTIONS http://a HTTP/1.1"), {"method": b"OPTIONS", "path": b"*"}),
    ("OPTIONS http://a/", line(b"OPTIONS http://a/ HTTP/1.1"), {"method": b"OPTIONS"}),
    ("query kept", line(b"GET /?%zz%00../\\|\"{} HTTP/1.1"), {"query": b"%zz%00../\\|\"{}"}),
    ("query empty", line(b"GET /? HTTP/1.1"), {"query": b""}),
    ("query twice", line(b"GET /??a?b HTTP/1.1"), {"query": b"?a?b"}),
    ("path decoded", line(b"GET /%61%7E%2d HTTP/1.1"), {"path": b"/a~-"}),
    ("path kept", line(b"GET /a%20b%c3%a4 HTTP/1.1"), {"path": b"/a%20b%C3%A4"}),
    ("path encoded", line(b"GET /a|b HTTP/1.1"), {"path": b"/a%7Cb", "target": b"/a|b"}),
    ("path parameters", line(b"GET /a;b=c/d HTTP/1.1"), {"path": b"/a;b=c/d"}),
    ("path dots", line(b"GET /a/../b/./c// HTTP/1.1"), {"path": b"/b/c/"}),
    # methods
    ("method other", line(b"PROPFIND / HTTP/1.1"), {"method": b"PROPFIND"}),
    ("method dash", line(b"M-SEARCH / HTTP/1.1"), {"method": b"M-SEARCH"}),
    ("method lower case", line(b"get / HTTP/1.1"), {"method": b"get"}),
    ("method 32 bytes", line(b"A" * 32 + b" / HTTP/1.1"), {"method": b"A" * 32}),
    # connection
    ("close", get(b"Connection: Close\r\n"), {"keep_alive": 0}),
    ("close among others", get(b"Connection: a, ,close,\r\n"), {"keep_alive": 0}),
    ("close in a second", get(b"Connection: a\r\nConnection: close\r\n"), {"keep_alive": 0}),
    ("close beats keep-alive", get(b"Connection: close, keep-alive\r\n"), {"keep_alive": 0}),
    ("closed is another word", get(b"Connection: closed\r\n"), {}),
    ("1.0 keep-alive", get_10(HOST, b"Connection: keep-alive\r\n"), {"version": 10}),
    ("connection 32 names", get(b"Connection: " + b"a," * 31 + b"a\r\n"), {}),
    ("connection empty", get(b"Connection:\r\n"), {}),
    # upgrade and expect
    ("upgrade", get(UPGRADE), {"upgrade": 1}),
    ("upgrade, CL 0", get(UPGRADE, b"Content-Length: 0\r\n"), {"upgrade": 1, "framing": LENGTH}),
    ("upgrade unsaid", get(b"Upgrade: websocket\r\n"), {}),
    ("upgrade unnamed", get(b"Connection: upgrade\r\n"), {}),
    ("upgrade h2c", get(b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), {}),
    ("upgrade H2C", get(b"Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n"), {}),
    ("upgrade, h2c apart", get(UPGRADE, b"Upgrade: h2c\r\n"), {}),
    ("upgrade to HTTP", get(b"Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n"), {}),
    ("upgrade empty", get(b"Connection: Upgrade\r\nUpgrade:\r\n"), {}),
    ("upgrade, two", get(b"Connection: Upgrade\r\nUpgrade: foo/2, bar\r\n"), {"upgrade": 1}),
    ("upgrade, comma", get(b"Connection: Upgrade\r\nUpgrade: foo,\r\n"), {}),
    ("upgrade quoted", get(b'Connection: Upgrade\r\nUpgrade: "foo"\r\n'), {}),
    (
        "upgrade with body",
        get(UPGRADE, b"Content-Length: 1\r\n"),
        {"framing": LENGTH, "content_length": 1},
    ),
    ("upgrade on 1.0", get_10(HOST, UPGRADE), {"version": 10, "keep_alive": 0}),
    (
        "expect",
        get(b"Expect: 100-Continue\r\nContent-Length: 1\r\n"),
        {"framing": LENGTH, "content_length": 1, "expect_continue": 1},
    ),
    ("expect without body", get(b"Expect: 100-continue\r\n"), {}),
    ("expect on 1.0", get_10(HOST, b"Expect: what\r\n"), {"version": 10, "keep_alive": 0}),
]  # fmt: skip


@pytest.mark.parametrize("data, wanted", [r[1:] for r in ACCEPTED], ids=[r[0] for r in ACCEPTED])
def test_accepted(data: bytes, wanted: dict) -> None:
    whole = probe.request(data)
    assert whole["fault"] == "FAULT_NONE"
    assert whole["result"] == whole["head_size"] == len(data)
    assert {key: whole[key] for key in usual} == {
        **usual,
        **{key: value for key, value in wanted.items() if key in usual},
    }
    assert {key: whole[key] for key in wanted} == wanted
    for step in (1, 7, 64):
        assert probe.request(data, step=step) | {"size": 0} == whole | {"size": 0}
    for tail in (NEXT, b"\x16\x03", b"\r\n\r\n", b"\n", b"\x00"):
        assert probe.request(data + tail) | {"size": 0} == whole | {"size": 0}
        assert probe.request(data + tail, step=5) | {"size": 0} == whole | {"size": 0}
    for size in range(len(data)):
        assert probe.request(data[:size])["result"] == 0, "a part is never the whole"


FIELDS = [
    ("trimmed", b"A: \t b \t \r\n", (b"A", b"b", 0, 0)),
    ("empty", b"A:\r\n", (b"A", b"", 0, 0)),
    ("blank", b"A: \t \r\n", (b"A", b"", 0, 0)),
    ("inside kept", b"A: b \t c\r\n", (b"A", b"b \t c", 0, 0)),
    ("obs-text", b"A: \x80\xff\x85\r\n", (b"A", b"\x80\xff\x85", 0, 0)),
    ("tabs at words", b"A: " + b"1234567\t" * 3 + b"x\r\n", (b"A", b"1234567\t" * 3 + b"x", 0, 0)),
    ("colons", b"A: :b:\r\n", (b"A", b":b:", 0, 0)),
    ("token", b"!#$%&'*+-.^_`|~1aZ: b\r\n", (b"!#$%&'*+-.^_`|~1aZ", b"b", 0, 0)),
    ("te", b"TE: trailers\r\n", (b"TE", b"trailers", KnownHeader.HEADER_TE, 1)),
    ("keep-alive", b"Keep-Alive: x\r\n", (b"Keep-Alive", b"x", KnownHeader.HEADER_KEEP_ALIVE, 1)),
    ("forwarded", b"Forwarded: x\r\n", (b"Forwarded", b"x", KnownHeader.HEADER_FORWARDED, 0)),
    ("trailer", b"Trailer: x\r\n", (b"Trailer", b"x", KnownHeader.HEADER_TRAILER, 0)),
    ("twin", b"X_Forwarded_For: x\r\n", (b"X_Forwarded_For", b"x", 0, 1)),
    ("twin, mixed", b"x-forwarded_for: x\r\n", (b"x-forwarded_for", b"x", 0, 1)),
    ("twin of CL", b"Content_Length: 5\r\n", (b"Content_Length", b"5", 0, 1)),
    ("no twin", b"X_Own: x\r\n", (b"X_Own", b"x", 0, 0)),
    ("settings", b"HTTP2-Settings: x\r\n", (b"HTTP2-Settings", b"x", KnownHeader.HEADER_HTTP2_SETTINGS, 1)),
]  # fmt: skip


@pytest.mark.parametrize("data, field", [r[1:] for r in FIELDS], ids=[r[0] for r in FIELDS])
def test_fields(data: bytes, field: tuple) -> None:
    for step in (0, 1):
        seen = probe.request(get(data), step=step)
        assert seen["fields"] == [(b"Host", b"a", KnownHeader.HEADER_HOST, 0), field]


def dropped(*lines: bytes, relax: int = 0) -> set[bytes]:
    return {name for name, _, _, drop in probe.request(get(*lines), relax=relax)["fields"] if drop}


def test_connection_names_what_is_dropped() -> None:
    named = b"Connection: close, X-Auth , x-other\r\n"
    assert dropped(named, b"x-aUTH: s\r\n", b"X-Other: t\r\n", b"X-Auth2: u\r\n") == {
        b"Connection",
        b"x-aUTH",
        b"X-Other",
    }


@pytest.mark.parametrize(
    "name",
    [b"X-Forwarded-For", b"x-forwarded-proto", b"X-Real-IP", b"Forwarded", b"X-Request-ID",
     b"Cookie", b"Authorization", b"Content-Type", b"Via", b"Traceparent", b"Cache-Control"],
)  # fmt: skip
def test_connection_never_strips_an_end_to_end_field(name: bytes) -> None:
    assert dropped(b"Connection: " + name + b"\r\n", name + b": x\r\n") == {b"Connection"}


def test_connection_never_strips_host_or_framing() -> None:
    seen = probe.request(get(b"Connection: Host, Content-Length\r\nContent-Length: 5\r\n"))
    assert (seen["host"], seen["framing"], seen["content_length"]) == (b"a", LENGTH, 5)
    assert not any(drop for name, _, _, drop in seen["fields"] if name == b"Host")


def test_upgrade_is_kept_only_where_it_is_passed_on() -> None:
    assert dropped(UPGRADE) == {b"Connection"}
    assert dropped(UPGRADE.replace(b"websocket", b"h2c")) == {b"Connection", b"Upgrade"}
    assert dropped(UPGRADE, b"Transfer-Encoding: chunked\r\n") >= {b"Upgrade"}


def test_relaxed_underscores() -> None:
    twin = b"X_Forwarded_For: x\r\n"
    assert dropped(twin) == {b"X_Forwarded_For"}
    assert dropped(twin, relax=Relax.RELAX_UNDERSCORES) == set()


def test_relaxed_slashes() -> None:
    data = line(b"GET //a///b/../c HTTP/1.1")
    assert probe.request(data)["path"] == b"/a/c"
    assert probe.request(data, relax=Relax.RELAX_MERGE_SLASHES)["path"] == b"//a///c"


@pytest.mark.parametrize("known", [k for k in KnownHeader if k], ids=lambda k: k.name)
def test_each_known_name_is_found(known: KnownHeader) -> None:
    name = known.name.removeprefix("HEADER_").replace("_", "-").lower().encode()
    for form in (name, name.upper(), name.title()):
        assert probe.known(form) == known
    for near in (name + b"x", name[:-1], b"x" + name, name[:-1] + b"~", b"~" + name[1:]):
        assert probe.known(near) == 0
    if b"-" in name:
        under = name.replace(b"-", b"_")
        assert probe.known(under) == 0
        assert probe.twin(under) == probe.twin(name.replace(b"-", b"_", 1)) == known


@pytest.mark.parametrize("method", [m for m in Method if m], ids=lambda m: m.name)
def test_each_method_has_its_number(method: Method) -> None:
    name = method.name.removeprefix("METHOD_").encode()
    seen = probe.request(line(name + b" / HTTP/1.1"), relax=Relax.RELAX_TRACE)
    assert seen.get("method_id") == (None if name == b"CONNECT" else method)
    for other in (name + b"S", name[:-1], name[:-1] + b"-", name.lower()):
        assert probe.request(line(other + b" / HTTP/1.1"))["method_id"] == Method.METHOD_OTHER


def test_limits_are_exact() -> None:
    data = get(b"A: b\r\n")
    assert probe.request(data, head_max=len(data))["result"] == len(data)
    assert probe.request(data, head_max=len(data) - 1)["result"] == -431
    assert probe.request(data, headers_max=2)["result"] == len(data)
    assert probe.request(data, headers_max=1)["result"] == -431
    target = line(b"GET /" + b"a" * 99 + b" HTTP/1.1")
    assert probe.request(target, target_max=100)["result"] == len(target)
    assert probe.request(target, target_max=99)["result"] == -414
    many = get(b"A: b\r\n" * 255)
    assert probe.request(many, headers_max=10_000)["result"] == len(many)
    assert probe.request(get(b"A: b\r\n" * 256), headers_max=10_000)["result"] == -431


def test_a_path_that_grows_beyond_the_scratch_is_refused() -> None:
    data = line(b"GET /" + b"|" * 30_000 + b" HTTP/1.1")
    assert probe.request(data, target_max=65_535, head_max=65_535)["result"] == -414
