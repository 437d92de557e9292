"""The access log's thread: takes records from the workers' rings, writes lines.

A worker never waits for a disk or a pipe: it leaves a record in its ring, and this thread formats
and writes. Where the other end is slow, only this thread waits; a ring that fills up drops records,
counted by its worker. Lines go out in large writes, in the order of each worker.

Target and format are handed over by control, which may do so at any time: rotation is a new
descriptor. The thread sleeps a little when there is nothing to do, and longer the longer there is
nothing; no worker has to wake it.

Laws: the thread runs without the GIL. It owns its descriptor and closes it. At the end it writes
what is left.
"""

import threading

import cython
from cython.cimports.fourseven.l7.output import Output
from cython.cimports.fourseven.l7.record import Record
from cython.cimports.fourseven.native.atomics import (
    count,
    exchange_pointer,
    load_acquire,
    load_acquire_u32,
    load_relaxed,
    store_release_u32,
)
from cython.cimports.fourseven.native.linux import (
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    close,
    connect,
    getpeername,
    nanosleep,
    send,
    sockaddr,
    timespec,
    write,
)
from cython.cimports.fourseven.native.pages import pages_drop, pages_new
from cython.cimports.fourseven.observe.lines import Piece, Pieces, put_line
from cython.cimports.fourseven.observe.log import LINE_MAX, LOG_RINGS_MAX, LOG_ROOM, Log, News, Ring
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.worker.ring import ring_next, ring_took
from cython.cimports.fourseven.worker.worker import REASONS_MAX
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy

from fourseven.worker.worker import Reason

SLEEP_MIN_US = cython.declare(cython.int, 2000)  # of a busy log: 500 turns a second at most
SLEEP_MAX_US = cython.declare(cython.int, 64000)  # a ring holds a burst of this long


@cython.cclass
class AccessLog:
    """One log of one data plane. `rings` are the addresses of the workers' rings."""

    def __cinit__(self, rings: list):
        at: cython.int
        if len(rings) > LOG_RINGS_MAX:
            raise ValueError("more rings than workers")
        self.log.fd = -1
        self.log.room = cython.cast(cython.p_char, pages_new(LOG_ROOM))
        self.log.ring_count = len(rings)
        for at in range(len(rings)):
            self.log.rings[at] = cython.cast(
                cython.pointer[Ring], cython.cast(cython.size_t, rings[at])
            )
        self.name_reasons()
        self.thread = None

    def name_reasons(self):
        """Reasons as the lines name them, by their numbers, which have gaps."""
        names = {
            int(reason): reason.name.removeprefix("REASON_").lower().encode() for reason in Reason
        }
        at: cython.int
        start: cython.int = 0
        self.reasons = b"".join(names.values())
        text: cython.p_const_char = self.reasons
        for at, name in names.items():
            if at < REASONS_MAX:
                self.log.reasons[at] = Span(at=text + start, size=len(name))
            start += len(name)
        return 0

    def __dealloc__(self):
        """The thread must have ended."""
        if self.log.fd >= 0:
            close(self.log.fd)
        pieces_free(self.log.pieces)
        news_free(self.log.news)
        if self.log.room is not cython.NULL:
            pages_drop(self.log.room, LOG_ROOM)

    def use(self, fd: int, pieces: list, datagrams: bool) -> None:
        """From now on lines of this form go there; `fd` is the log's own (-1: nowhere).

        `pieces` are (LineField, LineMode, literal) in the order of the line.
        """
        self.hand_over(build(pieces, datagrams), fd)
        if self.thread is None:
            self.thread = threading.Thread(
                target=enter,
                args=(cython.cast(cython.size_t, cython.address(self.log)),),
                name="log",
            )
            self.thread.start()

    def reopen(self, fd: int) -> None:
        """Lines go there from now on, in the form that they have."""
        self.hand_over(cython.NULL, fd)

    def hand_over(self, pieces, fd):
        """One more change; the thread takes them in their order."""
        at: uint32_t
        news: cython.pointer[News] = cython.cast(
            cython.pointer[News], calloc(1, cython.sizeof(News))
        )
        if news is cython.NULL:
            pieces_free(pieces)
            raise MemoryError
        news.before = cython.cast(
            cython.pointer[News],
            exchange_pointer(
                cython.cast(cython.pp_void, cython.address(self.log.news)), cython.NULL
            ),
        )
        news.pieces = pieces
        news.fd = fd
        for at in range(self.log.ring_count):
            news.marks[at] = load_acquire(cython.address(self.log.rings[at].written))
        exchange_pointer(cython.cast(cython.pp_void, cython.address(self.log.news)), news)
        return 0

    def stop(self) -> None:
        """Writes what is left, and ends the thread."""
        if self.thread is not None:
            store_release_u32(cython.address(self.log.stopping), 1)
            self.thread.join()
            self.thread = None

    def counters(self) -> dict:
        """Lines that were written, and that could not be."""
        return {
            "lines": load_relaxed(cython.address(self.log.lines)),
            "failed": load_relaxed(cython.address(self.log.failed)),
        }


