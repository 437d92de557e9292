"""Messages to netfilter and back: nfnetlink, as nf_tables and conntrack speak it.

A message is a header and attributes, which nest. A change of tables is a batch: one write, which
the kernel takes whole or not at all. The kernel has done everything when the write returns, so
what it says to it is read without waiting.

Law: nothing here knows what a table or a flow is.

Sources: include/uapi/linux/{netlink,netfilter/nfnetlink}.h; net/netfilter/nfnetlink.c.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

from fourseven.errors import FoursevenError

CONNTRACK, TABLES = 1, 10  # NFNL_SUBSYS_CTNETLINK, _NFTABLES
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
CREATE, APPEND = 0x400, 0x800
BATCH_BEGIN, BATCH_END = 0x10, 0x11
ERROR, DONE = 2, 3
INTERRUPTED = 0x10  # NLM_F_DUMP_INTR
CAPPED, EXPLAINED = 0x100, 0x200  # NLM_F_CAPPED, NLM_F_ACK_TLVS
NETLINK_NETFILTER = 12
SOL_NETLINK, CAP_ACK, EXT_ACK = 270, 10, 11
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
ROOM = 1 << 16  # at one read; a dump fills what is offered, up to 32 KiB
SEND_MAX = 1 << 28  # a batch is one write: a million entries of maps take 60 MB
RECEIVE = 1 << 22  # a dump waits for its reader, but errors of a long batch do not
NESTED = 0x8000
KIND = 0x3FFF

HEADER = struct.Struct("=IHHII")  # nlmsghdr
FAMILY = struct.Struct("=BBH")  # nfgenmsg; the last is big-endian and put in as such
ATTRIBUTE = struct.Struct("=HH")


class NetlinkError(FoursevenError):
    """What the kernel refused, in its own words where it has any."""

    def __init__(self, number: int, text: str = "") -> None:
        self.errno = number
        said = os.strerror(number)
        super().__init__(f"netfilter: {said}" + (f": {text}" if text else ""))


class Message(NamedTuple):
    """One request."""

    kind: int  # without the subsystem
    body: bytes  # attributes
    flags: int = 0
    family: int = 1  # NFPROTO_INET


class Netlink:
    """A socket to one subsystem of netfilter, in the network namespace where it was opened."""

    def __init__(self, subsystem: int) -> None:
        self.subsystem = subsystem
        self.sequence = 0
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.bind((0, 0))
        for option in (CAP_ACK, EXT_ACK):
            with contextlib.suppress(OSError):
                self.socket.setsockopt(SOL_NETLINK, option, 1)
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def batch(self, messages: Iterable[Message], check: bool = False) -> None:
        """All of them or none. NetlinkError: none. check: judged, and never done."""
        begin = self._packed(BATCH_BEGIN, FAMILY.pack(0, 0, socket.htons(self.subsystem)), REQUEST)
        parts = [begin]
        for message in messages:
            parts.append(self._request(message))
        if len(parts) == 1:
            return
        parts[-1] = _with_flags(parts[-1], ACK)
        wanted = self.sequence
        if not check:  # a batch without an end is judged and dropped
            end = FAMILY.pack(0, 0, socket.htons(self.subsystem))
            parts.append(self._packed(BATCH_END, end, REQUEST))
        self._send(b"".join(parts))
        self._settle(wanted)

    def each(self, messages: Iterable[Message]) -> int:
        """Each by itself, in one write; how many were done. What is gone already is no error."""
        parts = [_with_flags(self._request(message), ACK) for message in messages]
        done = 0
        for at in range(0, len(parts), 256):  # answers must fit what the socket may hold
            self._send(b"".join(parts[at : at + 256]))
            for _, kind, _, body in self._waiting():
                number = -struct.unpack_from("=i", body)[0] if kind == ERROR else 0
                if number and number != errno.ENOENT:
                    raise NetlinkError(number)
                done += kind == ERROR and not number
        return done

    def dump(self, message: Message) -> Iterator[memoryview]:
        """The attributes of every answer."""
        self._send(_with_flags(self._request(message), DUMP))
        wanted = self.sequence
        while True:
            for sequence, kind, _, body in _messages(self.socket.recv(ROOM)):
                if sequence != wanted:
                    continue  # the rest of a dump that nobody read to its end
                if kind == ERROR:
                    raise NetlinkError(-struct.unpack_from("=i", body)[0])
                if kind == DONE:
                    return
                yield body[FAMILY.size :]

    def begin(self, message: Message) -> None:
        """A listing, of which `read` gives the reads as they come."""
        self._send(_with_flags(self._request(message), DUMP))

    def read(self) -> bytes:
        data = self.socket.recv(ROOM)
        if HEADER.unpack_from(data)[1] == ERROR:
            raise NetlinkError(-struct.unpack_from("=i", data, HEADER.size)[0])
        return data

    def ask(self, message: Message) -> memoryview | None:
        """The attributes of the one answer; None when there is no such thing."""
        self._send(self._request(message))
        wanted = self.sequence
        for sequence, kind, _, body in self._waiting():
            if sequence != wanted:
                continue
            if kind != ERROR:
                return body[FAMILY.size :]
            number = -struct.unpack_from("=i", body)[0]
            if number and number != errno.ENOENT:
                raise NetlinkError(number)
        return None

    def _request(self, message: Message) -> bytes:
        body = FAMILY.pack(message.family, 0, 0) + message.body
        kind = self.subsystem << 8 | message.kind
        return self._packed(kind, body, REQUEST | message.flags)

    def _packed(self, kind: int, body: bytes, flags: int) -> bytes:
        self.sequence = self.sequence + 1 & 0xFFFFFFFF
        size = HEADER.size + len(body)
        return HEADER.pack(size, kind, flags, self.sequence, 0) + body + bytes(-size % 4)

    def _send(self, data: bytes) -> None:
        for _ in self._waiting():
            pass  # what an earlier question left
        size = len(data) + 4096
        if size > SEND_MAX:
            raise FoursevenError(f"netfilter: a change of {len(data)} bytes at once is too much")
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, size)
        try:
            self.socket.sendto(data, (0, 0))
        except OSError as error:
            raise NetlinkError(error.errno or errno.EIO) from None

    def _waiting(self) -> Iterator[tuple[int, int, int, memoryview]]:
        while True:
            try:
                data = self.socket.recv(ROOM, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from _messages(data)

    def _settle(self, wanted: int) -> None:
        """Reads what a batch led to; raises its first error."""
        done, failed = False, None
        for sequence, kind, flags, body in self._waiting():
            if kind != ERROR:
                continue
            number = -struct.unpack_from("=i", body)[0]
            if number and failed is None:
                failed = NetlinkError(number, _explained(flags, body))
            done |= sequence == wanted and not number
        if failed is not None:
            raise failed
        if not done:
            raise NetlinkError(errno.EIO, "no answer")


def _with_flags(packed: bytes, flags: int) -> bytes:
    size, kind, before, sequence, port = HEADER.unpack_from(packed)
    return HEADER.pack(size, kind, before | flags, sequence, port) + packed[HEADER.size :]


def _messages(data: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """(sequence, kind, flags, body) of each message of one read."""
    view, at = memoryview(data), 0
    while at + HEADER.size <= len(data):
        size, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if size < HEADER.size:
            return
        yield sequence, kind, flags, view[at + HEADER.size : at + size]
        at += size + -size % 4


def _explained(flags: int, body: memoryview) -> str:
    """The kernel's own words about an error, where it has any (NLMSGERR_ATTR_MSG)."""
    if not flags & EXPLAINED:
        return ""
    about = HEADER.unpack_from(body, 4)[0]  # the request that failed, whole or only its header
    skip = 4 + (HEADER.size if flags & CAPPED else about + -about % 4)
    found = attributes(body[skip:])
    return bytes(found.get(1, b"")).rstrip(b"\0").decode("utf-8", "replace")


# ---- attributes ----


def attribute(kind: int, value: bytes) -> bytes:
    size = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(parts))


def number(kind: int, value: int) -> bytes:
    """32 bits, big-endian, as nf_tables and conntrack have them."""
    return attribute(kind, struct.pack(">I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def attributes(data: memoryview) -> dict[int, memoryview]:
    """Attributes by kind; of several of one kind the last."""
    return dict(each_attribute(data))


def each_attribute(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at, end = 0, len(data)
    while at + 4 <= end:
        size, kind = ATTRIBUTE.unpack_from(data, at)
        if size < 4 or at + size > end:
            return
        yield kind & KIND, data[at + 4 : at + size]
        at += size + -size % 4


def text_of(value: memoryview) -> str:
    return bytes(value).rstrip(b"\0").decode("utf-8", "replace")
