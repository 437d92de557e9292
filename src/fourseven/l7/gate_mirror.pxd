from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.aside cimport Aside
from fourseven.l7.records cimport Session
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

# The numbers of its plan; the share is in millionths. Its one text is the header that marks a copy,
# its one key what the draw follows; both may be left out.
cpdef enum:
    MIRROR_SHARE = 0
    MIRROR_BODY_MAX = 1
    MIRROR_TIME_MS = 2
    MIRROR_AT_ONCE = 3
    MIRRORS_MAX = 8         # on one route: the bits of Stream.mirrors

cdef int32_t mirror_ask "fourseven_mirror_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
# The request has gone to its server whole: the copies that were drawn for it.
cdef void mirror_send "fourseven_mirror_send"(Worker *worker, Session *session) noexcept nogil

cdef bint drawn(Worker *worker, const Gate *gate) noexcept nogil
cdef uint32_t place_of(const Session *session) noexcept nogil
cdef void mirror_one(Worker *worker, Session *session, const Gate *gate) noexcept nogil
cdef void mirror_told(Worker *worker, Aside *aside) noexcept nogil
