"""Packets out of a few bytes: each byte decides one thing, and 0 is the plain case.

hypothesis draws the bytes, so that it can shrink a failure to a packet in which only what matters
is odd. Most packets are nearly right, since a packet that is wholly random never gets anywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from fourseven.l4.kernel_plan import End
from support.reference_l4 import TCP, UDP, fold, words_of

RECIPE = 16  # bytes that make one packet


class World(NamedTuple):
    """The ports that clients ask for."""

    tcp: tuple[int, ...]
    udp: tuple[int, ...]


class Recent(NamedTuple):
    """Somebody who has asked a server."""

    protocol: int
    server: End
    seen_as: End  # the client, as the server sees it
    client: End
    vip: End


PLAIN = World((80, 81, 80, 9), (53, 53, 53, 9))


def raw_address(end: End) -> bytes:
    return end.address.to_bytes(16, "big")[-4 if end.is_v4 else 0 :]


def segment(source: End, destination: End, flags: int, sequence: int, acknowledged: int) -> bytes:
    """A plain packet of TCP over IPv4."""
    ports = (source.port, destination.port)
    head = struct.pack(">HHIIBBHHH", *ports, sequence, acknowledged, 0x50, flags, 512, 0, 0)
    return _plain(source, destination, TCP, head, 16)


def datagram(source: End, destination: End) -> bytes:
    """A plain packet of UDP over IPv4."""
    head = struct.pack(">HHHH", source.port, destination.port, 8 + 5, 0)
    return _plain(source, destination, UDP, head + b"hello", 6)


def _plain(source: End, destination: End, protocol: int, made: bytes, at: int) -> bytes:
    addresses = raw_address(source) + raw_address(destination)
    total = 0xFFFF - fold(words_of(addresses) + protocol + len(made) + words_of(made))
    made = made[:at] + struct.pack(">H", total or 0xFFFF) + made[at + 2 :]
    length, numbers = 20 + len(made), (64, protocol, 0)
    head = struct.pack(">BBHHHBBH", 0x45, 0, length, 1, 0x4000, *numbers) + addresses
    head = head[:10] + struct.pack(">H", 0xFFFF - fold(words_of(head))) + head[12:]
    return bytes(12) + b"\x08\x00" + head + made


def ends(which: int, v4: bool) -> bytes:
    """Clients are 0 to 7, servers 16 to 23, services 24 to 27."""
    return bytes([10, 1, 0, which]) if v4 else bytes.fromhex("fd00") + bytes(13) + bytes([which])


def odd(byte: int, of: int = 16) -> bool:
    """True for one in `of`, and never for 0."""
    return byte % of == of - 1


def packet(r: bytes, world: World = PLAIN, recent: Sequence[Recent] = ()) -> bytes:
    """A packet of this recipe. Answers of servers mostly go to one of those that have asked:
    `recent` are those, the oldest first."""
    v4 = r[0] % 2 == 0
    protocol = ([TCP, UDP] * 12 + [1, 58, 0, 44, 60, 43, 50, r[15]])[r[1] % 32]
    client, service = ends(r[2] % 8, v4), ends((24, 25, 24, 26)[r[3] % 4], v4)
    known = world.tcp if protocol == TCP else world.udp
    ports = (1000 + r[4] % 8, known[r[5] % len(known)])
    source, destination = client, service
    flags = (2, 16, 24, 17, 4, 18, 16, 16)[r[13] % 8]
    if r[6] % 2:  # a server's answer, perhaps of no flow
        source, destination, ports = ends(16 + r[7] % 8, v4), client, (8080, ports[0])
    if recent and r[7] % 8:  # what goes on with something that was seen
        asked = recent[r[6] // 2 % len(recent)]
        v4, protocol = asked.server.is_v4, asked.protocol
        near, far = (asked.server, asked.seen_as) if r[6] % 2 else (asked.client, asked.vip)
        source, destination, ports = raw_address(near), raw_address(far), (near.port, far.port)
        if r[7] % 2:  # as it should be
            flags = 18 if r[6] % 2 else 16
    payload = bytes(r[8] % 32) if r[8] % 2 else r[8:14] * (r[8] % 8)
    segment = _segment(r, protocol, ports, flags, payload, source + destination)
    network = (_v4 if v4 else _v6)(r, protocol, source, destination, segment)
    link = bytes(12) + (b"\x08\x00" if v4 else b"\x86\xdd")
    if odd(r[9]):
        link = bytes(12) + (b"\x81\x00\x00\x05" if r[10] % 2 else b"\x88\xa8\x00\x05") + link[12:]
    elif odd(r[9], 15):
        link = bytes(12) + struct.pack(">H", 0x0800 + r[10])
    whole = link + network
    if odd(r[11]):
        whole = whole[: (34 if v4 else 54) + r[12] % 60]  # a test run takes nothing shorter
    return whole


def _segment(r, protocol, ports, flags, payload, addresses) -> bytes:
    if protocol == TCP:
        words = r[14] % 11 if odd(r[14], 3) else 0
        sequence = 7 if odd(r[9], 7) else 8  # 9 answers the one, not the other
        head = struct.pack(">HHIIBBHHH", *ports, sequence, 9, (5 + words) << 4, flags, 512, 0, 0)
        made = head + b"\1" * 4 * words + payload
        at = 16
    else:
        made = struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
        at = 6
    if protocol == UDP and odd(r[14], 5):
        return made  # without a checksum
    total = 0xFFFF - fold(words_of(addresses) + protocol + len(made) + words_of(made))
    if odd(r[14], 17):
        total ^= 0x55
    return made[:at] + struct.pack(">H", total or 0xFFFF) + made[at + 2 :]


def _v4(r, protocol, source, destination, segment) -> bytes:
    words = r[10] % 11 if odd(r[10], 4) else 0
    version = 0x45 + words
    if odd(r[12]):
        version = r[13]  # wrong version, or a header shorter or longer than is true
    fragment = (0, 0x4000, 0x2000, 0x0010, 0x8000, 0x1FFF)[r[15] % 6] if odd(r[15], 5) else 0x4000
    length = 20 + 4 * words + len(segment)
    if odd(r[12], 13):
        length = r[13]
    head = struct.pack(
        ">BBHHHBBH4s4s", version, 0, length, 1, fragment, 64, protocol, 0, source, destination
    )
    head += b"\1" * 4 * words
    total = 0xFFFF - fold(words_of(head))
    return head[:10] + struct.pack(">H", total) + head[12:] + segment


def _v6(r, protocol, source, destination, segment) -> bytes:
    following, extension = protocol, b""
    if odd(r[10], 6):
        following = (0, 43, 44, 60, 135, 51)[r[13] % 6]
        extension = bytes([protocol, 0]) + bytes(6)
    length = len(extension) + len(segment)
    if odd(r[12], 13):
        length = r[13]
    if odd(r[12]):
        source = bytes(10) + b"\xff\xff" + bytes([10, 1, 0, 1])
    version = 0x60000000 if not odd(r[15], 11) else r[14] << 24
    head = struct.pack(">IHBB16s16s", version, length, following, 64, source, destination)
    return head + extension + segment
