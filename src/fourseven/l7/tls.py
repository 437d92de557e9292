"""TLS between a session and its socket: the handshake, and reads and writes through OpenSSL.

OpenSSL is called from the worker, without the GIL, on the worker's own thread. It reaches the
socket through a BIO of ours, which knows what OpenSSL's own does not tell: whether the last read
came back short, so that the socket is empty and no further system call need ask.

Laws: the error queue is cleared before each call, for OpenSSL judges a result by what lies there.
`readable` stays set while OpenSSL may hold bytes of ours: epoll knows the socket alone. An end
without close_notify is an abort, never an end (RFC 8446 6.1). After a failure nothing is said.

What it does not do: early data (0-RTT), which could be replayed; kernel TLS.
"""

import cython
from cython.cimports.fourseven.l7.http2 import http2_open
from cython.cimports.fourseven.l7.records import (
    SESSION_HEAD,
    SESSION_LINGER,
    WAIT_NOTHING,
    Session,
)
from cython.cimports.fourseven.l7.session import (
    READ_BROKEN,
    READ_END,
    READ_LATER,
    end,
    read_more,
)
from cython.cimports.fourseven.l7.tls import (
    HANDSHAKE_DONE,
    HANDSHAKE_FAILED,
    HANDSHAKE_LATER,
    HANDSHAKE_PLAIN,
    strncasecmp,
)
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.linux import MSG_NOSIGNAL, recv, send
from cython.cimports.fourseven.native.openssl import (
    BIO,
    BIO_CTRL_FLUSH,
    BIO_FLAGS_READ,
    BIO_FLAGS_SHOULD_RETRY,
    BIO_FLAGS_WRITE,
    BIO_METHOD,
    BIO_TYPE_SOURCE_SINK,
    ERR_GET_REASON,
    SSL,
    SSL_ERROR_WANT_READ,
    SSL_ERROR_WANT_WRITE,
    SSL_ERROR_ZERO_RETURN,
    SSL_R_HTTP_REQUEST,
    X509,
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
    BIO_clear_retry_flags,
    BIO_get_data,
    BIO_get_new_index,
    BIO_meth_new,
    BIO_meth_set_ctrl,
    BIO_meth_set_read,
    BIO_meth_set_write,
    BIO_new,
    BIO_set_data,
    BIO_set_flags,
    BIO_set_init,
    ERR_clear_error,
    ERR_peek_last_error,
    SSL_do_handshake,
    SSL_free,
    SSL_get0_alpn_selected,
    SSL_get_certificate,
    SSL_get_error,
    SSL_get_servername,
    SSL_has_pending,
    SSL_new,
    SSL_read,
    SSL_session_reused,
    SSL_set_accept_state,
    SSL_set_app_data,
    SSL_set_bio,
    SSL_shutdown,
    SSL_write,
    TLSEXT_NAMETYPE_host_name,
    X509_check_host,
    X509_check_ip_asc,
)
from cython.cimports.fourseven.tls.site import NAME_MAX, TlsSite
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int32_t
from cython.cimports.libc.string import memcpy, strlen

METHOD = cython.declare(cython.pointer[BIO_METHOD], cython.NULL)

# ---- the socket, as OpenSSL sees it ----


def tls_prepare():
    global METHOD
    if METHOD is not cython.NULL:
        return 0
    METHOD = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"session")
    if METHOD is cython.NULL:
        raise MemoryError
    BIO_meth_set_read(METHOD, bio_read)
    BIO_meth_set_write(METHOD, bio_write)
    BIO_meth_set_ctrl(METHOD, bio_control)
    return 0


def bio_read(bio, to, size):
    session: cython.pointer[Session] = cython.cast(cython.pointer[Session], BIO_get_data(bio))
    got: cython.Py_ssize_t = recv(session.source.fd, to, size, 0)
    BIO_clear_retry_flags(bio)
    if got < 0 and (errno == EAGAIN or errno == EINTR):
        session.drained = 1
        BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
    elif got >= 0:
        session.drained = got < size
    return cython.cast(cython.int, got)


def bio_write(bio, at, size):
    session: cython.pointer[Session] = cython.cast(cython.pointer[Session], BIO_get_data(bio))
    sent: cython.Py_ssize_t = send(session.source.fd, at, size, MSG_NOSIGNAL)
    BIO_clear_retry_flags(bio)
    if sent < 0 and (errno == EAGAIN or errno == EINTR):
        BIO_set_flags(bio, BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY)
    return cython.cast(cython.int, sent)


def bio_control(bio, what, number, at):
    return 1 if what == BIO_CTRL_FLUSH else 0


# ---- begin and end ----


