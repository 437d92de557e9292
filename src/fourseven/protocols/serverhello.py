"""What a TLS server says in clear text, as it passes by: its version, a session's ID, a ticket.

Up to TLS 1.2 a session that can be taken up again is named where everybody can read it: by the ID
in the ServerHello, or by a ticket in NewSessionTicket. Who keeps clients at their server by that
name reads along here. The bytes are another's and go on their way whatever is found.

So this reads whatever piece it is given and keeps its own place, unlike the reader of the
ClientHello, which waits in front of everything else. Certificates and keys are counted and
skipped; only a hello and a ticket are put together in `room`.

In TLS 1.3 the ID is an echo of the client's, which means nothing, and tickets are encrypted: the
hello is then all there is to see. The version is the one of `supported_versions` where that stands
(RFC 8446 4.2.1).

Laws: every length is checked against its block and every block is used up exactly. Cut as it may
be, the same bytes give the same events. An end is an end: no later byte is looked at.

Not here: encrypted messages, renegotiation, DTLS, QUIC.
Sources: RFC 5246 7.4.1.3; RFC 5077 3.3; RFC 8446 4.1.3.
"""

import cython
from cython.cimports.fourseven.protocols.clienthello import (
    EXTENSION_VERSIONS,
    MESSAGE_HEAD,
    RECORD_HANDSHAKE,
    RECORD_HEAD,
    RECORD_MAX,
    Block,
    take,
    take_block,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.protocols.serverhello import (
    FLIGHT_BROKEN,
    FLIGHT_HELLO,
    FLIGHT_LONG,
    FLIGHT_MAX,
    FLIGHT_MORE,
    FLIGHT_OVER,
    FLIGHT_TICKET,
    MESSAGE_NEW_TICKET,
    MESSAGE_ROOM,
    MESSAGE_SERVER_HELLO,
    RECORD_ALERT,
    RECORD_CHANGE_CIPHER,
    SESSION_MAX,
    TLS_1_3,
)
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.string import memcpy


def read_flight(flight, at, size, used):
    event: int32_t = FLIGHT_MORE
    here: uint32_t
    used[0] = 0
    flight.session = Span(at=cython.NULL, size=0)
    flight.ticket = Span(at=cython.NULL, size=0)
    while flight.ended == 0 and event == FLIGHT_MORE and used[0] < size:
        if flight.record_left == 0:
            flight.head[flight.head_had] = cython.cast(cython.uchar, at[used[0]])
            flight.head_had += 1
            here = 1
            event = read_head(flight)
        else:
            here = min(flight.record_left, size - used[0])
            if flight.message_size:
                here = min(here, flight.message_size - flight.message_had)
            elif flight.message_had < MESSAGE_HEAD:
                here = 1
            event = read_part(flight, at + used[0], here)
        used[0] += here
        flight.heard += here
        if event == FLIGHT_MORE and flight.heard > FLIGHT_MAX:
            event = FLIGHT_LONG
        if event < 0 or event == FLIGHT_OVER:
            flight.ended = event
    return flight.ended if flight.ended else event


def read_head(flight):
    """A byte of a record's head has come."""
    kind: uint32_t = flight.head[0]
    length: uint32_t
    if flight.head_had == 1:
        if kind == RECORD_CHANGE_CIPHER or kind == RECORD_ALERT:
            return FLIGHT_OVER
        return FLIGHT_MORE if kind == RECORD_HANDSHAKE else FLIGHT_BROKEN
    if flight.head_had < RECORD_HEAD:
        return FLIGHT_BROKEN if flight.head[1] != 3 else FLIGHT_MORE
    length = cython.cast(uint32_t, flight.head[3]) << 8 | flight.head[4]
    if length == 0 or length > RECORD_MAX:
        return FLIGHT_BROKEN
    flight.head_had = 0
    flight.record_left = length
    return FLIGHT_MORE


def read_part(flight, at, size):
    """Some bytes of one message, and of one record."""
    flight.record_left -= size
    if flight.message_had + size <= MESSAGE_ROOM:
        memcpy(cython.address(flight.room[flight.message_had]), at, size)
    flight.message_had += size
    if flight.message_had == MESSAGE_HEAD:
        flight.message_size = (
            MESSAGE_HEAD
            + (cython.cast(uint32_t, cython.cast(cython.uchar, flight.room[1])) << 16)
            + (cython.cast(uint32_t, cython.cast(cython.uchar, flight.room[2])) << 8)
            + cython.cast(cython.uchar, flight.room[3])
        )
    if flight.message_size == 0 or flight.message_had < flight.message_size:
        return FLIGHT_MORE
    flight.message_had = 0
    return end_message(flight)


def end_message(flight):
    kind: uint32_t = cython.cast(cython.uchar, flight.room[0])
    fits: cython.bint = flight.message_size <= MESSAGE_ROOM
    event: int32_t = FLIGHT_MORE
    if flight.version == 0 and kind != MESSAGE_SERVER_HELLO:
        event = FLIGHT_BROKEN
    elif flight.version >= TLS_1_3:
        event = FLIGHT_OVER
    elif kind == MESSAGE_SERVER_HELLO:
        event = FLIGHT_LONG if not fits else FLIGHT_BROKEN
        if fits and flight.version == 0:  # a second one would be another handshake
            event = read_hello(flight)
    elif kind == MESSAGE_NEW_TICKET and fits:
        event = read_ticket(flight)
    flight.message_size = 0
    return event


def read_hello(flight):
    block: Block = Block(
        at=cython.address(flight.room[0]) + MESSAGE_HEAD, size=flight.message_size - MESSAGE_HEAD
    )
    session = cython.declare(Block)
    extensions = cython.declare(Block)
    inner = cython.declare(Block)
    version: uint32_t = 0
    kind: uint32_t = 0
    waste: uint32_t = 0
    if not take(cython.address(block), 2, cython.address(version)) or version >> 8 != 3:
        return FLIGHT_BROKEN
    if block.size < 32:
        return FLIGHT_BROKEN
    block.at += 32  # random
    block.size -= 32
    if not take_block(cython.address(block), 1, 0, cython.address(session)):
        return FLIGHT_BROKEN
    if session.size > SESSION_MAX or not take(cython.address(block), 3, cython.address(waste)):
        return FLIGHT_BROKEN  # the suite and the compression
    if block.size:
        if not take_block(cython.address(block), 2, 0, cython.address(extensions)) or block.size:
            return FLIGHT_BROKEN
        while extensions.size:
            if not take(cython.address(extensions), 2, cython.address(kind)):
                return FLIGHT_BROKEN
            if not take_block(cython.address(extensions), 2, 0, cython.address(inner)):
                return FLIGHT_BROKEN
            if kind == EXTENSION_VERSIONS and (
                not take(cython.address(inner), 2, cython.address(version))
                or inner.size
                or version < TLS_1_3
            ):
                return FLIGHT_BROKEN
    flight.version = version
    flight.session = Span(at=session.at, size=session.size)
    return FLIGHT_HELLO


def read_ticket(flight):
    """RFC 5077 3.3; an empty one says that there is none."""
    block: Block = Block(
        at=cython.address(flight.room[0]) + MESSAGE_HEAD, size=flight.message_size - MESSAGE_HEAD
    )
    ticket = cython.declare(Block)
    lifetime: uint32_t = 0
    if not take(cython.address(block), 4, cython.address(lifetime)):
        return FLIGHT_BROKEN
    if not take_block(cython.address(block), 2, 0, cython.address(ticket)) or block.size:
        return FLIGHT_BROKEN
    flight.ticket = Span(at=ticket.at, size=ticket.size)
    return FLIGHT_TICKET if ticket.size else FLIGHT_MORE
