"""What the reader of requests refuses: each row of DEFENCE, and why.

Each input runs whole, byte by byte, by sevens, and with trailing bytes: the status and the reason
must never depend on how the bytes were cut.
"""

import pytest

from fourseven.protocols import probe
from fourseven.snapshot.layout import Relax

HOST = b"Host: a\r\n"


def get(*lines: bytes) -> bytes:
    """A request with a good first line and Host, and further lines."""
    return b"GET / HTTP/1.1\r\n" + HOST + b"".join(lines) + b"\r\n"


def line(first: bytes) -> bytes:
    return first + b"\r\n" + HOST + b"\r\n"


def host(value: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"


def lengths(*values: bytes) -> bytes:
    return get(*[b"Content-Length: " + value + b"\r\n" for value in values])


def codings(*values: bytes) -> bytes:
    return get(*[b"Transfer-Encoding: " + value + b"\r\n" for value in values])


CHUNKED = b"Transfer-Encoding: chunked\r\n"

REFUSED = [
    # framing
    ("CL then TE", get(b"Content-Length: 5\r\n", CHUNKED), 400, "LENGTH_AND_CODING"),
    ("TE then CL", get(CHUNKED, b"Content-Length: 5\r\n"), 400, "LENGTH_AND_CODING"),
    ("CL 0 and TE", get(CHUNKED, b"Content-Length: 0\r\n"), 400, "LENGTH_AND_CODING"),
    ("TE unknown", codings(b"xchunked"), 501, "CODING_UNKNOWN"),
    ("TE identity", codings(b"identity"), 501, "CODING_UNKNOWN"),
    ("TE gzip", codings(b"gzip"), 501, "CODING_UNKNOWN"),
    ("TE gzip, chunked", codings(b"gzip, chunked"), 501, "CODING_UNKNOWN"),
    ("TE prefix", codings(b"chunke"), 501, "CODING_UNKNOWN"),
    ("TE longer", codings(b"chunkedx"), 501, "CODING_UNKNOWN"),
    ("TE quoted", codings(b'"chunked"'), 400, "CODING"),
    ("TE single quoted", codings(b"'chunked'"), 501, "CODING_UNKNOWN"),
    ("TE vertical tab", codings(b"\x0bchunked"), 400, "CONTROL"),
    ("TE form feed behind", codings(b"chunked\x0c"), 400, "CONTROL"),
    ("TE parameter", codings(b"chunked;q=1"), 400, "CODING"),
    ("TE empty", codings(b""), 400, "CODING"),
    ("TE empty element", codings(b"chunked,"), 400, "CODING"),
    ("TE comma first", codings(b",chunked"), 400, "CODING"),
    ("TE chunked, chunked", codings(b"chunked, chunked"), 400, "CODING"),
    ("TE chunked, gzip", codings(b"chunked, gzip"), 400, "CODING"),
    ("TE inner space", codings(b"chun ked"), 400, "CODING"),
    ("TE obs-text", codings(b"chunked\xa0"), 400, "CODING"),
    ("TE twice", codings(b"chunked", b"identity"), 400, "CODING_TWICE"),
    ("TE twice alike", codings(b"chunked", b"chunked"), 400, "CODING_TWICE"),
    ("TE on 1.0", b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n", 400, "CODING_VERSION"),
    ("CL twice alike", lengths(b"1", b"1"), 400, "LENGTH_TWICE"),
    ("CL differing", lengths(b"1", b"2"), 400, "LENGTH_TWICE"),
    ("CL list", lengths(b"1, 1"), 400, "LENGTH"),
    ("CL plus", lengths(b"+1"), 400, "LENGTH"),
    ("CL minus", lengths(b"-1"), 400, "LENGTH"),
    ("CL hexadecimal", lengths(b"0x1"), 400, "LENGTH"),
    ("CL underscore", lengths(b"1_0"), 400, "LENGTH"),
    ("CL arabic digit", lengths("\u0661".encode()), 400, "LENGTH"),
    ("CL empty", lengths(b""), 400, "LENGTH"),
    ("CL blank", lengths(b"  "), 400, "LENGTH"),
    ("CL inner space", lengths(b"1 0"), 400, "LENGTH"),
    ("CL fraction", lengths(b"1.0"), 400, "LENGTH"),
    ("CL 2^63", lengths(b"9223372036854775808"), 400, "LENGTH"),
    ("CL 2^64", lengths(b"18446744073709551616"), 400, "LENGTH"),
    ("CL 20 zeros", lengths(b"0" * 20), 400, "LENGTH"),
    # field lines
    ("space before colon", get(b"A : b\r\n"), 400, "NAME_SPACE"),
    ("tab before colon", get(b"A\t: b\r\n"), 400, "NAME_SPACE"),
    ("space before CL's colon", get(b"Content-Length : 5\r\n"), 400, "NAME_SPACE"),
    ("obs-fold", get(b"A: b\r\n c\r\n"), 400, "FOLD"),
    ("obs-fold by tab", get(b"A: b\r\n\tc\r\n"), 400, "FOLD"),
    ("space before first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "FOLD"),
    ("bare LF after field", get(b"A: b\n"), 400, "BARE_LF"),
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", 400, "BARE_LF"),
    ("bare LF ends head", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "BARE_LF"),
    ("bare LF in name", get(b"A\nB: c\r\n"), 400, "BARE_LF"),
    ("LF before request", b"\nGET / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "BARE_LF"),
    ("bare CR in value", get(b"A: b\rc\r\n"), 400, "BARE_CR"),
    ("CR CR LF", get(b"A: b\r\r\n"), 400, "BARE_CR"),
    ("bare CR ends head", b"GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n", 400, "BARE_CR"),
    ("NUL in value", get(b"A: b\x00c\r\n"), 400, "NUL"),
    ("NUL in name", get(b"A\x00: b\r\n"), 400, "NUL"),
    ("NUL in target", line(b"GET /\x00 HTTP/1.1"), 400, "TARGET_CHARACTER"),
    ("BEL in value", get(b"A: b\x07c\r\n"), 400, "CONTROL"),
    ("DEL in value", get(b"A: b\x7fc\r\n"), 400, "CONTROL"),
    ("no colon", get(b"Alone\r\n"), 400, "NO_COLON"),
    ("empty name", get(b": b\r\n"), 400, "NAME_EMPTY"),
    ("name with slash", get(b"A/B: c\r\n"), 400, "NAME_CHARACTER"),
    ("name quoted", get(b'"A": c\r\n'), 400, "NAME_CHARACTER"),
    ("name with obs-text", get(b"A\xe4: c\r\n"), 400, "NAME_CHARACTER"),
    # host
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400, "HOST_MISSING"),
    ("no Host, absolute", b"GET http://a/ HTTP/1.1\r\n\r\n", 400, "HOST_MISSING"),
    ("two Hosts", get(HOST), 400, "HOST_TWICE"),
    ("two Hosts on 1.0", b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n", 400, "HOST_TWICE"),
    ("Host empty", host(b""), 400, "HOST_CHARACTER"),
    ("Host slash", host(b"a/b"), 400, "HOST_CHARACTER"),
    ("Host userinfo", host(b"u@a"), 400, "HOST_CHARACTER"),
    ("Host list", host(b"a, b"), 400, "HOST_CHARACTER"),
    ("Host space", host(b"a b"), 400, "HOST_CHARACTER"),
    ("Host percent", host(b"a%41"), 400, "HOST_CHARACTER"),
    ("Host backslash", host(b"a\\b"), 400, "HOST_CHARACTER"),
    ("Host obs-text", host("ä".encode()), 400, "HOST_CHARACTER"),
    ("Host query", host(b"a?b"), 400, "HOST_CHARACTER"),
    ("Host dots", host(b"a..b"), 400, "HOST_CHARACTER"),
    ("Host dot", host(b"."), 400, "HOST_CHARACTER"),
    ("Host dot first", host(b".a"), 400, "HOST_CHARACTER"),
    ("Host 256 bytes", host(b"a" * 256), 400, "HOST_CHARACTER"),
    ("Host bad v6", host(b"[::g]"), 400, "HOST_CHARACTER"),
    ("Host v6 zone", host(b"[fe80::1%25eth0]"), 400, "HOST_CHARACTER"),
    ("Host v6 open", host(b"[::1"), 400, "HOST_CHARACTER"),
    ("Host v6 empty", host(b"[]"), 400, "HOST_CHARACTER"),
    ("Host v6 junk", host(b"[::1]x"), 400, "HOST_CHARACTER"),
    ("Host v6 bare", host(b"::1"), 400, "HOST_CHARACTER"),
    ("Host v4 in brackets", host(b"[127.0.0.1]"), 400, "HOST_CHARACTER"),
    ("Host port empty", host(b"a:"), 400, "HOST_PORT"),
    ("Host port name", host(b"a:http"), 400, "HOST_PORT"),
    ("Host port signed", host(b"a:+1"), 400, "HOST_PORT"),
    ("Host port 65536", host(b"a:65536"), 400, "HOST_PORT"),
    ("Host port twice", host(b"a:1:2"), 400, "HOST_PORT"),
    ("Host port 6 digits", host(b"a:000080"), 400, "HOST_PORT"),
    ("absolute, other host", line(b"GET http://b/ HTTP/1.1"), 400, "HOST_DISAGREES"),
    ("absolute, other port", line(b"GET http://a:81/ HTTP/1.1"), 400, "HOST_DISAGREES"),
    ("absolute, https port", line(b"GET https://a:80/ HTTP/1.1"), 400, "HOST_DISAGREES"),
    ("absolute, longer host", line(b"GET http://a.a/ HTTP/1.1"), 400, "HOST_DISAGREES"),
    ("absolute, userinfo", line(b"GET http://u@a/ HTTP/1.1"), 400, "HOST_CHARACTER"),
    ("absolute, no host", line(b"GET http:/// HTTP/1.1"), 400, "HOST_CHARACTER"),
    ("absolute, bad port", line(b"GET http://a:x/ HTTP/1.1"), 400, "HOST_PORT"),
    # target
    ("target without slash", line(b"GET foo HTTP/1.1"), 400, "TARGET_FORM"),
    ("target short, no slash", b"GET x\r\n\r\n", 400, "TARGET_FORM"),
    ("target ftp", line(b"GET ftp://a/ HTTP/1.1"), 400, "TARGET_FORM"),
    ("target http:/", line(b"GET http:/a/ HTTP/1.1"), 400, "TARGET_FORM"),
    ("target authority form", line(b"GET a:80 HTTP/1.1"), 400, "TARGET_FORM"),
    ("target query only", line(b"GET ?a HTTP/1.1"), 400, "TARGET_FORM"),
    ("target star, not OPTIONS", line(b"GET * HTTP/1.1"), 400, "TARGET_FORM"),
    ("target star and more", line(b"OPTIONS *x HTTP/1.1"), 400, "TARGET_CHARACTER"),
    ("target space", line(b"GET /a b HTTP/1.1"), 400, "VERSION"),
    ("target two spaces", line(b"GET  / HTTP/1.1"), 400, "TARGET_CHARACTER"),
    ("target tab", line(b"GET\t/ HTTP/1.1"), 400, "METHOD"),
    ("target then tab", line(b"GET /\tHTTP/1.1"), 400, "TARGET_CHARACTER"),
    ("target fragment", line(b"GET /a#b HTTP/1.1"), 400, "TARGET_CHARACTER"),
    ("target fragment in query", line(b"GET /a?b#c HTTP/1.1"), 400, "TARGET_CHARACTER"),
    ("target raw bytes", line("GET /ä HTTP/1.1".encode()), 400, "TARGET_CHARACTER"),
    ("target raw bytes in query", line("GET /?ä HTTP/1.1".encode()), 400, "TARGET_CHARACTER"),
    ("target DEL", line(b"GET /\x7f HTTP/1.1"), 400, "TARGET_CHARACTER"),
    ("target CR", b"GET /\rX HTTP/1.1\r\n" + HOST + b"\r\n", 400, "VERSION"),
    ("path %2f", line(b"GET /x%2f..%2fadmin HTTP/1.1"), 400, "PATH_SLASH"),
    ("path %5C", line(b"GET /x%5C..%5cadmin HTTP/1.1"), 400, "PATH_SLASH"),
    ("path backslash", line(b"GET /x\\admin HTTP/1.1"), 400, "PATH_SLASH"),
    ("path %00", line(b"GET /admin%00 HTTP/1.1"), 400, "PATH_NUL"),
    ("path %zz", line(b"GET /%zz HTTP/1.1"), 400, "PATH_PERCENT"),
    ("path %a", line(b"GET /%a HTTP/1.1"), 400, "PATH_PERCENT"),
    ("path %", line(b"GET /% HTTP/1.1"), 400, "PATH_PERCENT"),
    ("path %u002f", line(b"GET /%u002f HTTP/1.1"), 400, "PATH_PERCENT"),
    ("path ..;", line(b"GET /x/..;/admin HTTP/1.1"), 400, "PATH_DOTS"),
    ("path ..;a=b", line(b"GET /x/..;a=b/admin HTTP/1.1"), 400, "PATH_DOTS"),
    ("path .;", line(b"GET /.;/admin HTTP/1.1"), 400, "PATH_DOTS"),
    ("path %2e%2e;", line(b"GET /x/%2e%2E;/admin HTTP/1.1"), 400, "PATH_DOTS"),
    ("path ..%3b", line(b"GET /x/..%3b/admin HTTP/1.1"), 400, "PATH_DOTS"),
    ("path / ;", line(b"GET /;/admin HTTP/1.1"), 400, "PATH_DOTS"),
    ("path ..; last", line(b"GET /x/..; HTTP/1.1"), 400, "PATH_DOTS"),
    ("path %2f, absolute", line(b"GET http://a/%2f HTTP/1.1"), 400, "PATH_SLASH"),
    # method and version
    ("CONNECT", line(b"CONNECT a:80 HTTP/1.1"), 405, "METHOD_REFUSED"),
    ("CONNECT /", line(b"CONNECT / HTTP/1.1"), 405, "METHOD_REFUSED"),
    ("TRACE", line(b"TRACE / HTTP/1.1"), 405, "METHOD_REFUSED"),
    ("method with @", line(b"G@T / HTTP/1.1"), 400, "METHOD"),
    ("method long", line(b"A" * 33 + b" / HTTP/1.1"), 400, "METHOD"),
    ("no method", line(b" / HTTP/1.1"), 400, "NOT_HTTP"),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400, "VERSION"),
    ("HTTP/0.9 line", line(b"GET / HTTP/0.9"), 505, "VERSION_UNKNOWN"),
    ("HTTP/1.2", line(b"GET / HTTP/1.2"), 505, "VERSION_UNKNOWN"),
    ("HTTP/2.0", line(b"GET / HTTP/2.0"), 505, "VERSION_UNKNOWN"),
    ("HTTP/1.10", line(b"GET / HTTP/1.10"), 400, "VERSION"),
    ("HTTP/11", line(b"GET / HTTP/11"), 400, "VERSION"),
    ("HTTP/1,1", line(b"GET / HTTP/1,1"), 400, "VERSION"),
    ("http/1.1", line(b"GET / http/1.1"), 400, "VERSION"),
    ("HTTPS/1.1", line(b"GET / HTTPS/1.1"), 400, "VERSION"),
    ("space behind version", line(b"GET / HTTP/1.1 "), 400, "VERSION"),
    ("space before version", line(b"GET /  HTTP/1.1"), 400, "VERSION"),
    ("bare LF behind version", b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400, "BARE_LF"),
    ("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "PREFACE"),
    # what is no HTTP
    ("ClientHello", b"\x16\x03\x01\x02\x00\x01\x00", 400, "TLS"),
    ("PROXY protocol 2", b"\r\n\r\n\x00\r\nQUIT\n", 400, "NOT_HTTP"),
    ("SSH", b"SSH-2.0-OpenSSH\r\n", 400, "METHOD"),
    ("three empty lines", b"\r\n\r\n\r\n" + get(), 400, "NOT_HTTP"),
    ("CR, no LF, before", b"\rGET / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "BARE_CR"),
    # connection and expect
    ("Expect other", get(b"Expect: 200-ok\r\n"), 417, "EXPECT"),
    ("Expect empty", get(b"Expect:\r\n"), 417, "EXPECT"),
    ("Expect with parameter", get(b"Expect: 100-continue;a\r\n"), 417, "EXPECT"),
    ("Connection no token", get(b"Connection: a b\r\n"), 400, "CONNECTION"),
    ("Connection quoted", get(b'Connection: "close"\r\n'), 400, "CONNECTION"),
    ("Connection 33 names", get(b"Connection: " + b"a," * 32 + b"a\r\n"), 400, "CONNECTION"),
]  # fmt: skip

TOO_LONG = [
    ("target 17 bytes", line(b"GET /" + b"a" * 16 + b" HTTP/1.1"), 414, "TARGET_LONG"),
    ("target without end", b"GET /" + b"a" * 2000, 414, "TARGET_LONG"),
    ("query without end", b"GET /?" + b"a" * 2000, 414, "TARGET_LONG"),
    ("absolute without end", b"GET http://" + b"a" * 2000, 414, "TARGET_LONG"),
    ("head 257 bytes", get(b"A: " + b"b" * 225 + b"\r\n"), 431, "HEAD_LONG"),
    ("head without end", get(b"A: " + b"b" * 2000)[:-2], 431, "HEAD_LONG"),
    ("name without end", get(b"b" * 2000)[:-2], 431, "HEAD_LONG"),
    ("5 fields", get(b"A: b\r\n" * 4), 431, "HEADERS_MANY"),
]


@pytest.mark.parametrize(
    "data, status, fault", [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
@pytest.mark.parametrize("tail", [b"", b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00\xff" * 9])
def test_refused(data: bytes, status: int, fault: str, tail: bytes) -> None:
    for step in (0, 1, 7):
        seen = probe.request(data + tail, step=step)
        assert (seen["result"], seen["fault"]) == (-status, "FAULT_" + fault), step
        assert "path" not in seen


@pytest.mark.parametrize(
    "data, status, fault", [r[1:] for r in TOO_LONG], ids=[r[0] for r in TOO_LONG]
)
def test_too_long(data: bytes, status: int, fault: str) -> None:
    for step in (0, 1, 7):
        seen = probe.request(data, step=step, head_max=256, headers_max=4, target_max=16)
        assert (seen["result"], seen["fault"]) == (-status, "FAULT_" + fault), step


@pytest.mark.parametrize(
    "data, size",
    [
        (b"\x16\x03\x01\x02\x00", 1),
        (b"\x00" * 40, 1),
        (b"/ HTTP/1.1\r\n", 1),
        (b"GET foo", 5),
        (b"TRACE / HTTP/1.1\r\n", 6),
        (b"GET / HTTQ", 10),
        (b"GET /" + b"a" * 9000, 8200 + 45),
        (b"GET / HTTP/1.1\r\nA: b\n", 21),
    ],
)  # fmt: skip
def test_refused_early(data: bytes, size: int) -> None:
    """Nobody waits for the end of a head that is already wrong."""
    seen = probe.request(data, step=1)
    assert seen["result"] < 0
    assert seen["size"] <= size


def test_a_relaxed_rule_is_only_that_rule() -> None:
    trace = line(b"TRACE / HTTP/1.1")
    assert probe.request(trace, relax=Relax.RELAX_TRACE)["result"] == len(trace)
    assert probe.request(trace, relax=Relax.RELAX_ENCODED_SLASH)["result"] == -405
    assert probe.request(line(b"CONNECT a:80 HTTP/1.1"), relax=15)["result"] == -405
    slash = line(b"GET /a%2fb%5cc HTTP/1.1")
    assert probe.request(slash, relax=Relax.RELAX_ENCODED_SLASH)["path"] == b"/a%2Fb%5Cc"
    assert probe.request(line(b"GET /a%00 HTTP/1.1"), relax=15)["result"] == -400
    body = b"TRACE / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
    assert probe.request(body, relax=Relax.RELAX_TRACE)["fault"] == "FAULT_TRACE_BODY"
