"""The PROXY protocol's reader and writer: what is taken, what is refused, split at every byte."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.protocols import probe
from fourseven.protocols.proxyproto import PROXY_MAX, PROXY_V1_MAX, ProxyClient, ProxyResult

OK, MORE, NONE, MALFORMED, LONG, CHECKSUM = (
    ProxyResult.PROXY_OK,
    ProxyResult.PROXY_MORE,
    ProxyResult.PROXY_NONE,
    ProxyResult.PROXY_MALFORMED,
    ProxyResult.PROXY_LONG,
    ProxyResult.PROXY_CHECKSUM,
)
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
A, B = ("192.0.2.7", 40000), ("198.51.100.1", 443)
A6, B6 = ("2001:db8::7", 40000), ("2001:db8::1", 443)
NOTHING = ("authority", "alpn", "unique_id", "tls_version", "tls_cipher", "common_name")


def ends(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """The block of addresses of version 2."""
    packed = [ipaddress.ip_address(end[0]).packed for end in (source, destination)]
    return b"".join(packed) + struct.pack(">HH", source[1], destination[1])


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value


def v2(
    body: bytes = b"", family: int = 0x11, command: int = 0x21, size: int | None = None
) -> bytes:
    length = len(body) if size is None else size
    return SIGNATURE + struct.pack(">BBH", command, family, length) + body


def ssl(client: int, verify: int, *tlvs: bytes) -> bytes:
    return tlv(0x20, struct.pack(">BI", client, verify) + b"".join(tlvs))


def summed(head: bytes) -> bytes:
    """The same header with the CRC that it should have where four zeros stand for it."""
    at = head.index(tlv(3, b"\0\0\0\0")) + 3
    return head[:at] + struct.pack(">I", probe.crc(head)) + head[at + 4 :]


V4 = ends(A, B)
V6 = ends(A6, B6)
WHO = {"source": A, "destination": B}
WHO6 = {"source": A6, "destination": B6}
NOBODY = {"source": None, "destination": None}
SSL_ALL = ssl(7, 0, tlv(0x21, b"TLSv1.3"), tlv(0x22, b"me"), tlv(0x23, b"AES"), tlv(0x25, b"RSA"))
ACCEPTED: list[tuple[str, bytes, dict[str, Any]]] = [
    ("v1", b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", WHO),
    ("v1 IPv6", b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n", WHO6),
    ("v1 IPv6, mapped", b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 40000 443\r\n", WHO),
    ("v1 ports", b"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n", {"source": ("1.2.3.4", 0)}),
    ("v1 unknown", b"PROXY UNKNOWN\r\n", NOBODY),
    ("v1 unknown with words", b"PROXY UNKNOWN ff:: what ever  it\x00is\r\n", NOBODY),
    ("v1 the longest", b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", NOBODY),
    ("v2", v2(V4), WHO),
    ("v2 IPv6", v2(V6, 0x21), WHO6),
    ("v2 datagrams", v2(V4, 0x12), WHO),
    ("v2 unix", v2(b"/a".ljust(108, b"\0") * 2, 0x31), NOBODY),
    ("v2 local", v2(b"", 0x00, 0x20), NOBODY),
    ("v2 local, family ignored", v2(b"junk", 0xFF, 0x20), NOBODY),
    ("v2 unspecified", v2(b"whatever", 0x00), NOBODY),
    ("v2 authority", v2(V4 + tlv(2, b"A.Example.")), {**WHO, "authority": b"a.example"}),
    ("v2 protocol", v2(V4 + tlv(1, b"h2")), {**WHO, "alpn": b"h2"}),
    ("v2 unique id", v2(V4 + tlv(5, b"\0" * 128)), {"unique_id": b"\0" * 128}),
    ("v2 nothing to say", v2(V4 + tlv(4, b"xyz") + tlv(4, b"")), WHO),
    ("v2 unknown kinds", v2(V4 + tlv(0xEA, b"vpce") + tlv(0xEA, b"") + tlv(0x30, b"ns")), WHO),
    ("v2 of unix with TLVs", v2(bytes(216) + tlv(2, b"a.b"), 0x31), {"authority": b"a.b"}),
    (
        "v2 TLS",
        v2(V4 + SSL_ALL),
        {"client": 7, "verified": 1, "tls_version": b"TLSv1.3", "common_name": b"me", "tls_cipher": b"AES"},
    ),
    ("v2 TLS, certificate not good", v2(V4 + ssl(3, 20)), {"client": 3, "verified": 0}),
    ("v2 no TLS", v2(V4 + ssl(0, 0, tlv(0x21, b"x"))), {"client": 0, "tls_version": None}),
    ("v2 checksum", summed(v2(V4 + tlv(3, bytes(4)))), WHO),
    ("v2 checksum, first of several", summed(v2(V4 + tlv(3, bytes(4)) + tlv(1, b"h2"))), {"alpn": b"h2"}),
    ("v2 the largest", v2(V4 + tlv(0xE0, bytes(PROXY_MAX - 16 - 12 - 3))), WHO),
]  # fmt: skip


@pytest.mark.parametrize("data, seen", [r[1:] for r in ACCEPTED], ids=[r[0] for r in ACCEPTED])
def test_accepted_and_split_at_every_byte(data: bytes, seen: dict[str, Any]) -> None:
    found = probe.proxy(data)
    assert found["result"] == OK
    assert {key: found[key] for key in seen} == seen
    assert found["size"] == len(data)
    assert probe.proxy(data + b"GET / HTTP/1.1\r\n") == found, "what follows is not looked at"
    for size in range(len(data)):
        assert probe.proxy(data[:size]) == {"result": MORE}, size


REFUSED = [
    ("HTTP", b"GET / HTTP/1.1\r\n", NONE),
    ("POST", b"POST / HTTP/1.1\r\n", NONE),
    ("lower case", b"proxy TCP4", NONE),
    ("TLS", b"\x16\x03\x01", NONE),
    ("signature cut", b"\r\n\r\n\0\r\nQUIX", NONE),
    ("v1 tab", b"PROXY\tTCP4 1.2.3.4 1.2.3.4 1 1\r\n", NONE),
    ("v1 family", b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", MALFORMED),
    ("v1 family 5", b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n", MALFORMED),
    ("v1 nothing", b"PROXY \r\n", MALFORMED),
    ("v1 unknown, one word", b"PROXY UNKNOWNS\r\n", MALFORMED),
    ("v1 two spaces", b"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n", MALFORMED),
    ("v1 a space at the end", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n", MALFORMED),
    ("v1 a word too many", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", MALFORMED),
    ("v1 a word too few", b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", MALFORMED),
    ("v1 leading zero", b"PROXY TCP4 1.2.3.04 1.2.3.4 1 1\r\n", MALFORMED),
    ("v1 short address", b"PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n", MALFORMED),
    ("v1 address beyond", b"PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n", MALFORMED),
    ("v1 NUL in the address", b"PROXY TCP4 1.2.3.4\0 1.2.3.4 1 1\r\n", MALFORMED),
    ("v1 IPv6 as TCP4", b"PROXY TCP4 ::1 ::1 1 1\r\n", MALFORMED),
    ("v1 IPv4 as TCP6", b"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n", MALFORMED),
    ("v1 zone", b"PROXY TCP6 fe80::1%lo ::1 1 1\r\n", MALFORMED),
    ("v1 brackets", b"PROXY TCP6 [::1] ::1 1 1\r\n", MALFORMED),
    ("v1 port beyond", b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n", MALFORMED),
    ("v1 port of six digits", b"PROXY TCP4 1.2.3.4 1.2.3.4 000001 1\r\n", MALFORMED),
    ("v1 port with a zero", b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n", MALFORMED),
    ("v1 port with a sign", b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n", MALFORMED),
    ("v1 port in letters", b"PROXY TCP4 1.2.3.4 1.2.3.4 1a 1\r\n", MALFORMED),
    ("v1 CR alone", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\rX", MALFORMED),
    ("v1 LF alone", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n" + b"x" * 80, LONG),
    ("v1 without an end", b"PROXY UNKNOWN " + b"x" * 92, LONG),
    ("v1 an address that is long", b"PROXY TCP6 " + b"1" * 60 + b" ::1 1 1\r\n", MALFORMED),
    ("v2 version 1", v2(V4, command=0x11), MALFORMED),
    ("v2 version 3", v2(V4, command=0x31), MALFORMED),
    ("v2 command 2", v2(V4, command=0x22), MALFORMED),
    ("v2 family 4", v2(V4, 0x41), MALFORMED),
    ("v2 transport 0", v2(V4, 0x10), MALFORMED),
    ("v2 transport 3", v2(V4, 0x13), MALFORMED),
    ("v2 too short", v2(V4[:-1]), MALFORMED),
    ("v2 IPv6 too short", v2(V6[:-1], 0x21), MALFORMED),
    ("v2 unix too short", v2(bytes(215), 0x31), MALFORMED),
    ("v2 too long", v2(b"", size=PROXY_MAX - 15), LONG),
    ("v2 half a TLV", v2(V4 + b"\x01"), MALFORMED),
    ("v2 a TLV beyond the header", v2(V4 + b"\x01\x00\x03h2"), MALFORMED),
    ("v2 empty protocol", v2(V4 + tlv(1, b"")), MALFORMED),
    ("v2 protocol of 256", v2(V4 + tlv(1, bytes(256))), MALFORMED),
    ("v2 protocol twice", v2(V4 + tlv(1, b"h2") * 2), MALFORMED),
    ("v2 authority twice", v2(V4 + tlv(2, b"a.b") * 2), MALFORMED),
    ("v2 authority is none", v2(V4 + tlv(2, b"a b")), MALFORMED),
    ("v2 authority with NUL", v2(V4 + tlv(2, b"a\0b")), MALFORMED),
    ("v2 authority empty", v2(V4 + tlv(2, b"")), MALFORMED),
    ("v2 unique id of 129", v2(V4 + tlv(5, bytes(129))), MALFORMED),
    ("v2 TLS too short", v2(V4 + tlv(0x20, bytes(4))), MALFORMED),
    ("v2 TLS twice", v2(V4 + ssl(0, 0) + ssl(1, 0)), MALFORMED),
    ("v2 TLS, TLV beyond", v2(V4 + ssl(1, 0, b"\x21\x00\x09x")), MALFORMED),
    ("v2 TLS, name twice", v2(V4 + ssl(1, 0, tlv(0x22, b"a"), tlv(0x22, b"b"))), MALFORMED),
    ("v2 checksum of 3 bytes", v2(V4 + tlv(3, bytes(3))), MALFORMED),
    ("v2 checksum twice", v2(V4 + tlv(3, bytes(4)) * 2), MALFORMED),
    ("v2 checksum wrong", v2(V4 + tlv(3, b"abcd")), CHECKSUM),
]  # fmt: skip


@pytest.mark.parametrize("data, result", [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_and_never_taken_before(data: bytes, result: int) -> None:
    assert probe.proxy(data) == {"result": result}
    seen = {probe.proxy(data[:size])["result"] for size in range(len(data))}
    assert seen <= {MORE, result}, "a part of it is waited for, or refused as the whole is"
    assert probe.proxy(data + b"\r\n" * 60)["result"] in {result, MALFORMED}


def test_the_checksum_is_castagnolis() -> None:
    assert probe.crc(b"123456789") == 0xE3069283
    assert probe.crc(bytes(32)) == 0x8A9136AA  # RFC 3720 B.4


SUMMED = summed(v2(V4 + tlv(3, bytes(4)) + tlv(4, b"ab")))
KIND = 16 + len(V4)  # of the checksum's TLV: with another one the header has no checksum


@pytest.mark.parametrize("at", [at for at in range(len(SUMMED)) if at != KIND])
def test_any_bit_that_changes_breaks_the_checksum(at: int) -> None:
    data = SUMMED
    changed = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
    assert probe.proxy(changed)["result"] != OK


# ---- writing ----

WRITTEN = [
    (1, (A, B), b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"),
    (1, (A6, B6), b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n"),
    (1, (A6, B), b"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 40000 443\r\n"),
    (1, (("1.2.3.4", 0), ("5.6.7.8", 9)), b"PROXY TCP4 1.2.3.4 5.6.7.8 0 9\r\n"),
    (1, None, b"PROXY UNKNOWN\r\n"),
    (2, (A, B), v2(V4)),
    (2, (A6, B6), v2(V6, 0x21)),
    (2, (A, B6), v2(ends(("::ffff:192.0.2.7", 40000), B6), 0x21)),
    (2, None, v2(b"", 0)),
]


@pytest.mark.parametrize("version, who, data", WRITTEN)
def test_written(version: int, who: Any, data: bytes) -> None:
    assert probe.proxy_header(version, who) == data
    found = probe.proxy(data)
    assert (found["result"], found["source"]) == (OK, who and who[0])


def test_what_is_known_of_the_client_is_written() -> None:
    said = {"authority": b"a.example", "alpn": b"h2", "tls_version": b"TLSv1.3"}
    said |= {"tls_cipher": b"TLS_AES_128_GCM_SHA256", "common_name": b"me"}
    data = probe.proxy_header(2, (A, B), client=7, verified=1, **said)
    found = probe.proxy(data)
    assert {key: found[key] for key in said} == said
    assert (found["client"], found["verified"], found["size"]) == (7, 1, len(data))
    longest = dict.fromkeys(said, b"a" * 255)
    assert probe.proxy(probe.proxy_header(2, (A6, B6), client=1, **longest))["common_name"]
    assert probe.proxy_header(2, (A, B), alpn=b"a" * 256) == v2(V4), "no half of a text"
    assert probe.proxy_header(1, (A, B), client=7, **said).endswith(b" 443\r\n")
    assert ProxyClient.CLIENT_TLS == 1


@given(
    version=st.sampled_from([1, 2]),
    who=st.tuples(
        *[st.tuples(st.ip_addresses().map(str), st.integers(0, 65535)) for _ in range(2)]
    ),
)
def test_what_is_written_is_read_as_itself(version: int, who: Any) -> None:
    found = probe.proxy(probe.proxy_header(version, who))
    for key, (text, port) in zip(("source", "destination"), who, strict=True):
        address = ipaddress.ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None)
        assert found[key] == (str(mapped or address), port)


@given(
    st.binary(max_size=120), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"])
)
def test_any_bytes(data: bytes, start: bytes) -> None:
    """A refusal stays what it is, whatever follows."""
    first = probe.proxy(start + data)
    if first["result"] not in (MORE, OK):
        assert probe.proxy(start + data + b"\0" * 50) == first
    assert PROXY_V1_MAX < PROXY_MAX