def tls_open(session):
    site: cython.pointer[TlsSite] = cython.cast(cython.pointer[TlsSite], session.listener.plan.tls)
    bio: cython.pointer[BIO]
    ssl: cython.pointer[SSL]
    ERR_clear_error()
    ssl = SSL_new(site.contexts[0])
    if ssl is cython.NULL:
        return False
    bio = BIO_new(METHOD)
    if bio is cython.NULL:
        SSL_free(ssl)
        return False
    BIO_set_data(bio, session)
    BIO_set_init(bio, 1)
    SSL_set_bio(ssl, bio, bio)
    SSL_set_app_data(ssl, cython.cast(cython.p_void, cython.address(session.listener.plan)))
    SSL_set_accept_state(ssl)
    session.tls = ssl
    return True


def tls_step(worker, session):
    result: int32_t = handshake(session)
    if result == HANDSHAKE_LATER:
        return False
    if result == HANDSHAKE_DONE:
        count(cython.address(worker.counters.tls_handshakes), 1)
        if SSL_session_reused(cython.cast(cython.pointer[SSL], session.tls)):
            count(cython.address(worker.counters.tls_resumed), 1)
        session.state = SESSION_HEAD
        session.waiting = WAIT_NOTHING  # its first request has its own time
        if speaks_http2(session):
            session.broken = http2_open(worker, session) < 0
            return True
        return read_more(worker, session) if session.readable else True
    count(cython.address(worker.counters.tls_failed), 1)
    if result == HANDSHAKE_PLAIN:
        plain_answer(session)
    session.lingering = 1  # unread bytes would turn the close into a reset, and the alert be lost
    end(worker, session)
    return session.state == SESSION_LINGER


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def speaks_http2(session: cython.pointer[cython.const[Session]]) -> cython.bint:
    """What ALPN has chosen."""
    name: cython.pointer[cython.const[cython.uchar]] = cython.NULL
    size: cython.uint = 0
    SSL_get0_alpn_selected(
        cython.cast(cython.pointer[SSL], session.tls), cython.address(name), cython.address(size)
    )
    return size == 2 and name[0] == 104 and name[1] == 50  # h2


def handshake(session):
    ssl: cython.pointer[SSL] = cython.cast(cython.pointer[SSL], session.tls)
    result: cython.int
    error: cython.int
    ERR_clear_error()
    result = SSL_do_handshake(ssl)
    if result == 1:
        session.tls_speaks = 1
        # Its first request may have come with the handshake's last message.
        session.readable = not session.drained or session.hup or SSL_has_pending(ssl)
        return HANDSHAKE_DONE
    error = SSL_get_error(ssl, result)
    if error == SSL_ERROR_WANT_READ:
        session.readable = 0
        return HANDSHAKE_LATER
    if error == SSL_ERROR_WANT_WRITE:
        return HANDSHAKE_LATER
    if ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_HTTP_REQUEST:
        return HANDSHAKE_PLAIN
    return HANDSHAKE_FAILED


def tls_finish(session):
    if not session.tls_speaks or session.source.fd < 0:
        return
    session.tls_speaks = 0
    ERR_clear_error()
    SSL_shutdown(cython.cast(cython.pointer[SSL], session.tls))


def plain_answer(session):
    answer: cython.p_const_char = (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 37\r\n"
        b"Connection: close\r\n\r\nthis port speaks HTTPS; use https://\n"
    )
    send(session.source.fd, answer, strlen(answer), MSG_NOSIGNAL)


def tls_drop(session):
    SSL_free(cython.cast(cython.pointer[SSL], session.tls))
    session.tls = cython.NULL


# ---- bytes ----


def tls_read(session, to, room):
    ssl: cython.pointer[SSL] = cython.cast(cython.pointer[SSL], session.tls)
    size: cython.int
    error: cython.int
    ERR_clear_error()
    size = SSL_read(ssl, to, cython.cast(cython.int, room))
    if size > 0:
        if session.drained and not SSL_has_pending(ssl):
            session.readable = session.hup
        return size
    error = SSL_get_error(ssl, size)
    if error == SSL_ERROR_WANT_READ or error == SSL_ERROR_WANT_WRITE:
        session.readable = 0
        return READ_LATER
    session.readable = 0
    if error == SSL_ERROR_ZERO_RETURN:
        session.fin = 1
        return READ_END
    session.tls_speaks = 0
    session.broken = 1
    return READ_BROKEN


def tls_send(session, at, size):
    ssl: cython.pointer[SSL] = cython.cast(cython.pointer[SSL], session.tls)
    sent: cython.int
    error: cython.int
    if size == 0:
        return 0
    ERR_clear_error()
    sent = SSL_write(ssl, at, cython.cast(cython.int, size))
    if sent > 0:
        return sent
    error = SSL_get_error(ssl, sent)
    if error == SSL_ERROR_WANT_WRITE or error == SSL_ERROR_WANT_READ:
        return 0
    session.tls_speaks = 0
    session.broken = 1
    return -1


# ---- names ----


def tls_covers(session, request):
    """Mostly the very name of the ClientHello; else the certificate is asked (RFC 9110 7.4).

    A client that named no host has seen what it has seen: there is nothing to compare with.
    """
    ssl: cython.pointer[SSL] = cython.cast(cython.pointer[SSL], session.tls)
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
