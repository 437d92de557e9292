"""Between accept and a session: what must be read of a connection before anybody serves it.

Where proxies stand in front, their PROXY header says who the client is. A listener that routes by
SNI must see the TLS ClientHello before it can tell which plane serves the connection. So an arrival
stands between `accept` and the session: it looks at the first bytes, and when it has seen enough it
gives the descriptor, with what it has learnt (`Arrived`), to the plane.

Only those whom the file names may send a PROXY header, and they must: whoever else comes is cut,
for one who is guessed at could choose who he is. The header is taken out of the socket to its last
byte, and no further.

The hello is looked at and left in the socket (MSG_PEEK): whoever takes the connection, be it the
relay or the session that ends TLS, reads it from its first byte, and nothing can be lost or said
twice. A client that sends it byte by byte is looked at byte by byte: at most 16 KiB at a time, for
`hello_timeout` at most.

    PROXY   whole       the client is whom it says; then the hello, if one is asked for
            anything    a reset: we do not know whom we would talk to
    hello   whole       its route says whether TLS goes on as it is; else the listener's own plane
            not TLS     TLS ends here: its session says so, in HTTP's words; else a reset
            malformed   TLS ends here: OpenSSL says so; else an alert
            none        a client that leaves or is slow gets a reset

Laws: an arrival counts in its listener's `sessions`, so that half-open ones are limited as others
are. It holds no buffer while it waits. `Arrived` belongs to whoever takes the connection.
"""