def build(rows, datagrams):
    at: cython.int
    start: cython.size_t = 0
    literals: bytes = b"".join([literal for _, _, literal in rows])
    pieces: cython.pointer[Pieces] = cython.cast(
        cython.pointer[Pieces], calloc(1, cython.sizeof(Pieces))
    )
    if pieces is cython.NULL:
        raise MemoryError
    pieces.pieces = cython.cast(cython.pointer[Piece], calloc(len(rows) or 1, cython.sizeof(Piece)))
    pieces.texts = cython.cast(cython.p_char, malloc(len(literals) or 1))
    if pieces.pieces is cython.NULL or pieces.texts is cython.NULL:
        pieces_free(pieces)
        raise MemoryError
    memcpy(pieces.texts, cython.cast(cython.p_char, literals), len(literals))
    pieces.count = len(rows)
    pieces.datagrams = datagrams
    for at, (field, mode, literal) in enumerate(rows):
        pieces.pieces[at] = Piece(
            field=field, mode=mode, size=len(literal), at=pieces.texts + start
        )
        start += len(literal)
    return pieces


def enter(log: cython.size_t) -> None:
    """The thread: it leaves Python's world until it is stopped."""
    with cython.nogil:
        log_run(cython.cast(cython.pointer[Log], log))


def log_run(log):
    sleep_us: cython.int = SLEEP_MIN_US
    pause = cython.declare(timespec)
    while True:
        if log_turn(log):
            sleep_us = SLEEP_MIN_US
        elif load_acquire_u32(cython.address(log.stopping)):
            return
        elif sleep_us < SLEEP_MAX_US:
            sleep_us *= 2
        pause.tv_sec = 0
        pause.tv_nsec = sleep_us * 1000
        nanosleep(cython.address(pause), cython.NULL)


def log_turn(log):
    """Writes what is there; false when there was nothing."""
    at: uint32_t
    lines: uint64_t = take_news(log)
    if log.pieces is not cython.NULL and log.fd >= 0:
        for at in range(log.ring_count):
            lines += write_ring(
                log, log.rings[at], load_acquire(cython.address(log.rings[at].written))
            )
    return lines > 0


def take_news(log):
    news: cython.pointer[News] = cython.cast(
        cython.pointer[News],
        exchange_pointer(cython.cast(cython.pp_void, cython.address(log.news)), cython.NULL),
    )
    last: cython.pointer[News] = cython.NULL
    after: cython.pointer[News] = cython.NULL
    lines: uint64_t = 0
    while news is not cython.NULL:  # the newest stands first
        last = news
        news = last.before
        last.before = after
        after = last
    while last is not cython.NULL:
        after = last.before
        last.before = cython.NULL
        lines += follow(log, last)
        news_free(last)
        last = after
    return lines


