from libc.stdint cimport uint8_t

from fourseven.native.openssl cimport EVP_CIPHER, EVP_CIPHER_CTX, EVP_MAC_CTX, SSL

cpdef enum:
    KEY_NAME = 16       # bytes of a ticket that say which key it needs (RFC 5077 4)
    KEYS_ACCEPTED = 3   # the newest encrypts; a ticket lives shorter than two rotations

# Never changed after it was published.
cdef struct TicketKey:
    TicketKey *older
    uint8_t[KEY_NAME] name
    uint8_t[32] cipher_key
    uint8_t[32] mac_key

cdef struct TicketRing:
    TicketKey *newest   # atomic: control writes, workers read
    EVP_CIPHER *cipher

cdef extern from "fourseven/native/atomics.h" nogil:
    TicketKey *load_key "fs_load_acquire"(TicketKey *const *p)
    void store_key "fs_store_release"(TicketKey **p, TicketKey *key)

cdef TicketRing *ring_new() except NULL
# A new key from now on. Control alone calls it.
cdef int ring_rotate(TicketRing *ring) except -1
cdef void ring_drop(TicketRing *ring) noexcept
# OpenSSL asks: which key for this ticket? The ring is the app data of the connection's SSL_CTX.
cdef int ticket_key "fourseven_ticket_key"(
    SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt
) noexcept nogil

cdef void forget(TicketKey *key) noexcept
cdef int begin(
    const TicketRing *ring, const TicketKey *key, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
    int encrypt
) noexcept nogil
