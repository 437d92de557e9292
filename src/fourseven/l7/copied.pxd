from libc.stdint cimport uint32_t

from fourseven.l7.records cimport Session, Stream
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Backend
from fourseven.worker.worker cimport Buffer, Worker

# The session's request, read anew into worker.request, written for this backend with its body behind
# the head, and this header at its end ("1"; NULL: none). NULL: it does not fit, or a filter refuses.
cdef Buffer *request_copied "fourseven_request_copied"(
    Worker *worker, Session *session, const Backend *backend, const Span *mark
) noexcept nogil
# Does the session's buffer still hold the whole request, as it came?
cdef bint copyable "fourseven_copyable"(const Session *session) noexcept nogil
# Bytes of its body, in the framing in which it came.
cdef uint32_t body_size "fourseven_body_size"(const Session *session) noexcept nogil
