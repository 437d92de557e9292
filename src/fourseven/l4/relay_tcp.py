"""The user-space plane for TCP: a connection comes, a server is chosen, bytes go both ways.

Needs no privilege and no kernel feature. The life of a session:

    accept -> limit -> (arrival) -> (TLS) -> route -> pick -> connect -> (TLS) -> pump -> close

Unless a route asks for the ClientHello (worker.arrival), the client's first bytes are not waited
for: in many protocols the server speaks first. A server
that does not take the connection in time is followed by another one, as often as the backend
allows; after that nobody else is tried, for bytes may have been seen.

A FIN is passed on alone (half close), a reset as a reset. Whoever is refused (the limit, no
server, nobody took the connection) gets a reset at once: an orderly end would look like an empty
answer. A TLS client whose name no route takes is told so by an alert.

Where the listener has `tls`, it ends here: the handshake comes first, so that nobody is connected
for a stranger, and its time is `hello_timeout`. Where the backend has `tls`, its handshake belongs
to the connect and its time; a server that fails in it is followed by another one.

Laws: a session that is open lives on when its listener or its server leaves the file, for it
holds numbers and its own copies. The limit is exact over all workers. On the hot path there are
two reads and two writes for a question and its answer, and epoll is told nothing.
"""

import cython
from cython.cimports.fourseven.balancing.ewma import ewma_update
from cython.cimports.fourseven.l4.choose import (
    LEASE_LATER,
    LEASE_TAKEN,
    backend_now,
    exhausted,
    lease_connect,
    lease_end,
    lease_said,
    route_address,
)
from cython.cimports.fourseven.l4.owner_wait import look_again, relay_lease
from cython.cimports.fourseven.l4.pump import (
    BROKEN,
    Side,
    note,
    pending,
    pipes_drop,
    pump,
    side_drop,
)
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64
from cython.cimports.fourseven.native.linux import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLOUT,
    IPPROTO_TCP,
    MSG_DONTWAIT,
    SHUT_WR,
    SO_ERROR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    accept4,
    close,
    getsockopt,
    recv,
    setsockopt,
    shutdown,
    sockaddr,
    sockaddr_storage,
    socklen_t,
)
from cython.cimports.fourseven.protocols.message import Address
from cython.cimports.fourseven.snapshot.layout import MODE_RELAY_TCP, Backend
from cython.cimports.fourseven.tls.outward import TlsOutward
from cython.cimports.fourseven.tls.site import TlsSite
from cython.cimports.fourseven.worker.arrival import (
    ALERT_READS,
    ALERT_UNRECOGNIZED_NAME,
    arrival_open,
    tls_alert,
)
from cython.cimports.fourseven.worker.introduce import introduce
from cython.cimports.fourseven.worker.local import to_address
from cython.cimports.fourseven.worker.secure import (
    HANDSHAKE_FAILED,
    HANDSHAKE_LATER,
    TLS_TIME,
    Secure,
    secure_accept,
    secure_connect,
    secure_drop,
    secure_handshake,
    secure_resumed,
)
from cython.cimports.fourseven.worker.tools import (
    bury,
    reset_on_close,
    rest,
    timer_clear,
    timer_put_off,
    timer_set,
    unwatch,
    watch,
)
from cython.cimports.fourseven.worker.worker import SlotCounters
from cython.cimports.libc.errno import EAGAIN, ENOMEM, errno
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free

# ---- the plane ----


def start(worker):
    relay: cython.p_void = calloc(1, cython.sizeof(Relay))
    if relay is cython.NULL:
        return ENOMEM
    worker.plane_state[RELAY_TCP] = relay
    return 0


def open(worker, listener):
    return 0


