from libc.stdint cimport int32_t, uint32_t

from fourseven.native.openssl cimport SSL, X509
from fourseven.protocols.message cimport Address
from fourseven.protocols.proxyproto cimport ProxyHeader
from fourseven.worker.worker cimport Arrived

cdef enum:
    NAME_ROOM = 256         # of a certificate's common name; 64 by X.520, more in the field

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct X509_NAME:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    int NID_commonName
    const char *SSL_get_version(const SSL *ssl)
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl)
    const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher)
    void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **at, unsigned int *size)
    X509 *SSL_get0_peer_certificate(const SSL *ssl)
    X509_NAME *X509_get_subject_name(const X509 *certificate)
    int X509_NAME_get_text_by_NID(X509_NAME *name, int kind, char *out, int room)

# Says to the server at `fd`, before anything else, who the client is. `client_fd` is the client's
# socket, `arrived` what was read of it before, `ssl` the TLS that ends here (each may be absent).
# 1: said, 0: the server has not accepted yet, -1: it is gone.
cdef int32_t introduce "fourseven_introduce"(
    int32_t fd, uint32_t version, const Address *client, int32_t client_fd, const Arrived *arrived,
    const SSL *ssl
) noexcept nogil

cdef void tell_connection(
    ProxyHeader *header, const Address *client, int32_t client_fd, const Arrived *arrived
) noexcept nogil
cdef void tell_tls(ProxyHeader *header, const SSL *ssl, char *room) noexcept nogil
cdef void tell_certificate(ProxyHeader *header, const SSL *ssl, char *room) noexcept nogil
