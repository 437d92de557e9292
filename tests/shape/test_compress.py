"""Compression on the wire: which answers, with which head, and the same bytes at the other end."""

from __future__ import annotations

import random
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fourseven.forms import RouteFilter
from fourseven.protocols.coding import built
from support.front import Front, Stage
from support.http2 import Http2, request
from support.http2_back import back_of
from support.http2_server import Call
from support.recorder import Conversation
from support.service import settled
from support.wire import EndedError, Message, chunked

TEXT = b"".join(b"<p>line %d of a page that is worth it</p>\n" % n for n in range(200))
HTML = b"Content-Type: text/html; charset=utf-8\r\n"
GZIP = "Accept-Encoding: gzip"


def opened(answer: Message) -> bytes:
    return gunzip(answer.body, answer.get("content-encoding"))


def gunzip(body: bytes, coding: bytes | None) -> bytes:
    """The whole body; an error where it is not."""
    if coding is None:
        return body
    if coding == b"gzip":
        reader = zlib.decompressobj(31)
        plain = reader.decompress(body) + reader.flush()
        assert reader.eof
        assert not reader.unused_data
        return plain
    if coding == b"br":
        return pytest.importorskip("brotli", reason="the module brotli is missing").decompress(body)
    assert coding == b"zstd"
    zstandard = pytest.importorskip("zstandard", reason="the module zstandard is missing")
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


def page(headers: bytes = HTML, status: bytes = b"200 OK", body: bytes = TEXT):
    def script(talk: Conversation, asked: Message) -> None:
        talk.read_body(asked)
        if asked.method == b"HEAD":
            talk.send(b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, headers, len(body)))
        else:
            talk.answer(body, status, headers)

    return script


def said(**compress) -> dict:
    return {"routes": [{"backend": "all", "filters": [{"compress": compress}]}]}


VARIANTS = {  # by path; all else is compressed as it is if the file says nothing
    "always": {"credentials": "always"},
    "never": {"credentials": "never"},
    "bare": {"ask_servers": False, "types": "*/*", "min_length": 0},
    "one": {"at_once": 1, "codings": "gzip"},
    "quick": {"codings": ["gzip"], "levels": {"gzip": 1}},
    "best": {"codings": ["gzip"], "levels": {"gzip": 9}},
}


@pytest.fixture(scope="module")
def common() -> Iterator[Front]:
    with Stage() as stage:
        routes = [
            {"match": {"path": f"/{name}"}, "backend": "all", "filters": [{"compress": words}]}
            for name, words in VARIANTS.items()
        ]
        routes.append({"backend": "all", "filters": [{"compress": {}}]})
        yield stage.front(http_versions=[1.1, 2], routes=routes)


@pytest.fixture
def front(common: Front) -> Front:
    common.server.scripts.clear()
    return common


def counted(front: Front) -> dict:
    return front.balancer.counters()["workers"]


def at_rest(front: Front) -> bool:
    workers = counted(front)
    names = ("compressors", "buffers_large", "buffers_small")
    return not any(workers[name] for name in names)


# ---- which answers ----


@pytest.mark.parametrize("coding", [pytest.param(name, id=name) for name in built()])
def test_each_coding(front: Front, coding: str):
    front.server.on(b"", page())
    before = counted(front)
    answer = front.balancer.get("/", f"Accept-Encoding: {coding}")
    assert answer.get("content-encoding") == coding.encode()
    assert answer.get("vary") == b"Accept-Encoding"
    assert answer.get("content-length") is None
    assert answer.framing == "chunked"
    assert len(answer.body) < len(TEXT) // 4
    assert opened(answer) == TEXT
    assert settled(lambda: at_rest(front))
    after = counted(front)
    assert after["compressed"] == before["compressed"] + 1
    assert after["compressed_in"] == before["compressed_in"] + len(TEXT)
    assert after["compressed_out"] == before["compressed_out"] + len(answer.body)


