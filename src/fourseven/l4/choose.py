"""Which server takes a connection or a flow: routes by addresses and the hello, then balance.

The relay sees no request, so one is made up that has nothing but addresses and what a ClientHello
said, and the very table that Layer 7 asks answers. The rest is a lease: which server was picked,
which were tried before, and that it is counted in flight until the lease ends.

    the backend's limits -> its circuit -> the client's own server (l4.owner) -> the tier
    -> the algorithm -> the server's limit -> its circuit

Laws: a lease holds numbers, never pointers. Whoever takes a lease ends it, once; ending a lease
that is not held does nothing. Limits hold exactly over all workers: counted first and compared
after.
"""

import cython
from cython.cimports.fourseven.balancing.key import hash_address
from cython.cimports.fourseven.balancing.picks.common import available
from cython.cimports.fourseven.l4.choose import (
    HELD_COUNTED,
    HELD_JUDGED,
    HELD_PROBES_BACKEND,
    HELD_PROBES_SERVER,
    LEASE_LATER,
    LEASE_NOBODY,
    LEASE_TAKEN,
)
from cython.cimports.fourseven.l4.owner import (
    OWNER_NONE,
    OWNER_REFUSED,
    OWNER_WAITED,
    owner_find,
    owner_key,
    owner_missing,
    owner_went,
)
from cython.cimports.fourseven.matching.table import route_find
from cython.cimports.fourseven.native.atomics import (
    count,
    fetch_add_i64,
    load_i64,
    load_relaxed,
    load_relaxed_u32,
    store_relaxed_u32,
)
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
    BREAKER_BACKEND,
    BREAKER_SERVER,
    SLOTS_MAX,
    TRIED_MAX,
    Backend,
    BackendState,
    Listener,
    Pick,
    Resilience,
    Route,
    Slot,
    Snapshot,
)
from cython.cimports.fourseven.worker.arrival import arrived_request
from cython.cimports.fourseven.worker.circuit import circuit_lets, circuit_said
from cython.cimports.fourseven.worker.judged import server_did
from cython.cimports.fourseven.worker.tiers import tier_of
from cython.cimports.fourseven.worker.tools import random_next
from cython.cimports.libc.errno import EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t, uint32_t, uint64_t


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
    """The index of the route's backend, drawn by weight, or of its fallback; or one that no
    snapshot has."""
    rule: cython.pointer[Route] = cython.address(listener.plan.routes[route])
    drawn: uint32_t
    found: uint32_t
    i: uint32_t
    if rule.choice_total == 0:
        return BACKENDS_MAX
    drawn = cython.cast(uint32_t, (random_next(worker) >> 32) % rule.choice_total)
    for i in range(rule.choice_count):
        if drawn < rule.choices[i].up_to:
            break
    else:
        return BACKENDS_MAX
    found = rule.choices[i].backend
    if rule.fallback < worker.snapshot.backend_count and found < worker.snapshot.backend_count:
        backend = cython.address(worker.snapshot.backends[found])
        if cannot_serve(worker, backend):
            count(cython.address(worker.backend_counters[backend.number].fallbacks), 1)
            return rule.fallback
    return found


def cannot_serve(worker, backend):
    """Is nobody usable, the circuit open, or a limit reached? As it looks at this moment."""
    rules: cython.pointer[cython.const[Resilience]] = backend.resilience
    state: cython.pointer[BackendState] = backend.state
    pick = cython.declare(Pick)
    until_ms: uint64_t
    load: int64_t
    at: uint32_t
    if rules is not cython.NULL:
        load = load_i64(cython.address(state.in_flight))
        until_ms = load_relaxed(cython.address(state.circuit.open_until_ms))
        if (
            rules.breaker_of & BREAKER_BACKEND
            and until_ms
            and (
                worker.now_ms < until_ms or load_relaxed_u32(cython.address(state.circuit.probing))
            )
        ):
            return True
        if (rules.requests_max and load >= rules.requests_max) or (
            rules.connections_max and load >= rules.connections_max
        ):
            return True
    pick.slots = worker.shared.slots
    pick.tried_count = 0
    for at in range(backend.server_count):
        if available(backend, cython.address(pick), at):
            return False
    return True


