"""A server is told who the client is: the PROXY protocol, sent.

It is the first thing on a new connection to a server, before its TLS, and it speaks of one client
alone: whoever keeps such a connection keeps it for that client.

What is told: the client's address and the one that it went to, as a proxy in front has told them or
as the sockets say; in version 2 also the name that the client asked for, the protocol that was
chosen, and how TLS came to be, where it ends here or where the proxy in front said so. TLS that is
passed through speaks for itself: of it only the name is told.

Law: the header goes out whole or the connection is given up. A socket that has just been connected
has room for it.
"""

import cython
from cython.cimports.fourseven.native.linux import MSG_NOSIGNAL, send
from cython.cimports.fourseven.native.openssl import (
    X509_V_OK,
    SSL_get_servername,
    SSL_get_verify_result,
    SSL_session_reused,
    TLSEXT_NAMETYPE_host_name,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.protocols.proxyproto import (
    CLIENT_CERTIFICATE,
    CLIENT_SESSION,
    CLIENT_TLS,
    PROXY_V2_ROOM,
    ProxyHeader,
    write_proxy,
)
from cython.cimports.fourseven.worker.introduce import (
    NAME_ROOM,
    NID_commonName,
    SSL_CIPHER_get_name,
    SSL_get0_alpn_selected,
    SSL_get0_peer_certificate,
    SSL_get_current_cipher,
    SSL_get_version,
    X509_get_subject_name,
    X509_NAME_get_text_by_NID,
)
from cython.cimports.fourseven.worker.local import local_address
from cython.cimports.libc.errno import EAGAIN, EINTR, ENOTCONN, errno
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.string import memset, strlen


def introduce(fd, version, client, client_fd, arrived, ssl):
    header = cython.declare(ProxyHeader)
    room = cython.declare(cython.char[NAME_ROOM])
    out = cython.declare(cython.char[PROXY_V2_ROOM])
    size: uint32_t
    sent: cython.Py_ssize_t
    memset(cython.address(header), 0, cython.sizeof(ProxyHeader))
    tell_connection(cython.address(header), client, client_fd, arrived)
    if ssl is not cython.NULL:
        tell_tls(cython.address(header), ssl, room)
    size = write_proxy(out, version, cython.address(header))
    sent = send(fd, out, size, MSG_NOSIGNAL)
    if sent < 0 and (errno == EAGAIN or errno == EINTR or errno == ENOTCONN):
        return 0
    return 1 if sent == size else -1


def tell_connection(header, client, client_fd, arrived):
    """A client at a unix socket has no address that could be told."""
    at: uint32_t
    header.source = client[0]
    for at in range(16):
        if client.bytes[at] != 0:
            header.told = 1
    if header.told and (arrived is cython.NULL or not arrived.told):
        local_address(client_fd, cython.address(header.destination))
    if arrived is cython.NULL:
        return
    if arrived.told:
        header.destination = arrived.local
    header.authority = arrived.sni
    header.client = arrived.tls_client
    header.verified = arrived.tls_verified
    if not arrived.hello and arrived.alpn.size > 1:  # what a proxy has chosen, behind its size
        header.alpn = Span(at=arrived.alpn.at + 1, size=arrived.alpn.size - 1)


def tell_tls(header, ssl, room):
    """TLS ends here, so nobody knows more of it than we do."""
    name: cython.p_const_char = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    chosen: cython.pointer[cython.const[cython.uchar]] = cython.NULL
    size: cython.uint = 0
    header.client = CLIENT_TLS
    header.verified = 0
    if header.authority.at is cython.NULL and name is not cython.NULL:
        header.authority = Span(at=name, size=cython.cast(uint32_t, strlen(name)))
    SSL_get0_alpn_selected(ssl, cython.address(chosen), cython.address(size))
    header.alpn = Span(at=cython.NULL, size=0)
    if chosen is not cython.NULL:
        header.alpn = Span(at=cython.cast(cython.p_const_char, chosen), size=size)
    name = SSL_get_version(ssl)
    header.tls_version = Span(at=name, size=cython.cast(uint32_t, strlen(name)))
    name = SSL_CIPHER_get_name(SSL_get_current_cipher(ssl))
    if name is not cython.NULL:
        header.tls_cipher = Span(at=name, size=cython.cast(uint32_t, strlen(name)))
    tell_certificate(header, ssl, room)


def tell_certificate(header, ssl, room):
    certificate = SSL_get0_peer_certificate(ssl)
    size: cython.int
    if certificate is cython.NULL:
        return
    header.client |= CLIENT_SESSION
    if not SSL_session_reused(ssl):
        header.client |= CLIENT_CERTIFICATE
    header.verified = SSL_get_verify_result(ssl) == X509_V_OK
    size = X509_NAME_get_text_by_NID(
        X509_get_subject_name(certificate), NID_commonName, room, NAME_ROOM
    )
    if size > 0:
        header.common_name = Span(at=room, size=cython.cast(uint32_t, size))
