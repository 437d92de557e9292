"""A small load tool: one request in flight per connection, at full speed or at a fixed rate.

At a fixed rate a request has a time at which it is due, start + n / rate, whatever became of the
ones before it, and its latency counts from there. When every connection is busy the request waits,
and its wait counts: a stall of the proxy is charged to each request that it delayed. A tool that
starts the clock when it gets round to sending hides just the delays one looks for (coordinated
omission).

Laws: answers must have a Content-Length and a 2xx status, else they count as failed. A connection
that breaks is not replaced, and requests that could not be sent count as failed. One thread; it
sleeps on a timer of one nanosecond's slack, so it may share its core with the servers. It is a
yardstick for the demo and the benchmark, and no more: no TLS, no pipelining, one request repeated.
"""

import cython
from cython.cimports.fourseven.demo.load import (
    Connection,
    Load,
    memmem,
    pollfd,
    ppoll,
    prctl,
    strncasecmp,
)
from cython.cimports.fourseven.native.linux import (
    CLOCK_MONOTONIC,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLLIN,
    MSG_NOSIGNAL,
    clock_gettime,
    close,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
    recv,
    send,
    timespec,
)
from cython.cimports.libc.errno import EAGAIN, errno
from cython.cimports.libc.stdlib import atoll, calloc, free, malloc
from cython.cimports.libc.string import memchr, memcpy

ROOM = 4_000_000  # latencies kept: 32 MB, forty seconds at 100,000 a second


def offer(fds, request, rate, seconds):
    """Sends through connected, non-blocking sockets: (answered, failed, bytes, ns, latencies)."""
    load: Load
    at: uint32_t
    event: epoll_event
    text: bytes = request
    load.count = load.alive = load.idle_count = len(fds)
    load.idle_first = load.busy = 0
    load.request, load.request_size = text, len(text)
    load.gap_ns = 1e9 / rate if rate else 0.0
    load.offered = load.answered = load.failed = load.received = 0
    load.room = min(ROOM, int((rate or 1_000_000) * seconds) + 1)
    load.connections = cython.cast(
        cython.pointer[Connection], calloc(max(load.count, 1), cython.sizeof(Connection))
    )
    load.idle = cython.cast(
        cython.pointer[uint32_t], calloc(max(load.count, 1), cython.sizeof(uint32_t))
    )
    load.latency_ns = cython.cast(
        cython.pointer[uint64_t], calloc(load.room, cython.sizeof(uint64_t))
    )
    load.buffer = cython.cast(cython.p_char, malloc(BUFFER))
    load.epoll = epoll_create1(EPOLL_CLOEXEC)
    try:
        if not (load.connections and load.idle and load.latency_ns and load.buffer):
            raise MemoryError
        for at in range(load.count):
            load.idle[at] = at
            load.connections[at].fd = fds[at]
            event.events = EPOLLIN
            event.data.u64 = at
            if epoll_ctl(load.epoll, EPOLL_CTL_ADD, fds[at], cython.address(event)):
                raise OSError(errno, "a connection cannot be watched")
        prctl(PR_SET_TIMERSLACK, 1)
        load.start_ns = now_ns()
        load.end_ns = load.start_ns + cython.cast(uint64_t, seconds * 1e9)
        with cython.nogil:
            run_load(cython.address(load))
        took = min(now_ns(), load.end_ns) - load.start_ns
        kept = min(load.answered, load.room)
        latencies = [load.latency_ns[index] for index in range(kept)]
        unsent = max(0, int(rate * seconds) - load.offered)
        lost = load.failed + load.busy + unsent
        return load.answered, lost, load.received, took, latencies
    finally:
        close(load.epoll)
        free(load.connections)
        free(load.idle)
        free(load.latency_ns)
        free(load.buffer)


def now_ns():
    now: timespec
    clock_gettime(CLOCK_MONOTONIC, cython.address(now))
    return cython.cast(uint64_t, now.tv_sec) * 1000000000 + cython.cast(uint64_t, now.tv_nsec)


def run_load(load):
    events: epoll_event[EVENTS]
    ready: cython.int
    at: cython.int
    now: uint64_t = load.start_ns
    while now < load.end_ns + GRACE_NS and load.alive > 0:
        hand_out(load, now)
        if now >= load.end_ns and load.busy == 0:
            break
        wait_until_due(load, now)
        ready = epoll_wait(load.epoll, events, EVENTS, 0)
        for at in range(ready):
            read_answer(load, cython.cast(uint32_t, events[at].data.u64))
        now = now_ns()


def hand_out(load, now):
    """Gives each request that is due to a connection that rests; the others wait their turn."""
    at: uint32_t
    due: uint64_t
    while load.idle_count > 0:
        due = next_due(load, now)
        if due > now or due >= load.end_ns:
            return
        at = load.idle[load.idle_first]
        load.idle_first = (load.idle_first + 1) % load.count
        load.idle_count -= 1
        if load.connections[at].fd >= 0:  # else it broke while it rested
            send_request(load, cython.address(load.connections[at]), due)


