"""TLS on one socket: the handshake, and reads and writes through OpenSSL, with clients and servers.

OpenSSL is called from the worker, without the GIL, on the worker's own thread. It reaches the
socket through a BIO of ours, which does two things that OpenSSL's own does not. It knows whether
the last read came back short, so that the socket is empty and no further system call need ask. And
it gathers the records of one write: 64 KiB are four records and one send, not four of each.

What was gathered and not taken by the socket waits in `out`, encrypted; its plain bytes count as
sent. Nothing more is accepted until the socket has taken it (backpressure), so a slow reader costs
one buffer.

Towards servers, the last ticket of each server is kept, by worker and slot, and given only to a
connection under the same identity (tls/outward).

Laws: the error queue is cleared before each call, for OpenSSL judges a result by what lies there.
An end without close_notify is an abort, never an end (RFC 8446 6.1). After a failure nothing is
said. Whoever closes the descriptor calls nothing here afterwards but `secure_drop`.

What it does not do: early data (0-RTT), which could be replayed; kernel TLS.
"""

import cython
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
    SSL_AD_REASON_OFFSET,
    SSL_ERROR_WANT_READ,
    SSL_ERROR_WANT_WRITE,
    SSL_ERROR_ZERO_RETURN,
    SSL_R_CERTIFICATE_VERIFY_FAILED,
    SSL_R_HTTP_REQUEST,
    SSL_R_NO_APPLICATION_PROTOCOL,
    SSL_R_NO_SHARED_CIPHER,
    SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
    SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
    SSL_R_UNEXPECTED_EOF_WHILE_READING,
    SSL_R_UNSUPPORTED_PROTOCOL,
    SSL_R_WRONG_VERSION_NUMBER,
    SSL_RECEIVED_SHUTDOWN,
    SSL_SENT_SHUTDOWN,
    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
    X509_V_ERR_CERT_HAS_EXPIRED,
    X509_V_ERR_CERT_NOT_YET_VALID,
    X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
    X509_V_ERR_HOSTNAME_MISMATCH,
    X509_V_ERR_IP_ADDRESS_MISMATCH,
    X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
    X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
    X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
    X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
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
    SSL_get0_param,
    SSL_get_error,
    SSL_get_verify_result,
    SSL_has_pending,
    SSL_is_server,
    SSL_new,
    SSL_read,
    SSL_SESSION_free,
    SSL_session_reused,
    SSL_set1_host,
    SSL_set_accept_state,
    SSL_set_alpn_protos,
    SSL_set_app_data,
    SSL_set_bio,
    SSL_set_connect_state,
    SSL_set_hostflags,
    SSL_set_session,
    SSL_set_shutdown,
    SSL_set_tlsext_host_name,
    SSL_shutdown,
    SSL_write,
    X509_VERIFY_PARAM_set1_ip_asc,
)
from cython.cimports.fourseven.snapshot.layout import SLOTS_MAX
from cython.cimports.fourseven.tls.identity import identity_of
from cython.cimports.fourseven.tls.outward import Resumption, TlsPeer, peer_at
from cython.cimports.fourseven.tls.site import RECORD_MAX
from cython.cimports.fourseven.worker.secure import (
    FOURSEVEN_TLS_FAULTS,
    HANDSHAKE_DONE,
    HANDSHAKE_FAILED,
    HANDSHAKE_LATER,
    RECORD_ROOM,
    SECURE_BROKEN,
    SECURE_END,
    SECURE_LATER,
    TLS_AUTHORITY,
    TLS_CERTIFICATE,
    TLS_CIPHER,
    TLS_EXPIRED,
    TLS_NAME,
    TLS_NO_CERTIFICATE,
    TLS_NONE,
    TLS_OTHER,
    TLS_PLAIN,
    TLS_PROTOCOL,
    TLS_REFUSED,
    TLS_RESET,
    TLS_VERSION,
    Secure,
)
from cython.cimports.fourseven.worker.tools import buffer_free, buffer_large
from cython.cimports.fourseven.worker.worker import Buffer
from cython.cimports.libc.errno import EAGAIN, EINTR, errno
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy

