"""Whatever the reader accepts, the writer writes so that a reader understands the same."""

from __future__ import annotations

from hypothesis import assume, example, given
from hypothesis import strategies as st

from fourseven.l7.preview import Preview
from fourseven.plan import ListenerPlan
from fourseven.protocols import probe
from fourseven.protocols.message import Framing, KnownHeader, Method
from fourseven.snapshot.layout import ForwardedMode, ListenerMode

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
NAMES = [
    "Accept", "Connection", "Content-Length", "Cookie", "Expect", "Forwarded", "Keep-Alive", "TE",
    "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "X-Forwarded-For", "X-Forwarded-Proto",
    "X-Forwarded-Prefix", "X-Real-IP", "X-Request-Id", "X_Forwarded_For", "HTTP2-Settings", "Via",
]  # fmt: skip
VALUES = [
    "", "chunked", "close", "keep-alive", "Upgrade", "websocket", "h2c", "100-continue", "0", "17",
    "X-A, close", "trailers", "1.2.3.4, 10.0.0.1", "for=1.2.3.4",
]  # fmt: skip
name = st.sampled_from(NAMES) | st.text(TOKEN, min_size=1, max_size=12)
value = st.sampled_from(VALUES) | st.text(
    st.characters(
        min_codepoint=9, max_codepoint=255, blacklist_characters="\n\x0b\x0c\r\x85\x1c\x1d\x1e\x1f"
    ),
    max_size=20,
)
headers = st.lists(st.tuples(name, value), max_size=8)
piece = st.text("abc.%2eE5c/;~!$&'()*+,=:@-_|\"<>", max_size=8)
target = st.builds("/".join, st.lists(piece, max_size=5)).map("/".__add__)
query = st.none() | st.text("ab=&%?/.~!\"'<>\\^`{|}", max_size=10)
method = st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "PROPFIND"])
MODES = [0, 1, 2, 3]


def written(head: bytes, mode: int, trusted: bool, framing: tuple[int, int]) -> bytes:
    at = Preview(
        ListenerPlan(
            "web",
            (),
            ListenerMode.MODE_HTTP,
            (),
            forwarded=mode,
            request_id=b"X-Request-Id",
            trusted=("192.0.2.7/32",) if trusted else (),
        )
    )
    at.read(head)
    at.frame(*framing)
    return at.request_head()


OURS = {
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id", b"forwarded",
    b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade",
}  # fmt: skip


def passing(message: dict) -> list[tuple[bytes, bytes]]:
    """The headers that nobody has a reason to touch."""
    return [
        (name, value)
        for name, value, _, drop in message["fields"]
        if not drop and name.lower() not in OURS
    ]


@given(
    method,
    target,
    query,
    headers,
    st.sampled_from(MODES),
    st.booleans(),
    st.sampled_from(["1.1", "1.0"]),
)
@example("GET", "/a%2eb/../c", "x", [("X-Forwarded-Prefix", "/evil")], 3, True, "1.1")
@example("GET", "/", None, [("Upgrade", "websocket"), ("Connection", "Upgrade")], 1, False, "1.1")
def test_what_is_written_is_read_alike(method, target, query, headers, mode, trusted, version):
    line = f"{method} {target}{'' if query is None else '?' + query} HTTP/{version}\r\n"
    rows = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "A.example:80"), *headers])
    head = f"{line}{rows}\r\n".encode("latin-1")
    before = probe.request(head)
    assume(before["result"] > 0)
    out = written(head, mode, trusted, (before["framing"], before["content_length"]))
    after = probe.request(out)
    assert after["result"] == len(out), after["fault"]
    assert after["version"] == 11
    for key in ("method", "path", "query", "host", "authority", "content_length", "upgrade"):
        assert after[key] == before[key], key
    bare = before["framing"] == Framing.FRAMING_NONE and before["method_id"] in (
        Method.METHOD_POST, Method.METHOD_PUT, Method.METHOD_PATCH,
    )  # fmt: skip
    assert after["framing"] == (Framing.FRAMING_LENGTH if bare else before["framing"])
    kept = passing(before)
    if not trusted:
        kept = [h for h in kept if not h[0].lower().startswith((b"x-forwarded-", b"x-real-ip"))]
    assert passing(after) == kept
    spoken = [name.lower() for name, _, _, _ in after["fields"]]
    assert spoken.count(b"x-request-id") == 1
    assert spoken.count(b"x-forwarded-for") <= (
        1 if mode & ForwardedMode.FORWARDED_X or not trusted else 9
    )


@given(method, target, query, headers)
def test_written_once_or_twice_is_the_same(method, target, query, headers):
    """A head that we wrote has nothing left to change, but for who sends it."""
    line = f"{method} {target}{'' if query is None else '?' + query} HTTP/1.1\r\n"
    rows = "".join(f"{name}: {value}\r\n" for name, value in [("Host", "a"), *headers])
    head = f"{line}{rows}\r\n".encode("latin-1")
    before = probe.request(head)
    assume(before["result"] > 0)
    framing = (before["framing"], before["content_length"])
    once = written(head, 3, False, framing)
    assert written(once, 3, False, framing) == once


def test_known_headers_fit_the_word_in_which_the_writer_marks_them():
    assert max(KnownHeader) < 64


status = st.sampled_from([100, 103, 200, 204, 206, 304, 404, 418, 503, 599, 999])
reason = st.text("OK no\té", max_size=8)


@given(status, reason, headers, st.sampled_from([10, 11]), st.booleans(), st.sampled_from([1, 2]))
@example(200, "OK", [("Content-Length", "17")], 11, True, 2)
@example(304, "", [("Content-Length", "17"), ("Transfer-Encoding", "chunked")], 11, True, 1)
def test_an_answer_is_read_alike(status, reason, headers, version, keep_alive, method):
    rows = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = f"HTTP/1.1 {status} {reason}\r\n{rows}\r\n".encode("latin-1")
    before = probe.response(head, method_id=method)
    assume(before["result"] > 0)
    framing = before["framing"]
    if version == 10 and framing == Framing.FRAMING_CHUNKED:
        framing = int(Framing.FRAMING_CLOSE)  # as the engine does
    at = Preview(ListenerPlan("web", (), ListenerMode.MODE_HTTP, ()))
    at.to_client(version, keep_alive)
    at.frame(framing, before["content_length"])
    out = at.response_head(status, before["reason"] or b"", before["fields"])
    if status < 200 and version == 10:
        assert out == b""
        return
    after = probe.response(out, method_id=method)
    assert after["result"] == len(out), after["fault"]
    for key in ("status", "reason", "content_length"):
        assert after[key] == before[key], key
    assert after["framing"] == framing
    assert passing(after) == passing(before)
    if status >= 200:
        closes = framing == Framing.FRAMING_CLOSE or not keep_alive
        said = [value for name, value, _, _ in after["fields"] if name == b"Connection"]
        assert said == ([b"close"] if closes else [] if version == 11 else [b"keep-alive"])