@pytest.mark.parametrize(
    "headers, status, size, why",
    [
        (HTML, b"204 No Content", 0, "status"),
        (HTML + b"Content-Range: bytes 0-8191/9000\r\n", b"206 Partial Content", 8192, "status"),
        (HTML + b"Content-Encoding: br\r\n", b"200 OK", 8192, "encoded"),
        (HTML + b"Content-Encoding: identity\r\n", b"200 OK", 8192, "encoded"),
        (b"Content-Type: image/png\r\n", b"200 OK", 8192, "type"),
        (b"", b"200 OK", 8192, "type"),
        (b"Content-Type: application/grpc\r\n", b"200 OK", 8192, "type"),
        (b"Content-Type: application/grpc+json\r\n", b"200 OK", 8192, "type"),
        (b"Content-Type: text\r\n", b"200 OK", 8192, "type"),
        (HTML, b"200 OK", 1023, "small"),
        (HTML, b"200 OK", 0, "small"),
        (HTML + b"Cache-Control: public, No-Transform\r\n", b"200 OK", 8192, "no_transform"),
        (HTML + b"Content-Digest: sha-256=:AAAA:\r\n", b"200 OK", 8192, "digest"),
        (HTML + b"Content-MD5: AAAA\r\n", b"200 OK", 8192, "digest"),
    ],
)
def test_what_is_left_alone_for_all(front: Front, headers, status, size, why):
    def script(talk: Conversation, asked: Message) -> None:
        length = b"" if status.startswith(b"204") else b"Content-Length: %d\r\n" % size
        talk.send(
            b'HTTP/1.1 %s\r\n%s%sAccept-Ranges: bytes\r\nETag: "1"\r\n\r\n'
            % (status, headers, length)
        )
        talk.send(b"x" * size)

    front.server.on(b"", script)
    before = counted(front)["uncompressed"]
    answer = front.balancer.get("/", GZIP)
    assert answer.body == b"x" * size
    assert answer.get("etag") == b'"1"'
    assert answer.get("accept-ranges") == b"bytes"
    assert answer.get("vary") is None
    after = counted(front)["uncompressed"]
    assert {name: n - before[name] for name, n in after.items() if n != before[name]} == {why: 1}


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        "TEXT/CSS;charset=x",
        "application/problem+json",
        "image/svg+xml",
        "application/json",
    ],
)
@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"500 Oops"])
def test_types_and_statuses(front: Front, kind, status):
    front.server.on(b"", page(b"Content-Type: %s\r\n" % kind.encode(), status))
    answer = front.balancer.get("/", GZIP)
    assert answer.get("content-encoding") == b"gzip"
    assert opened(answer) == TEXT


@pytest.mark.parametrize(
    "line, why",
    [
        ("X-None: 1", "client"),
        ("Accept-Encoding: identity", "client"),
        ("Accept-Encoding: gzip;q=0, *;q=0", "client"),
        ("Accept-Encoding: gzip;q=" + "9" * 9000, "client"),
        ("Accept-Encoding: " + "a, " * 1000, "client"),
    ],
)
def test_who_takes_none_gets_it_as_it_is_and_caches_hear_of_it(front: Front, line, why):
    front.server.on(b"", page(HTML + b'ETag: "1"\r\nAccept-Ranges: bytes\r\n'))
    answer = front.balancer.get("/", line)
    assert answer.body == TEXT
    assert answer.framing == "length"
    assert answer.get("vary") == b"Accept-Encoding"
    assert answer.get("etag") == b'"1"'
    assert answer.get("accept-ranges") == b"bytes"


