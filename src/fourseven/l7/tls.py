"""TLS at a listener: a session begins with its handshake, and its requests belong to its names.

The connection itself, its reads and writes, are `worker/secure`; here is what only a session knows:
the site that shows the certificates, what follows the handshake, what is said to a client that
speaks plain HTTP to this port, and whether a request is for a host that the certificate covers.
"""

import cython
from cython.cimports.fourseven.l7.http2 import http2_open
from cython.cimports.fourseven.l7.records import (
    SESSION_HEAD,
    SESSION_LINGER,
    WAIT_CLIENT,
    WAIT_NOTHING,
)
from cython.cimports.fourseven.l7.session import end, read_more
from cython.cimports.fourseven.l7.tls import strncasecmp
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.linux import MSG_NOSIGNAL, send
from cython.cimports.fourseven.native.openssl import (
    SSL,
    X509,
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
    SSL_get0_alpn_selected,
    SSL_get_certificate,
    SSL_get_servername,
    TLSEXT_NAMETYPE_host_name,
    X509_check_host,
    X509_check_ip_asc,
)
from cython.cimports.fourseven.tls.site import NAME_MAX, TlsSite
from cython.cimports.fourseven.worker.secure import (
    HANDSHAKE_DONE,
    HANDSHAKE_LATER,
    SECURE_BROKEN,
    SECURE_END,
    TLS_RESET,
    TLS_TIME,
    secure_accept,
    secure_empty,
    secure_flush,
    secure_handshake,
    secure_held,
    secure_read,
    secure_resumed,
    secure_send,
)
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy, strlen


def tls_open(worker, session):
    site: cython.pointer[TlsSite] = cython.cast(cython.pointer[TlsSite], session.listener.plan.tls)
    session.tls = secure_accept(
        worker,
        session.source.fd,
        site.contexts[0],
        cython.cast(cython.p_void, cython.address(session.listener.plan)),
    )
    return session.tls is not cython.NULL


def tls_step(worker, session):
    result: int32_t = secure_handshake(session.tls)
    if result == HANDSHAKE_LATER:
        session.readable = 0
        return False
    if result == HANDSHAKE_DONE:
        count(cython.address(worker.counters.tls_handshakes), 1)
        if secure_resumed(session.tls):
            count(cython.address(worker.counters.tls_resumed), 1)
        session.state = SESSION_HEAD
        session.waiting = WAIT_NOTHING  # its first request has its own time
        # Its first request may have come with the handshake's last message.
        session.readable = session.hup or not secure_empty(session.tls)
        if speaks_http2(session):
            session.broken = http2_open(worker, session) < 0
            return True
        return read_more(worker, session) if session.readable else True
    count(cython.address(worker.counters.tls_failed), 1)
    count(cython.address(worker.counters.tls_faults[session.tls.fault]), 1)
    if session.tls.plain:
        plain_answer(session)
    session.lingering = 1  # unread bytes would turn the close into a reset, and the alert be lost
    end(worker, session)
    return session.state == SESSION_LINGER


def tls_left(worker, session):
    """Closed amid its handshake, which has not failed by itself: by a reset, or by the time."""
    fault: cython.int = TLS_RESET if session.broken else TLS_TIME
    if session.tls.ready or session.tls.fault:
        return
    count(cython.address(worker.counters.tls_failed), 1)
    count(cython.address(worker.counters.tls_faults[fault]), 1)


def speaks_http2(session):
    name: cython.pointer[cython.const[cython.uchar]] = cython.NULL
    size: cython.uint = 0
    SSL_get0_alpn_selected(session.tls.ssl, cython.address(name), cython.address(size))
    return size == 2 and name[0] == 104 and name[1] == 50  # h2


def tls_read(session, to, room):
    size: int32_t = secure_read(session.tls, to, room)
    if size > 0:
        session.readable = session.hup or not secure_empty(session.tls)
        count(cython.address(session.listener.counters.bytes_in), cython.cast(uint64_t, size))
        return size
    session.readable = 0
    session.fin |= size == SECURE_END
    session.broken |= size == SECURE_BROKEN
    return size


def tls_send(session, at, size):
    sent: int32_t = tls_flush(session)
    if sent <= 0:
        return sent
    sent = secure_send(session.tls, at, size)
    session.broken |= sent < 0
    return sent


def tls_flush(session):
    held: uint32_t = secure_held(session.tls)
    sent: int32_t = 1
    if held > 0:
        sent = secure_flush(session.tls)
        session.broken |= sent < 0
        if session.waiting == WAIT_CLIENT and secure_held(session.tls) < held:
            session.waiting = WAIT_NOTHING  # it took something: its time begins anew
    return sent


def plain_answer(session):
    answer: cython.p_const_char = (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 37\r\n"
        b"Connection: close\r\n\r\nthis port speaks HTTPS; use https://\n"
    )
    send(session.source.fd, answer, strlen(answer), MSG_NOSIGNAL)


def tls_covers(session, request):
    """Mostly the very name of the ClientHello; else the certificate is asked (RFC 9110 7.4).

    A client that named no host has seen what it has seen: there is nothing to compare with.
    """
    ssl: cython.pointer[SSL] = session.tls.ssl
    text = cython.declare(cython.char[256])
    certificate: cython.pointer[X509]
    name: cython.p_const_char = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    size: cython.size_t = request.host.size
    named: cython.size_t
    if name is cython.NULL or request.host.at is cython.NULL:
        return True
    named = strlen(name)
    if named > 0 and name[named - 1] == 46:
        named -= 1
    if named == size and strncasecmp(name, request.host.at, size) == 0:
        return True
    certificate = SSL_get_certificate(ssl)
    if certificate is cython.NULL or size == 0 or size > NAME_MAX:
        return False
    if (
        X509_check_host(
            certificate, request.host.at, size, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, cython.NULL
        )
        == 1
    ):
        return True
    memcpy(text, request.host.at, size)
    text[size] = 0
    return X509_check_ip_asc(certificate, text, 0) == 1
