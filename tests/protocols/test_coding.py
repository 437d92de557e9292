"""Codings: what a client would have, and compressors under any cut of their input and output."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourseven.l7.probe import accepted, coded
from fourseven.protocols.coding import Coding, built

NONE, GZIP, BR, ZSTD = (
    Coding.CODING_NONE,
    Coding.CODING_GZIP,
    Coding.CODING_BROTLI,
    Coding.CODING_ZSTD,
)
NAMES = {GZIP: "gzip", BR: "br", ZSTD: "zstd"}


def opened(coding: Coding, data: bytes) -> bytes:
    """Read by somebody else's decoder; what is not there yet is not there yet."""
    if coding == GZIP:
        reader = zlib.decompressobj(31)
        return reader.decompress(data)
    if coding == BR:
        brotli = pytest.importorskip("brotli", reason="brotli (the Python module) is missing")
        reader = brotli.Decompressor()
        body = reader.process(data)
        while more := reader.process(b""):
            body += more
        return body
    zstandard = pytest.importorskip("zstandard", reason="zstandard is missing")
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def codings() -> list:
    return [
        pytest.param(
            coding,
            id=name,
            marks=pytest.mark.skipif(name not in built(), reason=f"{name} was not built in"),
        )
        for coding, name in NAMES.items()
    ]


@pytest.mark.parametrize(
    "values, coding",
    [
        ([], NONE),
        ([b""], NONE),
        ([b" "], NONE),
        ([b"gzip"], GZIP),
        ([b"GZip"], GZIP),
        ([b"x-gzip"], GZIP),
        ([b"br, gzip"], BR),
        ([b"gzip, br"], BR),  # of equals the server's first
        ([b"gzip, deflate, br, zstd"], ZSTD),  # what browsers send
        ([b"gzip;q=1.0, br;q=0.9"], GZIP),
        ([b"gzip;q=0.5, br;q=0.501"], BR),
        ([b"gzip;q=0"], NONE),
        ([b"gzip;q=0.0, br;q=0.001"], BR),
        ([b"*"], ZSTD),
        ([b"*;q=0"], NONE),
        ([b"*;q=0, gzip"], GZIP),
        ([b"zstd;q=0, *"], BR),
        ([b"zstd;q=0,br;q=0,*;q=0.1"], GZIP),
        ([b"identity"], NONE),
        ([b"identity, gzip;q=0.9"], NONE),
        ([b"identity, gzip"], GZIP),
        ([b"identity;q=0, gzip;q=0.001"], GZIP),
        ([b"identity;q=0"], NONE),
        ([b"identity;q=0.5, *;q=0.4"], NONE),
        ([b"deflate"], NONE),
        ([b"compress, deflate;q=1, gzip"], GZIP),
        ([b"gzip ; q=0.5 , br\t;\tq=0.4"], GZIP),
        ([b"gzip;Q=0.5"], GZIP),
        ([b",,gzip,,"], GZIP),
        ([b"gzip;q=0,", b"br"], BR),  # two headers are one list
        ([b"br", b"br;q=0"], NONE),  # the last word counts
        ([b"gzip;q=1."], GZIP),
        # no weights: such an item is as if it were not there
        ([b"gzip;q=2"], NONE),
        ([b"gzip;q=1.001"], NONE),
        ([b"gzip;q=1.0000"], NONE),
        ([b"gzip;q=0.12345"], NONE),
        ([b"gzip;q=-1"], NONE),
        ([b"gzip;q=1e3"], NONE),
        ([b"gzip;q="], NONE),
        ([b"gzip;q"], NONE),
        ([b"gzip;"], NONE),
        ([b"gzip;level=9"], NONE),
        ([b"gzip;q=1;q=0"], NONE),
        ([b"gzip q=1"], NONE),
        ([b"gzip;q=" + b"9" * 5000 + b", br;q=0.5"], BR),
        ([b"gzip;q=0." + b"0" * 5000 + b"1"], NONE),
        ([b"gzi"], NONE),
        ([b"gzipp"], NONE),
        ([b"\xff\x00gzip"], NONE),
        ([b"x" * 30000], NONE),
        ([b"a;q=0.1," * 1000 + b"gzip"], GZIP),
        ([b"br;q=0.1," * 1000 + b"gzip;q=0.2"], GZIP),
        ([b"," * 30000], NONE),
    ],
)
def test_the_coding_that_a_client_likes_best(values, coding):
    assert accepted(values, ZSTD, BR, GZIP) == coding


@pytest.mark.parametrize(
    "order, coding",
    [((GZIP, BR), GZIP), ((BR, GZIP), BR), ((ZSTD,), ZSTD), ((), NONE)],
)
def test_among_equals_the_order_of_the_server_counts(order, coding):
    assert accepted([b"gzip, br, zstd"], *order) == coding


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_no_header_is_beyond_it(values):
    assert accepted(values, ZSTD, BR, GZIP) in (NONE, GZIP, BR, ZSTD)


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda one, many: one * many, st.binary(min_size=1, max_size=9), st.integers(0, 9000)
        ),
    ),
    max_size=8,
)


@pytest.mark.parametrize("coding", codings())
@settings(max_examples=40, deadline=None)
@given(
    pieces=PIECES,
    room=st.sampled_from([7, 64, 512, 69_000]),
    level=st.integers(1, 6),
    flush=st.booleans(),
)
def test_any_cut_of_a_body_opens_to_the_same_bytes(coding, pieces, room, level, flush):
    out = coded(coding, level, pieces, room, flush)
    assert opened(coding, b"".join(out)) == b"".join(pieces)
    if not flush:
        return
    for at in range(len(pieces)):  # each piece can be read before the next one comes
        assert opened(coding, b"".join(out[: at + 1])) == b"".join(pieces[: at + 1])
