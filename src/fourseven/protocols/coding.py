"""Content codings: a body in, the compressed body out, by zlib, libbrotlienc or libzstd.

Sans-IO: bytes from one place into another, as much as there is room for, and no word about sockets
or time. The three libraries look alike from here: take what is there (CODE_ON), make all of it
readable (CODE_FLUSH), end (CODE_END). A flush or an end that lacks room is asked for again, until
it is done, and takes nothing in meanwhile.

What one compressor holds (measured: zlib 1.2.13, brotli 1.0.9, zstd 1.5.4): gzip 264 KiB, br 2.9
MiB at level 4, zstd 1.8 MiB at level 3. The window of br and zstd is bounded, so a client needs no
more than 256 KiB to read them (RFC 9659 allows 8 MiB). A gzip and a zstd compressor can be used
again for the next body; brotli's cannot.

Laws: no compressor is made for a coding that was not built in: `built` says which are, for the
compiler, which refuses a file that asks for another. Formats: RFC 1952, 7932, 8878.
"""

import cython
from cython.cimports.fourseven.native.codings import (
    BROTLI_OPERATION_FINISH,
    BROTLI_OPERATION_FLUSH,
    BROTLI_OPERATION_PROCESS,
    BROTLI_PARAM_LGWIN,
    BROTLI_PARAM_QUALITY,
    BROTLI_PARAM_SIZE_HINT,
    HAS_BROTLI,
    HAS_ZSTD,
    Z_BUF_ERROR,
    Z_DEFAULT_STRATEGY,
    Z_DEFLATED,
    Z_FINISH,
    Z_NO_FLUSH,
    Z_OK,
    Z_STREAM_END,
    Z_SYNC_FLUSH,
    BrotliEncoderCompressStream,
    BrotliEncoderCreateInstance,
    BrotliEncoderDestroyInstance,
    BrotliEncoderHasMoreOutput,
    BrotliEncoderIsFinished,
    BrotliEncoderSetParameter,
    BrotliEncoderState,
    BrotliEncoderVersion,
    ZSTD_c_compressionLevel,
    ZSTD_c_windowLog,
    ZSTD_CCtx,
    ZSTD_CCtx_reset,
    ZSTD_CCtx_setParameter,
    ZSTD_CCtx_setPledgedSrcSize,
    ZSTD_compressStream2,
    ZSTD_createCCtx,
    ZSTD_e_continue,
    ZSTD_e_end,
    ZSTD_e_flush,
    ZSTD_freeCCtx,
    ZSTD_inBuffer,
    ZSTD_isError,
    ZSTD_outBuffer,
    ZSTD_reset_session_and_parameters,
    ZSTD_versionNumber,
    deflate,
    deflateEnd,
    deflateInit2,
    deflateParams,
    deflateReset,
    zlibVersion,
)
from cython.cimports.fourseven.protocols.coding import (
    CODE_END,
    CODE_FLUSH,
    CODING_BROTLI,
    CODING_GZIP,
    CODING_ZSTD,
    WINDOW_BITS,
    Coder,
)
from cython.cimports.libc.stdint import uint8_t, uint32_t
from cython.cimports.libc.stdlib import calloc, free


def coding_built(coding):
    if coding == CODING_BROTLI:
        return HAS_BROTLI != 0
    if coding == CODING_ZSTD:
        return HAS_ZSTD != 0
    return coding == CODING_GZIP


def built() -> dict:
    """The codings that this build knows, as HTTP calls them, each with its library's version."""
    found: dict = {"gzip": zlibVersion().decode()}
    number: cython.uint
    if HAS_BROTLI:
        number = BrotliEncoderVersion()
        found["br"] = f"{number >> 24}.{number >> 12 & 4095}.{number & 4095}"
    if HAS_ZSTD:
        number = ZSTD_versionNumber()
        found["zstd"] = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return found


# ---- from one body to the next ----


def coder_new(coding):
    coder: cython.pointer[Coder]
    if not coding_built(coding):
        return cython.NULL
    coder = cython.cast(cython.pointer[Coder], calloc(1, cython.sizeof(Coder)))
    if coder is not cython.NULL:
        coder.coding = coding
        coder.level = -1
    return coder


def coder_begin(coder, level, size, exact):
    if coder.coding == CODING_GZIP:
        return begin_gzip(coder, level)
    if coder.coding == CODING_BROTLI:
        return begin_brotli(coder, level, size)
    return begin_zstd(coder, level, size, exact)