def test_a_client_of_http_1_0(front: Front):
    front.server.on(b"", page())
    answer = front.balancer.ask(b"GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
    assert answer.body == TEXT
    assert answer.get("content-encoding") is None
    assert answer.get("vary") == b"Accept-Encoding"


@pytest.mark.parametrize(
    "given, tag",
    [
        (b'"abc"', b'W/"abc"'),
        (b'W/"abc"', b'W/"abc"'),
        (b'"' + b"x" * 124 + b'"', b'W/"' + b"x" * 124 + b'"'),
        (b'"' + b"x" * 125 + b'"', None),
    ],
)
def test_the_tag_is_weak(front: Front, given, tag):
    front.server.on(b"", page(HTML + b"ETag: %s\r\nAccept-Ranges: bytes\r\n" % given))
    answer = front.balancer.get("/", GZIP)
    assert answer.get("etag") == tag
    assert answer.get("accept-ranges") is None
    assert opened(answer) == TEXT


@pytest.mark.parametrize(
    "vary, lines",
    [
        (b"Origin", [b"Origin", b"Accept-Encoding"]),
        (b"accept-encoding", [b"accept-encoding"]),
        (b"Origin, Accept-Encoding ,X", [b"Origin, Accept-Encoding ,X"]),
        (b"*", [b"*"]),
        (b"X-Accept-Encoding", [b"X-Accept-Encoding", b"Accept-Encoding"]),
    ],
)
def test_vary(front: Front, vary, lines):
    front.server.on(b"", page(HTML + b"Vary: %s\r\n" % vary))
    assert front.balancer.get("/", GZIP).all("vary") == lines


def test_head_gets_the_head_of_get(front: Front):
    front.server.on(b"", page(HTML + b'ETag: "1"\r\nAccept-Ranges: bytes\r\n'))
    with front.wire() as wire:
        for _ in range(2):
            wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
            answer = wire.read(b"HEAD")
            assert answer.get("content-encoding") == b"gzip"
            assert answer.get("etag") == b'W/"1"'
            assert answer.get("content-length") is None
            assert answer.get("vary") == b"Accept-Encoding"
        wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = wire.read(b"HEAD")
        assert answer.get("content-length") == b"%d" % len(TEXT)
        assert answer.get("content-encoding") is None
    assert settled(lambda: at_rest(front))


def test_304_is_left_alone(front: Front):
    front.server.on(
        b"", lambda talk, asked: talk.send(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')
    )
    answer = front.balancer.get("/", GZIP, 'If-None-Match: W/"1"')
    assert answer.status == 304
    assert answer.get("content-encoding") is None
    assert b'W/"1"' in [head.get("if-none-match") for head in front.server.heads]


# ---- BREACH ----


@pytest.mark.parametrize(
    "lines, compressed",
    [
        (["Cookie: a=b"], True),
        (["Cookie: a=b", "Sec-Fetch-Site: same-origin"], True),
        (["Cookie: a=b", "Sec-Fetch-Site: none"], True),
        (["Sec-Fetch-Site: cross-site"], True),
        (["Cookie: a=b", "Sec-Fetch-Site: cross-site"], False),
        (["Authorization: Basic eDp5", "Sec-Fetch-Site: cross-site"], False),
        (["Cookie: a=b", "Referer: https://evil.example/page"], False),
        (["Cookie: a=b", "Origin: https://evil.example"], False),
        (["Cookie: a=b", "Origin: null"], False),
        (["Cookie: a=b", "Referer: https://a/page"], True),
        (["Cookie: a=b", "Referer: https://A:8443/page"], True),
        (["Cookie: a=b", "Origin: https://a.evil.example"], False),
        (["Cookie: a=b", "Referer: https://evil.example/", "Sec-Fetch-Site: same-origin"], True),
    ],
)
def test_another_site_makes_nobody_send_compressed_secrets(front: Front, lines, compressed):
    front.server.on(b"", page(HTML + b"Set-Cookie: s=1\r\n"))
    answer = front.balancer.get("/", GZIP, *lines)
    assert (answer.get("content-encoding") == b"gzip") == compressed
    assert answer.get("vary") == b"Accept-Encoding"
    assert opened(answer) == TEXT


@pytest.mark.parametrize("word, compressed", [("always", True), ("never", False)])
def test_the_file_may_say_otherwise(front: Front, word, compressed):
    front.server.on(b"", page())
    line = "Sec-Fetch-Site: cross-site" if compressed else "Sec-Fetch-Site: same-origin"
    answer = front.balancer.get(f"/{word}", GZIP, "Cookie: a=b", line)
    assert (answer.get("content-encoding") == b"gzip") == compressed
    assert front.balancer.get(f"/{word}", GZIP).get("content-encoding") == b"gzip"


# ---- bodies ----


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(body) + 1) for place in places} | {0, len(body)})
    return [body[a:b] for a, b in pairwise(edges)]


