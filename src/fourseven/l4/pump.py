"""Bytes from one socket to another: copied while they are few, spliced when they are many.

A small answer is cheapest as one recv into a warm buffer and one send from it, and nothing is kept
when the send took all. Bulk is cheapest by splice: the pages go through a pipe and are not copied.
So a direction begins by copying; a read that fills the buffer makes it bulk and takes a pipe, and
a burst that was too small to pay for the pipe gives it back.

Backpressure: a direction reads only when nothing waits in it. So a slow reader costs at most one
buffer or one full pipe, then the kernel's buffers, then the sender's window.

Edge-triggered epoll says each thing once, so what it said is kept: `readable` until a read finds
nothing more, `full` from a write that found no room. A read shorter than asked for has emptied the
socket, and the next arrival makes a new edge; but a FIN that came with the data has made its edge
already (`hung`), so then the end is read at once.

Where sessions of TLS are learnt (l4/resumption) somebody reads along until the server's handshake
is over, and bytes are copied that long.

With TLS on a side (worker/secure) bytes are always copied, and a half close is a close_notify with
the FIN; records that the socket did not take wait in the Secure, and count as pending here.

Laws: half close is passed on when all before it was. An error of the giver counts only when what
it gave before has been taken.
"""

import cython
from cython.cimports.fourseven.l4.resumption import learner_drop, learner_hear
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.linux import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    F_GETPIPE_SZ,
    F_SETPIPE_SZ,
    MSG_NOSIGNAL,
    O_CLOEXEC,
    O_NONBLOCK,
    SHUT_WR,
    SPLICE_F_MOVE,
    SPLICE_F_NONBLOCK,
    close,
    fcntl,
    pipe2,
    recv,
    send,
    shutdown,
    splice,
)
from cython.cimports.fourseven.worker.secure import (
    secure_empty,
    secure_finish,
    secure_flush,
    secure_read,
    secure_send,
    secure_unsent,
)
from cython.cimports.fourseven.worker.tools import buffer_free, buffer_large, run_again, unwatch
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.errno import EAGAIN, errno
from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import free, malloc


def note(side, events):
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        side.readable = 1
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        side.hung = 1
    if events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
        side.full = 0
    if side.tls is not cython.NULL:
        side.readable = 1  # a read may have waited for room to write


def pending(side):
    return side.waiting is not cython.NULL or side.piped != 0 or unsent(side.other)


def unsent(side):
    return side.tls is not cython.NULL and secure_unsent(side.tls)


def pump(worker, pipes, side):
    rounds: uint32_t = 0
    while True:
        if pending(side):
            if push(worker, side) == BROKEN:
                return BROKEN
            if pending(side):
                return FLOWING
        if side.ended or not side.readable:
            break
        if rounds == ROUNDS_MAX:
            run_again(worker, cython.address(side.source))
            return FLOWING
        rounds += 1
        if side.pipe is not cython.NULL:
            if pull(worker, pipes, side) == BROKEN:
                return BROKEN
        elif copy(worker, pipes, side) == BROKEN:
            return BROKEN
    if side.ended and not side.other.shut:
        end_other(side)
    return FLOWING


def end_other(side):
    """Passes the end on; a close_notify that finds no room waits as records do."""
    if side.other.tls is not cython.NULL:
        secure_finish(side.other.tls)
        if unsent(side.other):
            side.other.full = 1
            return
    side.other.shut = 1
    shutdown(side.other.source.fd, SHUT_WR)


def copy(worker, pipes, side):
    """One read and one write; what was not taken waits."""
    buffer: cython.pointer[Buffer] = buffer_large(worker)
    size: int64_t
    sent: int64_t
    if buffer is cython.NULL:
        return BROKEN
    size = take(side, buffer.at, READ_SIZE)
    if size <= 0:
        buffer_free(worker, buffer)
        return not_read(side, size)
    side.given += cython.cast(uint64_t, size)
    side.progress = 1
    if side.learner is not cython.NULL:
        learner_hear(worker, side, buffer.at, cython.cast(uint32_t, size))
    if size == READ_SIZE and bulky(side):
        side.pipe = pipe_take(worker, pipes)
    elif side.tls is not cython.NULL:
        side.readable = side.hung or not secure_empty(side.tls)
    elif size < READ_SIZE and not side.hung:
        side.readable = 0
    sent = give(side.other, buffer.at, cython.cast(uint32_t, size))
    side.other.full = sent < size or unsent(side.other)
    if sent == size or sent < 0:
        buffer_free(worker, buffer)
        return BROKEN if sent < 0 else FLOWING
    side.waiting = buffer
    buffer.start = cython.cast(uint32_t, sent)
    buffer.end = cython.cast(uint32_t, size)
    return FLOWING


def take(side, to, room):
    """Bytes, 0 at the end, NOTHING_NOW or NEVER."""
    size: int64_t
    if side.tls is not cython.NULL:
        return secure_read(side.tls, to, room)  # whose results are the same numbers
    size = recv(side.source.fd, to, room, 0)
    if size < 0:
        return NOTHING_NOW if errno == EAGAIN else NEVER
    return size


