"""What a stream needs whose bodies are compressed or held to a rate; the others have nothing of it.

A gate takes the record (records.Shape) while it looks at the request, and with it the stream leaves
the quick paths: no pipe, no body joined to its head. Its one timer wakes the session: for a rate
that lets more pass, and for compressed bytes that must not wait any longer.

Compressors are large (protocols.coding), so a stream has one only from its answer's head to the
body's last byte, and one worker has no more at work than the file allows. A few are kept at rest:
to clear one is a tenth of the work of making it.

Laws: whoever sets `stream.shape` is `shape_take`, and `stream_ended` gives it back whatever
happened, with all that hangs on it.
"""

import cython
from cython.cimports.fourseven.l7.records import (
    SESSION_CLOSED,
    Http,
    Shape,
    http_of,
)
from cython.cimports.fourseven.l7.session import session_run
from cython.cimports.fourseven.l7.shape import CODERS_KEPT
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.protocols.coding import (
    CODINGS,
    Coder,
    coder_begin,
    coder_drop,
    coder_lasts,
    coder_new,
)
from cython.cimports.fourseven.worker.tools import buffer_free, timer_clear, timer_set
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memset


def shape_take(worker, session):
    http: cython.pointer[Http] = http_of(worker)
    shape: cython.pointer[Shape] = session.stream.shape
    if shape is not cython.NULL:
        return shape
    shape = http.free_shapes
    if shape is not cython.NULL:
        http.free_shapes = shape.next
    else:
        shape = cython.cast(cython.pointer[Shape], malloc(cython.sizeof(Shape)))
    if shape is cython.NULL:
        count(cython.address(worker.counters.memory_refused), 1)
        return shape
    memset(shape, 0, cython.sizeof(Shape))
    shape.session = session
    shape.timer.fire = shape_timer
    session.stream.shape = shape
    return shape


def shape_drop(worker, stream):
    http: cython.pointer[Http] = http_of(worker)
    shape: cython.pointer[Shape] = stream.shape
    if shape is cython.NULL:
        return
    stream.shape = cython.NULL
    timer_clear(worker, cython.address(shape.timer))
    coder_release(worker, shape.coder)
    buffer_free(worker, shape.out)
    buffer_free(worker, shape.trailers)
    shape.next = http.free_shapes
    http.free_shapes = shape


def shape_wake(worker, shape, due_ms):
    if shape.timer.link is cython.NULL or due_ms < shape.timer.due_ms:
        timer_set(worker, cython.address(shape.timer), due_ms)


def shape_timer(worker, timer):
    like: cython.pointer[Shape] = cython.cast(cython.pointer[Shape], timer)  # for the distance
    at: cython.p_char = cython.cast(cython.p_char, timer)
    shape: cython.pointer[Shape] = cython.cast(
        cython.pointer[Shape],
        at - (cython.cast(cython.p_char, cython.address(like.timer)) - at),
    )
    if shape.session.state != SESSION_CLOSED:
        session_run(worker, shape.session)


# ---- compressors ----


def coder_take(worker, coding, level, size, exact, most):
    http: cython.pointer[Http] = http_of(worker)
    coder: cython.pointer[Coder]
    if coding >= CODINGS or worker.counters.compressors >= most:
        return cython.NULL
    coder = http.coders[coding]
    if coder is not cython.NULL:
        http.coders[coding] = coder.next
        http.coder_count[coding] -= 1
    else:
        coder = coder_new(coding)
    if coder is cython.NULL:
        return coder
    if not coder_begin(coder, level, size, exact):
        coder_drop(coder)
        count(cython.address(worker.counters.memory_refused), 1)
        return cython.NULL
    count(cython.address(worker.counters.compressors), 1)
    return coder


def coder_release(worker, coder):
    http: cython.pointer[Http] = http_of(worker)
    if coder is cython.NULL:
        return
    count(cython.address(worker.counters.compressors), cython.cast(uint64_t, -1))
    if not coder_lasts(coder) or http.coder_count[coder.coding] >= CODERS_KEPT:
        coder_drop(coder)
        return
    coder.next = http.coders[coder.coding]
    http.coders[coder.coding] = coder
    http.coder_count[coder.coding] += 1


def shapes_drop(http):
    shape: cython.pointer[Shape]
    coder: cython.pointer[Coder]
    at: cython.int
    while http.free_shapes is not cython.NULL:
        shape = http.free_shapes
        http.free_shapes = shape.next
        free(shape)
    for at in range(cython.cast(cython.int, CODINGS)):
        while http.coders[at] is not cython.NULL:
            coder = http.coders[at]
            http.coders[at] = coder.next
            coder_drop(coder)
        http.coder_count[at] = 0