def begin_gzip(coder, level):
    gzip = cython.address(coder.gzip)
    ready: cython.bint
    if coder.level < 0:
        # 15 + 16: the largest window, and gzip's head and checksum; 8: zlib's usual memory
        ready = deflateInit2(gzip, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK
    else:
        ready = deflateReset(gzip) == Z_OK
        if ready and coder.level != level:
            gzip.avail_in = 0
            gzip.avail_out = 0
            ready = deflateParams(gzip, level, Z_DEFAULT_STRATEGY) == Z_OK
    if ready:
        coder.level = level
    return ready


def begin_brotli(coder, level, size):
    state: cython.pointer[BrotliEncoderState]
    if coder.state is not cython.NULL:
        BrotliEncoderDestroyInstance(cython.cast(cython.pointer[BrotliEncoderState], coder.state))
    state = BrotliEncoderCreateInstance(cython.NULL, cython.NULL, cython.NULL)
    coder.state = state
    if state is cython.NULL:
        return False
    BrotliEncoderSetParameter(state, BROTLI_PARAM_QUALITY, level)
    BrotliEncoderSetParameter(state, BROTLI_PARAM_LGWIN, WINDOW_BITS)
    if 0 < size < 1 << 30:
        BrotliEncoderSetParameter(state, BROTLI_PARAM_SIZE_HINT, cython.cast(uint32_t, size))
    return True


def begin_zstd(coder, level, size, exact):
    state: cython.pointer[ZSTD_CCtx] = cython.cast(cython.pointer[ZSTD_CCtx], coder.state)
    if state is cython.NULL:
        state = ZSTD_createCCtx()
        coder.state = state
    if state is cython.NULL:
        return False
    if ZSTD_isError(ZSTD_CCtx_reset(state, ZSTD_reset_session_and_parameters)):
        return False
    if ZSTD_isError(ZSTD_CCtx_setParameter(state, ZSTD_c_compressionLevel, level)):
        return False
    if ZSTD_isError(ZSTD_CCtx_setParameter(state, ZSTD_c_windowLog, WINDOW_BITS)):
        return False
    return not exact or not ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(state, size))


def coder_lasts(coder):
    return coder.coding != CODING_BROTLI


def coder_drop(coder):
    if coder is cython.NULL:
        return
    if coder.coding == CODING_GZIP and coder.level >= 0:
        deflateEnd(cython.address(coder.gzip))
    elif coder.coding == CODING_BROTLI and coder.state is not cython.NULL:
        BrotliEncoderDestroyInstance(cython.cast(cython.pointer[BrotliEncoderState], coder.state))
    elif coder.coding == CODING_ZSTD and coder.state is not cython.NULL:
        ZSTD_freeCCtx(cython.cast(cython.pointer[ZSTD_CCtx], coder.state))
    free(coder)


# ---- the body ----


def coder_run(coder, io, step):
    if coder.coding == CODING_GZIP:
        return run_gzip(coder, io, step)
    if coder.coding == CODING_BROTLI:
        return run_brotli(coder, io, step)
    return run_zstd(coder, io, step)


def run_gzip(coder, io, step):
    gzip = cython.address(coder.gzip)
    flush: cython.int = Z_NO_FLUSH
    result: cython.int
    if step == CODE_FLUSH:
        flush = Z_SYNC_FLUSH
    elif step == CODE_END:
        flush = Z_FINISH
    gzip.next_in = cython.cast(cython.pointer[cython.const[cython.uchar]], io.source)
    gzip.avail_in = io.size
    gzip.next_out = cython.cast(cython.pointer[cython.uchar], io.to)
    gzip.avail_out = io.room
    result = deflate(gzip, flush)
    io.size = gzip.avail_in
    io.room = gzip.avail_out
    if result != Z_OK and result != Z_STREAM_END and result != Z_BUF_ERROR:
        return -1
    if step == CODE_END:
        return result == Z_STREAM_END
    return io.size == 0 and io.room > 0


def run_brotli(coder, io, step):
    state: cython.pointer[BrotliEncoderState] = cython.cast(
        cython.pointer[BrotliEncoderState], coder.state
    )
    operation: cython.int = BROTLI_OPERATION_PROCESS
    size: cython.size_t = io.size
    room: cython.size_t = io.room
    source: cython.pointer[cython.const[uint8_t]] = cython.cast(
        cython.pointer[cython.const[uint8_t]], io.source
    )
    to: cython.pointer[uint8_t] = cython.cast(cython.pointer[uint8_t], io.to)
    if step == CODE_FLUSH:
        operation = BROTLI_OPERATION_FLUSH
    elif step == CODE_END:
        operation = BROTLI_OPERATION_FINISH
    if not BrotliEncoderCompressStream(
        state,
        operation,
        cython.address(size),
        cython.address(source),
        cython.address(room),
        cython.address(to),
        cython.NULL,
    ):
        return -1
    io.size = cython.cast(uint32_t, size)
    io.room = cython.cast(uint32_t, room)
    if step == CODE_END:
        return BrotliEncoderIsFinished(state) != 0
    return size == 0 and not BrotliEncoderHasMoreOutput(state)


def run_zstd(coder, io, step):
    source = cython.declare(ZSTD_inBuffer)
    to = cython.declare(ZSTD_outBuffer)
    operation: cython.int = ZSTD_e_continue
    left: cython.size_t
    if step == CODE_FLUSH:
        operation = ZSTD_e_flush
    elif step == CODE_END:
        operation = ZSTD_e_end
    source.src = io.source
    source.size = io.size
    source.pos = 0
    to.dst = io.to
    to.size = io.room
    to.pos = 0
    left = ZSTD_compressStream2(
        cython.cast(cython.pointer[ZSTD_CCtx], coder.state),
        cython.address(to),
        cython.address(source),
        operation,
    )
    if ZSTD_isError(left):
        return -1
    io.size -= cython.cast(uint32_t, source.pos)
    io.room -= cython.cast(uint32_t, to.pos)
    if step == CODE_FLUSH or step == CODE_END:
        return left == 0 and io.size == 0
    return io.size == 0
