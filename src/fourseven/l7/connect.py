"""A new connection to a server: counted, opened, watched.

A non-blocking connect on the same host is often complete when it returns, so the request is written
at once (`upstream`) and waits only if the socket says so.

Law: a connection counts at its server from before its socket is opened until it is dropped, so
`max_connections` holds exactly over all workers. Where the backend has a limit of its own it counts
there as well; one that is idle in this worker gives way to one that is needed elsewhere in the
backend.
"""

import cython
from cython.cimports.fourseven.l4.choose import exhausted
from cython.cimports.fourseven.l7.choice import FULL_BACKEND, FULL_SERVER
from cython.cimports.fourseven.l7.connect import COUNTED_BACKEND, COUNTED_SERVER
from cython.cimports.fourseven.l7.records import Http, Upstream, http_of, slot_of
from cython.cimports.fourseven.l7.upstream import (
    slot_generation,
    upstream_bury,
    upstream_drop,
    upstream_ready,
    upstream_timer,
)
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64, load_relaxed_u32
from cython.cimports.fourseven.native.linux import (
    AF_UNIX,
    IPPROTO_TCP,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    TCP_NODELAY,
    close,
    connect,
    setsockopt,
    sockaddr,
    socket,
)
from cython.cimports.fourseven.snapshot.layout import BackendState, Resilience, Slot
from cython.cimports.fourseven.worker.tools import watch
from cython.cimports.libc.errno import EINPROGRESS, errno
from cython.cimports.libc.stdint import int32_t, int64_t, uint8_t, uint32_t
from cython.cimports.libc.stdlib import malloc
from cython.cimports.libc.string import memset


def connect_new(worker, stream):
    """`ours` says whose fault it is that there is none."""
    slot: uint32_t = stream.slot
    fd: int32_t
    upstream: cython.pointer[Upstream]
    counted: uint8_t = stream.reserved
    stream.reserved = 0
    if not counted:
        counted = connection_counted(worker, stream, slot)
    stream.crowded = not counted
    if not counted:
        return cython.NULL
    fd = open_socket(worker, slot)
    if fd < 0:
        connection_uncounted(worker, slot, counted)
        stream.ours = exhausted(-fd)
        return cython.NULL
    stream.ours = 1
    upstream = upstream_new(worker)
    if upstream is cython.NULL:
        connection_uncounted(worker, slot, counted)
        close(fd)
        return upstream
    upstream.source.fd = fd
    upstream.source.ready = upstream_ready
    upstream.timer.fire = upstream_timer
    upstream.dead.bury = upstream_bury
    upstream.slot = slot
    upstream.generation = slot_generation(worker, slot)
    upstream.connecting = 1
    upstream.counted = counted & COUNTED_BACKEND
    upstream.proxy = stream.backend.proxy_protocol
    upstream.unintroduced = upstream.proxy
    if watch(worker, cython.address(upstream.source)) != 0:
        upstream_drop(worker, upstream)
        return cython.NULL
    count(cython.address(worker.slot_counters[slot].connects), 1)
    stream.ours = 0
    return upstream


def connection_counted(worker, stream, slot):
    at: cython.pointer[Slot] = slot_of(worker, slot)
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    most: uint32_t = load_relaxed_u32(cython.address(at.connections_max))
    before: int64_t = fetch_add_i64(cython.address(at.connections), 1)
    if most != 0 and before >= most:
        fetch_add_i64(cython.address(at.connections), -1)
        stream.seen_full |= FULL_SERVER
        return 0
    if rules is cython.NULL or rules.connections_max == 0:
        return COUNTED_SERVER
    if count_at_backend(worker, stream.backend):
        return COUNTED_SERVER | COUNTED_BACKEND
    fetch_add_i64(cython.address(at.connections), -1)
    stream.seen_full |= FULL_BACKEND
    return 0


def connection_uncounted(worker, slot, counted):
    at: cython.pointer[Slot] = slot_of(worker, slot)
    fetch_add_i64(cython.address(at.connections), -1)
    if counted & COUNTED_BACKEND:
        fetch_add_i64(cython.address(worker.shared.backends[at.backend].connections), -1)


def count_at_backend(worker, backend):
    """Counted first and compared after; for whoever is too late, an idle one of ours may go."""
    state: cython.pointer[BackendState] = backend.state
    while fetch_add_i64(cython.address(state.connections), 1) >= backend.resilience.connections_max:
        fetch_add_i64(cython.address(state.connections), -1)
        if not give_up_idle(worker, backend):
            return False
    return True


def give_up_idle(worker, backend):
    """Closes a connection of this backend that nobody uses in this worker; false: there is none."""
    http: cython.pointer[Http] = http_of(worker)
    upstream: cython.pointer[Upstream]
    at: uint32_t
    if http.idle_counted[backend.number] == 0:
        return False
    for at in range(backend.server_count):
        upstream = http.idle[backend.slots[at]]
        while upstream is not cython.NULL:
            if upstream.counted:
                upstream_drop(worker, upstream)
                return True
            upstream = upstream.next
    return False


def upstream_new(worker):
    http: cython.pointer[Http] = http_of(worker)
    upstream: cython.pointer[Upstream] = http.free_upstreams
    if upstream is not cython.NULL:
        http.free_upstreams = upstream.next
    else:
        upstream = cython.cast(cython.pointer[Upstream], malloc(cython.sizeof(Upstream)))
        if upstream is cython.NULL:
            count(cython.address(worker.counters.memory_refused), 1)
            return upstream
    memset(upstream, 0, cython.sizeof(Upstream))
    return upstream


def open_socket(worker, slot):
    target: cython.pointer[Slot] = slot_of(worker, slot)
    name: cython.pointer[cython.const[sockaddr]] = cython.cast(
        cython.pointer[cython.const[sockaddr]], cython.address(target.sockaddr[0])
    )
    one: cython.int = 1
    error: int32_t
    fd: int32_t = socket(name.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        error = errno
        count(cython.address(worker.counters.memory_refused), 1)
        return -error
    if name.sa_family != AF_UNIX:
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, cython.address(one), cython.sizeof(one))
    if connect(fd, name, target.sockaddr_size) < 0 and errno != EINPROGRESS:
        error = errno
        close(fd)
        return -error
    return fd
