"""What runs at a server that is down ends, where the file asks for it (`on_down: cut`).

So it does when an operator says maintenance, or a drain has come to its end. Control says so in
the server's slot (`cut`), counts that it has said something (`cuts`), and wakes the workers; each
looks through what it has, once for each time, and nobody looks on the way of a packet.

    a session        both sides get a reset; its client connects anew, and meets another server
    one that is still connecting   tries another server, and its client notices nothing
    a flow of UDP    is forgotten; the client's next datagram begins another one elsewhere

Law: whoever cuts has said before that the server is not usable, so nothing new goes there.
"""

import cython
from cython.cimports.fourseven.l4.relay_tcp import RELAY_TCP, Relay, Session, cut, try_another
from cython.cimports.fourseven.l4.relay_udp import RELAY_UDP, RelayUdp, flow_end, flows_each
from cython.cimports.fourseven.native.atomics import count, load_acquire_u32, load_relaxed_u32
from cython.cimports.libc.stdint import uint32_t


def cut_sessions(worker):
    relay: cython.pointer[Relay] = cython.cast(
        cython.pointer[Relay], worker.plane_state[cython.cast(cython.int, RELAY_TCP)]
    )
    session: cython.pointer[Session] = relay.sessions
    after: cython.pointer[Session]
    said: uint32_t = load_acquire_u32(cython.address(worker.shared.cuts))
    slot: uint32_t
    if relay.cuts == said:
        return
    relay.cuts = said
    while session is not cython.NULL:
        after = session.next
        slot = session.lease.slot
        if session.lease.held and load_relaxed_u32(cython.address(worker.shared.slots[slot].cut)):
            count(cython.address(worker.slot_counters[slot].resets), 1)
            if session.connecting:
                try_another(worker, session)
            else:
                cut(worker, session)
        session = after


def cut_flows(worker):
    relay: cython.pointer[RelayUdp] = cython.cast(
        cython.pointer[RelayUdp], worker.plane_state[cython.cast(cython.int, RELAY_UDP)]
    )
    said: uint32_t = load_acquire_u32(cython.address(worker.shared.cuts))
    if relay.cuts != said:
        relay.cuts = said
        flows_each(worker, cut_flow)


def cut_flow(worker, flow):
    slot: uint32_t = flow.lease.slot
    if load_relaxed_u32(cython.address(worker.shared.slots[slot].cut)):
        count(cython.address(worker.slot_counters[slot].resets), 1)
        flow_end(worker, flow)
