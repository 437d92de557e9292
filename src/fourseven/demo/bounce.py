"""A byte there and back, over one connection, one at a time: the latency of a path and little else.

Both ends block, so a round trip is a send and a receive at each and no other system call: what is
left of the time is the path's. Netperf calls this work TCP_RR. demo.load measures requests instead,
of many connections and at a rate; its waiting for any of them is half as dear as a kernel's path.

Laws: both sockets block and have TCP_NODELAY; a limit on waiting is the socket's own (SO_RCVTIMEO).
"""

import cython
from cython.cimports.fourseven.demo.load import now_ns
from cython.cimports.fourseven.native.linux import MSG_NOSIGNAL, recv, send
from cython.cimports.libc.errno import EPIPE, errno
from cython.cimports.libc.stdlib import free, malloc


def round_trips(fd, seconds):
    """The nanoseconds of each. Raises OSError when the connection ends or is silent too long."""
    taken_ns: cython.pointer[uint64_t] = cython.cast(
        cython.pointer[uint64_t], malloc(ROOM * cython.sizeof(uint64_t))
    )
    end_ns: uint64_t = now_ns() + cython.cast(uint64_t, seconds * 1e9)
    number: cython.int = fd
    count: int64_t
    if taken_ns is cython.NULL:
        raise MemoryError
    try:
        with cython.nogil:
            count = bounce(number, end_ns, taken_ns)
        if count < 0:
            raise OSError(cython.cast(cython.int, -count), "the connection broke")
        return [taken_ns[at] for at in range(count)]
    finally:
        free(taken_ns)


def bounce(fd, end_ns, taken_ns):
    """How many there were, or the negative errno."""
    byte: cython.char = 0
    count: int64_t = 0
    before: uint64_t = now_ns()
    after: uint64_t
    got: cython.Py_ssize_t
    while before < end_ns and count < ROOM:
        if send(fd, cython.address(byte), 1, MSG_NOSIGNAL) < 0:
            return -cython.cast(int64_t, errno)
        got = recv(fd, cython.address(byte), 1, 0)
        if got <= 0:
            return -cython.cast(int64_t, errno if got else EPIPE)
        after = now_ns()
        taken_ns[count] = after - before
        count += 1
        before = after
    return count


def answer(fd):
    """Sends each byte back, until the connection ends. Raises OSError when it breaks."""
    number: cython.int = fd
    failed: cython.int
    with cython.nogil:
        failed = send_back(number)
    if failed:
        raise OSError(failed, "the connection broke")


def send_back(fd):
    """0 at the end, or the errno."""
    byte: cython.char = 0
    got: cython.Py_ssize_t
    while True:
        got = recv(fd, cython.address(byte), 1, 0)
        if got == 0:
            return 0
        if got < 0 or send(fd, cython.address(byte), 1, MSG_NOSIGNAL) < 0:
            return errno
