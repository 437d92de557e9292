"""What the network of this host looks like, asked of the kernel by rtnetlink; and word of changes.

    links()        interfaces: number, name, kind of hardware, up, and whether part of another
    addresses()    (number of the interface, address)
    locals_()      (address, mask) of everything that is delivered here, also without an address
    dump()         what the kernel answers to a question, of any netlink
    sources()      the address that this host has on the way to each of others
    watch()        a socket that becomes readable when an interface, an address or a route comes or
                   goes; `only_routes` says of a message whether it is of no more than ways

Asked by a socket, since /sys shows the interfaces of the namespace in which it was mounted.
Addresses are numbers of 128 bits, IPv4 as ::ffff:a.b.c.d.

Source: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

ROUTE = 0  # NETLINK_ROUTE
GET_LINK, GET_ADDRESS, GET_ROUTE, GET_QDISC = 18, 22, 26, 38  # RTM_*
DONE, ERROR = 3, 2  # NLMSG_*
REQUEST, DUMP = 1, 0x300  # NLM_F_*
NEW_ROUTE, DELETED_ROUTE, NEW_RULE, DELETED_RULE = 24, 25, 32, 33  # RTM_*
ROUTES = {NEW_ROUTE, DELETED_ROUTE, NEW_RULE, DELETED_RULE}
GROUPS = 1 | 8 | 0x10 | 0x100  # RTMGRP_LINK, _TC, _IPV4_IFADDR, _IPV6_IFADDR
GROUPS |= 0x40 | 0x400 | 0x80 | 0x40000  # RTMGRP_IPV4_ROUTE, _IPV6_ROUTE; RTNLGRP_IPV4_RULE, IPV6_
UP = 1  # IFF_UP
ETHERNET, LOOPBACK = 1, 772  # ARPHRD_*
TABLE_LOCAL, KIND_LOCAL = 255, 2  # RT_TABLE_LOCAL, RTN_LOCAL
TENTATIVE = 0x40 | 0x08  # IFA_F_TENTATIVE, IFA_F_DADFAILED: not ours yet, or never
SCOPE_GLOBAL, SCOPE_SITE = 0, 200  # link-local addresses need an interface to mean anything
NAME, QDISC, MASTER, LINK_INFO, PEER_SPACE, INFO_KIND = 3, 6, 10, 18, 37, 1  # IFLA_*
ADDRESS, LOCAL, FLAGS = 1, 2, 8  # IFA_*
DESTINATION, PREFERRED, TABLE = 1, 7, 15  # RTA_*; PREFERRED: our address on that way
AT_ONCE = 64  # questions in one write: their answers fit what a socket may hold
QDISC_KIND = 1  # TCA_KIND
MAPPED = 0xFFFF << 32
ALL = (1 << 128) - 1

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")


class Interface(NamedTuple):
    """One interface."""

    number: int
    name: str
    hardware: int  # ARPHRD_*
    up: bool
    master: int  # the interface that it is a part of; 0: none
    kind: str  # veth, bridge, vrf…; "" for hardware
    qdisc: str = ""  # what orders its packets on their way out
    peer_elsewhere: bool = False  # its other end is in another network namespace


def links() -> list[Interface]:
    found = []
    for body in dump(GET_LINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        _, hardware, number, flags, _ = struct.unpack_from("=BxHiII", body)
        said = dict(attributes(body[16:]))
        info = dict(attributes(said.get(LINK_INFO, b"")))
        found.append(
            Interface(
                number,
                _text(said.get(NAME, b"")),
                hardware,
                bool(flags & UP),
                int.from_bytes(said.get(MASTER, b""), sys.byteorder),
                _text(info.get(INFO_KIND, b"")),
                _text(said.get(QDISC, b"")),
                PEER_SPACE in said,
            )
        )
    return found


def queued() -> set[int]:
    """The numbers of the interfaces that have a qdisc for filters (clsact, ingress)."""
    body = struct.pack("=BxxxiIII", 0, 0, 0, 0, 0)
    found = set()
    for qdisc in dump(GET_QDISC, body):
        _, number, _, _, _ = struct.unpack_from("=BxxxiIII", qdisc)
        if _text(dict(attributes(qdisc[20:])).get(QDISC_KIND, b"")) in ("clsact", "ingress"):
            found.add(number)
    return found


def addresses() -> Iterator[tuple[int, int]]:
    """(number of the interface, address) of every address that may be used from anywhere."""
    for body in dump(GET_ADDRESS, struct.pack("=BBBBi", 0, 0, 0, 0, 0)):
        family, _, flags, scope, number = struct.unpack_from("=BBBBi", body)
        said = dict(attributes(body[8:]))
        flags = int.from_bytes(said.get(FLAGS, bytes([flags])), sys.byteorder)
        raw = said.get(LOCAL) or said.get(ADDRESS)
        if raw and scope in (SCOPE_GLOBAL, SCOPE_SITE) and not flags & TENTATIVE:
            yield number, _number(family, raw)


def locals_() -> Iterator[tuple[int, int]]:
    """(address, mask) of each route that ends here: AnyIP networks too."""
    body = struct.pack("=BBBBBBBBI", 0, 0, 0, 0, TABLE_LOCAL, 0, 0, 0, 0)
    for route in dump(GET_ROUTE, body):
        family, bits, _, _, table, _, _, kind, _ = struct.unpack_from("=BBBBBBBBI", route)
        said = dict(attributes(route[12:]))
        table = int.from_bytes(said.get(TABLE, bytes([table])), sys.byteorder)
        if table != TABLE_LOCAL or kind != KIND_LOCAL or family not in WIDTHS:
            continue
        width = WIDTHS[family]
        address = _number(family, said.get(DESTINATION, bytes(width // 8)))
        yield address, ALL ^ ((1 << width - bits) - 1)


def sources(targets: Iterable[int]) -> dict[int, int]:
    """The address of ours on the way to each; where there is no way it is left out."""
    wanted = list(targets)
    found: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE) as sock:
        sock.bind((0, 0))
        for first in range(0, len(wanted), AT_ONCE):
            some = wanted[first : first + AT_ONCE]
            sock.send(b"".join(_way(i, target) for i, target in enumerate(some)))
            for answer, number, body in _answers(sock, len(some)):
                said = dict(attributes(body[12:])) if answer == NEW_ROUTE else {}
                if raw := said.get(PREFERRED):
                    found[some[number]] = _number(body[0], raw)
    return found


def _answers(sock: socket.socket, many: int) -> Iterator[tuple[int, int, bytes]]:
    """As many messages as questions were asked, in whatever reads they come."""
    while many > 0:
        for message in _messages(sock.recv(1 << 20)):
            many -= 1
            yield message


def _way(number: int, target: int) -> bytes:
    """A question, by its number, how one gets there."""
    family = socket.AF_INET if target >> 32 == 0xFFFF else socket.AF_INET6
    width = WIDTHS[family]
    raw = target.to_bytes(16, "big")[-width // 8 :]
    body = struct.pack("=BBBBBBBBI", family, width, 0, 0, 0, 0, 0, 0, 0)
    body += ATTRIBUTE.pack(ATTRIBUTE.size + len(raw), DESTINATION) + raw
    return HEADER.pack(HEADER.size + len(body), GET_ROUTE, REQUEST, number, 0) + body


def only_routes(data: bytes) -> bool:
    """Does what a watch read tell of routes, and of nothing else?"""
    return all(kind in ROUTES for kind, _, _ in _messages(data))


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(kind, number, body) of each message in a read."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, _, number, _ = HEADER.unpack_from(data, at)
        if size < HEADER.size:
            return
        yield kind, number, data[at + HEADER.size : at + size]
        at += (size + 3) & ~3


def watch() -> socket.socket:
    """A socket of which every message means: look again."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.bind((0, GROUPS))
    return sock


WIDTHS = {socket.AF_INET: 32, socket.AF_INET6: 128}


def dump(kind: int, body: bytes, protocol: int = ROUTE) -> Iterator[bytes]:
    """The body of each answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as sock:
        sock.bind((0, 0))
        size = HEADER.size + len(body)
        sock.send(HEADER.pack(size, kind, REQUEST | DUMP, 1, 0) + body)
        while True:
            for answer, _, said in _messages(sock.recv(1 << 20)):
                if answer == DONE:
                    return
                if answer == ERROR:
                    (code,) = struct.unpack_from("=i", said)
                    raise OSError(-code, os.strerror(-code))
                yield said


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each."""
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        size, kind = ATTRIBUTE.unpack_from(data, at)
        if size < ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[at + ATTRIBUTE.size : at + size]  # without NLA_F_NESTED
        at += (size + 3) & ~3


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _number(family: int, raw: bytes) -> int:
    number = int.from_bytes(raw, "big")
    return number | MAPPED if family == socket.AF_INET else number
