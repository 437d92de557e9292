"""The reader of ClientHellos, on those of OpenSSL and on hand-made ones."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.protocols import probe
from fourseven.protocols.clienthello import HELLO_MAX, RECORDS_MAX, HelloResult

OK, MORE = HelloResult.HELLO_OK, HelloResult.HELLO_MORE
NOT_TLS, MALFORMED = HelloResult.HELLO_NOT_TLS, HelloResult.HELLO_MALFORMED
LONG = HelloResult.HELLO_LONG


def block(width: int, *parts: bytes) -> bytes:
    """A length of `width` bytes, and what it measures."""
    content = b"".join(parts)
    return len(content).to_bytes(width, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + block(2, content)


def server_name(name: bytes) -> bytes:
    return extension(0, block(2, b"\x00", block(2, name)))


def body(*extensions: bytes, session: bytes = b"", suites: bytes = b"\x13\x01") -> bytes:
    return (
        b"\x03\x03" + bytes(32) + block(1, session) + block(2, suites) + block(1, b"\x00")
        + block(2, *extensions)
    )  # fmt: skip


def message(content: bytes, kind: bytes = b"\x01") -> bytes:
    return kind + block(3, content)


def records(content: bytes, size: int = 16384) -> bytes:
    """The message in records of at most `size` bytes."""
    parts = [content[i : i + size] for i in range(0, len(content), size)]
    return b"".join(b"\x16\x03\x01" + block(2, part) for part in parts)


def hello(*extensions: bytes) -> bytes:
    return records(message(body(*extensions)))


def of_openssl(name: str, protocols: list[str], highest: ssl.TLSVersion) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = highest
    if protocols:
        context.set_alpn_protocols(protocols)
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(received, sent, server_hostname=name).do_handshake()
    return sent.read()


@pytest.mark.parametrize("protocols", [[], ["http/1.1"], ["h2", "http/1.1"]])
@pytest.mark.parametrize("highest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_openssl(protocols: list[str], highest: ssl.TLSVersion) -> None:
    data = of_openssl("Www.Example.com", protocols, highest)
    seen = probe.client_hello(data)
    assert (seen["result"], seen["size"]) == (OK, len(data))
    assert seen["sni"] == b"www.example.com"
    assert seen["alpn"] == ([p.encode() for p in protocols] or None)
    assert (0x0304 in seen["versions"]) == (highest is ssl.TLSVersion.TLSv1_3)
    assert 0x0303 in seen["versions"]
    for size in range(len(data)):
        assert probe.client_hello(data[:size]) == {"result": MORE}
    for tail in (b"\x00", b"\x14\x03\x03\x00\x01\x01", b"\x17\x03\x03"):
        assert probe.client_hello(data + tail) == seen, "early data is not ours to read"


def test_spread_over_records() -> None:
    whole = message(body(server_name(b"a.b"), extension(16, block(2, block(1, b"h2")))))
    for size in range(len(whole) // RECORDS_MAX + 1, len(whole)):
        data = records(whole, size)
        seen = probe.client_hello(data)
        assert (seen["result"], seen["sni"], seen["alpn"]) == (OK, b"a.b", [b"h2"])
        assert seen["size"] == len(data)
        assert probe.client_hello(data[:-1]) == {"result": MORE}
    assert probe.client_hello(records(whole, 1)) == {"result": LONG}


def test_without_extensions() -> None:
    bare = body()[:-2]
    seen = probe.client_hello(records(message(bare)))
    assert (seen["result"], seen["sni"], seen["alpn"], seen["versions"]) == (
        OK,
        None,
        None,
        [0x0303],
    )


NAMES = {
    b"a": b"a",
    b"A.Example.": b"a.example",
    b"a" * 255: b"a" * 255,
    b"a" * 256: None,
    b"": None,
    b"a b": None,
    b"a\x00b": None,
    b"a..b": None,
    b"a:443": None,
    b"[::1]": None,
    b"\xe4": None,
    b"a/b": None,
}


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_names(name: bytes) -> None:
    seen = probe.client_hello(hello(server_name(name)))
    assert seen.get("sni") == NAMES[name]
    assert seen["result"] == (MALFORMED if NAMES[name] is None else OK)


REFUSED = [
    ("HTTP", b"GET / HTTP/1.1\r\n", NOT_TLS),
    ("SSL 2", b"\x80\x2e\x01\x00\x02", NOT_TLS),
    ("alert", b"\x15\x03\x01\x00\x02\x02\x00", NOT_TLS),
    ("version 4", b"\x16\x04\x01\x00\x05", NOT_TLS),
    ("one byte", b"G", NOT_TLS),
    ("empty record", b"\x16\x03\x01\x00\x00", MALFORMED),
    ("record too long", b"\x16\x03\x01\x40\x01", MALFORMED),
    ("ServerHello", records(message(body(), b"\x02")), MALFORMED),
    ("ServerHello, first byte", b"\x16\x03\x01\x00\x50\x02", MALFORMED),
    ("message too long", b"\x16\x03\x01\x40\x00\x01\x01\x00\x00", LONG),
    ("second record is no handshake", records(message(body()), 20)[:25] + b"\x17\x03\x01\x00\x01\x00", MALFORMED),
    ("behind the message", records(message(body()) + b"\x00"), MALFORMED),
    ("behind the extensions", records(message(body() + b"\x00")), MALFORMED),
    ("session id 33", records(message(body(session=bytes(33)))), MALFORMED),
    ("odd suites", records(message(body(suites=bytes(3)))), MALFORMED),
    ("no suites", records(message(body(suites=b""))), MALFORMED),
    ("no body", records(message(b"")), MALFORMED),
    ("name twice", hello(server_name(b"a"), server_name(b"a")), MALFORMED),
    ("two names", hello(extension(0, block(2, b"\x00", block(2, b"a"), b"\x00", block(2, b"b")))), MALFORMED),
    ("name of another kind", hello(extension(0, block(2, b"\x01", block(2, b"a")))), MALFORMED),
    ("empty name list", hello(extension(0, block(2))), MALFORMED),
    ("empty name extension", hello(extension(0, b"")), MALFORMED),
    ("behind the name list", hello(extension(0, block(2, b"\x00", block(2, b"a")) + b"x")), MALFORMED),
    ("empty protocol", hello(extension(16, block(2, block(1, b"h2"), b"\x00"))), MALFORMED),
    ("no protocols", hello(extension(16, block(2))), MALFORMED),
    ("protocol too long", hello(extension(16, block(2, b"\x09h2"))), MALFORMED),
    ("odd versions", hello(extension(43, block(1, b"\x03\x04\x03"))), MALFORMED),
    ("no versions", hello(extension(43, block(1))), MALFORMED),
    ("half an extension", records(message(body()[:-2] + block(2, b"\x00\x00\x00"))), MALFORMED),
]  # fmt: skip


@pytest.mark.parametrize("data, result", [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(data: bytes, result: int) -> None:
    assert probe.client_hello(data) == {"result": result}


def test_versions() -> None:
    every = b"".join(n.to_bytes(2, "big") for n in range(127))
    assert probe.client_hello(hello(extension(43, block(1, every))))["versions"] == list(range(127))
    grease = extension(43, block(1, b"\x7a\x7a\x03\x04"))
    assert probe.client_hello(hello(grease))["versions"] == [0x7A7A, 0x0304]


def test_the_largest_message() -> None:
    room = HELLO_MAX - 4 - len(body()) - 4
    largest = message(body(extension(99, bytes(room))))
    assert len(largest) == HELLO_MAX
    assert probe.client_hello(records(largest))["result"] == OK
    assert probe.client_hello(records(largest, 600))["result"] == OK
    beyond = message(body(extension(99, bytes(room + 1))))
    assert probe.client_hello(records(beyond)) == {"result": LONG}


WHOLE = of_openssl("example.com", ["h2"], ssl.TLSVersion.TLSv1_3)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_one_byte_changed_is_understood_or_refused(at: int, byte: int) -> None:
    """Whatever is changed, what is accepted still fills its message exactly."""
    data = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    seen = probe.client_hello(data)
    if seen["result"] == OK:
        assert seen["size"] == len(data)
        for size in (1, len(data) // 2, len(data) - 1):
            assert probe.client_hello(data[:size])["result"] == MORE


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """A result that is not MORE stays as it is, whatever follows."""
    for start in (b"", b"\x16\x03\x01", WHOLE[:50]):
        first = probe.client_hello(start + data)
        if first["result"] not in (MORE, OK):
            assert probe.client_hello(start + data + b"\x00" * 50) == first
