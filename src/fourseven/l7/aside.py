"""A request of our own to a server of a backend, beside the one that a client has sent.

Whoever asks gives the bytes of the request (HTTP/1.1, `Connection: close`) and is told when the
answer is there (`gate_open`) or will not come. A connection of its own for each: what is asked is
small, and the answer ends with it.

Laws: it counts as in flight at its server and backend until it is closed. Its size is bounded by
one buffer; its time is the asker's, who closes it. An answer is read by the same strict reader as
every other; a body that is cut short is a failure. Not here: TLS and HTTP/2 to the server (the
compiler refuses such a backend), and another try.
"""

import cython
from cython.cimports.fourseven.balancing.request_key import hash_of
from cython.cimports.fourseven.l7.aside import ASIDE_DONE, ASIDE_FAILED, Aside
from cython.cimports.fourseven.l7.connect import open_socket
from cython.cimports.fourseven.l7.gates import gate_open
from cython.cimports.fourseven.l7.records import slot_of
from cython.cimports.fourseven.native.atomics import fetch_add_i64, load_relaxed_u32
from cython.cimports.fourseven.native.linux import MSG_NOSIGNAL, recv, send
from cython.cimports.fourseven.protocols.chunked import (
    CHUNKED_DECODE,
    chunked_read,
    chunked_start,
)
from cython.cimports.fourseven.protocols.http1 import HeadLimits, read_response
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    FRAMING_LENGTH,
    FRAMING_NONE,
    METHOD_GET,
)
from cython.cimports.fourseven.snapshot.layout import Pick
from cython.cimports.fourseven.worker.tools import (
    buffer_free,
    buffer_large,
    bury,
    random_next,
    unwatch,
    watch,
)
from cython.cimports.fourseven.worker.worker import BUFFER_LARGE, Buffer
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memset


def aside_open(worker, session, backend, request):
    aside: cython.pointer[Aside] = cython.NULL
    slot: int32_t = server_for(worker, backend)
    if slot >= 0:
        aside = cython.cast(cython.pointer[Aside], malloc(cython.sizeof(Aside)))
        if aside is cython.NULL:
            fetch_add_i64(cython.address(slot_of(worker, slot).in_flight), -1)
    if aside is cython.NULL:
        buffer_free(worker, request)
        return aside
    memset(aside, 0, cython.sizeof(Aside))
    aside.session = session
    aside.slot = slot
    aside.state = backend.state
    fetch_add_i64(cython.address(aside.state.in_flight), 1)
    aside.out = request
    aside.in_ = buffer_large(worker)
    aside.source.ready = aside_ready
    aside.dead.bury = aside_bury
    aside.source.fd = open_socket(worker, slot)
    if (
        aside.source.fd < 0
        or aside.in_ is cython.NULL
        or watch(worker, cython.address(aside.source)) != 0
    ):
        aside_close(worker, aside)
        return cython.NULL
    return aside


def server_for(worker, backend):
    """A server by the backend's own algorithm, in which this request now counts; or -1."""
    pick = cython.declare(Pick)
    number: int32_t
    before: int64_t
    most: uint32_t
    memset(cython.address(pick), 0, cython.sizeof(Pick))
    pick.slots = worker.shared.slots
    pick.hash = hash_of(backend, worker.request, worker.scratch)
    pick.now_ns = worker.now_ns
    pick.random = random_next(worker)
    number = backend.pick(backend, cython.address(pick))
    if number < 0:
        return -1
    before = fetch_add_i64(cython.address(slot_of(worker, number).in_flight), 1)
    most = load_relaxed_u32(cython.address(slot_of(worker, number).max_in_flight))
    if most != 0 and before >= most:
        fetch_add_i64(cython.address(slot_of(worker, number).in_flight), -1)
        return -1
    return number


def aside_close(worker, aside):
    if aside.source.fd >= 0:
        unwatch(worker, cython.address(aside.source))
    buffer_free(worker, aside.out)
    buffer_free(worker, aside.in_)
    aside.out = cython.NULL
    aside.in_ = cython.NULL
    aside.session = cython.NULL
    fetch_add_i64(cython.address(slot_of(worker, aside.slot).in_flight), -1)
    fetch_add_i64(cython.address(aside.state.in_flight), -1)
    bury(worker, cython.address(aside.dead))