BODIES = st.builds(
    lambda seed, size, plain: (
        (b"%x " % seed * (size // 4))[:size] if plain else random.Random(seed).randbytes(size)
    ),
    st.integers(0, 2**32),
    st.integers(0, 200_000),
    st.booleans(),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    body=BODIES,
    places=st.lists(st.integers(0, 200_000), max_size=6),
    framing=st.sampled_from(["length", "chunked", "close"]),
    coding=st.sampled_from(sorted(built())),
    version=st.sampled_from([1, 2]),
)
def test_any_body_in_any_pieces(front: Front, body, places, framing, coding, version):
    pieces = cut(body, places)

    def script(talk: Conversation, asked: Message) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        if framing == "length":
            talk.send(head + b"Content-Length: %d\r\n\r\n" % len(body), *pieces)
        elif framing == "chunked":
            talk.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            talk.send(*[chunked(one)[:-5] for one in pieces if one], b"0\r\n\r\n")
        else:
            talk.send(head + b"Connection: close\r\n\r\n", *pieces)
            talk.finish()

    front.server.on(b"", script)
    if version == 1:
        answer = front.balancer.get("/", f"Accept-Encoding: {coding}")
        assert opened(answer) == body
        return
    with Http2(front.wire()) as h2:
        h2.grant(0, 1 << 20)
        id = h2.ask(request("GET", "/", ("accept-encoding", coding)))
        h2.grant(id, 1 << 20)
        answer = h2.answer(id)
        assert answer.reset is None
        assert answer.get("content-length") is None or answer.get("content-encoding") is None
        assert gunzip(answer.body, answer.get("content-encoding")) == body


TRAILERS = b"X-One: 1\r\nX-Two: " + b"2" * 9000 + b"\r\n"


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_trailers_are_kept(front: Front, size):
    head = b"HTTP/1.1 200 OK\r\n" + HTML + b"Transfer-Encoding: chunked\r\n\r\n"
    body = (TEXT * 20)[:size]
    whole = head + chunked(*([body] if size else []), trailers=TRAILERS)
    front.server.on(b"", lambda talk, asked: talk.send(whole[:-9010], whole[-9010:]))
    answer = front.balancer.get("/", GZIP)
    assert opened(answer) == body
    assert [name for name, _ in answer.trailers] == [b"X-One", b"X-Two"]
    with Http2(front.wire()) as h2:
        got = h2.get(request("GET", "/", ("accept-encoding", "gzip")))
        assert gunzip(got.body, got.get("content-encoding")) == body
        assert dict(got.trailers)[b"x-two"] == b"2" * 9000


def test_a_server_of_http_2(stage: Stage):
    back = back_of(stage, **said())

    def script(call: Call) -> None:
        call.head(("content-type", "text/html"), ("etag", '"1"')).pour(TEXT)

    back.server.scripts[b"/"] = script
    answer = back.balancer.get("/", GZIP)
    assert opened(answer) == TEXT
    with Http2(back.wire()) as h2:
        got = h2.get(request("GET", "/", ("accept-encoding", "gzip")))
        assert got.get("etag") == b'W/"1"'
        assert gunzip(got.body, got.get("content-encoding")) == TEXT


@pytest.mark.parametrize("kind", [b"text/event-stream", b"application/json"])
def test_what_a_pausing_server_has_said_arrives(front: Front, kind):
    """Each event can be read before the next one is sent."""
    go = threading.Semaphore(0)

    def script(talk: Conversation, asked: Message) -> None:
        talk.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % kind
        )
        for n in range(3):
            talk.send(chunked(b"data: %d\n\n" % n)[:-5])
            assert go.acquire(timeout=20)
        talk.send(b"0\r\n\r\n")

    front.server.on(b"", script)
    with front.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        assert wire.read_head().get("content-encoding") == b"gzip"
        reader = zlib.decompressobj(31)
        plain = b""
        for n in range(3):
            while b"data: %d\n\n" % n not in plain:
                size = int(wire.take_until(b"\r\n"), 16)
                plain += reader.decompress(wire.take(size))
                assert wire.take(2) == b"\r\n"
            go.release()
        while size := int(wire.take_until(b"\r\n"), 16):
            plain += reader.decompress(wire.take(size))
            wire.take(2)
        assert reader.eof


def test_a_slow_reader_holds_the_server_back_and_no_memory(front: Front):
    """Of a body that cannot be made small, what neither side has is bounded."""
    body = random.Random(1).randbytes(1 << 20) * 24
    front.server.on(b"", page(body=body))
    before = front.balancer.memory_kib()
    before_in = counted(front)["compressed_in"]
    with front.wire(receive_buffer=4096) as wire:
        wire.send(b"GET /quick HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        wire.read_head()
        seen = [0]

        def stands() -> bool:
            seen.append(counted(front)["compressed_in"] - before_in)
            return seen[-1] > 0 and seen[-10:] == [seen[-1]] * 10

        assert settled(stands)
        taken = seen[-1]
        assert taken < 16 << 20  # what sockets' buffers hold
        assert front.balancer.memory_kib() - before < 2048
        wire.reset()
    assert settled(lambda: at_rest(front))


@pytest.mark.parametrize("version", [1, 2])
def test_who_leaves_amid_it_leaves_nothing_behind(front: Front, version):
    go = threading.Event()

    def script(talk: Conversation, asked: Message) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"Transfer-Encoding: chunked\r\n\r\n")
        talk.send(chunked(TEXT)[:-5])
        talk.hold(go)

    front.server.on(b"", script)
    if version == 1:
        wire = front.wire()
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        wire.read_head()
        assert counted(front)["compressors"] == 1
        wire.reset()
    else:
        h2 = Http2(front.wire())
        id = h2.ask(request("GET", "/", ("accept-encoding", "gzip")))
        h2.begun(id)
        assert counted(front)["compressors"] == 1
        h2.reset(id)
        assert settled(lambda: counted(front)["compressors"] == 0)
        h2.wire.reset()
    assert settled(lambda: at_rest(front))
    go.set()
    front.balancer.at_rest()


def test_a_cut_answer_never_looks_whole(front: Front):
    def script(talk: Conversation, asked: Message) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"Content-Length: 100000\r\n\r\n" + TEXT)
        talk.close()

    front.server.on(b"", script)
    with pytest.raises(EndedError):
        front.balancer.get("/", GZIP)
    assert settled(lambda: at_rest(front))