METHOD = cython.declare(cython.pointer[BIO_METHOD], cython.NULL)

# ---- the socket, as OpenSSL sees it ----


def secure_prepare():
    global METHOD
    if METHOD is not cython.NULL:
        return 0
    METHOD = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"worker")
    if METHOD is cython.NULL:
        raise MemoryError
    BIO_meth_set_read(METHOD, bio_read)
    BIO_meth_set_write(METHOD, bio_write)
    BIO_meth_set_ctrl(METHOD, bio_control)
    return 0


def bio_read(bio, to, size):
    secure: cython.pointer[Secure] = cython.cast(cython.pointer[Secure], BIO_get_data(bio))
    got: cython.Py_ssize_t = recv(secure.fd, to, size, 0)
    BIO_clear_retry_flags(bio)
    if got < 0 and (errno == EAGAIN or errno == EINTR):
        secure.drained = 1
        BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
    elif got >= 0:
        secure.drained = got < size
    return cython.cast(cython.int, got)


def bio_write(bio, at, size):
    secure: cython.pointer[Secure] = cython.cast(cython.pointer[Secure], BIO_get_data(bio))
    sent: cython.Py_ssize_t
    BIO_clear_retry_flags(bio)
    # What waits goes first: records must come in their order.
    if secure.gathering or secure.out is not cython.NULL:
        sent = gather(secure, at, size)
        if sent == 0:
            BIO_set_flags(bio, BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY)
            return -1
        return cython.cast(cython.int, sent)
    sent = send(secure.fd, at, size, MSG_NOSIGNAL)
    if sent > 0:
        secure.said = 1
    elif sent < 0 and (errno == EAGAIN or errno == EINTR):
        BIO_set_flags(bio, BIO_FLAGS_WRITE | BIO_FLAGS_SHOULD_RETRY)
    return cython.cast(cython.int, sent)


def gather(secure, at, size):
    """Puts it behind what waits; the bytes that found room."""
    out: cython.pointer[Buffer] = secure.out
    room: uint32_t = out.capacity - out.end
    if size > room:
        size = room
    memcpy(out.at + out.end, at, size)
    out.end += size
    return cython.cast(int32_t, size)


def bio_control(bio, what, number, at):
    return 1 if what == BIO_CTRL_FLUSH else 0


# ---- begin and end ----


def secure_new(worker, fd, context):
    secure: cython.pointer[Secure] = cython.cast(
        cython.pointer[Secure], calloc(1, cython.sizeof(Secure))
    )
    bio: cython.pointer[BIO]
    if secure is cython.NULL:
        return secure
    ERR_clear_error()
    secure.worker = worker
    secure.fd = fd
    secure.ssl = SSL_new(context)
    bio = BIO_new(METHOD)
    if secure.ssl is cython.NULL or bio is cython.NULL:
        secure_drop(secure)
        return cython.NULL
    BIO_set_data(bio, secure)
    BIO_set_init(bio, 1)
    SSL_set_bio(secure.ssl, bio, bio)
    return secure


def secure_accept(worker, fd, context, data):
    secure: cython.pointer[Secure] = secure_new(worker, fd, context)
    if secure is cython.NULL:
        return secure
    SSL_set_app_data(secure.ssl, data)
    SSL_set_accept_state(secure.ssl)
    return secure


