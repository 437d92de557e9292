# The calls of zlib, libbrotlienc and libzstd that native modules make (codings.h says which are there).
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "fourseven/native/codings.h" nogil:
    enum:
        HAS_BROTLI "FOURSEVEN_HAS_BROTLI"
        HAS_ZSTD "FOURSEVEN_HAS_ZSTD"

    # ---- zlib ----
    enum:
        Z_OK
        Z_STREAM_END
        Z_BUF_ERROR
        Z_NO_FLUSH
        Z_SYNC_FLUSH
        Z_FINISH
        Z_DEFLATED
        Z_DEFAULT_STRATEGY

    ctypedef struct z_stream:
        const unsigned char *next_in
        unsigned int avail_in
        unsigned char *next_out
        unsigned int avail_out
        void *opaque

    int deflateInit2(z_stream *stream, int level, int method, int window_bits, int memory, int strategy)
    int deflate(z_stream *stream, int flush)
    int deflateReset(z_stream *stream)
    int deflateParams(z_stream *stream, int level, int strategy)
    int deflateEnd(z_stream *stream)
    const char *zlibVersion()

    # ---- brotli ----
    enum:
        BROTLI_OPERATION_PROCESS
        BROTLI_OPERATION_FLUSH
        BROTLI_OPERATION_FINISH
        BROTLI_PARAM_QUALITY
        BROTLI_PARAM_LGWIN
        BROTLI_PARAM_SIZE_HINT

    ctypedef struct BrotliEncoderState:
        pass

    BrotliEncoderState *BrotliEncoderCreateInstance(void *take, void *give, void *own)
    int BrotliEncoderSetParameter(BrotliEncoderState *state, int which, uint32_t value)
    int BrotliEncoderCompressStream(
        BrotliEncoderState *state, int step, size_t *size, const uint8_t **source, size_t *room,
        uint8_t **to, size_t *all_of_it
    )
    int BrotliEncoderHasMoreOutput(BrotliEncoderState *state)
    int BrotliEncoderIsFinished(BrotliEncoderState *state)
    void BrotliEncoderDestroyInstance(BrotliEncoderState *state)
    uint32_t BrotliEncoderVersion()

    # ---- zstd ----
    enum:
        ZSTD_e_continue
        ZSTD_e_flush
        ZSTD_e_end
        ZSTD_reset_session_and_parameters
        ZSTD_c_compressionLevel
        ZSTD_c_windowLog

    ctypedef struct ZSTD_CCtx:
        pass
    ctypedef struct ZSTD_inBuffer:
        const void *src
        size_t size, pos
    ctypedef struct ZSTD_outBuffer:
        void *dst
        size_t size, pos

    ZSTD_CCtx *ZSTD_createCCtx()
    void ZSTD_freeCCtx(ZSTD_CCtx *state)
    size_t ZSTD_CCtx_reset(ZSTD_CCtx *state, int what)
    size_t ZSTD_CCtx_setParameter(ZSTD_CCtx *state, int which, int value)
    size_t ZSTD_CCtx_setPledgedSrcSize(ZSTD_CCtx *state, unsigned long long size)
    size_t ZSTD_compressStream2(ZSTD_CCtx *state, ZSTD_outBuffer *to, ZSTD_inBuffer *source, int step)
    unsigned int ZSTD_isError(size_t code)
    unsigned int ZSTD_versionNumber()
