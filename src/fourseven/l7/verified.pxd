from libc.stdint cimport uint8_t, uint32_t, uint64_t

cpdef enum:
    TAG_SIZE = 32
    WAYS = 8
    SETS = 512              # 4096 clients at once; who falls out pays once more

cdef struct Tag:
    uint8_t bytes[TAG_SIZE]

cdef struct Verified:
    Tag tag
    uint64_t until_ms       # monotonic

cdef void verified_prepare() noexcept nogil
# False where it cannot be made: then nothing is found and nothing kept.
cdef bint tag_of "fourseven_tag_of"(Tag *tag, const char *text, uint32_t size) noexcept nogil
cdef bint verified "fourseven_verified"(const Tag *tag, uint64_t now_ms) noexcept nogil
cdef void verified_keep "fourseven_verified_keep"(const Tag *tag, uint64_t until_ms) noexcept nogil

cdef Verified *row_of(const Tag *tag) noexcept nogil
cdef bint same(const Tag *one, const Tag *other) noexcept nogil
