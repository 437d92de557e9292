from libc.stdint cimport int32_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

cdef int32_t cors_ask "fourseven_cors_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
# The first header of that name; absent: at is NULL.
cdef Span header_of "fourseven_header_of"(const Request *request, const char *name) noexcept nogil

cdef void say_origin(Worker *worker, Session *session, const Gate *gate, const Span *origin) noexcept nogil
cdef void preflight_answer(
    Worker *worker, Session *session, const Gate *gate, const Span *wants
) noexcept nogil
cdef void say_list(
    Worker *worker, Session *session, const char *name, const Span *list, const Span *asked
) noexcept nogil
cdef bint is_list(const Span *text) noexcept nogil
cdef void say(Worker *worker, Session *session, const char *name, const char *value) noexcept nogil
cdef void say_span(Worker *worker, Session *session, const char *name, const Span *value) noexcept nogil
cdef Span origin_of(const Request *request) noexcept nogil
cdef bint origin_allowed(const Gate *gate, const Span *origin) noexcept nogil
cdef bint origin_is(const Span *origin, const Span *pattern) noexcept nogil