def accept(worker, listener):
    name = cython.declare(sockaddr_storage)
    size: socklen_t
    client: Address
    fd: int32_t
    _connection: uint32_t
    for _connection in range(cython.cast(uint32_t, ACCEPTS_MAX)):
        size = cython.sizeof(sockaddr_storage)
        fd = accept4(
            listener.source.fd,
            cython.cast(cython.pointer[sockaddr], cython.address(name)),
            cython.address(size),
            SOCK_NONBLOCK | SOCK_CLOEXEC,
        )
        if fd >= 0:
            to_address(cython.address(name), cython.address(client))
            begin(worker, listener, fd, cython.address(client))
        elif errno == EAGAIN:
            return
        elif exhausted(errno):
            count(cython.address(worker.counters.accept_errors), 1)
            rest(worker, listener)
            return
        # Any other error is of the one connection, which its client has given up.


def shut(worker, listener):
    """Its sessions live on."""


def drain(worker):
    """Nothing is idle here: who holds a connection may be in the middle of anything."""


def busy(worker):
    return relay_of(worker).count


def stop(worker):
    relay: cython.pointer[Relay] = relay_of(worker)
    if relay is cython.NULL:
        return
    while relay.sessions is not cython.NULL:
        cut(worker, relay.sessions)
    pipes_drop(worker, cython.address(relay.pipes))
    worker.plane_state[RELAY_TCP] = cython.NULL
    free(relay)


# ---- a session begins ----


def begin(worker, listener, fd, client):
    count(cython.address(worker.counters.accepted), 1)
    count(cython.address(listener.counters.accepted), 1)
    if not enter(listener):
        count(cython.address(listener.counters.refused_limit), 1)
        reset_on_close(fd)
        close(fd)
        return
    if listener.plan.arrival:
        arrival_open(worker, listener, fd, client)
        return
    admit(worker, listener, fd, client, cython.NULL)


def take(worker, listener, fd, arrived):
    admit(worker, listener, fd, cython.address(arrived.client), arrived)


def admit(worker, listener, fd, client, arrived):
    """A session for a connection that is counted; `arrived` is what was read of it, or NULL."""
    session: cython.pointer[Session] = session_new(worker, listener, fd, client)
    if session is cython.NULL:
        count(cython.address(worker.counters.memory_refused), 1)
        fetch_add_i64(cython.address(listener.state.sessions), -1)
        reset_on_close(fd)
        close(fd)
        free(arrived)
        return
    session.arrived = arrived
    if not ends_tls(listener, arrived):
        go_on(worker, session)
        return
    session.greeting = 1
    session.client.tls = secure_accept(
        worker,
        fd,
        cython.cast(cython.pointer[TlsSite], listener.plan.tls).contexts[0],
        cython.cast(cython.p_void, cython.address(listener.plan)),
    )
    if session.client.tls is cython.NULL or (
        watch(worker, cython.address(session.client.source)) != 0
    ):
        cut(worker, session)
        return
    timer_set(worker, cython.address(session.timer), worker.now_ms + listener.plan.hello_timeout_ms)
    greet(worker, session)


def ends_tls(listener, arrived):
    """Does TLS end here? At a listener of HTTP only what is passed through comes to the relay."""
    if listener.plan.tls is cython.NULL or listener.mode != MODE_RELAY_TCP:
        return False
    return arrived is cython.NULL or arrived.route < 0


def greet(worker, session):
    """The client's TLS handshake; a server is chosen when it is done."""
    tls: cython.pointer[Secure] = session.client.tls
    result: int32_t = secure_handshake(tls)
    if result == HANDSHAKE_LATER:
        return
    timer_clear(worker, cython.address(session.timer))
    if result == HANDSHAKE_FAILED:
        count(cython.address(worker.counters.tls_failed), 1)
        count(cython.address(worker.counters.tls_faults[tls.fault]), 1)
        count(cython.address(session.counters.status[0]), 1)
        refuse(session)
        finish(worker, session)
        return
    count(cython.address(worker.counters.tls_handshakes), 1)
    if secure_resumed(tls):
        count(cython.address(worker.counters.tls_resumed), 1)
    session.greeting = 0
    session.client.readable = 1  # its first bytes may have come with the handshake's last ones
    go_on(worker, session)