def secure_connect(worker, fd, outward, slot, protocols, protocols_size):
    at: uint32_t = peer_at(outward, slot)
    places: cython.pointer[Resumption] = cython.cast(cython.pointer[Resumption], worker.resumptions)
    secure: cython.pointer[Secure] = cython.NULL
    if at < outward.peer_count:
        secure = secure_new(worker, fd, outward.context)
    if secure is cython.NULL:
        return secure
    SSL_set_app_data(secure.ssl, cython.address(secure.keeping))
    SSL_set_connect_state(secure.ssl)
    if not name_server(secure.ssl, outward, at):
        secure_drop(secure)
        return cython.NULL
    if outward.protocols.at is not cython.NULL:
        protocols = cython.cast(cython.pointer[cython.const[cython.uchar]], outward.protocols.at)
        protocols_size = outward.protocols.size
    if protocols_size > 0:
        SSL_set_alpn_protos(secure.ssl, protocols, protocols_size)
    secure.keeping.place = cython.address(places[slot])
    secure.keeping.identity = outward.peers[at].identity
    if places[slot].session is not cython.NULL and (
        places[slot].identity == outward.peers[at].identity
    ):
        SSL_set_session(secure.ssl, places[slot].session)
    return secure


def name_server(ssl, outward, at):
    """Whom we ask for, and who must answer; False where OpenSSL has no memory."""
    peer: cython.pointer[cython.const[TlsPeer]] = cython.address(outward.peers[at])
    if peer.sni.at is not cython.NULL and SSL_set_tlsext_host_name(ssl, peer.sni.at) != 1:
        return False
    if not outward.verified:
        return True
    if peer.is_address:
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), peer.name.at) == 1
    SSL_set_hostflags(
        ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
    )
    return SSL_set1_host(ssl, peer.name.at) == 1


def secure_finish(secure):
    if not secure.speaks:
        return
    secure.speaks = 0
    ERR_clear_error()
    if secure.out is cython.NULL:
        secure.out = buffer_large(secure.worker)
    secure.gathering = secure.out is not cython.NULL
    SSL_shutdown(secure.ssl)
    secure.gathering = 0
    secure_flush(secure)


