"""The keys that verify tokens (JWT), ready for use: part of a snapshot, and freed with it.

A key is pinned to the algorithms of its kind, so a token can't choose: no `none`, no HMAC keyed
with a public key (RFC 8725 3.1). Signatures: RFC 7518 3; EdDSA: RFC 8037.
"""

import cython
from cython.cimports.fourseven.native.arena import arena_on_drop, arena_take, arena_text
from cython.cimports.fourseven.native.openssl import (
    EVP_PKEY,
    EVP_PKEY_CTX,
    HMAC,
    RSA_PKCS1_PSS_PADDING,
    RSA_PSS_SALTLEN_DIGEST,
    CRYPTO_memcmp,
    ERR_clear_error,
    EVP_DigestVerify,
    EVP_DigestVerifyInit,
    EVP_MD_CTX_free,
    EVP_MD_CTX_new,
    EVP_PKEY_CTX_set_rsa_padding,
    EVP_PKEY_CTX_set_rsa_pss_saltlen,
    EVP_PKEY_free,
    EVP_sha256,
    EVP_sha384,
    EVP_sha512,
    d2i_PUBKEY,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.tls.token_keys import (
    ALG_EDDSA,
    ALG_ES256,
    ALG_HS256,
    ALG_PS256,
    TokenKey,
)
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.string import memcpy


def token_keys_build(arena, rows):
    """Of (id, bits of algorithms, DER or secret); ValueError where OpenSSL takes no such key."""
    at: cython.int
    material: bytes
    keys: cython.pointer[TokenKey] = cython.cast(
        cython.pointer[TokenKey], arena_take(arena, cython.sizeof(TokenKey) * (len(rows) or 1))
    )
    for at, (name, algorithms, material) in enumerate(rows):
        keys[at].id = arena_text(arena, name)
        keys[at].algorithms = algorithms
        keys[at].key = cython.NULL
        keys[at].secret = arena_text(arena, material)
        if algorithms >> cython.cast(cython.int, ALG_HS256) == 0:
            keys[at].key = public_key(material)
            arena_on_drop(arena, drop_key, keys[at].key)
    return keys


def public_key(material):
    start: cython.pointer[cython.const[cython.uchar]] = material
    key: cython.pointer[EVP_PKEY] = d2i_PUBKEY(cython.NULL, cython.address(start), len(material))
    if key is cython.NULL:
        ERR_clear_error()
        raise ValueError("a key of the set is none that OpenSSL takes")
    return key


def drop_key(what):
    EVP_PKEY_free(cython.cast(cython.pointer[EVP_PKEY], what))


def token_verify(key, algorithm, text, signature):
    good: cython.bint
    if algorithm >= 32 or not key.algorithms >> algorithm & 1:
        return False
    if algorithm >= ALG_HS256:
        return hmac_fits(key, algorithm, text, signature)
    good = signature_fits(key, algorithm, text, signature)
    if not good:
        ERR_clear_error()  # else the next TLS call would take it for its own
    return good


def digest_of(algorithm):
    if algorithm == ALG_EDDSA:
        return cython.NULL
    size: uint32_t = (algorithm if algorithm < ALG_EDDSA else algorithm - ALG_HS256) % 3
    if size == 0:
        return EVP_sha256()
    return EVP_sha384() if size == 1 else EVP_sha512()


def hmac_fits(key, algorithm, text, signature):
    made = cython.declare(cython.uchar[64])
    size: cython.uint = 0
    if (
        HMAC(
            digest_of(algorithm),
            key.secret.at,
            key.secret.size,
            cython.cast(cython.pointer[cython.const[cython.uchar]], text.at),
            text.size,
            cython.address(made[0]),
            cython.address(size),
        )
        is cython.NULL
    ):
        return False
    return (
        size == signature.size and CRYPTO_memcmp(cython.address(made[0]), signature.at, size) == 0
    )


def signature_fits(key, algorithm, text, signature):
    der = cython.declare(cython.char[160])  # two numbers of P-521 are 141
    shown: Span = signature[0]
    context = EVP_MD_CTX_new()
    inner: cython.pointer[EVP_PKEY_CTX] = cython.NULL
    good: cython.bint = False
    if ALG_ES256 <= algorithm < ALG_EDDSA:
        shown.size = der_of(signature, cython.address(der[0]), point_size(algorithm))
        shown.at = cython.address(der[0])
    if context is not cython.NULL and shown.size:
        good = (
            EVP_DigestVerifyInit(
                context, cython.address(inner), digest_of(algorithm), cython.NULL, key.key
            )
            == 1
        )
    if good and ALG_PS256 <= algorithm < ALG_ES256:
        good = EVP_PKEY_CTX_set_rsa_padding(inner, RSA_PKCS1_PSS_PADDING) == 1
        good = good and EVP_PKEY_CTX_set_rsa_pss_saltlen(inner, RSA_PSS_SALTLEN_DIGEST) == 1
    good = good and (
        EVP_DigestVerify(
            context,
            cython.cast(cython.pointer[cython.const[cython.uchar]], shown.at),
            shown.size,
            cython.cast(cython.pointer[cython.const[cython.uchar]], text.at),
            text.size,
        )
        == 1
    )
    EVP_MD_CTX_free(context)
    return good


def point_size(algorithm):
    if algorithm == ALG_ES256:
        return 32
    return 48 if algorithm == ALG_ES256 + 1 else 66


def der_of(signature, to, size):
    """r and s, each of its whole width, as OpenSSL wants them; 0: they have another width."""
    inner: uint32_t
    at: uint32_t
    if signature.size != 2 * size:
        return 0
    at = put_integer(signature.at, size, to + 3)
    inner = at + put_integer(signature.at + size, size, to + 3 + at)
    if inner < 128:
        to[0] = 0x30
        to[1] = inner
        for at in range(inner):
            to[2 + at] = to[3 + at]
        return inner + 2
    to[0] = 0x30
    to[1] = cython.cast(cython.char, 0x81)
    to[2] = cython.cast(cython.char, inner)
    return inner + 3


def put_integer(at, size, to):
    first: uint32_t = 0
    while first + 1 < size and at[first] == 0:
        first += 1
    zero: uint32_t = cython.cast(cython.uchar, at[first]) >> 7
    to[0] = 2
    to[1] = cython.cast(cython.char, size - first + zero)
    to[2] = 0
    memcpy(to + 2 + zero, at + first, size - first)
    return 2 + zero + size - first
