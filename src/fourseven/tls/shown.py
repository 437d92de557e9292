"""A client's certificate that comes from a file: judged and read as if a client had shown it.

`explain` asks it. The facts are read by the function that reads them of a connection, and OpenSSL
verifies it against a listener's authorities as it does in a handshake.

`stands_for` asks the same of a certificate of ours as a listener does that answers 421 (l7.tls).

Law: a ValueError says that the file holds no certificate. That a client also has the key is not
asked, for nobody is there to prove it.
"""

import cython
from cython.cimports.fourseven.native.openssl import (
    BIO,
    X509,
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
    X509_STORE,
    X509_STORE_CTX,
    BIO_free,
    BIO_new_mem_buf,
    ERR_clear_error,
    PEM_read_bio_X509,
    X509_check_host,
    X509_check_ip_asc,
    X509_free,
    X509_STORE_add_cert,
    X509_STORE_CTX_free,
    X509_STORE_CTX_get_error,
    X509_STORE_CTX_init,
    X509_STORE_CTX_new,
    X509_STORE_CTX_set_default,
    X509_STORE_free,
    X509_STORE_new,
    X509_verify_cert,
    X509_verify_cert_error_string,
    sk_X509_new_null,
    sk_X509_pop_free,
    sk_X509_push,
)
from cython.cimports.fourseven.protocols.message import FACT_SUBJECT, Span
from cython.cimports.fourseven.tls.identity import identity_read
from cython.cimports.fourseven.tls.site import add_revoked
from cython.cimports.libc.stdlib import free


@cython.cclass
class Shown:
    def __cinit__(self, pem: bytes):
        one: cython.pointer[X509]
        bio: cython.pointer[BIO] = BIO_new_mem_buf(cython.cast(cython.p_const_char, pem), len(pem))
        self.others = sk_X509_new_null()
        self.first = PEM_read_bio_X509(bio, cython.NULL, cython.NULL, cython.NULL)
        while self.first is not cython.NULL:
            one = PEM_read_bio_X509(bio, cython.NULL, cython.NULL, cython.NULL)
            if one is cython.NULL:
                break
            sk_X509_push(self.others, one)
        BIO_free(bio)
        ERR_clear_error()
        if self.first is cython.NULL:
            raise ValueError("it holds no certificate in PEM")
        self.facts = identity_read(self.first)
        if self.facts is cython.NULL:
            raise ValueError("it holds a certificate with too much text to be of a client")

    def __dealloc__(self):
        free(self.facts)
        X509_free(self.first)
        sk_X509_pop_free(self.others, X509_free)

    def fault(self, authority: bytes, revoked: bytes) -> str:
        """Why these authorities do not vouch for it; empty: they do. `revoked`: their lists."""
        one: cython.pointer[X509]
        bio: cython.pointer[BIO] = BIO_new_mem_buf(
            cython.cast(cython.p_const_char, authority), len(authority)
        )
        store: cython.pointer[X509_STORE] = X509_STORE_new()
        context: cython.pointer[X509_STORE_CTX] = X509_STORE_CTX_new()
        error: cython.int = 0
        while True:
            one = PEM_read_bio_X509(bio, cython.NULL, cython.NULL, cython.NULL)
            if one is cython.NULL:
                break
            X509_STORE_add_cert(store, one)
            X509_free(one)
        BIO_free(bio)
        if revoked:
            add_revoked(store, revoked)
        X509_STORE_CTX_init(context, store, self.first, self.others)
        X509_STORE_CTX_set_default(context, b"ssl_client")
        if X509_verify_cert(context) != 1:
            error = X509_STORE_CTX_get_error(context) or 1
        X509_STORE_CTX_free(context)
        X509_STORE_free(store)
        ERR_clear_error()
        return X509_verify_cert_error_string(error).decode() if error else ""

    def subject(self) -> bytes:
        """Whose it is, as RFC 2253 writes it."""
        text: Span = self.facts.facts[cython.cast(cython.int, FACT_SUBJECT)]
        return text.at[: text.size]


def stands_for(pem: bytes, host: bytes) -> bool:
    """Whether the first certificate holds this name or address."""
    text: cython.p_const_char = host
    bio: cython.pointer[BIO] = BIO_new_mem_buf(cython.cast(cython.p_const_char, pem), len(pem))
    one: cython.pointer[X509] = PEM_read_bio_X509(bio, cython.NULL, cython.NULL, cython.NULL)
    good: cython.bint = False
    BIO_free(bio)
    if one is not cython.NULL and len(host) > 0:
        flags: cython.uint = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
        good = X509_check_host(one, text, len(host), flags, cython.NULL) == 1
        good = good or X509_check_ip_asc(one, text, 0) == 1
        X509_free(one)
    ERR_clear_error()
    return good
