"""An origin for measurements: it answers every request with the same bytes, as cheaply as possible.

A proxy is measured against servers that must not be slower than itself, and a server written for
clarity in Python is. This one reads, counts the empty lines that end a head, and sends as many
copies of one prepared answer. It does not look at requests otherwise; it takes none with a body.

Laws: level-triggered, one thread, no timers. What a slow reader is owed is a number, not a buffer.
"""

import cython
from cython.cimports.fourseven.demo.origin import Client, Origin
from cython.cimports.fourseven.native.linux import (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
    IPPROTO_TCP,
    MSG_NOSIGNAL,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    TCP_NODELAY,
    accept4,
    close,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
    recv,
    send,
    setsockopt,
)
from cython.cimports.libc.errno import EAGAIN, errno
from cython.cimports.libc.stdlib import calloc, free, malloc

COPIES_SIZE = 65_536  # answers to a burst of requests leave in one send


def serve(listener, stop, answer):
    """Serves until the descriptor `stop` becomes readable."""
    origin: Origin
    at: uint32_t
    answers: bytes = answer * max(1, COPIES_SIZE // len(answer))
    origin.listener, origin.stop = listener, stop
    origin.answers, origin.block, origin.answer_size = answers, len(answers), len(answer)
    origin.buffer = cython.cast(cython.p_char, malloc(BUFFER))
    origin.clients = cython.cast(
        cython.pointer[Client], calloc(CONNECTIONS_MAX, cython.sizeof(Client))
    )
    origin.epoll = epoll_create1(EPOLL_CLOEXEC)
    error: cython.int = 0
    try:
        if not (origin.buffer and origin.clients):
            raise MemoryError
        origin.free = 0
        for at in range(cython.cast(uint32_t, CONNECTIONS_MAX)):
            origin.clients[at].fd = -1
            origin.clients[at].next_free = at + 1
        with cython.nogil:
            error = serve_all(cython.address(origin))
        if error:
            raise OSError(error, "the origin cannot serve")
    finally:
        close_all(cython.address(origin))
        free(origin.clients)
        free(origin.buffer)


def close_all(origin):
    at: uint32_t
    close(origin.epoll)
    if origin.clients is cython.NULL:
        return
    for at in range(cython.cast(uint32_t, CONNECTIONS_MAX)):
        if origin.clients[at].fd >= 0:
            close(origin.clients[at].fd)


def serve_all(origin):
    """Returns 0 when told to stop, or an errno."""
    events: epoll_event[EVENTS]
    event: epoll_event
    ready: cython.int
    at: cython.int
    event.events = EPOLLIN
    event.data.u64 = CONNECTIONS_MAX
    if epoll_ctl(origin.epoll, EPOLL_CTL_ADD, origin.listener, cython.address(event)):
        return errno
    event.data.u64 = CONNECTIONS_MAX + 1
    if epoll_ctl(origin.epoll, EPOLL_CTL_ADD, origin.stop, cython.address(event)):
        return errno
    while True:
        ready = epoll_wait(origin.epoll, events, EVENTS, -1)
        for at in range(ready):
            if events[at].data.u64 == CONNECTIONS_MAX + 1:
                return 0
            if events[at].data.u64 == CONNECTIONS_MAX:
                accept_all(origin)
            elif events[at].events & EPOLLOUT:
                send_owed(origin, cython.cast(uint32_t, events[at].data.u64))
            else:
                read_requests(origin, cython.cast(uint32_t, events[at].data.u64))


def accept_all(origin):
    event: epoll_event
    on: cython.int = 1
    fd: cython.int
    while True:
        fd = accept4(origin.listener, cython.NULL, cython.NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            return
        if origin.free >= CONNECTIONS_MAX:
            close(fd)
            continue
        at: uint32_t = origin.free
        client: cython.pointer[Client] = cython.address(origin.clients[at])
        origin.free = client.next_free
        client.fd = fd
        client.seen = 0
        client.waits = False
        client.owed = 0
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, cython.address(on), cython.sizeof(cython.int))
        event.events = EPOLLIN
        event.data.u64 = at
        if epoll_ctl(origin.epoll, EPOLL_CTL_ADD, fd, cython.address(event)):
            drop(origin, at)


def read_requests(origin, at):
    client: cython.pointer[Client] = cython.address(origin.clients[at])
    got: cython.Py_ssize_t
    if client.fd < 0:
        return
    got = recv(client.fd, origin.buffer, BUFFER, 0)
    if got < 0 and errno == EAGAIN:
        return
    if got <= 0:
        drop(origin, at)
        return
    client.owed += origin.answer_size * cython.cast(
        uint64_t, count_heads(client, origin.buffer, cython.cast(cython.size_t, got))
    )
    if client.owed > 0:
        send_owed(origin, at)


def count_heads(client, data, size):
    """How many heads end in these bytes; what was seen of the next end is kept for the rest."""
    heads: uint32_t = 0
    at: cython.size_t
    seen: uint32_t = client.seen
    for at in range(size):
        if data[at] == 13:  # \\r is the first or the third of four
            seen = seen + 1 if seen == 0 or seen == 2 else 1
        elif data[at] == 10 and (seen == 1 or seen == 3):
            seen += 1
        else:
            seen = 0
        if seen == 4:
            heads += 1
            seen = 0
    client.seen = seen
    return heads


def send_owed(origin, at):
    """Sends what is owed; while the socket is full, it waits to be writable and reads no more."""
    client: cython.pointer[Client] = cython.address(origin.clients[at])
    event: epoll_event
    sent: cython.Py_ssize_t
    offset: cython.size_t
    size: cython.size_t
    if client.fd < 0:
        return
    while client.owed > 0:
        offset = (origin.answer_size - client.owed % origin.answer_size) % origin.answer_size
        size = origin.block - offset
        size = min(size, client.owed)
        sent = send(client.fd, origin.answers + offset, size, MSG_NOSIGNAL)
        if sent < 0:
            break
        client.owed -= cython.cast(uint64_t, sent)
    event.data.u64 = at
    if client.owed > 0 and errno != EAGAIN:
        drop(origin, at)
    elif client.waits != (client.owed > 0):
        client.waits = client.owed > 0
        event.events = EPOLLOUT if client.waits else EPOLLIN
        epoll_ctl(origin.epoll, EPOLL_CTL_MOD, client.fd, cython.address(event))


def drop(origin, at):
    client: cython.pointer[Client] = cython.address(origin.clients[at])
    close(client.fd)
    client.fd = -1
    client.next_free = origin.free
    origin.free = at