def refuse(session):
    """The alert is said; what is unread would turn the close into a reset, and take it back."""
    waste = cython.declare(cython.char[4096])
    reads: uint32_t = 0
    shutdown(session.client.source.fd, SHUT_WR)
    while reads < ALERT_READS and (
        recv(session.client.source.fd, waste, cython.sizeof(waste), MSG_DONTWAIT) > 0
    ):
        reads += 1


def go_on(worker, session):
    """All that can be known of the connection is known: where does it go?"""
    backend: cython.pointer[cython.const[Backend]] = route_address(
        worker, session.listener, cython.address(session.address), session.arrived
    )
    if (
        backend is cython.NULL
        and session.arrived is not cython.NULL
        and session.arrived.hello
        and session.client.tls is cython.NULL
    ):
        count(cython.address(session.counters.status[0]), 1)
        tls_alert(session.client.source.fd, ALERT_UNRECOGNIZED_NAME)
        finish(worker, session)
        return
    if backend is cython.NULL or watch(worker, cython.address(session.client.source)) != 0:
        cut(worker, session)
        return
    try_server(worker, session, backend)


def enter(listener):
    """Is there room for one more? Then it is counted."""
    before: int64_t = fetch_add_i64(cython.address(listener.state.sessions), 1)
    if listener.plan.connections_max == 0 or before < listener.plan.connections_max:
        return True
    fetch_add_i64(cython.address(listener.state.sessions), -1)
    return False


def session_new(worker, listener, fd, client):
    relay: cython.pointer[Relay] = relay_of(worker)
    session: cython.pointer[Session] = cython.cast(
        cython.pointer[Session], calloc(1, cython.sizeof(Session))
    )
    if session is cython.NULL:
        return session
    session.dead.bury = bury_session
    session.client.source.ready = ready
    session.client.source.fd = fd
    session.client.session = session
    session.client.other = cython.address(session.server)
    session.server.source.fd = -1
    session.server.session = session
    session.server.other = cython.address(session.client)
    session.timer.fire = expired
    session.address = client[0]
    session.connecting = 1
    session.idle_timeout_ms = listener.plan.idle_timeout_ms
    session.listener = listener
    session.state = listener.state
    session.counters = listener.counters
    session.next = relay.sessions
    session.link = cython.address(relay.sessions)
    if session.next is not cython.NULL:
        session.next.link = cython.address(session.next)
    relay.sessions = session
    relay.count += 1
    count(cython.address(worker.counters.sessions_opened), 1)
    no_delay(fd)
    return session


def try_server(worker, session, backend):
    """Begins to connect to a server that was not tried yet; the last way out is a reset."""
    server: cython.pointer[Side] = cython.address(session.server)
    fd: int32_t
    taken: int32_t
    while session.lease.tried_count <= backend.retries:
        taken = relay_lease(worker, session, backend)
        if taken == LEASE_LATER:
            return
        if taken != LEASE_TAKEN:
            break
        count(cython.address(worker.counters.retries), session.lease.tried_count > 1)
        session.connect_began_ns = worker.now_ns
        fd = lease_connect(worker, cython.address(session.lease), SOCK_STREAM)
        if fd >= 0:
            no_delay(fd)
            server.source.fd = fd
            server.source.ready = ready
            server.readable = 0
            server.hung = 0
            session.unintroduced = backend.proxy_protocol
            if not secure_server(worker, session, backend, fd) or (
                watch(worker, cython.address(server.source)) != 0
            ):
                break
            timer_set(
                worker,
                cython.address(session.timer),
                worker.now_ms + backend.connect_timeout_ms,
            )
            return
        if exhausted(-fd):
            count(cython.address(worker.counters.memory_refused), 1)
            break
        count(cython.address(worker.slot_counters[session.lease.slot].connect_errors), 1)
        lease_said(worker, cython.address(session.lease), False)
        lease_end(worker, cython.address(session.lease))
    cut(worker, session)


def secure_server(worker, session, backend, fd):
    """Puts TLS on the server's side where its backend has it."""
    outward: cython.pointer[TlsOutward] = cython.cast(cython.pointer[TlsOutward], backend.tls)
    if outward is cython.NULL:
        return True
    session.server.tls = secure_connect(worker, fd, outward, session.lease.slot, cython.NULL, 0)
    return session.server.tls is not cython.NULL