def backend_now(worker, number):
    snapshot: cython.pointer[Snapshot] = worker.snapshot
    i: uint32_t
    for i in range(snapshot.backend_count):
        if snapshot.backends[i].number == number:
            return cython.address(snapshot.backends[i])
    return cython.NULL


def lease_take(worker, backend, client, arrived, lease):
    number: int32_t
    if lease.tried_count >= TRIED_MAX:
        return LEASE_NOBODY
    lease.backend = backend.number
    if not room_at(worker, backend, lease):
        count(cython.address(worker.counters.pick_failed), 1)
        return LEASE_NOBODY
    number = server_for(worker, backend, client, arrived, lease)
    if number < 0 or number >= cython.cast(int32_t, SLOTS_MAX):
        fetch_add_i64(cython.address(backend.state.in_flight), -1)
        if lease.held & HELD_PROBES_BACKEND:
            store_relaxed_u32(cython.address(backend.state.circuit.probing), 0)
        lease.held = 0
        if number == LEASE_LATER:
            return LEASE_LATER
        count(cython.address(worker.counters.pick_failed), 1)
        return LEASE_NOBODY
    lease.slot = number
    lease.tried[lease.tried_count] = number
    lease.tried_count += 1
    lease.held |= HELD_COUNTED
    if backend.resilience is not cython.NULL and backend.resilience.breaker_of:
        lease.held |= HELD_JUDGED
    return LEASE_TAKEN


def room_at(worker, backend, lease):
    """Counts it at the backend, if its limits and its circuit let it in."""
    rules: cython.pointer[cython.const[Resilience]] = backend.resilience
    state: cython.pointer[BackendState] = backend.state
    probes: cython.bint = False
    before: int64_t = fetch_add_i64(cython.address(state.in_flight), 1)
    lease.held = 0
    if rules is cython.NULL:
        return True
    counters = cython.address(worker.backend_counters[backend.number])
    if (rules.requests_max and before >= rules.requests_max) or (
        rules.connections_max and before >= rules.connections_max
    ):
        count(cython.address(counters.limited), 1)
    elif not rules.breaker_of & BREAKER_BACKEND:
        return True
    elif circuit_lets(worker, cython.address(state.circuit), cython.address(probes)):
        if probes:
            lease.held |= HELD_PROBES_BACKEND
        return True
    else:
        count(cython.address(counters.backend_circuit_refused), 1)
    fetch_add_i64(cython.address(state.in_flight), -1)
    return False


def server_for(worker, backend, client, arrived, lease):
    """The number of a slot that was entered, or one of Taken: the client's own server, or one by
    the algorithm."""
    pick = cython.declare(Pick)
    key: uint64_t = 0
    number: int32_t = OWNER_NONE
    belongs: int32_t = OWNER_NONE
    at: uint32_t
    if backend.persistence is not cython.NULL:
        key = owner_key(backend.persistence, client, arrived, worker.now_ms)
        belongs = owner_find(worker, backend, lease, key)
        number = belongs
        if number >= 0 and not enter(worker, backend, number, lease):
            number = belongs = owner_missing(worker, backend, lease, True)
        if number == OWNER_WAITED:
            return LEASE_LATER
        if number == OWNER_REFUSED:
            return LEASE_NOBODY
    if number < 0:
        pick.slots = worker.shared.slots
        pick.hash = hash_address(
            cython.cast(cython.pointer[cython.const[uint8_t]], cython.address(client.bytes[0])),
            backend.hash_prefix_v4,
            backend.hash_prefix_v6,
        )
        pick.random = random_next(worker)
        pick.now_ns = worker.now_ns
        pick.tried_count = lease.tried_count
        for at in range(TRIED_MAX):
            pick.tried[at] = lease.tried[at]
        number = balanced(worker, backend, cython.address(pick), lease)
    if number >= 0 and key:
        owner_went(worker, backend, key, number, belongs)
    return number


