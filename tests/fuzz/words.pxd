from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.protocols.accept_encoding cimport Accepted
from fourseven.protocols.message cimport Span

cdef extern from "<stdlib.h>" nogil:
    double strtod(const char *at, char **end)

cdef void accept(const char *data, uint32_t size) noexcept nogil
cdef void load(const char *data, uint32_t size) noexcept nogil

cdef void check_chosen(const Accepted *accepted, uint8_t *order) noexcept nogil
cdef void check_weights(const char *at, uint32_t size) noexcept nogil
cdef void check_item(const char *at, uint32_t size) noexcept nogil
cdef bint said(const char *at, uint32_t size, const char *name, int32_t *weight) noexcept nogil
cdef void check_number(const char *at, uint32_t size) noexcept nogil
cdef bint is_number(const char *at, uint32_t size) noexcept nogil
cdef bint bare_point(const char *at, uint32_t size) noexcept nogil
cdef uint32_t digits(const char *at, uint32_t size) noexcept nogil
cdef int32_t read(const char *before, const char *at, uint32_t size, const char *behind, uint32_t word) noexcept nogil