def secure_drop(secure):
    if secure is cython.NULL:
        return
    if secure.ssl is not cython.NULL:
        # OpenSSL takes an end without close_notify for a reason to forget the session.
        SSL_set_shutdown(secure.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(secure.ssl)
    buffer_free(secure.worker, secure.out)
    free(secure.certificate)
    free(secure)


# ---- the handshake ----


def secure_handshake(secure):
    result: cython.int
    if secure.ready:
        return HANDSHAKE_DONE
    if secure.fault:
        return HANDSHAKE_FAILED
    ERR_clear_error()
    result = SSL_do_handshake(secure.ssl)
    if result == 1:
        secure.ready = 1
        secure.speaks = 1
        if SSL_is_server(secure.ssl):
            secure.certificate = identity_of(secure.ssl)
        return HANDSHAKE_DONE
    return failed(secure, SSL_get_error(secure.ssl, result))


def failed(secure, error):
    if error == SSL_ERROR_WANT_READ or error == SSL_ERROR_WANT_WRITE:
        return HANDSHAKE_LATER
    secure.plain = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_HTTP_REQUEST
    secure.fault = fault_of(secure, error)
    secure.speaks = 0
    return HANDSHAKE_FAILED


def fault_of(secure, error):
    """What the error queue says, in our words."""
    reason: cython.int = ERR_GET_REASON(ERR_peek_last_error())
    if reason == 0 or reason == SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return TLS_RESET
    if reason == SSL_R_CERTIFICATE_VERIFY_FAILED:
        return certificate_fault(SSL_get_verify_result(secure.ssl))
    if reason == SSL_R_HTTP_REQUEST or reason == SSL_R_WRONG_VERSION_NUMBER:
        return TLS_PLAIN
    if reason == SSL_R_UNSUPPORTED_PROTOCOL or reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return TLS_VERSION
    if reason == SSL_R_NO_SHARED_CIPHER:
        return TLS_CIPHER
    if reason == SSL_R_NO_APPLICATION_PROTOCOL or reason == SSL_AD_REASON_OFFSET + 120:
        return TLS_PROTOCOL  # 120: the alert no_application_protocol (RFC 7301 3.2)
    if reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return TLS_NO_CERTIFICATE
    if reason >= SSL_AD_REASON_OFFSET:
        return TLS_REFUSED
    return TLS_OTHER


def certificate_fault(verdict):
    if verdict == X509_V_ERR_CERT_HAS_EXPIRED or verdict == X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_EXPIRED
    if verdict == X509_V_ERR_HOSTNAME_MISMATCH or verdict == X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_NAME
    if verdict in (
        X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
        X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
        X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
        X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
    ):
        return TLS_AUTHORITY
    return TLS_CERTIFICATE


def fault_words(fault):
    return FOURSEVEN_TLS_FAULTS[fault if fault <= TLS_OTHER else TLS_OTHER]


# ---- bytes ----


def secure_read(secure, to, room):
    """As many records as are there and fit: each would else cost its own way to the other side."""
    got: uint32_t = 0
    size: cython.int
    error: cython.int
    while True:
        ERR_clear_error()
        size = SSL_read(secure.ssl, to + got, cython.cast(cython.int, room - got))
        if size <= 0:
            break
        got += size
        if got == room or not SSL_has_pending(secure.ssl):
            return cython.cast(int32_t, got)
    error = SSL_get_error(secure.ssl, size)
    if error == SSL_ERROR_WANT_READ or error == SSL_ERROR_WANT_WRITE:
        return cython.cast(int32_t, got) if got > 0 else SECURE_LATER
    if got > 0:
        secure.over = 1  # an end stays one: the next call finds it again
        return cython.cast(int32_t, got)
    if error == SSL_ERROR_ZERO_RETURN:
        return SECURE_END
    failed(secure, error)
    return SECURE_BROKEN


def secure_send(secure, at, size):
    done: uint32_t = 0
    piece: uint32_t
    sent: cython.int
    error: cython.int
    flushed: int32_t = secure_flush(secure)
    if flushed <= 0:
        return flushed
    secure.out = buffer_large(secure.worker)
    if secure.out is cython.NULL:
        return -1
    secure.gathering = 1
    while done < size:
        piece = size - done
        if piece > RECORD_MAX:
            piece = RECORD_MAX
        if piece + RECORD_ROOM > secure.out.capacity - secure.out.end:
            break
        ERR_clear_error()
        sent = SSL_write(secure.ssl, at + done, cython.cast(cython.int, piece))
        if sent <= 0:
            error = SSL_get_error(secure.ssl, sent)
            if error != SSL_ERROR_WANT_WRITE and error != SSL_ERROR_WANT_READ:
                failed(secure, error)
                secure.gathering = 0
                return -1
            break
        done += sent
    secure.gathering = 0
    if secure_flush(secure) < 0:
        return -1
    return cython.cast(int32_t, done)


def secure_flush(secure):
    out: cython.pointer[Buffer] = secure.out
    sent: cython.Py_ssize_t
    if out is cython.NULL:
        return 1
    while out.start < out.end:
        sent = send(secure.fd, out.at + out.start, out.end - out.start, MSG_NOSIGNAL)
        if sent < 0:
            if errno == EAGAIN or errno == EINTR:
                return 0
            secure.speaks = 0
            if secure.fault == TLS_NONE:
                secure.fault = TLS_RESET
            return -1
        secure.said = 1
        out.start += cython.cast(uint32_t, sent)
    secure.out = cython.NULL
    buffer_free(secure.worker, out)
    return 1


def secure_empty(secure):
    return secure.drained and not secure.over and not SSL_has_pending(secure.ssl)


def secure_quiet(secure):
    """The byte that is taken here is never missed: who spoke unasked is not spoken to again."""
    byte: cython.char = 0
    return secure_read(secure, cython.address(byte), 1) == SECURE_LATER


def secure_resumed(secure):
    return SSL_session_reused(secure.ssl) == 1


# ---- tickets of servers ----


def resumptions_drop(worker):
    places: cython.pointer[Resumption] = cython.cast(cython.pointer[Resumption], worker.resumptions)
    at: uint32_t
    for at in range(SLOTS_MAX):
        if places[at].session is not cython.NULL:
            SSL_SESSION_free(places[at].session)
            places[at].session = cython.NULL
