"""Which server has which TLS session: learnt from what it says, where TLS is passed through.

Only the server that began a session can take it up again, unless the servers share keys; at any
other one the client pays for a full handshake. Up to TLS 1.2 its name stands in clear text:

    the server gives a session's ID (ServerHello)         that ID is the server's
    the server gives a ticket (NewSessionTicket)          so is the ticket
    the server says the client's ID back                  it has taken it up: that one is its own
    TLS 1.3                                               nothing: the ID is an echo of no meaning,
                                                          and tickets are encrypted

An ID said back beside a ticket is a mere sign that the ticket was good (RFC 5077 3.4), and not
written down. What is written down stands in the table of those who persist (persistence.table); a
client that shows such a name is led back by l4.owner.

Laws: nothing is changed or held back. Reading along ends with the server's handshake, and so does
the memory for it. A server that says something else than TLS is relayed like any other.
"""

import cython
from cython.cimports.fourseven.l4.choose import backend_now
from cython.cimports.fourseven.l4.resumption import Learner
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.persistence.table import table_find, table_put
from cython.cimports.fourseven.protocols.serverhello import (
    FLIGHT_HELLO,
    FLIGHT_TICKET,
    TLS_1_3,
    read_flight,
)
from cython.cimports.fourseven.snapshot.hashing import hash_bytes
from cython.cimports.fourseven.snapshot.layout import PERSIST_SESSION, Backend
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free


def learner_begin(side, backend, arrived, lease):
    learner: cython.pointer[Learner] = cython.cast(cython.pointer[Learner], side.learner)
    if backend.persistence is cython.NULL or backend.persistence.kind != PERSIST_SESSION:
        return
    if arrived is cython.NULL or not arrived.hello:
        return
    if learner is cython.NULL:  # else another server was tried before, and has said nothing
        learner = cython.cast(cython.pointer[Learner], calloc(1, cython.sizeof(Learner)))
        if learner is cython.NULL:
            return  # it is served all the same
        side.learner = learner
    learner.backend = backend.number
    learner.slot = lease.slot
    learner.session_key = arrived.session_key
    learner.ticket_key = arrived.ticket_key


def learner_hear(worker, side, at, size):
    learner: cython.pointer[Learner] = cython.cast(cython.pointer[Learner], side.learner)
    event: int32_t = FLIGHT_HELLO
    position: uint32_t = 0
    used: uint32_t = 0
    while event == FLIGHT_HELLO or event == FLIGHT_TICKET:
        event = read_flight(
            cython.address(learner.flight), at + position, size - position, cython.address(used)
        )
        position += used
        if event == FLIGHT_TICKET:
            ticket = cython.address(learner.flight.ticket)
            belongs(worker, learner, 1 | hash_bytes(ticket.at, ticket.size))
        elif event == FLIGHT_HELLO:
            belongs(worker, learner, named(learner))
    if learner.flight.ended or learner.flight.version >= TLS_1_3:
        learner_drop(side)


def learner_drop(side):
    free(side.learner)
    side.learner = cython.NULL


def named(learner):
    """The key of what the ServerHello names; 0: nothing."""
    key: uint64_t
    if learner.flight.version >= TLS_1_3 or learner.flight.session.size == 0:
        return 0
    key = 1 | hash_bytes(learner.flight.session.at, learner.flight.session.size)
    if key == learner.session_key and learner.ticket_key:
        return learner.ticket_key
    return key


def belongs(worker, learner, key):
    backend: cython.pointer[cython.const[Backend]] = backend_now(worker, learner.backend)
    known: int32_t
    at: uint32_t
    if key == 0 or backend is cython.NULL or backend.persistence is cython.NULL:
        return
    if backend.persistence.kind != PERSIST_SESSION:  # a reload has changed it meanwhile
        return
    known = table_find(backend.persistence, key, worker.now_ms)
    for at in range(backend.server_count):
        if backend.slots[at] != learner.slot or cython.cast(int32_t, at) == known:
            continue
        if known < 0:
            count(cython.address(worker.backend_counters[backend.number].persisted_new), 1)
        table_put(backend.persistence, key, at, worker.now_ms)
        return
