from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

cpdef enum ChunkedMode:
    CHUNKED_KEEP = 0    # output: canonical chunked framing (no extensions; only allowed trailers)
    CHUNKED_DECODE = 1  # output: the data alone

cdef struct Chunked:
    uint64_t remaining  # of the chunk's data
    uint64_t total      # data bytes so far, for the body limit
    uint32_t trailers   # bytes of trailers so far
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
