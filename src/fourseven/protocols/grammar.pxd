# The bytes and the names of HTTP/1 (grammar.h says what each class means), and the few leaves that
# every reader calls for each field. Inline: a leaf that costs a call would cost more than its work.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "fourseven/protocols/grammar.h" nogil:
    enum:
        TOKEN "FOURSEVEN_TOKEN"
        FIELD "FOURSEVEN_FIELD"
        TARGET "FOURSEVEN_TARGET"
        PLAIN "FOURSEVEN_PLAIN"
        ENCODE "FOURSEVEN_ENCODE"
        HOST "FOURSEVEN_HOST"
        UPPER "FOURSEVEN_UPPER"
        AFTER_SLASH "FOURSEVEN_AFTER_SLASH"
        SLASH "FOURSEVEN_SLASH"
        UNDERSCORE "FOURSEVEN_UNDERSCORE"
        PERCENT "FOURSEVEN_PERCENT"
        NAME_MAX "FOURSEVEN_NAME_MAX"

    ctypedef struct Name "FoursevenName":
        char[20] text
        uint16_t known
        uint16_t hop

    const uint16_t[256] CLASSES "fourseven_classes"
    const Name[19][7] NAMES "fourseven_names"

cdef extern from * nogil:
    int count_trailing_zeros "__builtin_ctzll"(unsigned long long word)

cdef inline uint32_t class_of(char byte) noexcept nogil:
    return CLASSES[<unsigned char> byte]

cdef inline uint64_t word_at(const char *at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word

cdef inline uint32_t half_word_at(const char *at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word

# The first position from `start` whose byte may not stand in a field value, or `size`. Eight bytes
# at a time: a byte below 0x20 or DEL sets its high bit in `stops` (the lowest one is exact); tab,
# which is allowed, is looked at and passed.
cdef inline uint32_t skip_field(const char *at, uint32_t start, uint32_t size) noexcept nogil:
    cdef uint64_t word, stops
    cdef uint64_t ones = <uint64_t> 0x0101010101010101
    while start + 8 <= size:
        word = word_at(at + start)
        stops = ((word - ones * 0x20) | ((word ^ (ones * 0x7f)) - ones)) & ~word & (ones * 0x80)
        if stops == 0:
            start += 8
            continue
        start += <uint32_t> count_trailing_zeros(stops) >> 3
        if at[start] != c'\t':
            return start
        start += 1
    while start < size and class_of(at[start]) & FIELD:
        start += 1
    return start

# Does `at` say `lower` (same size), whatever the case? For names made of letters, digits and '-',
# and for bytes already known to be of a token: then | 0x20 confuses nothing ('_' becomes DEL).
cdef inline bint same_name(const char *at, const char *lower, uint32_t size) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint64_t case_bits = <uint64_t> 0x2020202020202020
    if size >= 8:
        while i + 8 <= size:
            if (word_at(at + i) | case_bits) != word_at(lower + i):
                return False
            i += 8
        return (word_at(at + size - 8) | case_bits) == word_at(lower + size - 8)
    if size >= 4:
        if (half_word_at(at) | <uint32_t> case_bits) != half_word_at(lower):
            return False
        return (half_word_at(at + size - 4) | <uint32_t> case_bits) == half_word_at(lower + size - 4)
    while i < size:
        if (at[i] | 0x20) != lower[i]:
            return False
        i += 1
    return True

# The row of a known field name (a token of any case), or NULL.
cdef inline const Name *known_name(const char *at, uint32_t size) noexcept nogil:
    cdef const Name *row
    cdef char first
    if size > NAME_MAX or size == 0:
        return NULL
    row = NAMES[size]
    first = at[0] | 0x20
    while row.known:
        if row.text[0] == first and same_name(at, row.text, size):
            return row
        row += 1
    return NULL

# The row of the known name whose underscore twin this is (X_Forwarded_For), or NULL.
cdef inline const Name *twin_name(const char *at, uint32_t size) noexcept nogil:
    cdef char[20] dashed
    cdef uint32_t i
    if size > NAME_MAX:
        return NULL
    for i in range(size):
        dashed[i] = c'-' if at[i] == c'_' else at[i]
    return known_name(dashed, size)

# Two tokens that are the same but for case.
cdef inline bint same_token(const char *one, const char *other, uint32_t size) noexcept nogil:
    cdef uint32_t i
    cdef char a, b
    for i in range(size):
        a = one[i] | 0x20 if class_of(one[i]) & UPPER else one[i]
        b = other[i] | 0x20 if class_of(other[i]) & UPPER else other[i]
        if a != b:
            return False
    return True

# The value of a hexadecimal digit, or -1.
cdef inline int hex_value(char digit) noexcept nogil:
    if c'0' <= digit <= c'9':
        return digit - c'0'
    if c'a' <= (digit | 0x20) <= c'f':
        return (digit | 0x20) - c'a' + 10
    return -1
