from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.protocols.message cimport Span

cdef enum:
    JSON_DONE = 0
    JSON_MORE = 1           # another value must follow
    JSON_BAD = -1           # this is no JSON
    JSON_END = -2           # the bytes end here
    JSON_DEPTH_MAX = 64     # a bit each in one word; nobody's API nests deeper

cdef enum:                  # bytes with a part in the grammar
    QUOTE = 0x22
    BRACKET = 0x5b
    BRACKET_END = 0x5d
    BRACE = 0x7b
    BRACE_END = 0x7d

cdef struct Json:
    const char *at
    uint32_t size
    uint32_t i              # the next byte
    bint whole              # the bytes are all there are
    uint32_t depth
    uint64_t objects        # a bit for each open container, the innermost lowest: 1 is an object
    char *room
    uint32_t room_size

# The value that the pointer (RFC 6901) names, in canonical text: a string decoded, a number without
# needless zeros, true, false, null, and the raw text of an object or an array. Absent when there is
# none, when it is cut off, or when what was read is no JSON.
cdef Span json_find "fourseven_json_find"(
    const Span *text, bint whole, const Span *pointer, char *room, uint32_t room_size
) noexcept nogil

cdef bint enter(Json *json, const Span *token) noexcept nogil
cdef bint enter_object(Json *json, const Span *token) noexcept nogil
cdef bint enter_array(Json *json, const Span *token) noexcept nogil
cdef bint key_is(Json *json, const Span *key, bint escaped, const Span *token) noexcept nogil
cdef int32_t index_of(const Span *token) noexcept nogil
cdef Span value_at(Json *json) noexcept nogil
cdef Span plain_number(const char *at, uint32_t size) noexcept nogil

cdef int32_t skip_value(Json *json) noexcept nogil
cdef int32_t begin_value(Json *json) noexcept nogil
cdef int32_t end_value(Json *json) noexcept nogil
cdef int32_t skip_key(Json *json, Span *key, bint *escaped) noexcept nogil
cdef int32_t skip_string(Json *json, Span *inside, bint *escaped) noexcept nogil
cdef int32_t skip_scalar(Json *json) noexcept nogil
cdef void skip_space(Json *json) noexcept nogil
cdef bint is_number(const char *at, uint32_t size) noexcept nogil
cdef uint32_t digits(const char *at, uint32_t size) noexcept nogil

cdef int32_t decode(const Span *inside, char *room, uint32_t room_size) noexcept nogil
cdef int32_t decode_unicode(const Span *inside, uint32_t *at, char *out, uint32_t left) noexcept nogil
cdef int32_t four_digits(const Span *inside, uint32_t at) noexcept nogil
cdef int32_t put_utf8(uint32_t point, char *out, uint32_t left) noexcept nogil
