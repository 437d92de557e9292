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
    SHA256_CTX,
    CRYPTO_memcmp,
    RAND_bytes,
    SHA256_Final,
    SHA256_Init,
    SHA256_Update,
)
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.string import memcpy

LOCK = cython.declare(pthread_mutex_t)
KEYED = cython.declare(SHA256_CTX[2])  # SHA-256 behind the inner and behind the outer key
TABLE = cython.declare(Verified[4096])
STATE = cython.declare(cython.bint[1])  # the key is drawn; without it nothing is ever kept


def verified_prepare():
    pad = cython.declare(cython.uchar[64])
    key = cython.declare(cython.uchar[64])
    at: cython.int
    pthread_mutex_init(cython.address(LOCK), cython.NULL)
    STATE[0] = RAND_bytes(cython.address(key[0]), cython.sizeof(key)) == 1
    for at in range(64):
        pad[at] = key[at] ^ 0x36
    SHA256_Init(cython.address(KEYED[0]))
    SHA256_Update(cython.address(KEYED[0]), cython.address(pad[0]), 64)
    for at in range(64):
        pad[at] = key[at] ^ 0x5C
    SHA256_Init(cython.address(KEYED[1]))
    SHA256_Update(cython.address(KEYED[1]), cython.address(pad[0]), 64)


def tag_of(tag, text, size):
    """HMAC (RFC 2104): both halves go on from where the key has left them."""
    half: SHA256_CTX = KEYED[0]
    if not STATE[0]:
        return False
    SHA256_Update(cython.address(half), text, size)
    SHA256_Final(cython.address(tag.bytes[0]), cython.address(half))
    half = KEYED[1]
    SHA256_Update(cython.address(half), cython.address(tag.bytes[0]), TAG_SIZE)
    SHA256_Final(cython.address(tag.bytes[0]), cython.address(half))
    return True


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
