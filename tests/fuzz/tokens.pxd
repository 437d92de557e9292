from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.l7.gate_token cimport Token
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Gate

cpdef enum:
    TEXTS = 9               # of the gate
    ROOM = 69632            # of a worker (l7.records.OUT_CAPACITY)

cdef Gate GATE
cdef Span[TEXTS] GATE_TEXTS

cdef void prepare() noexcept nogil
cdef void token(const char *data, uint32_t size) noexcept nogil
cdef void base64(const char *data, uint32_t size) noexcept nogil
cdef void json(const char *data, uint32_t size) noexcept nogil

cdef uint32_t joined(const char *data, uint32_t size, char *to) noexcept nogil
cdef void check_parts(const Token *one) noexcept nogil
cdef void check_part(const Span *text, const Span *value) noexcept nogil
cdef uint32_t encode(const Span *value, bint url, char *to) noexcept nogil
cdef char *copied(const char *data, uint32_t size) noexcept nogil