def test_beyond_the_limit_answers_go_as_they_are(front: Front):
    go = threading.Event()

    def script(talk: Conversation, asked: Message) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n" + HTML + b"Transfer-Encoding: chunked\r\n\r\n")
        talk.send(chunked(TEXT)[:-5])
        assert talk.hold(go)
        talk.send(b"0\r\n\r\n")

    front.server.on(b"/one/first", script).on(b"", page())
    full = counted(front)["uncompressed"]["full"]
    with front.wire() as wire:
        wire.send(b"GET /one/first HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
        first = wire.read_head()
        second = front.balancer.get("/one", GZIP)
        assert second.body == TEXT
        assert second.get("vary") == b"Accept-Encoding"
        assert counted(front)["uncompressed"]["full"] == full + 1
        go.set()
        wire.read_body(first)
        assert opened(first) == TEXT
    assert front.balancer.get("/one", GZIP).get("content-encoding") == b"gzip"


def test_servers_may_be_kept_from_compressing(front: Front):
    front.server.on(b"", page(b"Content-Type: image/png\r\n", body=b"x"))
    answer = front.balancer.get("/bare", GZIP)
    heads = [head for head in front.server.heads if head.target == b"/bare"]
    assert [head.get("accept-encoding") for head in heads] == [None]
    assert opened(answer) == b"x"


def test_in_the_order_and_at_the_level_of_the_file(front: Front):
    words = random.Random(7).choices(TEXT.split(), k=4000)
    text = b" ".join(b"%s%d" % (word, at % 97) for at, word in enumerate(words))
    front.server.on(b"", page(body=text))
    sizes = {}
    for level in ("quick", "best") * 2:  # the same compressor, which changes its level
        answer = front.balancer.get(f"/{level}", "Accept-Encoding: gzip, br, zstd")
        assert answer.get("content-encoding") == b"gzip"
        assert opened(answer) == text
        assert sizes.setdefault(level, len(answer.body)) == len(answer.body)
    assert sizes["best"] < sizes["quick"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_curl_reads_it(front: Front, version):
    front.server.on(b"", page(body=TEXT * 30))
    host, port = front.balancer.address
    command = [
        "curl",
        "-s",
        "--compressed",
        version,
        "-D",
        "-",
        "-o",
        "-",
        f"http://{host}:{port}/",
    ]
    out = subprocess.run(command, capture_output=True, timeout=30, check=True).stdout
    head, _, body = out.partition(b"\r\n\r\n")
    assert b"content-encoding: " in head.lower()
    assert body == TEXT * 30


@pytest.mark.parametrize(
    "words, fault",
    [
        ({"codings": "deflate"}, "gzip"),
        ({"codings": ["gzip", "gzip"]}, "twice"),
        ({"codings": []}, "at least 1"),
        ({"levels": {"gzip": 0}}, "levels 1 to 9"),
        ({"levels": {"br": 7}}, "levels 0 to 6"),
        ({"types": "html"}, "is no type"),
        ({"types": []}, "at least 1"),
        ({"credentials": "perhaps"}, "same_site"),
        ({"at_once": 0}, "greater than"),
    ],
)
def test_faults_of_the_file(words, fault):
    with pytest.raises(ValidationError, match=fault):
        RouteFilter.model_validate({"compress": words})


def test_a_coding_that_was_not_built_in_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr("fourseven.filters.compress.built", lambda: {"gzip": "1"})
    with pytest.raises(ValidationError, match=r"br is not in this build .*libbrotli-dev"):
        RouteFilter.model_validate({"compress": ["br", "gzip"]})