def drop_server_tls(session):
    secure_drop(session.server.tls)
    session.server.tls = cython.NULL


def try_another(worker, session):
    """The connect failed; the lease ends, and another server may be tried."""
    backend: cython.pointer[cython.const[Backend]] = backend_now(worker, session.lease.backend)
    lease_said(worker, cython.address(session.lease), False)
    lease_end(worker, cython.address(session.lease))
    unwatch(worker, cython.address(session.server.source))
    drop_server_tls(session)
    if backend is cython.NULL:
        cut(worker, session)
        return
    try_server(worker, session, backend)


def connected(worker, session):
    slot: uint32_t = session.lease.slot
    took_ns: uint64_t = worker.now_ns - session.connect_began_ns
    session.connecting = 0
    count(cython.address(session.counters.requests), 1)
    count(cython.address(worker.slot_counters[slot].connects), 1)
    count(cython.address(worker.slot_counters[slot].requests), 1)
    lease_said(worker, cython.address(session.lease), True)
    count(cython.address(worker.slot_counters[slot].latency_ns), took_ns)
    ewma_update(
        cython.address(worker.shared.slots[slot]),
        took_ns,
        worker.now_ns,
    )
    timer_clear(worker, cython.address(session.timer))
    if session.idle_timeout_ms != 0:
        timer_set(worker, cython.address(session.timer), worker.now_ms + session.idle_timeout_ms)
    if session.client.readable and not move(worker, session, cython.address(session.client)):
        return
    if session.server.readable:
        move(worker, session, cython.address(session.server))


# ---- a session goes on ----


def ready(worker, source, events):
    side: cython.pointer[Side] = cython.cast(cython.pointer[Side], source)
    session: cython.pointer[Session] = cython.cast(cython.pointer[Session], side.session)
    note(side, events)
    if session.greeting:
        greet(worker, session)
        return
    if session.connecting:
        connecting(worker, side, events)
        return
    if side.ended and events & EPOLLERR:  # nothing is read there any more, so nobody else sees it
        cut(worker, session)
        return
    if pending(side.other) and not move(worker, session, side.other):
        return
    if side.readable:
        move(worker, session, side)


def connecting(worker, side, events):
    session: cython.pointer[Session] = cython.cast(cython.pointer[Session], side.session)
    error: cython.int = 0
    size: socklen_t = cython.sizeof(cython.int)
    if side == cython.address(session.client):
        if events & (EPOLLERR | EPOLLHUP):
            cut(worker, session)
        return
    getsockopt(side.source.fd, SOL_SOCKET, SO_ERROR, cython.address(error), cython.address(size))
    if error == 0 and session.unintroduced and not introduced(worker, session):
        return
    if error == 0 and session.server.tls is not cython.NULL:
        if handshake(worker, session):
            connected(worker, session)
    elif error == 0 and events & EPOLLOUT:
        connected(worker, session)
    elif error != 0 or events & (EPOLLERR | EPOLLHUP):
        count(cython.address(worker.slot_counters[session.lease.slot].connect_errors), 1)
        try_another(worker, session)


def introduced(worker, session):
    """The PROXY header goes before everything else, TLS too; whether it is said."""
    tls: cython.pointer[Secure] = session.client.tls
    said: int32_t = introduce(
        session.server.source.fd,
        session.unintroduced,
        cython.address(session.address),
        session.client.source.fd,
        session.arrived,
        cython.NULL if tls is cython.NULL else tls.ssl,
    )
    if said < 0:
        count(cython.address(worker.slot_counters[session.lease.slot].connect_errors), 1)
        try_another(worker, session)
    if said > 0:
        session.unintroduced = 0
    return said > 0


