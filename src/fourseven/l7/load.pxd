from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Header, Span
from fourseven.snapshot.layout cimport Backend, Snapshot
from fourseven.worker.worker cimport Worker

cdef enum:
    LOAD_WHOLE = 1024       # a load of 1: as much as the server can do
    LOAD_MAX = 65536        # 64 times that; what is beyond says no more
    LOAD_BAD = -1
    ORCA_BINARY = 4         # beside the words of snapshot.layout.LoadWord: gRPC's form
    REPORT_MAX = 4096       # bytes that are looked at; a report has some 100
    SMOOTH = 8              # a report counts for an eighth of what is thought of its server

# An answer's head stands in worker.response: what its server says of its load is heard, and taken
# off what clients get. For backends with `load_words`.
cdef void load_heard "fourseven_load_heard"(Worker *worker, Session *session) noexcept nogil
# A field of trailers (l7.http2_head); whether it is one that clients do not get.
cdef bint load_trailer "fourseven_load_trailer"(
    Worker *worker, uint32_t slot, const Header *header
) noexcept nogil
# A report by this word (snapshot.layout.LoadWord, or ORCA_BINARY), in 1/1024, or LOAD_BAD.
cdef int32_t load_read "fourseven_load_read"(const Span *value, uint32_t word) noexcept nogil

cdef const Backend *backend_found(const Snapshot *snapshot, uint32_t number) noexcept nogil
cdef uint32_t word_of(const Header *header) noexcept nogil
cdef int32_t read_x(const Span *value) noexcept nogil
cdef int32_t read_orca(const Span *value) noexcept nogil
cdef int32_t read_text(const Span *value, const Span *name) noexcept nogil
cdef int32_t read_json(const Span *value) noexcept nogil
cdef int32_t read_number(const char *at, uint32_t size, int32_t exponent) noexcept nogil
cdef int32_t scaled(uint64_t digits, int32_t exponent) noexcept nogil
cdef bint begins(const Span *value, const char *word, uint32_t size) noexcept nogil
cdef void note(Worker *worker, uint32_t slot, uint32_t load) noexcept nogil
