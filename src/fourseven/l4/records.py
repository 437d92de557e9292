"""Flows as records of one length: what each plane tells, before anything is made of it.

A listing of 400,000 flows is 51 MB of records. A filter, a sum, an order or a page of text
(`lines`) needs no object for each of them; whoever wants objects gets them (`flow`).

Law: the form is scan.pxd's Told.
"""

from __future__ import annotations

import heapq
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from operator import add
from typing import Any

from fourseven.l4.kernel_plan import End
from fourseven.l4.kernel_plane import CLOSED, CLOSING, ESTABLISHED, NEW, OPENING, FlowRecord

FORM = struct.Struct("=16s16s16s16s4H4Q2q3B5x")
STAGES = {ESTABLISHED: 1, CLOSING: 2, CLOSED: 4, NEW: 8, OPENING: 16}  # as scan.pxd has them
STATES = {number: state for state, number in STAGES.items()}
WORD = 8  # bytes: all from the packets on stand in words
WORDS = FORM.size // WORD
PACKETS_IN, BYTES_IN, PACKETS_OUT, BYTES_OUT, AGE, IDLE = range(9, 15)  # words of a record
SORTS = {
    "bytes": (BYTES_IN, BYTES_OUT),
    "packets": (PACKETS_IN, PACKETS_OUT),
    "age": (AGE,),
    "idle": (IDLE,),
}
AT_ONCE = 4096  # flows that become records together, where they were objects


def flow(told: tuple[Any, ...]) -> FlowRecord:
    """What stands in one record."""
    packets_in, bytes_in, packets_out, bytes_out, age_ms, idle_ms = told[8:14]
    protocol, stage, masqueraded = told[14:]
    client, vip, server, source = (
        End(int.from_bytes(address, "big"), port)
        for address, port in zip(told[:4], told[4:8], strict=True)
    )
    return FlowRecord(
        protocol,
        client,
        vip,
        server,
        STATES[stage],
        age_ms,
        idle_ms,
        packets_in,
        bytes_in,
        packets_out,
        bytes_out,
        source if masqueraded else None,
    )


def flows(records: Iterable[bytes]) -> Iterator[FlowRecord]:
    for some in records:
        yield from map(flow, FORM.iter_unpack(some))


def packed(found: Iterable[FlowRecord]) -> Iterator[bytes]:
    """Records of flows that are objects."""
    some: list[bytes] = []
    for one in found:
        some.append(_packed(one))
        if len(some) == AT_ONCE:
            yield b"".join(some)
            some.clear()
    if some:
        yield b"".join(some)


def _packed(one: FlowRecord) -> bytes:
    ends = (one.client, one.vip, one.server, one.source or one.client)
    return FORM.pack(
        *(end.address.to_bytes(16, "big") for end in ends),
        *(end.port for end in ends),
        *(one.packets_in, one.bytes_in, one.packets_out, one.bytes_out),
        *(one.age_ms, one.idle_ms),
        *(one.protocol, STAGES[one.state], one.source is not None),
    )


def order(some: bytes, by: str, limit: int) -> list[int]:
    """Which records have the largest values, the largest first; limit 0: all of them."""
    words = array("Q" if by in {"bytes", "packets"} else "q", some)
    first, *more = SORTS[by]
    keys: Sequence[int] = words[first::WORDS]
    for which in more:
        keys = list(map(add, keys, words[which::WORDS]))
    at = range(len(keys))
    if limit:
        return heapq.nlargest(limit, at, key=keys.__getitem__)
    return sorted(at, key=keys.__getitem__, reverse=True)


def largest(some: bytes, by: str, limit: int) -> bytes:
    """Those records, in that order."""
    size = FORM.size
    return b"".join(some[at * size : (at + 1) * size] for at in order(some, by, limit))
