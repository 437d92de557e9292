from libc.stdint cimport uint32_t

from fourseven.native.arena cimport Arena
from fourseven.native.openssl cimport EVP_MD, EVP_PKEY
from fourseven.protocols.message cimport Span

cpdef enum Algorithm:
    ALG_RS256 = 0
    ALG_RS384 = 1
    ALG_RS512 = 2
    ALG_PS256 = 3
    ALG_PS384 = 4
    ALG_PS512 = 5
    ALG_ES256 = 6
    ALG_ES384 = 7
    ALG_ES512 = 8
    ALG_EDDSA = 9
    ALG_HS256 = 10
    ALG_HS384 = 11
    ALG_HS512 = 12

cdef struct TokenKey:
    Span id                 # absent: it has none
    uint32_t algorithms     # bits of Algorithm
    EVP_PKEY *key           # NULL: `secret` is for HMAC
    Span secret

cdef TokenKey *token_keys_build(Arena *arena, rows) except NULL
# Is this the signature of the text, by this key and an algorithm that it is for?
cdef bint token_verify "fourseven_token_verify"(
    const TokenKey *key, uint32_t algorithm, const Span *text, const Span *signature
) noexcept nogil

cdef EVP_PKEY *public_key(bytes material) except NULL
cdef void drop_key(void *what) noexcept nogil
cdef const EVP_MD *digest_of(uint32_t algorithm) noexcept nogil
cdef bint hmac_fits(
    const TokenKey *key, uint32_t algorithm, const Span *text, const Span *signature
) noexcept nogil
cdef bint signature_fits(
    const TokenKey *key, uint32_t algorithm, const Span *text, const Span *signature
) noexcept nogil
cdef uint32_t point_size(uint32_t algorithm) noexcept nogil
cdef uint32_t der_of(const Span *signature, char *to, uint32_t size) noexcept nogil
cdef uint32_t put_integer(const char *at, uint32_t size, char *to) noexcept nogil