def balanced(worker, backend, pick, lease):
    """Whom the algorithm picks, if it may be entered; after a few refusals all others in turn."""
    number: int32_t
    at: uint32_t
    i: uint32_t
    start: uint32_t
    if backend.tier_count:
        backend = tier_of(backend, worker, pick, lease.tried_count)
    while pick.tried_count < TRIED_MAX:
        number = backend.pick(backend, pick)
        if number < 0 or enter(worker, backend, number, lease):
            return number
        pick.tried[pick.tried_count] = number
        pick.tried_count += 1
    start = cython.cast(uint32_t, pick.random >> 32)
    for i in range(backend.server_count):
        at = (start + i) % backend.server_count
        if available(backend, pick, at) and enter(worker, backend, backend.slots[at], lease):
            return cython.cast(int32_t, backend.slots[at])
    return LEASE_NOBODY


def enter(worker, backend, number, lease):
    """Counts it at this server: counted first and compared after, so the limit holds exactly."""
    slot: cython.pointer[Slot] = cython.address(worker.shared.slots[number])
    before: int64_t = fetch_add_i64(cython.address(slot.in_flight), 1)
    most: uint32_t = load_relaxed_u32(cython.address(slot.max_in_flight))
    if most == 0 or before < most:
        if backend.resilience is cython.NULL or not circuit_open(worker, backend, number, lease):
            return True
    fetch_add_i64(cython.address(slot.in_flight), -1)
    return False


def circuit_open(worker, backend, number, lease):
    probes: cython.bint = False
    if not backend.resilience.breaker_of & BREAKER_SERVER:
        return False
    if not circuit_lets(
        worker,
        cython.address(worker.shared.slots[number].circuit),
        cython.address(probes),
    ):
        return True
    if probes:
        lease.held |= HELD_PROBES_SERVER
    return False


def lease_said(worker, lease, good):
    backend: cython.pointer[cython.const[Backend]]
    held: uint32_t = lease.held
    server_did(worker, lease.slot, good)
    if not held & HELD_JUDGED:
        return
    backend = backend_now(worker, lease.backend)
    if backend is cython.NULL or backend.resilience is cython.NULL:
        return
    rules: cython.pointer[cython.const[Resilience]] = backend.resilience
    counters = cython.address(worker.backend_counters[backend.number])
    lease.held &= ~cython.cast(uint32_t, HELD_JUDGED | HELD_PROBES_SERVER | HELD_PROBES_BACKEND)
    if rules.breaker_of & BREAKER_SERVER and circuit_said(
        worker,
        cython.address(worker.shared.slots[lease.slot].circuit),
        rules,
        held & HELD_PROBES_SERVER,
        good,
    ):
        count(cython.address(counters.circuits_opened), 1)
    if rules.breaker_of & BREAKER_BACKEND and circuit_said(
        worker, cython.address(backend.state.circuit), rules, held & HELD_PROBES_BACKEND, good
    ):
        count(cython.address(counters.backend_circuit_opened), 1)


def lease_end(worker, lease):
    slot: cython.pointer[Slot] = cython.address(worker.shared.slots[lease.slot])
    state: cython.pointer[BackendState] = cython.address(worker.shared.backends[lease.backend])
    if not lease.held:
        return
    if lease.held & HELD_PROBES_SERVER:  # it has found out nothing
        store_relaxed_u32(cython.address(slot.circuit.probing), 0)
    if lease.held & HELD_PROBES_BACKEND:
        store_relaxed_u32(cython.address(state.circuit.probing), 0)
    lease.held = 0
    fetch_add_i64(cython.address(slot.in_flight), -1)
    fetch_add_i64(cython.address(state.in_flight), -1)


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
