"""The keys of session tickets: one ring for all workers, over all reloads.

A client that comes back shows a ticket and skips the costly half of the handshake. The ticket is
the session itself, encrypted by us, so no worker keeps anything, and any worker can take it up. The
key is as good as every session it protects: it is made here, lives in memory alone, and is
replaced every few hours. A ticket under the key before is still taken, and answered with a new one.
In TLS 1.3 each is: there a client uses a ticket once, lest two connections be known as one client's
(RFC 8446 C.4), and without a new one its next connection would be a full handshake again.

Laws: a key is never changed once it is in the list, so workers walk it without a lock. What has
left the accepted part stays for two more rotations (hours; a walk takes microseconds) and is then
wiped.

Source: RFC 5077 4 (the ticket's form), RFC 8446 4.6.1 and C.4.
"""

import cython
from cython.cimports.fourseven.native.openssl import (
    OSSL_MAC_PARAM_DIGEST,
    OSSL_MAC_PARAM_KEY,
    OSSL_PARAM,
    TLS1_3_VERSION,
    EVP_CIPHER_fetch,
    EVP_CIPHER_free,
    EVP_DecryptInit_ex,
    EVP_EncryptInit_ex,
    EVP_MAC_CTX_set_params,
    OPENSSL_cleanse,
    OSSL_PARAM_construct_end,
    OSSL_PARAM_construct_octet_string,
    OSSL_PARAM_construct_utf8_string,
    RAND_bytes,
    SSL_CTX_get_app_data,
    SSL_get_SSL_CTX,
    SSL_version,
)
from cython.cimports.fourseven.tls.tickets import (
    KEY_NAME,
    KEYS_ACCEPTED,
    TicketKey,
    TicketRing,
    load_key,
    store_key,
)
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcmp, memcpy

# ---- control's half ----


def ring_new():
    ring: cython.pointer[TicketRing] = cython.cast(
        cython.pointer[TicketRing], calloc(1, cython.sizeof(TicketRing))
    )
    if ring is cython.NULL:
        raise MemoryError
    # Fetched once: a look-up by name for each ticket costs more than the encryption.
    ring.cipher = EVP_CIPHER_fetch(cython.NULL, b"AES-256-CBC", cython.NULL)
    if ring.cipher is cython.NULL:
        free(ring)
        raise MemoryError
    ring_rotate(ring)
    return ring


def ring_rotate(ring):
    key: cython.pointer[TicketKey] = cython.cast(
        cython.pointer[TicketKey], calloc(1, cython.sizeof(TicketKey))
    )
    last: cython.pointer[TicketKey]
    _at: cython.int
    if key is cython.NULL:
        raise MemoryError
    random: cython.int = RAND_bytes(cython.address(key.name[0]), KEY_NAME)
    random &= RAND_bytes(cython.address(key.cipher_key[0]), 32)
    random &= RAND_bytes(cython.address(key.mac_key[0]), 32)
    if random != 1:
        free(key)
        raise OSError("OpenSSL has no random bytes for a ticket key")
    key.older = ring.newest
    store_key(cython.address(ring.newest), key)
    last = key
    for _at in range(KEYS_ACCEPTED + 2 - 1):
        if last.older is cython.NULL:
            return 0
        last = last.older
    if last.older is not cython.NULL:
        forget(last.older)
        last.older = cython.NULL
    return 0


def ring_drop(ring):
    if ring is cython.NULL:
        return
    forget(ring.newest)
    EVP_CIPHER_free(ring.cipher)
    free(ring)


def forget(key):
    """Wipes this key and all that are older."""
    older: cython.pointer[TicketKey]
    while key is not cython.NULL:
        older = key.older
        OPENSSL_cleanse(key, cython.sizeof(TicketKey))
        free(key)
        key = older


# ---- the workers' half ----


def ticket_key(ssl, name, iv, cipher, mac, encrypt):
    """1: go on, 2: go on and give a new ticket, 0: not ours (a full handshake), -1: failed."""
    ring: cython.pointer[TicketRing] = cython.cast(
        cython.pointer[TicketRing], SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))
    )
    key: cython.pointer[TicketKey] = load_key(cython.address(ring.newest))
    at: cython.int
    if encrypt:
        if RAND_bytes(iv, 16) != 1:
            return -1
        memcpy(name, cython.address(key.name[0]), KEY_NAME)
        return begin(ring, key, iv, cipher, mac, 1)
    for at in range(KEYS_ACCEPTED):
        if memcmp(name, cython.address(key.name[0]), KEY_NAME) == 0:
            if begin(ring, key, iv, cipher, mac, 0) != 1:
                return -1
            return 1 if at == 0 and SSL_version(ssl) != TLS1_3_VERSION else 2
        key = key.older
        if key is cython.NULL:
            return 0
    return 0


def begin(ring, key, iv, cipher, mac, encrypt):
    parameters = cython.declare(OSSL_PARAM[3])
    secret: cython.p_void = cython.cast(cython.p_void, cython.address(key.mac_key[0]))
    digest: cython.p_char = cython.cast(cython.p_char, b"SHA256")
    parameters[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, secret, 32)
    parameters[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0)
    parameters[2] = OSSL_PARAM_construct_end()
    if EVP_MAC_CTX_set_params(mac, parameters) != 1:
        return -1
    if encrypt:
        return EVP_EncryptInit_ex(
            cipher, ring.cipher, cython.NULL, cython.address(key.cipher_key[0]), iv
        )
    return EVP_DecryptInit_ex(
        cipher, ring.cipher, cython.NULL, cython.address(key.cipher_key[0]), iv
    )
