from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cpdef enum ChunkedMode:
    CHUNKED_KEEP = 0    # output: canonical chunked framing (no extensions; only allowed trailers)
    CHUNKED_DECODE = 1  # output: the data alone
    CHUNKED_TRAILERS = 2  # output: the data, and behind it the trailers with the empty line

cpdef enum:
    CHUNK_LINE_MAX = 1024   # bytes of a chunk's line; what a slow sender can make us keep
    EXTENSIONS_MAX = 16384  # bytes of extensions in one body: a byte of data may not cost a line each
    TRAILERS_MAX = 16384    # bytes of all trailers; half of what a head may be, and all that gRPC takes

cdef enum ChunkedState:
    CHUNKED_SIZE = 0        # before the line of a chunk
    CHUNKED_DATA = 1
    CHUNKED_DATA_END = 2    # before the CRLF behind the data
    CHUNKED_TRAILER = 3
    CHUNKED_DONE = 4

cdef struct Chunked:
    uint64_t remaining  # of the chunk's data
    uint64_t total      # data bytes so far, for the body limit
    uint32_t trailers   # bytes of trailers so far
    uint32_t extensions  # bytes of extensions so far
    uint8_t state
    uint8_t mode
    uint8_t done        # the last chunk and the trailers have passed

cdef void chunked_start "fourseven_chunked_start"(Chunked *chunked, uint8_t mode) noexcept nogil

# Checks and rewrites in place: the output stands at `at`, is never longer than the input, and its
# size is returned; `used` says how much of the input was consumed (an unfinished line stays for the
# next call, and a line may not be longer than CHUNK_LINE_MAX). -400 where the framing is wrong.
cdef int32_t chunked_read "fourseven_chunked_read"(
    Chunked *chunked, char *at, uint32_t size, uint32_t *used
) noexcept nogil

# Each reads one line at at[:size] and puts what stands for it at out[wrote]; how many bytes the
# line had, 0 when it is not whole yet, -400 when it is refused.
cdef int32_t read_chunk_line(
    Chunked *chunked, const char *at, uint32_t size, char *out, uint32_t *wrote
) noexcept nogil
cdef int32_t skip_extensions(const char *at, uint32_t start, uint32_t size) noexcept nogil
cdef int32_t skip_token(const char *at, uint32_t start, uint32_t size) noexcept nogil
cdef int32_t skip_quoted(const char *at, uint32_t start, uint32_t size) noexcept nogil
cdef int32_t read_data_end(
    Chunked *chunked, const char *at, uint32_t size, char *out, uint32_t *wrote
) noexcept nogil
cdef int32_t read_trailer(
    Chunked *chunked, const char *at, uint32_t size, char *out, uint32_t *wrote
) noexcept nogil
cdef int32_t line_end(const char *at, uint32_t position, uint32_t size) noexcept nogil
cdef bint allowed_trailer(const char *name, uint32_t size) noexcept nogil
cdef uint32_t put_size(uint64_t value, char *out) noexcept nogil
