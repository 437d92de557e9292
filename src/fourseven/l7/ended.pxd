from libc.stdint cimport uint64_t

from fourseven.l7.records cimport Session, Stream
from fourseven.worker.worker cimport Worker

# The request is over, however it ended: counted, its gates told, its lines freed. Once is enough.
cdef void stream_ended "fourseven_stream_ended"(Worker *worker, Session *session) noexcept nogil
cdef void count_ended(Worker *worker, const Stream *stream, uint64_t now_ns) noexcept nogil
