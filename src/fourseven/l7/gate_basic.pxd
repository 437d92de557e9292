from libc.stdint cimport int32_t

from fourseven.l7.records cimport Session
from fourseven.l7.verified cimport Tag
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

cpdef enum:
    FIRST_USER = 2          # of the texts
    SHOWN_MAX = 512         # name and password: each at most 255 bytes
    REMEMBER_MS = 600000    # a good password costs its hash once in ten minutes

cdef struct Shown:
    char room[SHOWN_MAX]
    Span name
    Span password
    int32_t user            # the place of the name among the texts; -1: nobody's

cdef int32_t basic_ask "fourseven_basic_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
cdef void basic_left "fourseven_basic_left"(Worker *worker, Session *session) noexcept nogil

cdef int32_t judge(Worker *worker, Session *session, const Gate *gate, Shown *shown) noexcept nogil
cdef int32_t let_pass(Worker *worker, Session *session, const Gate *gate, const Shown *shown) noexcept nogil
cdef int32_t refuse(Worker *worker, Session *session, const Gate *gate) noexcept nogil
cdef bint shown_by(const Request *request, Shown *shown) noexcept nogil
cdef int32_t user_of(const Gate *gate, const Span *name) noexcept nogil
cdef bint tag_shown(Tag *tag, const Gate *gate, const Shown *shown) noexcept nogil