def aside_bury(worker, dead):
    free(aside_of_dead(dead))


# ---- events ----


def aside_ready(worker, source, events):
    aside: cython.pointer[Aside] = cython.cast(cython.pointer[Aside], source)
    if aside.session is cython.NULL or aside.result:
        return
    if not aside_send(aside) or not aside_read(aside):
        aside.result = ASIDE_FAILED
    if aside.result:
        gate_open(worker, aside.session)


def aside_send(aside):
    size: cython.Py_ssize_t
    while aside.out.start < aside.out.end:
        size = send(
            aside.source.fd,
            aside.out.at + aside.out.start,
            aside.out.end - aside.out.start,
            MSG_NOSIGNAL,
        )
        if size < 0:
            return errno == EAGAIN or errno == EINTR
        aside.out.start += cython.cast(uint32_t, size)
    return True


def aside_read(aside):
    """False: no answer will come. Edge-triggered, so it reads until nothing is left."""
    size: cython.Py_ssize_t
    buffer: cython.pointer[Buffer] = aside.in_
    while not aside.result:
        if buffer.end == buffer.capacity:
            return False
        size = recv(aside.source.fd, buffer.at + buffer.end, buffer.capacity - buffer.end, 0)
        if size < 0:
            return errno == EAGAIN or errno == EINTR
        buffer.end += cython.cast(uint32_t, size)
        if not whole(aside, size == 0):
            return False
    return True


def whole(aside, ended):
    """Is the answer there? False: it is none, or was cut short."""
    response = cython.address(aside.response)
    size: int32_t
    while aside.head_size == 0:
        size = aside_head(aside)
        if size < 0 or (size == 0 and ended):
            return False
        if size == 0:
            return True
        if response.status >= 200:
            aside.head_size = size
            break
        aside.in_.start += size  # 1xx: the answer follows
        aside.scanned = 0
    return body(aside, ended)


def aside_head(aside):
    limits = cython.declare(HeadLimits)
    limits.head_max = BUFFER_LARGE - 4096
    limits.headers_max = 256
    limits.target_max = 0
    limits.relax = 0
    return read_response(
        aside.in_.at + aside.in_.start,
        aside.in_.end - aside.in_.start,
        cython.address(aside.scanned),
        cython.address(limits),
        METHOD_GET,
        cython.address(aside.response),
    )


def body(aside, ended):
    response = cython.address(aside.response)
    start: uint32_t = aside.in_.start + aside.head_size
    size: uint32_t = aside.in_.end - start
    aside.body.at = aside.in_.at + start
    aside.body.size = size
    if response.framing == FRAMING_NONE:
        aside.body.size = 0
        aside.result = ASIDE_DONE
    elif response.framing == FRAMING_LENGTH:
        if size >= response.content_length:
            aside.body.size = cython.cast(uint32_t, response.content_length)
            aside.result = ASIDE_DONE
    elif response.framing == FRAMING_CLOSE:
        if ended:
            aside.result = ASIDE_DONE
    elif response.framing == FRAMING_CHUNKED:
        return chunks(aside, ended)
    return aside.result != 0 or not ended


def chunks(aside, ended):
    """Decoded where they stand: what is decoded is followed by what is not yet."""
    used: uint32_t = 0
    raw: uint32_t = aside.in_.start + aside.head_size + aside.decoded
    made: int32_t
    at: uint32_t
    if not aside.begun:
        chunked_start(cython.address(aside.chunked), CHUNKED_DECODE)
        aside.begun = 1
    made = chunked_read(
        cython.address(aside.chunked),
        aside.in_.at + raw,
        aside.in_.end - raw,
        cython.address(used),
    )
    if made < 0:
        return False
    for at in range(aside.in_.end - raw - used):
        aside.in_.at[raw + made + at] = aside.in_.at[raw + used + at]
    aside.in_.end -= used - made
    aside.decoded += made
    aside.body.size = aside.decoded
    if aside.chunked.done:
        aside.result = ASIDE_DONE
    return aside.result != 0 or not ended
