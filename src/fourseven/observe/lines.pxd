# A record as a line of text, by a list of pieces that the file's format was compiled to.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from fourseven.l7.output cimport Output
from fourseven.l7.record cimport Record
from fourseven.protocols.message cimport Span

cpdef enum:
    TIME_ROOM = 40          # a quote, and the longest form of a time up to its seconds

cdef struct Piece:
    uint16_t field
    uint16_t mode
    uint32_t size           # of a literal
    const char *at
    # of a time: the second that was written last, for most lines share it
    uint64_t second
    uint32_t text_size
    char[TIME_ROOM] text

cdef struct Pieces:
    uint32_t count
    uint32_t datagrams      # each line is a datagram of its own
    Piece *pieces
    char *texts

# Appends the line and its end. A line that does not fit is left out, and `full` says so.
cdef void put_line "fourseven_put_line"(
    Output *to, const Pieces *pieces, const Record *record, const Span *reasons
) noexcept nogil
cdef void put_piece(Output *to, Piece *piece, const Record *record, const Span *reasons) noexcept nogil
cdef void put_string(Output *to, uint16_t mode, Span text, bint clean) noexcept nogil
cdef void put_escaped(Output *to, const Span *text, bint json) noexcept nogil
cdef uint32_t utf8_size(const char *at, uint32_t size) noexcept nogil
cdef void put_time(Output *to, Piece *piece, uint64_t began_us) noexcept nogil
cdef void put_second(Output *to, const Piece *piece, uint64_t seconds) noexcept nogil
cdef void put_three(Output *to, uint32_t number) noexcept nogil
cdef void put_digits(Output *to, uint64_t number, uint32_t places) noexcept nogil
cdef void put_ms(Output *to, uint64_t us) noexcept nogil
cdef void put_number_field(Output *to, const Piece *piece, const Record *record) noexcept nogil
cdef Span protocol_of(const Record *record) noexcept nogil
cdef void put_bytes_hex(Output *to, uint16_t mode, const unsigned char *at, uint32_t count, bint there) noexcept nogil
