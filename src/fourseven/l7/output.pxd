# Bytes written one after another into room that the caller owns. Inline: these are the hot leaves.
#
# Laws: `size` never passes `capacity`. What does not fit is left out whole and `full` says so, so
# that a writer asks once, at its end. Nothing is allocated, and no byte past `size` is meant.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen
from posix.strings cimport strncasecmp

from fourseven.protocols.message cimport Span

cdef struct Output:
    char *at
    uint32_t size
    uint32_t capacity
    uint32_t full       # 1: something did not fit

cdef inline void put(Output *out, const char *at, uint32_t size) noexcept nogil:
    if size > out.capacity - out.size:
        out.full = 1
        return
    memcpy(out.at + out.size, at, size)
    out.size += size

cdef inline void put_byte(Output *out, uint8_t byte) noexcept nogil:
    if out.size == out.capacity:
        out.full = 1
        return
    out.at[out.size] = <char> byte
    out.size += 1

# A literal of this source: the compiler knows its length.
cdef inline void put_text(Output *out, const char *text) noexcept nogil:
    put(out, text, <uint32_t> strlen(text))

cdef inline void put_span(Output *out, const Span *span) noexcept nogil:
    if span.at != NULL:
        put(out, span.at, span.size)

# "Name: value\r\n", with one look at the room.
cdef inline void put_header(Output *out, const Span *name, const Span *value) noexcept nogil:
    cdef uint64_t size = <uint64_t> name.size + value.size + 4
    cdef char *to = out.at + out.size
    if size > out.capacity - out.size:
        out.full = 1
        return
    memcpy(to, name.at, name.size)
    to += name.size
    memcpy(to, b": ", 2)
    if value.size != 0:  # an empty value may have no address
        memcpy(to + 2, value.at, value.size)
    memcpy(to + 2 + value.size, b"\r\n", 2)
    out.size += <uint32_t> size

cdef inline void put_number(Output *out, uint64_t number) noexcept nogil:
    cdef char[20] digits  # 2^64 has twenty
    cdef uint32_t first = 20
    while True:
        first -= 1
        digits[first] = <char> (48 + number % 10)
        number = number // 10
        if number == 0:
            break
    put(out, digits + first, 20 - first)

cdef inline int32_t written(const Output *out) noexcept nogil:
    return -1 if out.full else <int32_t> out.size

# Header names know no case.
cdef inline bint same_name(const Span *one, const Span *other) noexcept nogil:
    return one.size == other.size and strncasecmp(one.at, other.at, one.size) == 0

# The same to a server that keeps headers as variables (CGI, WSGI), and there takes '_' for '-'.
cdef inline bint same_variable(const Span *one, const Span *other) noexcept nogil:
    cdef uint32_t i
    cdef char a, b
    if one.size != other.size:
        return False
    for i in range(one.size):
        a, b = one.at[i], other.at[i]
        if a != b and variable_byte(a) != variable_byte(b):
            return False
    return True

cdef inline char variable_byte(char one) noexcept nogil:
    if c'A' <= one <= c'Z':
        return one | 32
    return c'-' if one == c'_' else one

cdef inline bint is_named(const Span *name, const char *text) noexcept nogil:
    return name.size == strlen(text) and strncasecmp(name.at, text, name.size) == 0
