from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.protocols.coding cimport CODINGS

cpdef enum:
    WEIGHT_ONE = 1000       # q=1; a weight has three decimals
    WEIGHT_NONE = -1        # nothing was said
    ITEM_BAD = -2

# What a client says of the codings that it takes: weights, by Coding; CODING_NONE is `identity`.
cdef struct Accepted:
    int32_t weights[CODINGS]
    int32_t others          # of `*`
    uint8_t named           # there is such a header

cdef void accept_begin "fourseven_accept_begin"(Accepted *accepted) noexcept nogil
# One header's value; a request may have several.
cdef void accept_read "fourseven_accept_read"(
    Accepted *accepted, const char *at, uint32_t size
) noexcept nogil
# The Coding that the client likes best; of equal ones the first in `order` (a byte each, the first
# in the lowest byte, 0 ends). CODING_NONE: it is to come as it is.
cdef uint8_t accept_choose "fourseven_accept_choose"(const Accepted *accepted, uint64_t order) noexcept nogil
cdef int32_t accept_weight(const Accepted *accepted, uint8_t coding) noexcept nogil
# Of the parameters of an item: what stands behind its name.
cdef int32_t weight_of(const char *at, uint32_t size) noexcept nogil
cdef int32_t quality(const char *at, uint32_t size) noexcept nogil
cdef uint32_t skip_blank(const char *at, uint32_t start, uint32_t size) noexcept nogil
cdef int32_t coding_named(const char *at, uint32_t size) noexcept nogil
cdef void accept_item(Accepted *accepted, const char *at, uint32_t size) noexcept nogil
