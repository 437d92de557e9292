"""What was verified lately, so that steady traffic pays for a slow hash or a signature once.

A process-wide table of tags. A tag is an HMAC of all that the verdict came from: the hash or the
keys, and what the client has shown. So a changed password or key finds nothing, and the table holds
no secret. The key of the HMAC is drawn at the start and is in no file.

Laws: only good verdicts are kept, each until a time; the table is bounded, and the oldest of a set
of eight gives way. All workers share it: a short lock, held for some comparisons.
"""

import cython
from cython.cimports.fourseven.l7.verified import SETS, TAG_SIZE, WAYS, Verified
from cython.cimports.fourseven.native.crypt import (
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
)
from cython.cimports.fourseven.native.openssl import (
    HMAC,
    CRYPTO_memcmp,
    EVP_sha256,
    RAND_bytes,
)
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.string import memcpy

LOCK = cython.declare(pthread_mutex_t)
KEY = cython.declare(cython.uchar[32])
TABLE = cython.declare(Verified[4096])
STATE = cython.declare(cython.bint[1])  # the key is drawn; without it nothing is ever kept


def verified_prepare():
    pthread_mutex_init(cython.address(LOCK), cython.NULL)
    STATE[0] = RAND_bytes(cython.address(KEY[0]), cython.sizeof(KEY)) == 1


def tag_of(tag, text, size):
    made: cython.uint = 0
    return (
        STATE[0]
        and HMAC(
            EVP_sha256(),
            cython.address(KEY[0]),
            cython.sizeof(KEY),
            cython.cast(cython.pointer[cython.const[cython.uchar]], text),
            size,
            cython.address(tag.bytes[0]),
            cython.address(made),
        )
        is not cython.NULL
        and made == TAG_SIZE
    )


def verified(tag, now_ms):
    found: cython.bint = False
    at: uint32_t
    row: cython.pointer[Verified] = row_of(tag)
    pthread_mutex_lock(cython.address(LOCK))
    for at in range(WAYS):
        if row[at].until_ms > now_ms and same(cython.address(row[at].tag), tag):
            found = True
    pthread_mutex_unlock(cython.address(LOCK))
    return found


def verified_keep(tag, until_ms):
    oldest: uint32_t = 0
    at: uint32_t
    row: cython.pointer[Verified] = row_of(tag)
    pthread_mutex_lock(cython.address(LOCK))
    for at in range(WAYS):
        if same(cython.address(row[at].tag), tag):
            oldest = at
            break
        if row[at].until_ms < row[oldest].until_ms:
            oldest = at
    row[oldest].tag = tag[0]
    row[oldest].until_ms = until_ms
    pthread_mutex_unlock(cython.address(LOCK))


def row_of(tag):
    number: uint32_t = 0
    memcpy(cython.address(number), cython.address(tag.bytes[0]), 4)
    return cython.address(TABLE[number % SETS * WAYS])


def same(one, other):
    return (
        CRYPTO_memcmp(cython.address(one.bytes[0]), cython.address(other.bytes[0]), TAG_SIZE) == 0
    )
