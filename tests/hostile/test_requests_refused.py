"""Requests that are refused: the status, the closed connection, and a server that saw nothing.

Each vector is sent whole with a smuggled request behind it, byte by byte, and pipelined behind a
good request. Sources of cases: RFC 9112, http-garden, Http11Probe, http-desync-guardian, llhttp.

Laws: where a table names two statuses, both are right by the RFC; it never says 2xx. What a body
does wrong is found while it is being forwarded: then the server may have seen a part, but never a
whole request, and never a byte of what stood behind it.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from support.front import GOOD, Front
from support.recorder import Recorder
from support.wire import CLOSED, each_byte

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n"


class Refused(NamedTuple):
    name: str
    status: tuple[int, ...]
    sent: bytes


def request(*lines: bytes, line: bytes = b"POST /x HTTP/1.1", body: bytes = b"") -> bytes:
    """A head with a Host and these further lines, and a body."""
    return b"\r\n".join([line, b"Host: a", *lines, b"", body])


def coding(value: bytes) -> bytes:
    return request(b"Transfer-Encoding: " + value, body=b"0\r\n\r\n")


def length(value: bytes, body: bytes = b"") -> bytes:
    return request(b"Content-Length: " + value, body=body)


def start(line: bytes) -> bytes:
    return request(line=line)


def hosts(*values: bytes, line: bytes = b"GET /x HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *(b"Host: " + value for value in values), b"", b""])


def field(line: bytes) -> bytes:
    return request(line, line=b"GET /x HTTP/1.1")


# fmt: off
FRAMING = [
    Refused("length-then-coding", (400,), request(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Refused("coding-then-length", (400,), request(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n")),
    Refused("length-and-unknown-coding", (400, 501), request(b"Content-Length: 5", b"Transfer-Encoding: x", body=b"hello")),
    Refused("length-and-comma-chunked", (400, 501), request(b"Transfer-Encoding: ,chunked", b"Content-Length: 5", body=b"0\r\n\r\n")),
    Refused("length-zero-and-coding", (400,), request(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Refused("coding-xchunked", (501,), coding(b"xchunked")),
    Refused("coding-gzip", (501, 400), coding(b"gzip")),
    Refused("coding-identity", (501, 400), coding(b"identity")),
    Refused("coding-quoted", (400,), coding(b'"chunked"')),
    Refused("coding-vertical-tab", (400,), coding(b"\x0bchunked")),
    Refused("coding-form-feed", (400,), coding(b"\x0cchunked")),
    Refused("coding-nul-behind", (400,), coding(b"chunked\x00")),
    Refused("coding-nbsp", (400,), coding(b"\xa0chunked")),
    Refused("coding-nbsp-behind", (400,), coding(b"chunked\xa0")),
    Refused("coding-nel-behind", (400,), coding(b"chunked\x85")),
    Refused("coding-ff", (400,), coding(b"\xffchunked\xff")),
    Refused("coding-del", (400,), coding(b"chunked\x7f")),
    Refused("coding-empty", (400,), coding(b"")),
    Refused("coding-two-words", (400, 501), coding(b"chunked chunked")),
    Refused("coding-parameter", (400, 501), coding(b"chunked;q=1")),
    Refused("coding-comma-before", (400, 501), coding(b",chunked")),
    Refused("coding-comma-behind", (400, 501), coding(b"chunked,")),
    Refused("coding-twice-in-one", (400,), coding(b"chunked, chunked")),
    Refused("coding-gzip-then-chunked", (501,), coding(b"gzip, chunked")),
    Refused("coding-chunked-then-gzip", (400, 501), coding(b"chunked, gzip")),
    Refused("coding-identity-then-chunked", (400, 501), coding(b"identity, chunked")),
    Refused("codings-chunked-identity", (400,), request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n")),
    Refused("codings-identity-chunked", (400, 501), request(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Refused("codings-chunked-chunked", (400,), request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Refused("coding-folded", (400,), request(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n")),
    Refused("coding-name-over-two-lines", (400,), request(b"Transfer-", b"Encoding: chunked", body=b"0\r\n\r\n")),
    Refused("coding-on-1.0", (400,), request(b"Transfer-Encoding: chunked", line=b"POST /x HTTP/1.0", body=b"0\r\n\r\n")),
    Refused("length-twice-same", (400,), request(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
    Refused("length-twice-other", (400,), request(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!")),
    Refused("length-zero-then-more", (400,), request(b"Content-Length: 0", b"Content-Length: 43", body=b"hello")),
    Refused("length-empty-then-more", (400,), request(b"Content-Length: ", b"Content-Length: 43", body=b"hello")),
    Refused("length-list-same", (400,), length(b"1, 1", b"h")),
    Refused("length-list-other", (400,), length(b"1, 2", b"he")),
    Refused("length-list-three", (400,), length(b"5,5,5", b"hello")),
    Refused("length-plus", (400,), length(b"+1", b"h")),
    Refused("length-minus", (400,), length(b"-1")),
    Refused("length-minus-zero", (400,), length(b"-0")),
    Refused("length-hex", (400,), length(b"0x1", b"h")),
    Refused("length-octal", (400,), length(b"0o5", b"hello")),
    Refused("length-underscore", (400,), length(b"1_0", b"0123456789")),
    Refused("length-arabic-digit", (400,), length("١".encode(), b"h")),
    Refused("length-latin1-superscript", (400,), length(b"\xb9", b"h")),
    Refused("length-empty", (400,), length(b"")),
    Refused("length-word", (400,), length(b"abc")),
    Refused("length-trailing-letter", (400,), length(b"1Z", b"h")),
    Refused("length-inner-space", (400,), length(b"1 0", b"0123456789")),
    Refused("length-point", (400,), length(b"1.0", b"h")),
    Refused("length-exponent", (400,), length(b"1e1", b"0123456789")),
    Refused("length-dollar", (400,), length(b"$9000")),
    Refused("length-control", (400,), length(b"\x011000")),
    Refused("length-control-behind", (400,), length(b"1000\x01")),
    Refused("length-nbsp-behind", (400,), length(b"1000\xa0")),
    Refused("length-2^63", (400, 413), length(b"9223372036854775808")),
    Refused("length-2^64", (400, 413), length(b"18446744073709551616")),
    Refused("length-2^64-plus-5", (400, 413), length(b"18446744073709551621", b"hello")),
    Refused("length-100-digits", (400, 413), length(b"9" * 100)),
    Refused("length-folded", (400,), request(b"Content-Length:", b" 5", body=b"hello")),
]

FIELDS = [
    Refused("space-before-colon", (400,), field(b"X-A : b")),
    Refused("tab-before-colon", (400,), field(b"X-A\t: b")),
    Refused("space-before-colon-of-length", (400,), request(b"Content-Length : 5", body=b"hello")),
    Refused("space-before-colon-of-coding", (400,), request(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n")),
    Refused("space-in-name", (400,), request(b"Transfer- Encoding: chunked", body=b"0\r\n\r\n")),
    Refused("obs-fold", (400,), request(b"X-A: b", b" c", line=b"GET /x HTTP/1.1")),
    Refused("obs-fold-tab", (400,), request(b"X-A: b", b"\tc", line=b"GET /x HTTP/1.1")),
    Refused("obs-fold-of-first-line", (400,), b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n"),
    Refused("space-line-before-fields", (400,), b"GET /x HTTP/1.1\r\n \r\nHost: a\r\n\r\n"),
    Refused("tab-before-first-name", (400,), b"POST /x HTTP/1.1\r\n\tContent-Length: 1\r\nHost: a\r\n\r\nX"),
    Refused("bare-lf-everywhere", (400,), b"GET /x HTTP/1.1\nHost: a\n\n"),
    Refused("bare-lf-request-line", (400,), b"GET /x HTTP/1.1\nHost: a\r\n\r\n"),
    Refused("bare-lf-field", (400,), b"GET /x HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
    Refused("bare-lf-end", (400,), b"GET /x HTTP/1.1\r\nHost: a\r\n\n"),
    Refused("bare-lf-behind-colon", (400,), b"GET /x HTTP/1.1\r\nHost: a\r\nX-A:\n\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"),
    Refused("bare-lf-in-name", (400,), field(b"Te\nst: b")),
    Refused("bare-cr-in-value", (400,), field(b"X-A: b\rc")),
    Refused("bare-cr-smuggles-a-line", (400,), field(b"X-A: b\rContent-Length: 5")),
    Refused("bare-cr-in-name", (400,), field(b"X\r-A: b")),
    Refused("bare-cr-line-end", (400,), b"GET /x HTTP/1.1\rHost: a\r\n\r\n"),
    Refused("bare-cr-before-end", (400,), b"GET /x HTTP/1.1\r\nHost: a\r\n\rZGET /evil: HTTP/1.1\r\nHost: a\r\n\r\n"),
    Refused("cr-cr-lf", (400,), field(b"X-A: b\r")),
    Refused("nul-in-value", (400,), field(b"X-A: b\x00c")),
    Refused("nul-at-end-of-value", (400,), field(b"X-A: b\x00")),
    Refused("nul-in-name", (400,), field(b"X\x00A: b")),
    Refused("nul-in-host", (400,), hosts(b"a\x00.b")),
    *(Refused(f"control-{byte:02x}-in-value", (400,), field(b"X-A: b%cc" % byte)) for byte in (*range(1, 9), 11, 12, *range(14, 32), 127)),
    *(Refused(f"byte-{byte:02x}-in-name", (400,), field(b"X%cA: b" % byte)) for byte in (*range(1, 9), 11, 12, *range(14, 32), *b' "(),/;<=>?@[\\]{}', 127, 0x80, 0x85, 0xA0, 0xEF, 0xFF)),
    Refused("control-before-coding", (400,), request(b"\x01Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    Refused("nel-behind-length-name", (400,), request(b"Content-Length\x85: 10", body=b"0123456789")),
    Refused("no-colon", (400,), field(b"X-A")),
    Refused("no-colon-but-a-space", (400,), request(b"Content-Length 10", body=b"0123456789")),
    Refused("empty-name", (400,), field(b": b")),
    Refused("colon-alone", (400,), field(b":")),
    Refused("colon-alone-truncates", (400,), b"GET /x HTTP/1.1\r\nHost: a\r\n:\r\nI: am chopped off\r\n\r\n"),
]

HOSTS = [
    Refused("no-host", (400,), b"GET /x HTTP/1.1\r\n\r\n"),
    Refused("two-hosts", (400,), hosts(b"a", b"b")),
    Refused("two-hosts-same", (400,), hosts(b"a", b"a")),
    Refused("two-hosts-by-comma", (400,), hosts(b"a, b")),
    Refused("host-slash", (400,), hosts(b"a/b")),
    Refused("host-userinfo", (400,), hosts(b"user@a")),
    Refused("host-space", (400,), hosts(b"a b")),
    Refused("host-question", (400,), hosts(b"a?b")),
    Refused("host-fragment", (400,), hosts(b"a#b")),
    Refused("host-backslash", (400,), hosts(b"a\\b")),
    Refused("host-quote", (400,), hosts(b'a"b')),
    Refused("host-high-byte", (400,), hosts(b"\xffa")),
    Refused("host-port-word", (400,), hosts(b"a:b")),
    Refused("host-port-too-great", (400,), hosts(b"a:65536")),
    Refused("host-two-ports", (400,), hosts(b"a:80:80")),
    Refused("host-open-bracket", (400,), hosts(b"[::1")),
    Refused("host-scheme", (400,), hosts(b"http://a")),
    Refused("absolute-disagrees", (400,), hosts(b"a", line=b"GET http://b/x HTTP/1.1")),
    Refused("absolute-disagrees-port", (400,), hosts(b"a:81", line=b"GET http://a:82/x HTTP/1.1")),
    Refused("absolute-without-host", (400,), b"GET http://a/x HTTP/1.1\r\n\r\n"),
    Refused("absolute-userinfo", (400,), hosts(b"a", line=b"GET http://user@a/x HTTP/1.1")),
    Refused("absolute-empty-authority", (400,), hosts(b"a", line=b"GET http:///x HTTP/1.1")),
    Refused("absolute-other-scheme", (400,), hosts(b"a", line=b"GET file://a/x HTTP/1.1")),
]

REQUEST_LINES = [
    Refused("target-without-slash", (400,), start(b"GET foo HTTP/1.1")),
    Refused("target-exclamation", (400,), start(b"GET ! HTTP/1.1")),
    Refused("target-space", (400,), start(b"GET /a b HTTP/1.1")),
    Refused("target-tab", (400,), start(b"GET /a\tb HTTP/1.1")),
    Refused("target-fragment", (400,), start(b"GET /a#b HTTP/1.1")),
    Refused("target-utf-8", (400,), start("GET /é HTTP/1.1".encode())),
    Refused("target-high-byte", (400,), start(b"GET /\xff HTTP/1.1")),
    Refused("target-overlong-slash", (400,), start(b"GET /\xc0\xaf HTTP/1.1")),
    Refused("target-high-byte-in-query", (400,), start(b"GET /?\x80 HTTP/1.1")),
    Refused("target-nul", (400,), start(b"GET /a\x00b HTTP/1.1")),
    Refused("target-del", (400,), start(b"GET /a\x7fb HTTP/1.1")),
    Refused("target-control", (400,), start(b"GET /a\x01b HTTP/1.1")),
    Refused("target-missing", (400,), start(b"GET HTTP/1.1")),
    Refused("target-empty", (400,), start(b"GET  HTTP/1.1")),
    Refused("target-star-of-get", (400,), start(b"GET * HTTP/1.1")),
    Refused("target-authority-of-get", (400,), start(b"GET a:80 HTTP/1.1")),
    Refused("target-query-only", (400,), start(b"GET ?a HTTP/1.1")),
    Refused("two-spaces-before-target", (400,), start(b"GET  /a HTTP/1.1")),
    Refused("two-spaces-behind-target", (400,), start(b"GET /a  HTTP/1.1")),
    Refused("tab-before-target", (400,), start(b"GET\t/a HTTP/1.1")),
    Refused("space-behind-version", (400, 505), start(b"GET /a HTTP/1.1 ")),
    Refused("space-before-method", (400,), start(b" GET /a HTTP/1.1")),
    Refused("spaces-only", (400,), b"   \r\n\r\n"),
    Refused("method-missing", (400,), start(b"/a HTTP/1.1")),
    Refused("method-not-a-token", (400,), start(b'G=":<>(e),[T];?" /a HTTP/1.1')),
    Refused("method-control", (400,), start(b"G\x01T /a HTTP/1.1")),
    Refused("method-nul", (400,), start(b"\x00 /a HTTP/1.1")),
    Refused("method-connect", (405,), b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    Refused("method-trace", (405,), start(b"TRACE /a HTTP/1.1")),
    Refused("version-0.9", (400, 505), b"GET /a\r\n\r\n"),
    Refused("version-0.9-named", (400, 505), start(b"GET /a HTTP/0.9")),
    Refused("version-1.2", (400, 505), start(b"GET /a HTTP/1.2")),
    Refused("version-1.10", (400, 505), start(b"GET /a HTTP/1.10")),
    Refused("version-1.32", (400, 505), start(b"GET /a HTTP/1.32")),
    Refused("version-01.1", (400, 505), start(b"GET /a HTTP/01.1")),
    Refused("version-2.0", (400, 505), start(b"GET /a HTTP/2.0")),
    Refused("version-9.9", (400, 505), start(b"GET /a HTTP/9.9")),
    Refused("version-overflow", (400, 505), start(b"GET /a HTTP/4294967297.1")),
    Refused("version-lower-case", (400, 505), start(b"GET /a http/1.1")),
    Refused("version-space", (400, 505), start(b"GET /a HTTP/ 1.1")),
    Refused("version-letter", (400, 505), start(b"GET /a HTTP/1.x")),
    Refused("version-no-point", (400, 505), start(b"GET /a HTTP/11")),
    Refused("version-comma", (400, 505), start(b"GET /a HTTP/1,1")),
    Refused("version-crs", (400, 505), start(b"GET / HTTP/\r\r1.1")),
    Refused("version-other-protocol", (400, 505), start(b"GET /a HTTPS/1.1")),
    Refused("version-icy", (400, 505), start(b"GET /a ICY/1.1")),
    Refused("line-feed-in-line", (400,), start(b"GET /a\nHTTP/1.1")),
    Refused("http2-preface", (400, 505), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Refused("client-hello", (400,), bytes.fromhex("16030100a5010000a10303") + bytes(range(128)) + b"\r\n\r\n"),
    Refused("garbage", (400,), bytes(range(128, 256)) * 2 + b"\r\n\r\n"),
]

EXPECTATIONS = [
    Refused("expect-other", (417,), request(b"Expect: 200-ok", b"Content-Length: 5", body=b"hello")),
    Refused("expect-two", (417,), request(b"Expect: 100-continue, x", b"Content-Length: 5", body=b"hello")),
    Refused("expect-empty", (417, 400), request(b"Expect: ", b"Content-Length: 5", body=b"hello")),
]

SIZES = [
    Refused("target-8-KiB-and-1", (414,), start(b"GET /" + b"a" * 8192 + b" HTTP/1.1")),
    Refused("target-30-KiB", (414,), start(b"GET /" + b"a" * 30_000 + b" HTTP/1.1")),
    Refused("target-100-KiB", (414, 431), start(b"GET /" + b"a" * 100_000 + b" HTTP/1.1")),
    Refused("query-9-KiB", (414,), start(b"GET /?" + b"a" * 9_000 + b" HTTP/1.1")),
    Refused("method-100-KiB", (400, 414, 431), start(b"A" * 100_000 + b" / HTTP/1.1")),
    Refused("value-33-KiB", (431,), field(b"X-A: " + b"a" * 33_000)),
    Refused("value-100-KiB", (431,), field(b"X-A: " + b"a" * 100_000)),
    Refused("name-33-KiB", (431, 400), field(b"a" * 33_000 + b": b")),
    Refused("129-fields", (431,), request(*(b"X-%d: a" % n for n in range(128)), line=b"GET /x HTTP/1.1")),
    Refused("1,000-fields", (431,), request(*(b"X-%d: a" % n for n in range(1000)), line=b"GET /x HTTP/1.1")),
    Refused("10,000-fields", (431,), request(*(b"X-%d: a" % n for n in range(10_000)), line=b"GET /x HTTP/1.1")),
]
# fmt: on

HEADS = [*FRAMING, *FIELDS, *HOSTS, *REQUEST_LINES, *EXPECTATIONS]


EARLY = [  # no end of a head ever comes
    Refused(
        "client-hello-alone",
        (400,),
        bytes.fromhex("16030100a5010000a10303") + bytes(range(14, 142)),
    ),
    Refused("http-0.9-line-alone", (400, 505), b"GET /a\r\n"),
    Refused("bare-lf-line-alone", (400,), b"GET /a HTTP/1.1\n"),
    Refused("http2-preface-line-alone", (400, 505), b"PRI * HTTP/2.0\r\n"),
    Refused("garbage-alone", (400,), bytes(range(128, 256))),
    Refused("endless-method", (400, 414, 431), b"A" * 100_000),
    Refused("endless-target", (414,), b"GET /" + b"a" * 100_000),
    Refused("endless-field", (431,), b"GET / HTTP/1.1\r\nX-A: " + b"a" * 100_000),
    Refused("endless-fields", (431,), b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 20_000),
    Refused("endless-empty-lines", (400, 431), b"\r\n" * 50_000),
]


def in_chunks(body: bytes) -> bytes:
    return request(b"Transfer-Encoding: chunked", body=body)


# fmt: off
BODIES = [
    Refused("chunk-size-hex-prefix", (400,), in_chunks(b"0x5\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-minus", (400,), in_chunks(b"-1\r\nh\r\n0\r\n\r\n")),
    Refused("chunk-size-minus-hex-zero", (400,), in_chunks(b"-0x0\r\n\r\n")),
    Refused("chunk-size-plus", (400,), in_chunks(b"+5\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-plus-zero", (400,), in_chunks(b"+0\r\n\r\n")),
    Refused("chunk-size-underscore", (400,), in_chunks(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n")),
    Refused("chunk-size-2^64", (400,), in_chunks(b"10000000000000000\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-2^64-plus-5", (400,), in_chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-16-f", (400,), in_chunks(b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-17-f", (400,), in_chunks(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-space-before", (400,), in_chunks(b" 5\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-spaces-before-zero", (400,), in_chunks(b"      0\r\n\r\n")),
    Refused("chunk-size-space-behind", (400,), in_chunks(b"5 \r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-tab-behind", (400,), in_chunks(b"5\t\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-junk", (400,), in_chunks(b"5these-bytes\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-word", (400,), in_chunks(b"INVALID!!!\r\n")),
    Refused("chunk-size-letter", (400,), in_chunks(b"Z\r\nZZ\r\nZZZ\r\n\r\n")),
    Refused("chunk-size-empty", (400,), in_chunks(b"\r\n\r\n")),
    Refused("chunk-size-empty-with-extension", (400,), in_chunks(b";a\r\n\r\n")),
    Refused("chunk-size-arabic-digit", (400,), in_chunks("٥\r\nhello\r\n0\r\n\r\n".encode())),
    Refused("chunk-size-nul", (400,), in_chunks(b"5\x00\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-size-high-byte", (400,), in_chunks(b"5\xa0\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-line-lf", (400,), in_chunks(b"5\nhello\r\n0\r\n\r\n")),
    Refused("chunk-line-cr", (400,), in_chunks(b"5\rhello\r\n0\r\n\r\n")),
    Refused("chunk-line-cr-other", (400,), in_chunks(b"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n")),
    Refused("chunk-extension-lf", (400,), in_chunks(b"5;a\nhello\r\n0\r\n\r\n")),
    Refused("chunk-extension-semicolon-lf", (400,), in_chunks(b"5;\nhello\r\n0\r\n\r\n")),
    Refused("chunk-extension-1;a", (400,), in_chunks(b"1;a\nh\r\n0\r\n\r\n")),
    Refused("chunk-extension-cr", (400,), in_chunks(b"5;a\rX\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-extension-nul", (400,), in_chunks(b"5;\x00ext\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-extension-64-KiB", (400,), in_chunks(b"5;a=" + b"a" * 65_536 + b"\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-zeros-64-KiB", (400,), in_chunks(b"0" * 65_536 + b"5\r\nhello\r\n0\r\n\r\n")),
    Refused("chunk-end-missing", (400,), in_chunks(b"5\r\nhello0\r\n\r\n")),
    Refused("chunk-end-lf", (400,), in_chunks(b"5\r\nhello\n0\r\n\r\n")),
    Refused("chunk-end-cr", (400,), in_chunks(b"5\r\nhello\r0\r\n\r\n")),
    Refused("chunk-end-other", (400,), in_chunks(b"5\r\nhelloXX0\r\n\r\n")),
    Refused("chunk-too-long", (400,), in_chunks(b"5\r\nhello!!\r\n0\r\n\r\n")),
    Refused("chunk-extra-line", (400,), in_chunks(b"5\r\nhello\r\n\r\n0\r\n\r\n")),
    Refused("trailer-lf", (400,), in_chunks(b"0\r\nX:POST / HTTP/1.1\nA: b\r\n\r\n")),
    Refused("last-chunk-lf", (400,), in_chunks(b"5\r\nhello\r\n0\n\n")),
    Refused("last-line-lf", (400,), in_chunks(b"5\r\nhello\r\n0\r\n\n")),
    Refused("trailer-space-before-colon", (400,), in_chunks(b"0\r\nX : b\r\n\r\n")),
    Refused("trailer-no-colon", (400,), in_chunks(b"0\r\nX\r\n\r\n")),
    Refused("trailer-fold", (400,), in_chunks(b"0\r\nX: a\r\n b\r\n\r\n")),
    Refused("trailer-nul", (400,), in_chunks(b"0\r\nX: a\x00\r\n\r\n")),
    Refused("trailer-cr", (400,), in_chunks(b"0\r\nX: a\rb\r\n\r\n")),
    Refused("trailer-empty-name", (400,), in_chunks(b"0\r\n: a\r\n\r\n")),
    Refused("trailers-64-KiB", (400, 431), in_chunks(b"0\r\n" + b"X: %s\r\n" % (b"a" * 1000) * 65 + b"\r\n")),
]
# fmt: on


def names(table: list[Refused]) -> object:
    return pytest.mark.parametrize("vector", table, ids=[each.name for each in table])


@names([*HEADS, *SIZES])
def test_whole(front: Front, vector: Refused) -> None:
    """Refused, closed, and the request behind it is never read."""
    with front.wire() as wire:
        wire.send(vector.sent + SMUGGLED)
        assert wire.read().status in vector.status
        assert wire.ended()
        assert wire.end == CLOSED
    front.verify_nothing_came()


@names(HEADS)
def test_byte_by_byte(front: Front, vector: Refused) -> None:
    """Every split of it means the same."""
    with front.wire() as wire:
        wire.send_each(each_byte(vector.sent))
        assert wire.read().status in vector.status
        assert wire.ended()
    front.verify_nothing_came()


@names([*HEADS, *SIZES])
def test_behind_a_good_one(front: Front, vector: Refused) -> None:
    """The good one is answered first and whole, then the refusal comes."""
    with front.wire() as wire:
        wire.send(GOOD + vector.sent + SMUGGLED)
        assert wire.read().body == b"server"
        assert wire.read().status in vector.status
        assert wire.ended()
    front.verify_nothing_came(but=1)


@names(EARLY)
@pytest.mark.parametrize("form", ["whole", "pieces"])
def test_before_its_end(front: Front, vector: Refused, form: str) -> None:
    """Nobody waits for the end of what cannot be right."""
    step = len(vector.sent) if form == "whole" else max(1, len(vector.sent) // 300)
    with front.wire() as wire:
        wire.send_each([vector.sent[at : at + step] for at in range(0, len(vector.sent), step)])
        assert wire.read().status in vector.status
        assert wire.ended()
    front.verify_nothing_came()


def verify_no_whole_request(server: Recorder, good: int) -> None:
    assert [each.target for each in server.requests] == [b"/good"] * good
    assert b"smuggled" not in server.received


@names(BODIES)
@pytest.mark.parametrize("form", ["whole", "bytes", "behind"])
def test_body(front: Front, vector: Refused, form: str) -> None:
    """The server never sees a whole request of it, nor what stood behind."""
    with front.wire() as wire:
        if form == "whole":
            wire.send(vector.sent + SMUGGLED)
        elif form == "behind":
            wire.send(GOOD + vector.sent + SMUGGLED)
            assert wire.read().body == b"server"
        else:
            wire.send_each(each_byte(vector.sent[:4096]), 0)
            wire.send(vector.sent[4096:] + SMUGGLED)
        assert wire.read().status in vector.status
        assert wire.ended()
    front.fence()
    verify_no_whole_request(front.server, good=2 if form == "behind" else 1)
    assert len(front.server.open()) <= 1, "the half fed connection is still open"