def give(side, at, size):
    """The bytes that this side took, 0 when it is full, -1 when it is gone."""
    sent: int64_t
    if side.tls is not cython.NULL:
        return secure_send(side.tls, at, size)
    sent = send(side.source.fd, at, size, MSG_NOSIGNAL)
    if sent < 0 and errno == EAGAIN:
        return 0
    return sent


def bulky(side):
    """Can a pipe carry what this side gives?"""
    if side.learner is not cython.NULL:
        return False
    return side.tls is cython.NULL and side.other.tls is cython.NULL


def pull(worker, pipes, side):
    """From the socket into its pipe, which is empty."""
    size: int64_t = splice(
        side.source.fd,
        cython.NULL,
        side.pipe.ends[1],
        cython.NULL,
        SPLICE_SIZE,
        SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
    )
    if size > 0:
        side.piped = cython.cast(uint32_t, size)
        side.burst += side.piped if side.burst < BULK_MIN else 0
        side.given += cython.cast(uint64_t, size)
        side.progress = 1
        return FLOWING
    if side.burst < BULK_MIN:
        pipe_give(worker, pipes, side)
    side.burst = 0
    if size < 0:
        size = NOTHING_NOW if errno == EAGAIN else NEVER
    return not_read(side, size)


def not_read(side, size):
    if size == NEVER:
        return BROKEN
    side.ended |= size == 0
    side.readable = 0
    return FLOWING


def push(worker, side):
    """What waits, to the other side; some of it may still wait after that."""
    buffer: cython.pointer[Buffer] = side.waiting
    fd: cython.int = side.other.source.fd
    size: int64_t
    if side.other.full:
        return FLOWING
    if unsent(side.other):
        size = secure_flush(side.other.tls)
        side.progress = 1
        side.other.full = size == 0
        if size <= 0:
            return BROKEN if size < 0 else FLOWING
    if buffer is not cython.NULL:
        size = give(side.other, buffer.at + buffer.start, buffer.end - buffer.start)
        if size < 0:
            return BROKEN
        side.progress |= size > 0
        buffer.start += cython.cast(uint32_t, size)
        side.other.full = buffer.start < buffer.end or unsent(side.other)
        if buffer.start < buffer.end:
            return FLOWING
        side.waiting = cython.NULL
        buffer_free(worker, buffer)
    while side.piped != 0:
        size = splice(
            side.pipe.ends[0],
            cython.NULL,
            fd,
            cython.NULL,
            side.piped,
            SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
        )
        if size <= 0:
            return not_written(side)
        side.progress = 1
        side.piped -= cython.cast(uint32_t, size)
    return FLOWING


def not_written(side):
    if errno != EAGAIN:
        return BROKEN
    side.other.full = 1
    return FLOWING


def side_drop(worker, pipes, side):
    unwatch(worker, cython.address(side.source))
    learner_drop(side)
    buffer_free(worker, side.waiting)
    side.waiting = cython.NULL
    if side.pipe is not cython.NULL:
        pipe_give(worker, pipes, side)


# ---- pipes ----


def pipe_take(worker, pipes):
    """An empty pipe, or NULL: then the bytes are copied, which always works."""
    pipe: cython.pointer[Pipe] = pipes.free
    if pipe is not cython.NULL:
        pipes.free = pipe.next
        pipes.free_count -= 1
    else:
        if pipes.count >= PIPES_MAX:
            return cython.NULL
        pipe = cython.cast(cython.pointer[Pipe], malloc(cython.sizeof(Pipe)))
        if pipe is cython.NULL:
            return pipe
        if pipe2(pipe.ends, O_NONBLOCK | O_CLOEXEC) < 0:
            free(pipe)
            return cython.NULL
        if fcntl(pipe.ends[1], F_SETPIPE_SZ, PIPE_SIZE) < 0 and (
            fcntl(pipe.ends[1], F_GETPIPE_SZ) < READ_SIZE
        ):
            pipe_close(pipe)  # the user's share is used up, and what is left is worse than copying
            return cython.NULL
        pipes.count += 1
    count(cython.address(worker.counters.pipes), 1)
    return pipe


def pipe_give(worker, pipes, side):
    """Back to the free ones; one with bytes in it is of no use to anybody else."""
    pipe: cython.pointer[Pipe] = side.pipe
    count(cython.address(worker.counters.pipes), cython.cast(uint64_t, -1))
    side.pipe = cython.NULL
    if side.piped != 0 or pipes.free_count >= FREE_PIPES_MAX:
        side.piped = 0
        pipes.count -= 1
        pipe_close(pipe)
        return
    pipe.next = pipes.free
    pipes.free = pipe
    pipes.free_count += 1


def pipe_close(pipe):
    close(pipe.ends[0])
    close(pipe.ends[1])
    free(pipe)


def pipes_drop(worker, pipes):
    """Closes the free ones; every side must have been dropped before."""
    pipe: cython.pointer[Pipe]
    while pipes.free is not cython.NULL:
        pipe = pipes.free
        pipes.free = pipe.next
        pipe_close(pipe)
    pipes.free_count = 0
    pipes.count = 0
