from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from fourseven.native.codings cimport z_stream

cpdef enum Coding:
    CODING_NONE = 0
    CODING_GZIP = 1
    CODING_BROTLI = 2
    CODING_ZSTD = 3
    CODINGS = 4

cpdef enum CodeStep:
    CODE_ON = 0         # takes in; what comes out comes when it comes
    CODE_FLUSH = 1      # all that went in can be read by the client
    CODE_END = 2

cpdef enum:
    WINDOW_BITS = 18        # of brotli and zstd: 256 KiB of memory at the client, and the like here
    CODE_ROOM_MIN = 512     # less room for the output is not worth a call (and zlib would repeat a flush)

# One compressor. Nothing in it points into buffers between two calls.
cdef struct Coder:
    Coder *next             # while nobody has it
    uint8_t coding
    int32_t level
    z_stream gzip
    void *state             # of the other two

# What one call takes and gives.
cdef struct Coded:
    const char *source
    uint32_t size           # bytes to take; afterwards: left of them
    char *to
    uint32_t room           # for the output; afterwards: left of it

# NULL where there is no memory, or the coding was not built in.
cdef Coder *coder_new "fourseven_coder_new"(uint8_t coding) noexcept nogil
# A body begins. `size`: what is known of its length, 0 for nothing; `exact`: and nothing else will come.
cdef bint coder_begin "fourseven_coder_begin"(
    Coder *coder, int32_t level, uint64_t size, bint exact
) noexcept nogil
# 1: the step is done; 0: there is more to take or to give; -1: the library has given up.
cdef int32_t coder_run "fourseven_coder_run"(Coder *coder, Coded *io, uint32_t step) noexcept nogil
cdef void coder_drop "fourseven_coder_drop"(Coder *coder) noexcept nogil
cdef bint coding_built "fourseven_coding_built"(uint8_t coding) noexcept nogil
# May another body follow in the same memory?
cdef bint coder_lasts "fourseven_coder_lasts"(const Coder *coder) noexcept nogil

cdef bint begin_gzip(Coder *coder, int32_t level) noexcept nogil
cdef bint begin_brotli(Coder *coder, int32_t level, uint64_t size) noexcept nogil
cdef bint begin_zstd(Coder *coder, int32_t level, uint64_t size, bint exact) noexcept nogil
cdef int32_t run_gzip(Coder *coder, Coded *io, uint32_t step) noexcept nogil
cdef int32_t run_brotli(Coder *coder, Coded *io, uint32_t step) noexcept nogil
cdef int32_t run_zstd(Coder *coder, Coded *io, uint32_t step) noexcept nogil
