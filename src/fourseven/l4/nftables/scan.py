"""Conntrack's listing as rows of one length, read natively: a twin.

A listing of 400,000 flows is 80 MB of attributes in attributes; Python would take 20 seconds over
them. Here each flow whose destination was changed becomes a row of ROW bytes, ordered so that what
flows are counted by stands together at its beginning:

    step, answered, family (4 or 6), protocol
    vip, port, server, port, client, port, source, port      (16 bytes and 2, big-endian)
    seconds left; packets and bytes there and back; began (ns); id; zone, has it one

Laws: every length is checked against the end of what holds it, since a reader of the kernel's words
is still a reader. A flow that lacks a tuple (a protocol without ports) is no row. The lengths of
netlink are those of a little-endian host.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

ROW = 128
ENDED = 1 << 30


def rows(data: Sequence[int], into: MutableSequence[int]) -> int:
    """Rows of one read into `into`, which has room for each message's; how many, plus ENDED
    (1 << 30) if the listing has ended with it."""
    at = 0
    count = 0
    size = len(data)
    room = len(into) // 128
    while at + 16 <= size:
        length = data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24
        kind = data[at + 4] | data[at + 5] << 8
        if length < 16 or length > size - at:
            return count
        if kind == 3:  # NLMSG_DONE
            return count | 1 << 30
        if kind == 0x100 and count < room:  # a flow of conntrack
            count += flow(data, at + 20, at + length, into, count * 128)
        at += (length + 3) & ~3
    return count


def flow(data, at, end, into, row):
    """One flow's row; 1, or 0 if it is none of those that are asked for."""
    found = 0
    status = 0
    for i in range(128):
        into[row + i] = 0
    while at + 4 <= end:
        length = data[at] | data[at + 1] << 8
        kind = (data[at + 2] | data[at + 3] << 8) & 0x3FFF
        if length < 4 or length > end - at:
            break
        if kind == 1:  # as it began
            found |= ends(data, at + 4, at + length, into, row, 40, 4)
        elif kind == 2:  # as its answers come
            found |= ends(data, at + 4, at + length, into, row, 22, 58) << 1
        elif kind == 3 and length == 8:
            status = data[at + 7]
        elif kind == 4:
            inside(data, at + 4, at + length, into, row)
        elif kind == 7 and length == 8:
            put(data, at + 4, 4, into, row + 76)
        elif kind == 9 or kind == 10:
            numbers(data, at + 4, at + length, into, row + (80 if kind == 9 else 96), 2)
        elif kind == 12 and length == 8:
            put(data, at + 4, 4, into, row + 120)
        elif kind == 18 and length == 6:
            put(data, at + 4, 2, into, row + 124)
            into[row + 126] = 1
        elif kind == 20:
            numbers(data, at + 4, at + length, into, row + 112, 1)
        at += (length + 3) & ~3
    if into[row + 3] == 17:  # UDP: whether it goes on
        into[row] = 2 if status & 4 else 1
    into[row + 1] = 1 if status & 2 else 0
    return 1 if found == 3 and status & 0x20 else 0


def ends(data, at, end, into, row, source, destination):
    """A tuple's two ends, each an address and a port; 1 if it has all of them."""
    found = 0
    while at + 4 <= end:
        length = data[at] | data[at + 1] << 8
        outer = (data[at + 2] | data[at + 3] << 8) & 0x3FFF
        if length < 4 or length > end - at:
            break
        inner = at + 4
        last = at + length
        while inner + 4 <= last:
            size = data[inner] | data[inner + 1] << 8
            kind = (data[inner + 2] | data[inner + 3] << 8) & 0x3FFF
            if size < 4 or size > last - inner:
                break
            if outer == 1:
                found |= address(data, inner + 4, kind, size, into, row, source, destination)
            elif outer == 2 and kind == 1 and size == 5:
                into[row + 3] = data[inner + 4]
            elif outer == 2 and kind == 2 and size == 6:
                put(data, inner + 4, 2, into, row + source + 16)
                found |= 4
            elif outer == 2 and kind == 3 and size == 6:
                put(data, inner + 4, 2, into, row + destination + 16)
                found |= 8
            inner += (size + 3) & ~3
        at += (length + 3) & ~3
    return 1 if found == 15 else 0


def address(data, at, kind, size, into, row, source, destination):
    """One address: 1 of the source, 2 of the destination, 0 neither."""
    to = row + (source if kind == 1 or kind == 3 else destination)
    if size == 8 and (kind == 1 or kind == 2):
        into[row + 2] = 4
        into[to + 10] = 0xFF
        into[to + 11] = 0xFF
        put(data, at, 4, into, to + 12)
        return kind
    if size == 20 and (kind == 3 or kind == 4):
        into[row + 2] = 6
        put(data, at, 16, into, to)
        return kind - 2
    return 0


def inside(data, at, end, into, row):
    """The step of TCP, two attributes deep."""
    if at + 13 <= end and ((data[at + 2] | data[at + 3] << 8) & 0x3FFF) == 1:
        length = data[at + 4] | data[at + 5] << 8
        kind = (data[at + 6] | data[at + 7] << 8) & 0x3FFF
        if length == 5 and kind == 1:
            into[row] = data[at + 8]
    return 0


def numbers(data, at, end, into, to, most):
    """The first number to `to`, the second behind it if it is wanted; 8 bytes each."""
    while at + 12 <= end:
        length = data[at] | data[at + 1] << 8
        kind = (data[at + 2] | data[at + 3] << 8) & 0x3FFF
        if length < 4 or length > end - at:
            break
        if length == 12 and 1 <= kind <= most:
            put(data, at + 4, 8, into, to + (kind - 1) * 8)
        at += (length + 3) & ~3
    return 0


def put(data, at, size, into, to):
    for i in range(size):
        into[to + i] = data[at + i]
    return 0
