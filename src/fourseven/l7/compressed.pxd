from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session, Shape, Stream
from fourseven.protocols.message cimport Header, Response, Span
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

cpdef enum:
    FLUSH_MS = 32           # what a server's pause may hold back; two turns of the timers
    PIECE_CODED = 16384     # bytes compressed at a time
    BURNED_MAX = 131072     # bytes compressed before others have their turn: some 2 ms
    CHUNK_ROOM = 16         # a chunk's size with its line ends, and the last chunk
    HEAD_IN_OUT = 32768     # a head up to this goes with the first of the body
    LINES_MIN = 256         # room that our own lines may take

# Why an answer stayed as it came. New ones go to the end: their names are what metrics say, in lower
# case and without the prefix.
cpdef enum Skip:
    SKIP_NOT = 0
    SKIP_CLIENT = 1         # it takes none of our codings, or likes identity as well
    SKIP_VERSION = 2        # ... or speaks HTTP/1.0
    SKIP_STATUS = 3         # 204, 206, 304 and the like: no body, or a part of one
    SKIP_ENCODED = 4        # the server has compressed it
    SKIP_TYPE = 5
    SKIP_SMALL = 6
    SKIP_NO_TRANSFORM = 7   # Cache-Control
    SKIP_DIGEST = 8         # a header that speaks of its very bytes
    SKIP_CREDENTIALS = 9    # BREACH (l7.gate_compress)
    SKIP_FULL = 10          # too many compressors at work, or no memory

# The answer's head is here: is its body to be compressed? Takes what that needs.
cdef void compressed_begin "fourseven_compressed_begin"(Worker *worker, Session *session) noexcept nogil
# The head's lines of it, before the head is written, and their undoing where it never is.
cdef void compressed_say "fourseven_compressed_say"(Worker *worker, Session *session) noexcept nogil
cdef void compressed_unsay "fourseven_compressed_unsay"(Stream *stream) noexcept nogil
# The head's bytes on their way.
cdef void compressed_head "fourseven_compressed_head"(
    Worker *worker, Session *session, uint32_t size
) noexcept nogil
# One step of its body; true when another may follow at once.
cdef bint compressed_body "fourseven_compressed_body"(Worker *worker, Session *session) noexcept nogil
# What the reader of chunks has left behind the data: trailers.
cdef bint compressed_trailers "fourseven_compressed_trailers"(
    Worker *worker, Session *session, const char *at, uint32_t size, bint whole
) noexcept nogil

cdef uint8_t unfit(const Response *response, const Gate *gate) noexcept nogil
cdef uint8_t unfit_header(const Header *header) noexcept nogil
cdef bint is_listed(const Span *type, const Gate *gate) noexcept nogil
cdef bint is_pattern(const char *at, uint32_t size, const Span *pattern) noexcept nogil
cdef bint has_events(const Response *response) noexcept nogil
cdef bint has_token(const Span *value, const char *token, uint32_t size) noexcept nogil
cdef bint room_for_lines(Worker *worker, Stream *stream) noexcept nogil
cdef void rewrite_headers(Shape *shape, Response *response) noexcept nogil
cdef void weaken(Shape *shape, Header *header) noexcept nogil
cdef bint varies_already(const Response *response) noexcept nogil
cdef bint code_piece(Worker *worker, Session *session) noexcept nogil
cdef void put_chunk(Shape *shape, uint32_t size) noexcept nogil
cdef bint put_end(Shape *shape) noexcept nogil
cdef int32_t send_out(Worker *worker, Session *session) noexcept nogil
cdef bint pause(Worker *worker, Session *session) noexcept nogil
