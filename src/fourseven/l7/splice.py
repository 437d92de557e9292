"""Big bodies through a pipe: the bytes never come into our memory.

splice(2) moves the socket's pages into a pipe and from there into the other socket. It costs two
system calls a piece as reading and writing do, but no copy, so it pays from some size on
(records.SPLICE_MIN; below it, one read takes all).

Laws: only a body whose length is known and which we don't look into. `held` bytes in the pipe
belong to this response; a pipe that is not empty is closed, never given to another.
"""

import cython
from cython.cimports.fourseven.l7.records import (
    PIPE_SIZE,
    PIPES_FREE_MAX,
    WAIT_CLIENT,
    WAIT_NOTHING,
    Http,
    Pipe,
    Upstream,
    http_of,
)
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.linux import (
    F_GETPIPE_SZ,
    F_SETPIPE_SZ,
    O_CLOEXEC,
    O_NONBLOCK,
    SPLICE_F_MOVE,
    SPLICE_F_NONBLOCK,
    close,
    fcntl,
    pipe2,
    splice,
)
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free


def splice_step(worker, session):
    upstream: cython.pointer[Upstream] = session.stream.upstream
    moved: int32_t = 1
    if upstream.pipe is cython.NULL:
        upstream.pipe = pipe_take(worker)
        if upstream.pipe is cython.NULL:
            return -3
    if upstream.pipe.held == 0:
        moved = fill(worker, session)
    if moved == 1:
        moved = empty(worker, session)
    if session.stream.response.left == 0 and upstream.pipe.held == 0:
        session.stream.response.done = 1
        pipe_release(worker, upstream)
        return 1
    return moved


def fill(worker, session):
    upstream: cython.pointer[Upstream] = session.stream.upstream
    pipe: cython.pointer[Pipe] = upstream.pipe
    size: cython.Py_ssize_t
    wanted: uint64_t = session.stream.response.left
    if not upstream.readable:
        return 0
    wanted = min(wanted, pipe.size)
    size = splice(
        upstream.source.fd,
        cython.NULL,
        pipe.write_fd,
        cython.NULL,
        wanted,
        SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
    )
    if size > 0:
        pipe.held = cython.cast(uint32_t, size)
        session.stream.response.left -= size
        session.stream.response.total += size
        count(
            cython.address(worker.slot_counters[upstream.slot].bytes_from),
            cython.cast(uint64_t, size),
        )
        return 1
    if size < 0 and (errno == EAGAIN or errno == EINTR):
        upstream.readable = errno == EINTR
        return 0
    return -1


def empty(worker, session):
    pipe: cython.pointer[Pipe] = session.stream.upstream.pipe
    size: cython.Py_ssize_t
    while pipe.held > 0:
        size = splice(
            pipe.read_fd,
            cython.NULL,
            session.source.fd,
            cython.NULL,
            pipe.held,
            SPLICE_F_MOVE | SPLICE_F_NONBLOCK,
        )
        if size < 0 and errno == EAGAIN:
            return 0
        if size <= 0 and errno != EINTR:
            return -2
        if size > 0:
            pipe.held -= cython.cast(uint32_t, size)
            if session.waiting == WAIT_CLIENT:
                session.waiting = WAIT_NOTHING
            session.stream.bytes_out += cython.cast(uint64_t, size)
            count(
                cython.address(session.listener.counters.bytes_out),
                cython.cast(uint64_t, size),
            )
    return 1


# ---- pipes ----


def pipe_take(worker):
    http: cython.pointer[Http] = http_of(worker)
    pipe: cython.pointer[Pipe] = http.pipes
    if pipe is not cython.NULL:
        http.pipes = pipe.next
        http.pipe_count -= 1
    else:
        pipe = pipe_new()
    if pipe is not cython.NULL:
        count(cython.address(worker.counters.pipes), 1)
    return pipe


def pipe_new():
    ends = cython.declare(cython.int[2])
    size: cython.int
    pipe: cython.pointer[Pipe] = cython.cast(cython.pointer[Pipe], calloc(1, cython.sizeof(Pipe)))
    if pipe is cython.NULL:
        return pipe
    if pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0:
        free(pipe)
        return cython.NULL
    pipe.read_fd = ends[0]
    pipe.write_fd = ends[1]
    fcntl(pipe.write_fd, F_SETPIPE_SZ, cython.cast(cython.int, PIPE_SIZE))  # refused: we ask below
    size = fcntl(pipe.write_fd, F_GETPIPE_SZ)
    pipe.size = size if size > 0 else 65536
    return pipe


def pipe_release(worker, upstream):
    http: cython.pointer[Http] = http_of(worker)
    pipe: cython.pointer[Pipe] = upstream.pipe
    if pipe is cython.NULL:
        return
    upstream.pipe = cython.NULL
    count(cython.address(worker.counters.pipes), cython.cast(uint64_t, -1))
    if pipe.held > 0 or http.pipe_count >= PIPES_FREE_MAX:
        pipe_close(pipe)
        return
    pipe.next = http.pipes
    http.pipes = pipe
    http.pipe_count += 1


def pipe_close(pipe):
    close(pipe.read_fd)
    close(pipe.write_fd)
    free(pipe)


def pipes_drop(http):
    pipe: cython.pointer[Pipe]
    while http.pipes is not cython.NULL:
        pipe = http.pipes
        http.pipes = pipe.next
        pipe_close(pipe)
    http.pipe_count = 0
