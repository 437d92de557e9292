"""Which server takes a connection or a flow: routes by addresses and the hello, then balance.

The relay sees no request, so one is made up that has nothing but addresses and what a ClientHello
said, and the very table that Layer 7 asks answers. The rest is a lease: which server was picked,
which were tried before, and that it is counted in flight until the lease ends.

Laws: a lease holds numbers, never pointers. Whoever takes a lease ends it, once; ending a lease
that is not held does nothing.
"""

import cython
from cython.cimports.fourseven.balancing.key import hash_address
from cython.cimports.fourseven.matching.table import route_find
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64
from cython.cimports.fourseven.native.linux import (
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    close,
    connect,
    sockaddr,
    socket,
)
from cython.cimports.fourseven.snapshot.layout import (
    BACKENDS_MAX,
    SLOTS_MAX,
    TRIED_MAX,
    Listener,
    Pick,
    Route,
    Slot,
    Snapshot,
)
from cython.cimports.fourseven.worker.arrival import arrived_request
from cython.cimports.fourseven.worker.tools import random_next
from cython.cimports.libc.errno import EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t


def route_address(worker, listener, client, arrived):
    plan: cython.pointer[cython.const[Listener]] = listener.plan
    snapshot: cython.pointer[Snapshot] = worker.snapshot
    route: int32_t = -1
    at: uint32_t
    if plan is cython.NULL:
        return cython.NULL
    if arrived is not cython.NULL:
        route = arrived.route
    if route < 0:
        arrived_request(worker.request, listener, client, arrived)
        route = route_find(plan, worker.request, worker.scratch)
    if route < 0 or cython.cast(uint32_t, route) >= plan.route_count:
        return cython.NULL
    at = chosen(worker, listener, route)
    if at >= snapshot.backend_count:
        return cython.NULL
    return cython.address(snapshot.backends[at])


def chosen(worker, listener, route):
    """The index of the route's backend, drawn by weight; or one that no snapshot has."""
    rule: cython.pointer[Route] = cython.address(listener.plan.routes[route])
    drawn: uint32_t
    i: uint32_t
    if rule.choice_total == 0:
        return BACKENDS_MAX
    drawn = cython.cast(uint32_t, (random_next(worker) >> 32) % rule.choice_total)
    for i in range(rule.choice_count):
        if drawn < rule.choices[i].up_to:
            return rule.choices[i].backend
    return BACKENDS_MAX


def backend_now(worker, number):
    snapshot: cython.pointer[Snapshot] = worker.snapshot
    i: uint32_t
    for i in range(snapshot.backend_count):
        if snapshot.backends[i].number == number:
            return cython.address(snapshot.backends[i])
    return cython.NULL


def lease_take(worker, backend, client, lease):
    pick: Pick
    number: int32_t
    i: uint32_t
    if lease.tried_count >= TRIED_MAX:
        return -1
    pick.slots = worker.shared.slots
    pick.hash = hash_address(
        cython.cast(cython.pointer[cython.const[uint8_t]], cython.address(client.bytes[0])),
        backend.hash_prefix_v4,
        backend.hash_prefix_v6,
    )
    pick.random = random_next(worker)
    pick.now_ns = worker.now_ns
    pick.tried_count = lease.tried_count
    for i in range(TRIED_MAX):
        pick.tried[i] = lease.tried[i]
    number = backend.pick(backend, cython.address(pick))
    if number < 0 or number >= cython.cast(int32_t, SLOTS_MAX):
        count(cython.address(worker.counters.pick_failed), 1)
        return -1
    lease.backend = backend.number
    lease.slot = number
    lease.tried[lease.tried_count] = number
    lease.tried_count += 1
    lease.held = 1
    fetch_add_i64(cython.address(worker.shared.slots[number].in_flight), 1)
    fetch_add_i64(cython.address(worker.shared.backends[backend.number].in_flight), 1)
    return 0


def lease_end(worker, lease):
    if not lease.held:
        return
    lease.held = 0
    fetch_add_i64(cython.address(worker.shared.slots[lease.slot].in_flight), -1)
    fetch_add_i64(cython.address(worker.shared.backends[lease.backend].in_flight), -1)


def exhausted(error):
    return error == EMFILE or error == ENFILE or error == ENOBUFS or error == ENOMEM


def lease_connect(worker, lease, kind):
    slot: cython.pointer[Slot] = cython.address(worker.shared.slots[lease.slot])
    to: cython.pointer[sockaddr] = cython.cast(
        cython.pointer[sockaddr], cython.address(slot.sockaddr[0])
    )
    error: int32_t
    fd: int32_t = socket(to.sa_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return -errno
    if connect(fd, to, slot.sockaddr_size) < 0 and errno != EINPROGRESS:
        error = errno
        close(fd)
        return -error
    return fd
