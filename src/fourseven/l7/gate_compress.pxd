from libc.stdint cimport int32_t, uint8_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

# The numbers of compression, in the order of its plan; its texts are the types, in lower case.
cpdef enum:
    COMPRESS_ORDER = 0          # a Coding each byte, the best one in the lowest
    COMPRESS_LEVELS = 1         # a level each byte, by Coding
    COMPRESS_MIN_LENGTH = 2
    COMPRESS_CREDENTIALS = 3    # Credentials
    COMPRESS_MOST = 4           # compressors at work in one worker

cpdef enum Credentials:         # answers to requests that say who sends them
    CREDENTIALS_ALWAYS = 0
    CREDENTIALS_SAME_SITE = 1
    CREDENTIALS_NEVER = 2

cdef int32_t compress_ask "fourseven_compress_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
cdef uint8_t wanted(const Request *request, const Gate *gate) noexcept nogil
cdef bint in_danger(const Request *request, const Gate *gate) noexcept nogil
# Whether a page of another site has made the browser ask.
cdef bint from_elsewhere(const Request *request) noexcept nogil
cdef bint other_host(const Span *address, const Span *host) noexcept nogil