import cython
from cython.cimports.fourseven.matching.table import route_find
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64
from cython.cimports.fourseven.native.linux import (
    EPOLL_CTL_DEL,
    EPOLLERR,
    EPOLLHUP,
    EPOLLRDHUP,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_PEEK,
    close,
    epoll_ctl,
    epoll_event,
    recv,
    send,
)
from cython.cimports.fourseven.protocols.clienthello import (
    HELLO_MORE,
    HELLO_NOT_TLS,
    HELLO_OK,
    ClientHello,
    read_client_hello,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.protocols.proxyproto import (
    CLIENT_TLS,
    PROXY_MORE,
    PROXY_OK,
    ProxyHeader,
    read_proxy,
)
from cython.cimports.fourseven.snapshot.hashing import hash_bytes
from cython.cimports.fourseven.snapshot.layout import (
    ARRIVAL_HELLO,
    ARRIVAL_PROXY,
    MODE_RELAY_TCP,
    Listener,
)
from cython.cimports.fourseven.worker.local import cidr_holds
from cython.cimports.fourseven.worker.tools import (
    buffer_free,
    buffer_large,
    bury,
    reset_on_close,
    timer_clear,
    timer_set,
    unwatch,
    watch,
)
from cython.cimports.fourseven.worker.worker import Arrived, Buffer, WorkerListener
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy

# ---- it comes ----


def arrival_open(worker, listener, fd, client):
    arrival: cython.pointer[Arrival] = cython.cast(
        cython.pointer[Arrival], calloc(1, cython.sizeof(Arrival))
    )
    if arrival is cython.NULL:
        count(cython.address(worker.counters.memory_refused), 1)
        fetch_add_i64(cython.address(listener.state.sessions), -1)
        close(fd)
        return
    arrival.source.ready = ready
    arrival.source.fd = fd
    arrival.dead.bury = bury_arrival
    arrival.timer.fire = expired
    arrival.listener = listener
    arrival.client = client[0]
    arrival.next = worker.arrivals
    arrival.link = cython.address(worker.arrivals)
    if arrival.next is not cython.NULL:
        arrival.next.link = cython.address(arrival.next)
    worker.arrivals = arrival
    count(cython.address(worker.counters.arrivals), 1)
    timer_set(
        worker,
        cython.address(arrival.timer),
        worker.now_ms + listener.plan.hello_timeout_ms,
    )
    go_on(worker, arrival)


def ready(worker, source, events):
    arrival: cython.pointer[Arrival] = cython.cast(cython.pointer[Arrival], source)
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        arrival.hung = 1
    go_on(worker, arrival)


def expired(worker, timer):
    count(cython.address(worker.counters.timeouts_hello), 1)
    refuse(worker, timed(timer))


def go_on(worker, arrival):
    outcome: int32_t = ARRIVAL_GONE
    if arrival.listener.plan is not cython.NULL:  # else a reload has taken it off the file
        outcome = peek(worker, arrival)
    if outcome == ARRIVAL_LATER and (
        arrival.hung or watch(worker, cython.address(arrival.source)) != 0
    ):
        outcome = ARRIVAL_GONE
    if outcome == ARRIVAL_GONE:
        refuse(worker, arrival)


# ---- its first bytes ----


def peek(worker, arrival):
    """Both may be there at once: then both are read in this turn."""
    outcome: Outcome = ARRIVAL_GONE
    stages: uint32_t = arrival.listener.plan.arrival
    if stages & ARRIVAL_PROXY and arrival.arrived is cython.NULL:
        if not may_speak(arrival.listener.plan, cython.address(arrival.client)):
            count(cython.address(worker.counters.proxy_refused), 1)
            return ARRIVAL_GONE
        outcome = look(worker, arrival, ARRIVAL_PROXY)
        if outcome != ARRIVAL_DONE:
            return outcome
    if stages & ARRIVAL_HELLO:
        return look(worker, arrival, ARRIVAL_HELLO)
    return hand_over(worker, arrival, cython.NULL)


def look(worker, arrival, stage):
    """Looks at what has come, and leaves it where it is."""
    buffer: cython.pointer[Buffer] = buffer_large(worker)
    size: cython.Py_ssize_t
    outcome: Outcome = ARRIVAL_GONE
    if buffer is cython.NULL:
        return ARRIVAL_GONE
    size = recv(arrival.source.fd, buffer.at, buffer.capacity, MSG_PEEK)
    if size > 0 and stage == ARRIVAL_PROXY:
        outcome = proxy_seen(worker, arrival, buffer.at, cython.cast(uint32_t, size))
    elif size > 0:
        outcome = hello_seen(worker, arrival, buffer.at, cython.cast(uint32_t, size))
    elif size < 0 and (errno == EAGAIN or errno == EINTR):
        outcome = ARRIVAL_LATER
    buffer_free(worker, buffer)
    return outcome


def may_speak(plan, peer):
    """Is it one of the proxies? Who may open a unix socket is said by its file's permissions."""
    at: uint32_t
    for at in range(plan.proxies_count):
        if cidr_holds(cython.address(plan.proxies[at]), peer):
            return True
    for at in range(16):
        if peer.bytes[at] != 0:
            return False
    return peer.port == 0


def proxy_seen(worker, arrival, at, size):
    header = cython.declare(ProxyHeader)
    alpn = cython.declare(cython.char[256])
    list_: Span = Span(at=cython.NULL, size=0)
    result: int32_t = read_proxy(at, size, cython.address(header))
    if result == PROXY_MORE:
        return ARRIVAL_LATER
    if result != PROXY_OK:
        count(cython.address(worker.counters.proxy_refused), 1)
        return ARRIVAL_GONE
    if header.alpn.at is not cython.NULL:
        alpn[0] = cython.cast(cython.char, header.alpn.size)
        memcpy(cython.address(alpn[1]), header.alpn.at, header.alpn.size)
        list_ = Span(at=cython.address(alpn[0]), size=header.alpn.size + 1)
    arrival.arrived = arrived_new(
        cython.address(arrival.client), cython.address(header.authority), cython.address(list_)
    )
    if arrival.arrived is cython.NULL:
        count(cython.address(worker.counters.memory_refused), 1)
        return ARRIVAL_GONE
    if header.told:
        arrival.arrived.told = 1
        arrival.arrived.client = header.source
        arrival.arrived.local = header.destination
    arrival.arrived.tls_client = header.client
    arrival.arrived.tls_verified = header.verified
    # The same bytes, now out of the socket: they were there a moment ago.
    if recv(arrival.source.fd, at, header.size, 0) != header.size:
        return ARRIVAL_GONE
    return ARRIVAL_DONE


def hello_seen(worker, arrival, at, size):
    hello = cython.declare(ClientHello)
    result: int32_t = read_client_hello(at, size, cython.address(hello))
    if result == HELLO_MORE:
        return ARRIVAL_LATER
    if result == HELLO_OK:
        return hand_over(worker, arrival, cython.address(hello))
    count(cython.address(worker.counters.hello_refused), 1)
    if arrival.listener.plan.tls is not cython.NULL:
        return hand_over(worker, arrival, cython.NULL)
    if result != HELLO_NOT_TLS:
        tls_alert(arrival.source.fd, ALERT_DECODE_ERROR)
        end(worker, arrival)
        return ARRIVAL_DONE
    return ARRIVAL_GONE


def tls_alert(fd, alert):
    """The last words to a TLS client. What it has said is taken out of the socket: unread, it would
    turn the close into a reset, which takes the alert back.
    """
    record = cython.declare(cython.char[7])
    waste = cython.declare(cython.char[4096])
    reads: uint32_t = 0
    memcpy(record, b"\x15\x03\x01\x00\x02\x02", 6)
    record[6] = alert
    while reads < ALERT_READS and recv(fd, waste, cython.sizeof(waste), MSG_DONTWAIT) > 0:
        reads += 1
    send(fd, record, 7, MSG_NOSIGNAL | MSG_DONTWAIT)


# ---- it goes to its plane ----


def hand_over(worker, arrival, hello):
    """`hello`: NULL where none was asked for, or none could be read."""
    listener: cython.pointer[WorkerListener] = arrival.listener
    fd: int32_t = arrival.source.fd
    mode: uint32_t = listener.mode
    event = cython.declare(epoll_event)
    arrived: cython.pointer[Arrived] = what_is_known(arrival, hello)
    if arrived is cython.NULL:
        count(cython.address(worker.counters.memory_refused), 1)
        return ARRIVAL_GONE
    if hello is not cython.NULL:
        arrived.route = passthrough(worker, listener, arrived)
    if arrived.route >= 0:
        mode = MODE_RELAY_TCP
    if arrival.source.registered:
        event.events = 0
        epoll_ctl(worker.epoll_fd, EPOLL_CTL_DEL, fd, cython.address(event))
    arrival.source.fd = -1  # it is no longer ours to close
    arrival.arrived = cython.NULL
    leave(worker, arrival)
    worker.planes[mode].take(worker, listener, fd, arrived)
    return ARRIVAL_DONE


def what_is_known(arrival, hello):
    """Of a name and of protocols the hello itself knows more than the proxy that passed it on."""
    told: cython.pointer[Arrived] = arrival.arrived
    arrived: cython.pointer[Arrived]
    if hello is cython.NULL and told is not cython.NULL:
        return told
    if hello is cython.NULL:
        return arrived_new(cython.address(arrival.client), cython.NULL, cython.NULL)
    arrived = arrived_new(
        cython.address(arrival.client), cython.address(hello.sni), cython.address(hello.alpn)
    )
    if arrived is cython.NULL:
        return arrived
    arrived.hello = 1
    if hello.session.size:
        arrived.session_key = 1 | hash_bytes(hello.session.at, hello.session.size)
    if hello.ticket.size:
        arrived.ticket_key = 1 | hash_bytes(hello.ticket.at, hello.ticket.size)
    if told is not cython.NULL:
        arrived.client = told.client
        arrived.local = told.local
        arrived.told = told.told
        arrived.tls_client = told.tls_client
        arrived.tls_verified = told.tls_verified
        free(told)
    return arrived


def passthrough(worker, listener, arrived):
    """The route that passes TLS on, or -1: the listener's own plane goes on."""
    plan: cython.pointer[cython.const[Listener]] = listener.plan
    at_hello = cython.declare(Listener)
    number: int32_t
    if plan.hello_table is cython.NULL:
        return -1
    at_hello.table = plan.hello_table
    arrived_request(worker.request, listener, cython.address(arrived.client), arrived)
    number = route_find(cython.address(at_hello), worker.request, worker.scratch)
    if number < 0 or cython.cast(uint32_t, number) >= plan.route_count:
        return -1
    return number if plan.routes[number].passthrough else -1


def arrived_new(client, sni, alpn):
    """The record, with copies of the texts behind it; NULL where one is not known."""
    size: cython.size_t = cython.sizeof(Arrived)
    text: cython.p_char
    arrived: cython.pointer[Arrived]
    if sni is not cython.NULL:
        size += sni.size
    if alpn is not cython.NULL:
        size += alpn.size
    arrived = cython.cast(cython.pointer[Arrived], calloc(1, size))
    if arrived is cython.NULL:
        return arrived
    arrived.client = client[0]
    arrived.route = -1
    text = cython.cast(cython.p_char, arrived) + cython.sizeof(Arrived)
    if sni is not cython.NULL and sni.at is not cython.NULL:
        memcpy(text, sni.at, sni.size)
        arrived.sni = Span(at=text, size=sni.size)
        text += sni.size
    if alpn is not cython.NULL and alpn.at is not cython.NULL:
        memcpy(text, alpn.at, alpn.size)
        arrived.alpn = Span(at=text, size=alpn.size)
    return arrived


def arrived_fill(arrived, request):
    request.sni = Span(at=cython.NULL, size=0)
    request.alpn = Span(at=cython.NULL, size=0)
    if arrived is cython.NULL:
        return
    request.sni = arrived.sni
    request.alpn = arrived.alpn
    if arrived.told:
        request.local = arrived.local
    if arrived.tls_client & CLIENT_TLS:
        request.secure = 1


def arrived_request(request, listener, client, arrived):
    nothing: Span = Span(at=cython.NULL, size=0)
    request.local = listener.local
    arrived_fill(arrived, request)
    request.certificate = cython.NULL
    request.method = nothing  # what an earlier request left here points into a buffer that is gone
    request.target = nothing
    request.authority = nothing
    request.host = request.sni  # the tables of the hello find a name as the host that it is
    request.path = nothing
    request.query = nothing
    request.body = nothing
    request.content_length = 0
    request.header_count = 0
    request.method_id = 0
    request.body_complete = 1
    request.peer = client[0]
    request.client = client[0]


# ---- it goes away ----


def refuse(worker, arrival):
    count(cython.address(arrival.listener.counters.status[0]), 1)
    reset_on_close(arrival.source.fd)
    end(worker, arrival)


def end(worker, arrival):
    """Closes it; nobody has taken it."""
    fetch_add_i64(cython.address(arrival.listener.state.sessions), -1)
    leave(worker, arrival)


def leave(worker, arrival):
    timer_clear(worker, cython.address(arrival.timer))
    unwatch(worker, cython.address(arrival.source))
    arrival.link[0] = arrival.next
    if arrival.next is not cython.NULL:
        arrival.next.link = arrival.link
    count(cython.address(worker.counters.arrivals), cython.cast(uint64_t, -1))
    bury(worker, cython.address(arrival.dead))


def bury_arrival(worker, dead):
    free(buried(dead).arrived)
    free(buried(dead))


def arrivals_stop(worker):
    while worker.arrivals is not cython.NULL:
        refuse(worker, worker.arrivals)