def next_due(load, now):
    if load.gap_ns > 0:
        since: cython.double = load.gap_ns * cython.cast(cython.double, load.offered)
        return load.start_ns + cython.cast(uint64_t, since)
    return now


def send_request(load, connection, due):
    sent: cython.Py_ssize_t
    load.offered += 1
    load.busy += 1
    connection.busy = True
    connection.due_ns = due
    connection.head = connection.status = 0
    connection.left = 0
    # A request is smaller than any empty socket buffer, so a short write is a broken connection.
    sent = send(connection.fd, load.request, load.request_size, MSG_NOSIGNAL)
    if sent != cython.cast(cython.Py_ssize_t, load.request_size):
        break_off(load, connection)


def wait_until_due(load, now):
    """Sleeps until an answer arrives, a request is due, or a turn's time is over."""
    waited: pollfd
    wait: timespec
    due: uint64_t
    sleep_ns: uint64_t = TURN_NS
    if load.gap_ns > 0 and load.idle_count > 0:
        due = next_due(load, now)
        if due < load.end_ns:
            sleep_ns = 0 if due <= now else min(sleep_ns, due - now)
    waited.fd = load.epoll
    waited.events = POLLIN
    wait.tv_sec = 0
    wait.tv_nsec = cython.cast(cython.long, sleep_ns)
    ppoll(cython.address(waited), 1, cython.address(wait), cython.NULL)


def break_off(load, connection):
    """It failed, in a request or at rest, and is used no more; Python closes the socket."""
    load.failed += 1
    load.alive -= 1
    if connection.busy:
        load.busy -= 1
    connection.busy = False
    epoll_ctl(load.epoll, EPOLL_CTL_DEL, connection.fd, cython.NULL)
    connection.fd = -1


def read_answer(load, at):
    connection: cython.pointer[Connection] = cython.address(load.connections[at])
    got: cython.Py_ssize_t
    if connection.fd < 0:
        return
    got = recv(connection.fd, load.buffer, BUFFER, 0)
    if got < 0 and errno == EAGAIN:
        return
    # At rest there is nothing to read: an end or a byte that nobody asked for is a fault.
    if got <= 0 or not connection.busy:
        break_off(load, connection)
        return
    load.received += cython.cast(uint64_t, got)
    take_bytes(load, at, load.buffer, cython.cast(cython.size_t, got))


def take_bytes(load, at, data, size):
    """Feeds the head, then counts the body; more than was announced breaks the connection."""
    connection: cython.pointer[Connection] = cython.address(load.connections[at])
    taken: cython.size_t = 0
    if connection.status == 0:
        taken = feed_head(connection, data, size)
        if connection.status == 0:
            if taken < size:  # the head is wrong or too long
                break_off(load, connection)
            return
    if size - taken > connection.left:
        break_off(load, connection)
        return
    connection.left -= size - taken
    if connection.left == 0:
        finish(load, at)


def feed_head(connection, data, size):
    """Bytes that belong to the head. Status stays 0 while it is incomplete, or if it is wrong."""
    room: cython.size_t = HEAD_MAX - connection.head
    taken: cython.size_t = size if size < room else room
    before: uint32_t = connection.head
    found: cython.p_char
    end: uint32_t
    memcpy(cython.address(connection.text[before]), data, taken)
    connection.head += cython.cast(uint32_t, taken)
    found = cython.cast(cython.p_char, memmem(connection.text, connection.head, b"\r\n\r\n", 4))
    if found is cython.NULL:
        return size if taken < room else 0
    end = cython.cast(uint32_t, found - cython.cast(cython.p_char, connection.text)) + 4
    read_head(connection, end)
    return end - before if connection.status else 0


def read_head(connection, end):
    """Sets the status and the length of the body; a head without a length leaves status 0."""
    at: uint32_t = 0
    text: cython.p_char = connection.text
    line: cython.p_char
    text[end - 2] = 0  # atoll stops here at the latest
    if end < 16 or strncasecmp(text, b"HTTP/1.1 ", 9) != 0:
        return
    while at + 16 < end:
        line = cython.cast(cython.p_char, memchr(text + at, 10, end - at))
        if line is cython.NULL:
            return
        at = cython.cast(uint32_t, line - text) + 1
        if at + 15 < end and strncasecmp(text + at, b"content-length:", 15) == 0:
            connection.left = cython.cast(uint64_t, atoll(text + at + 15))
            connection.status = cython.cast(uint32_t, atoll(text + 9))
            return


def finish(load, at):
    connection: cython.pointer[Connection] = cython.address(load.connections[at])
    if connection.status < 200 or connection.status > 299:
        load.failed += 1
    else:
        load.latency_ns[load.answered % load.room] = now_ns() - connection.due_ns
        load.answered += 1
    connection.busy = False
    load.busy -= 1
    load.idle[(load.idle_first + load.idle_count) % load.count] = at
    load.idle_count += 1
