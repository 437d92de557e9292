/* The compression libraries: zlib always, brotli and zstd where the build found their headers. Of
   what was not found the names stand here alone: protocols.coding asks FOURSEVEN_HAS_* first. */
#ifndef FOURSEVEN_CODINGS_H
#define FOURSEVEN_CODINGS_H
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#if __has_include(<brotli/encode.h>)
#define FOURSEVEN_HAS_BROTLI 1
#include <brotli/encode.h>
#else
#define FOURSEVEN_HAS_BROTLI 0
typedef struct BrotliEncoderState BrotliEncoderState;
#define BROTLI_OPERATION_PROCESS 0
#define BROTLI_OPERATION_FLUSH 1
#define BROTLI_OPERATION_FINISH 2
#define BROTLI_PARAM_QUALITY 1
#define BROTLI_PARAM_LGWIN 2
#define BROTLI_PARAM_SIZE_HINT 5
#define BrotliEncoderCreateInstance(take, give, own) NULL
#define BrotliEncoderSetParameter(state, which, value) 0
#define BrotliEncoderCompressStream(state, step, in, from, room, to, all) 0
#define BrotliEncoderHasMoreOutput(state) 0
#define BrotliEncoderIsFinished(state) 0
#define BrotliEncoderDestroyInstance(state) ((void)0)
#define BrotliEncoderVersion() 0u
#endif

#if __has_include(<zstd.h>)
#define FOURSEVEN_HAS_ZSTD 1
#include <zstd.h>
#else
#define FOURSEVEN_HAS_ZSTD 0
typedef struct ZSTD_CCtx_s ZSTD_CCtx;
typedef struct { const void *src; size_t size, pos; } ZSTD_inBuffer;
typedef struct { void *dst; size_t size, pos; } ZSTD_outBuffer;
#define ZSTD_e_continue 0
#define ZSTD_e_flush 1
#define ZSTD_e_end 2
#define ZSTD_reset_session_and_parameters 3
#define ZSTD_c_compressionLevel 100
#define ZSTD_c_windowLog 101
#define ZSTD_createCCtx() NULL
#define ZSTD_freeCCtx(state) ((void)0)
#define ZSTD_CCtx_reset(state, what) ((size_t)0)
#define ZSTD_CCtx_setParameter(state, which, value) ((size_t)0)
#define ZSTD_CCtx_setPledgedSrcSize(state, size) ((size_t)0)
#define ZSTD_compressStream2(state, to, from, step) ((size_t)0)
#define ZSTD_isError(code) 1u
#define ZSTD_versionNumber() 0u
#endif
#endif