def follow(log, news):
    """Another target, another form: what came before goes the old way first."""
    at: uint32_t
    lines: uint64_t = 0
    if log.pieces is not cython.NULL and log.fd >= 0:
        for at in range(log.ring_count):
            lines += write_ring(log, log.rings[at], news.marks[at])
        close(log.fd)
    if news.pieces is not cython.NULL:
        pieces_free(log.pieces)
        log.pieces = news.pieces
        news.pieces = cython.NULL
    log.fd = news.fd
    news.fd = -1
    log.peer_size = cython.sizeof(log.peer)
    peer: cython.pointer[sockaddr] = cython.cast(cython.pointer[sockaddr], cython.address(log.peer))
    if getpeername(log.fd, peer, cython.address(log.peer_size)) < 0:
        log.peer_size = 0  # it is no socket
    return lines


def news_free(news):
    before: cython.pointer[News]
    while news is not cython.NULL:
        before = news.before
        pieces_free(news.pieces)
        if news.fd >= 0:
            close(news.fd)
        free(news)
        news = before


def write_ring(log, ring, until):
    to: Output = Output(at=log.room, size=0, capacity=LOG_ROOM, full=0)
    record: cython.pointer[cython.const[Record]]
    waiting: uint64_t = 0
    records: uint64_t = 0
    while ring.taken < until:
        record = cython.cast(cython.pointer[cython.const[Record]], ring_next(ring))
        if record is cython.NULL:
            break
        write_record(log, cython.address(to), record, cython.address(waiting))
        ring_took(ring, record.size)
        records += 1
    if waiting:
        flush(log, cython.address(to), waiting)
    return records


def write_record(log, to, record, waiting):
    put_line(to, log.pieces, record, cython.address(log.reasons[0]))
    if to.full:
        to.full = 0
        count(cython.address(log.failed), 1)
        return
    waiting[0] += 1
    if log.pieces.datagrams or to.size > LOG_ROOM - LINE_MAX:
        flush(log, to, waiting[0])
        waiting[0] = 0


def flush(log, to, lines):
    """Writes all of it, waiting where it must; what cannot be written is lost, and counted."""
    at: uint32_t = 0
    sent: cython.Py_ssize_t
    pause = cython.declare(timespec)
    pause.tv_sec = 0
    pause.tv_nsec = 1000000
    while at < to.size:
        if log.pieces.datagrams:
            sent = to.size if send_line(log, to) else -1
        else:
            sent = write(log.fd, to.at + at, to.size - at)
        if sent > 0:
            at += cython.cast(uint32_t, sent)
        elif sent < 0 and errno == EAGAIN:
            if load_acquire_u32(cython.address(log.stopping)):
                break
            # A pipe that somebody made non-blocking, or syslog has as many as it holds.
            nanosleep(cython.address(pause), cython.NULL)
        elif sent < 0 and errno == EINTR:
            continue
        else:
            break
    if at < to.size:
        count(cython.address(log.failed), lines)
    else:
        count(cython.address(log.lines), lines)
    to.size = 0


def send_line(log, to):
    """Its end is the datagram's. A syslog that was started anew has another socket behind its name:
    to that one we connect once more. Never waits: who ends the thread would wait as well."""
    flags: cython.int = MSG_NOSIGNAL | MSG_DONTWAIT
    if send(log.fd, to.at, to.size - 1, flags) >= 0:
        return True
    if errno == EAGAIN or errno == EINTR or log.peer_size == 0:
        return False
    peer: cython.pointer[sockaddr] = cython.cast(cython.pointer[sockaddr], cython.address(log.peer))
    if connect(log.fd, peer, log.peer_size) < 0:
        return False
    return send(log.fd, to.at, to.size - 1, flags) >= 0


def pieces_free(pieces):
    if pieces is not cython.NULL:
        free(pieces.pieces)
        free(pieces.texts)
        free(pieces)