def handshake(worker, session):
    """With the server; a failed one is followed by another server."""
    tls: cython.pointer[Secure] = session.server.tls
    slot: cython.pointer[SlotCounters] = cython.address(worker.slot_counters[session.lease.slot])
    result: int32_t = secure_handshake(tls)
    if result == HANDSHAKE_LATER:
        return False
    if result == HANDSHAKE_FAILED:
        if tls.said:
            count(cython.address(slot.tls_failed), 1)
            count(cython.address(worker.counters.tls_server_faults[tls.fault]), 1)
        else:
            count(cython.address(slot.connect_errors), 1)
        try_another(worker, session)
        return False
    count(cython.address(slot.tls_handshakes), 1)
    if secure_resumed(tls):
        count(cython.address(slot.tls_resumed), 1)
    session.server.readable = 1
    return True


def move(worker, session, side):
    """Moves this direction's bytes; whether the session is still there."""
    slot: cython.pointer[SlotCounters] = cython.address(worker.slot_counters[session.lease.slot])
    broken: cython.bint = pump(worker, cython.address(relay_of(worker).pipes), side) == BROKEN
    if side == cython.address(session.client):
        count(cython.address(session.counters.bytes_in), side.given)
        count(cython.address(slot.bytes_to), side.given)
    else:
        count(cython.address(session.counters.bytes_out), side.given)
        count(cython.address(slot.bytes_from), side.given)
    side.given = 0
    if broken:
        count(cython.address(slot.resets), 1)
        cut(worker, session)
        return False
    if session.client.shut and session.server.shut:
        finish(worker, session)
        return False
    if side.progress and session.idle_timeout_ms != 0:
        timer_put_off(
            worker, cython.address(session.timer), worker.now_ms + session.idle_timeout_ms
        )
    side.progress = 0
    return True


def expired(worker, timer):
    session: cython.pointer[Session] = timed(timer)
    if session.greeting:
        count(cython.address(worker.counters.tls_failed), 1)
        count(cython.address(worker.counters.tls_faults[cython.cast(cython.int, TLS_TIME)]), 1)
        cut(worker, session)
        return
    if session.connecting and session.server.source.fd < 0:
        look_again(worker, session)
        return
    if session.connecting:
        count(cython.address(worker.slot_counters[session.lease.slot].timeouts), 1)
        if session.server.tls is not cython.NULL and session.server.tls.said:
            count(
                cython.address(
                    worker.counters.tls_server_faults[cython.cast(cython.int, TLS_TIME)]
                ),
                1,
            )
        try_another(worker, session)
        return
    count(cython.address(worker.counters.timeouts_idle), 1)
    finish(worker, session)


# ---- a session ends ----


def cut(worker, session):
    """Ends it for both by a reset."""
    if session.connecting:
        count(cython.address(session.counters.status[0]), 1)
    reset_on_close(session.client.source.fd)
    reset_on_close(session.server.source.fd)
    finish(worker, session)


def no_delay(fd):
    """The bytes come from another socket, which has gathered them. A unix socket says no."""
    on: cython.int = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, cython.address(on), cython.sizeof(cython.int))


def finish(worker, session):
    relay: cython.pointer[Relay] = relay_of(worker)
    timer_clear(worker, cython.address(session.timer))
    side_drop(worker, cython.address(relay.pipes), cython.address(session.client))
    side_drop(worker, cython.address(relay.pipes), cython.address(session.server))
    lease_end(worker, cython.address(session.lease))
    fetch_add_i64(cython.address(session.state.sessions), -1)
    session.link[0] = session.next
    if session.next is not cython.NULL:
        session.next.link = session.link
    relay.count -= 1
    count(cython.address(worker.counters.sessions_closed), 1)
    bury(worker, cython.address(session.dead))


def bury_session(worker, dead):
    session: cython.pointer[Session] = cython.cast(cython.pointer[Session], dead)
    free(session.arrived)
    secure_drop(session.client.tls)
    secure_drop(session.server.tls)
    free(session)


PLANE.start = start
PLANE.open = open
PLANE.accept = accept
PLANE.take = take
PLANE.shut = shut
PLANE.drain = drain
PLANE.busy = busy
PLANE.stop = stop
