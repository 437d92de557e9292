"""Chunked bodies: the strict grammar, the plain form that is passed on, and every way to cut them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.protocols import probe
from fourseven.protocols.chunked import (
    CHUNK_LINE_MAX,
    EXTENSIONS_MAX,
    TRAILERS_MAX,
    ChunkedMode,
)

KEEP, DECODE = ChunkedMode.CHUNKED_KEEP, ChunkedMode.CHUNKED_DECODE
END = b"0\r\n\r\n"

ACCEPTED = [
    ("empty", END, END, b""),
    ("one", b"5\r\nhello\r\n" + END, b"5\r\nhello\r\n" + END, b"hello"),
    ("two", b"1\r\na\r\n2\r\nbc\r\n" + END, b"1\r\na\r\n2\r\nbc\r\n" + END, b"abc"),
    ("leading zeros", b"0005\r\nhello\r\n000\r\n\r\n", b"5\r\nhello\r\n" + END, b"hello"),
    ("capitals", b"A\r\n0123456789\r\n" + END, b"a\r\n0123456789\r\n" + END, b"0123456789"),
    ("extension", b"1;a\r\nx\r\n0;b=c\r\n\r\n", b"1\r\nx\r\n" + END, b"x"),
    ("quoted", b'1;a="b;=\\" \t";c\r\nx\r\n' + END, b"1\r\nx\r\n" + END, b"x"),
    ("trailer", b"0\r\nX-Sum:  1 \r\n\r\n", b"0\r\nX-Sum:  1 \r\n\r\n", b""),
    ("trailer etag", b"0\r\nETag: a\r\n\r\n", b"0\r\nETag: a\r\n\r\n", b""),
    ("trailer empty", b"0\r\nA:\r\n\r\n", b"0\r\nA:\r\n\r\n", b""),
    ("data like an end", b"5\r\n0\r\n\r\n\r\n" + END, b"5\r\n0\r\n\r\n\r\n" + END, b"0\r\n\r\n"),
]  # fmt: skip

REFUSED = [
    ("hexadecimal prefix", b"0x1\r\na\r\n" + END),
    ("minus", b"-1\r\na\r\n" + END),
    ("plus", b"+1\r\na\r\n" + END),
    ("underscore", b"1_0\r\n" + b"a" * 16 + b"\r\n" + END),
    ("2^63", b"8000000000000000\r\na"),
    ("2^64", b"10000000000000000\r\na"),
    ("2^64 + 1", b"10000000000000001\r\na\r\n" + END),
    ("leading space", b" 1\r\na\r\n" + END),
    ("leading tab", b"\t1\r\na\r\n" + END),
    ("trailing space", b"1 \r\na\r\n" + END),
    ("space before extension", b"1 ;a\r\na\r\n" + END),
    ("junk", b"1g\r\na\r\n" + END),
    ("word", b"xyz\r\n"),
    ("empty size", b"\r\n" + END),
    ("no size", b";a\r\n" + END),
    ("arabic digit", "\u0661\r\na\r\n".encode() + END),
    ("bare LF", b"1\na\r\n" + END),
    ("bare CR", b"1\ra\r\n" + END),
    ("CR CR LF", b"1\r\r\na\r\n" + END),
    ("LF in extension", b"1;a\nx\r\n" + END),
    ("CR in extension", b"1;a\rb\r\nx\r\n" + END),
    ("NUL in extension", b"1;a\x00\r\nx\r\n" + END),
    ("extension without name", b"1;\r\nx\r\n" + END),
    ("extension without value", b"1;a=\r\nx\r\n" + END),
    ("extension with space", b"1; a\r\nx\r\n" + END),
    ("LF in quotes", b'1;a="\n"\r\nx\r\n' + END),
    ("CR in quotes", b'1;a="\r\n"\r\nx\r\n' + END),
    ("escaped LF in quotes", b'1;a="\\\n"\r\nx\r\n' + END),
    ("behind the quotes", b'1;a="b"c\r\nx\r\n' + END),
    ("data too long", b"1\r\nab\r\n" + END),
    ("data end LF", b"1\r\na\n" + END),
    ("data end CR", b"1\r\na\rX"),
    ("data end missing", b"1\r\na" + END),
    ("last line LF", b"0\r\n\n"),
    ("last chunk LF", b"0\n\r\n"),
    ("last line CR", b"0\r\n\rX"),
    ("trailer LF", b"0\r\nA: b\n\r\n"),
    ("trailer fold", b"0\r\nA: b\r\n c\r\n\r\n"),
    ("trailer space before colon", b"0\r\nA : b\r\n\r\n"),
    ("trailer without colon", b"0\r\nA\r\n\r\n"),
    ("trailer without name", b"0\r\n: b\r\n\r\n"),
    ("trailer NUL", b"0\r\nA: \x00\r\n\r\n"),
    ("trailer CR", b"0\r\nA: b\rc\r\n\r\n"),
]

FORBIDDEN = [
    b"Content-Length", b"content-length", b"Transfer-Encoding", b"Host", b"Connection", b"Keep-Alive",
    b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade", b"Authorization", b"Cookie", b"Set-Cookie",
    b"X-Forwarded-For", b"Content-Type", b"Content-Encoding", b"Cache-Control", b"Content_Length",
    b"X_Forwarded_For", b"Expect",
]  # fmt: skip


def cuts(data: bytes) -> list[list[bytes]]:
    each = [data[i : i + 1] for i in range(len(data))]
    halves = [[data[:i], data[i:]] for i in range(len(data) + 1)]
    return [[data], each, *halves]


@pytest.mark.parametrize(
    "data, kept, body", [r[1:] for r in ACCEPTED], ids=[r[0] for r in ACCEPTED]
)
def test_accepted(data: bytes, kept: bytes, body: bytes) -> None:
    for mode, out in ((KEEP, kept), (DECODE, body)):
        for pieces in cuts(data):
            seen = probe.chunked(pieces, mode)
            assert (seen["out"], seen["done"], seen["rest"]) == (out, True, b"")
            assert seen["total"] == len(body)
        for pieces in cuts(data + b"GET / HTTP/1.1\r\n"):
            assert probe.chunked(pieces, mode)["rest"] == b"GET / HTTP/1.1\r\n"
    for size in range(len(data)):
        assert not probe.chunked([data[:size]])["done"]


@pytest.mark.parametrize("data", [r[1] for r in REFUSED], ids=[r[0] for r in REFUSED])
@pytest.mark.parametrize("mode", [KEEP, DECODE])
def test_refused(data: bytes, mode: int) -> None:
    for before in (b"", b"3\r\nabc\r\n"):
        for pieces in cuts(before + data):
            assert probe.chunked(pieces, mode)["result"] == -400


@pytest.mark.parametrize("name", FORBIDDEN, ids=repr)
def test_a_trailer_that_belongs_into_the_head_is_dropped(name: bytes) -> None:
    data = b"0\r\nA: 1\r\n" + name + b": 5\r\nB: 2\r\n\r\n"
    for pieces in cuts(data):
        seen = probe.chunked(pieces, KEEP)
        assert (seen["out"], seen["done"]) == (b"0\r\nA: 1\r\nB: 2\r\n\r\n", True)


def test_the_longest_size_is_accepted() -> None:
    seen = probe.chunked([b"7fffffffffffffff\r\nabc"])
    assert (seen["result"], seen["total"]) == (0, 3)
    assert seen["out"] == b"7fffffffffffffff\r\nabc"


def test_lines_are_bounded() -> None:
    fits = CHUNK_LINE_MAX - 4
    assert probe.chunked([b"1;" + b"a" * fits + b"\r\nx"])["out"] == b"1\r\nx"
    for line in (
        b"1;" + b"a" * 5000,
        b"0" * 5000,
        b'1;a="' + b"b" * 5000,
        b"0\r\nA: " + b"b" * 20_000,
    ):
        assert probe.chunked([line])["result"] == -400
        assert probe.chunked([line[i : i + 1] for i in range(len(line))])["result"] == -400


def test_extensions_are_bounded_over_the_body() -> None:
    chunk = b"1;" + b"a" * 61 + b"\r\nx\r\n"
    enough = EXTENSIONS_MAX // 62
    assert probe.chunked([chunk * enough])["result"] == 0
    assert probe.chunked([chunk * (enough + 1)])["result"] == -400


def test_trailers_are_bounded() -> None:
    trailer = b"A: " + b"b" * 59 + b"\r\n"
    enough = TRAILERS_MAX // 64
    assert probe.chunked([b"0\r\n" + trailer * enough + b"\r\n"])["done"]
    assert probe.chunked([b"0\r\n" + trailer * (enough + 1)])["result"] == -400


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=40),
            st.integers(0, 4),
            st.sampled_from([b"", b";a", b";a=b", b';a="b;c";d']),
        ),
        max_size=6,
    ),
    st.lists(st.integers(1, 20), min_size=1),
)
def test_what_is_passed_on_is_the_same_body(
    chunks: list[tuple[bytes, int, bytes]], steps: list[int]
) -> None:
    data = b"".join(
        b"0" * zeros + b"%x%s\r\n%s\r\n" % (len(body), extension, body)
        for body, zeros, extension in chunks
    )
    data += b"0\r\nA: b\r\nHost: c\r\n\r\n"
    body = b"".join(chunk[0] for chunk in chunks)
    pieces, at = [], 0
    while at < len(data):
        step = steps[len(pieces) % len(steps)]
        pieces.append(data[at : at + step])
        at += step
    kept = probe.chunked(pieces, KEEP)
    assert (kept["done"], kept["total"]) == (True, len(body))
    again = probe.chunked([kept["out"]], KEEP)
    assert again["out"] == kept["out"], "the plain form is stable"
    assert probe.chunked([kept["out"]], DECODE)["out"] == body
    assert probe.chunked(pieces, DECODE)["out"] == body
    assert kept["out"].endswith(b"0\r\nA: b\r\n\r\n")


@given(st.binary(max_size=60), st.integers(1, 7))
def test_any_bytes_give_one_result_however_cut(data: bytes, step: int) -> None:
    whole = probe.chunked([data])
    cut = probe.chunked([data[i : i + step] for i in range(0, len(data), step)])
    assert (whole["result"], whole["done"]) == (cut["result"], cut["done"])
    if whole["result"] == 0:
        assert (whole["out"], whole["rest"]) == (cut["out"], cut["rest"])
