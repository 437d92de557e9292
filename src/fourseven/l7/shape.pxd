from libc.stdint cimport uint64_t

from fourseven.l7.records cimport Http, Session, Shape, Stream
from fourseven.protocols.coding cimport Coder
from fourseven.worker.worker cimport Timer, Worker

cpdef enum:
    CODERS_KEPT = 8     # of each coding at rest, each worker: 2 MiB of gzip; beyond, memory goes back

# The stream's record, which is taken now if it has none; NULL: no memory.
cdef Shape *shape_take "fourseven_shape_take"(Worker *worker, Session *session) noexcept nogil
# The stream has ended: everything goes back.
cdef void shape_drop "fourseven_shape_drop"(Worker *worker, Stream *stream) noexcept nogil
# The session runs again at that time at the latest.
cdef void shape_wake "fourseven_shape_wake"(Worker *worker, Shape *shape, uint64_t due_ms) noexcept nogil
# A compressor for a body; NULL: `most` are at work in this worker, or no memory.
cdef Coder *coder_take "fourseven_coder_take"(
    Worker *worker, unsigned int coding, int level, uint64_t size, bint exact, uint64_t most
) noexcept nogil
cdef void coder_release "fourseven_coder_release"(Worker *worker, Coder *coder) noexcept nogil
# The worker ends.
cdef void shapes_drop "fourseven_shapes_drop"(Http *http) noexcept nogil
cdef void shape_timer(Worker *worker, Timer *timer) noexcept nogil
