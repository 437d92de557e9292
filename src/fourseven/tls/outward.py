"""What a backend's servers must show to us: one SSL_CTX for the backend, a name for each server.

A connection to a server is worth its verification: the certificate must be of an authority that
the file names (or of the system's), and stand for the very name under which the server is known
here. Only the file's own word `relax: [verification]` turns that off, and `check` warns of it.

A server's identity is a number for all that its connections were made under: authorities, name,
our certificate. A pooled connection and a ticket are used again only under the same one, so that a
reload which asks for more is never answered by what was verified for less.

Laws: no renegotiation, no compression. OpenSSL keeps no session by itself: the worker that made a
connection keeps the server's last ticket (worker/secure). The subject's common name is no name.

Source: RFC 9525 (names), RFC 8446 C.4 (tickets).
"""

import cython
from cython.cimports.fourseven.native.arena import arena_on_drop, arena_take, arena_text
from cython.cimports.fourseven.native.openssl import (
    SSL_CTX,
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
    SSL_MODE_ENABLE_PARTIAL_WRITE,
    SSL_MODE_RELEASE_BUFFERS,
    SSL_OP_NO_COMPRESSION,
    SSL_OP_NO_RENEGOTIATION,
    SSL_SESS_CACHE_CLIENT,
    SSL_SESS_CACHE_NO_INTERNAL,
    SSL_VERIFY_NONE,
    SSL_VERIFY_PEER,
    SSL_CTX_free,
    SSL_CTX_new,
    SSL_CTX_sess_set_new_cb,
    SSL_CTX_set1_groups_list,
    SSL_CTX_set_cipher_list,
    SSL_CTX_set_max_proto_version,
    SSL_CTX_set_min_proto_version,
    SSL_CTX_set_mode,
    SSL_CTX_set_options,
    SSL_CTX_set_read_ahead,
    SSL_CTX_set_session_cache_mode,
    SSL_CTX_set_verify,
    SSL_get_app_data,
    SSL_SESSION_free,
    TLS_client_method,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.tls.outward import Keeping, TlsOutward, TlsPeer
from cython.cimports.fourseven.tls.site import (
    add_authorities,
    add_certificate,
    drop_context,
    refused,
)
from cython.cimports.libc.stdint import uint32_t

# ---- control's half: from the plan ----


def outward_build(arena, plan, slots):
    at: cython.int
    outward: cython.pointer[TlsOutward] = cython.cast(
        cython.pointer[TlsOutward], arena_take(arena, cython.sizeof(TlsOutward))
    )
    outward.context = client_context(plan)
    arena_on_drop(arena, drop_context, outward.context)
    outward.verified = plan.verified
    outward.protocols = Span(at=cython.NULL, size=0)
    if plan.protocols:
        outward.protocols = arena_text(arena, plan.protocols)
    outward.peer_count = len(slots)
    outward.peers = cython.cast(
        cython.pointer[TlsPeer], arena_take(arena, cython.sizeof(TlsPeer) * (len(slots) or 1))
    )
    for at, peer in enumerate(plan.peers):
        outward.peers[at].slot = slots[at]
        outward.peers[at].is_address = peer.is_address
        outward.peers[at].name = arena_text(arena, peer.name + b"\0")
        outward.peers[at].sni = Span(at=cython.NULL, size=0)
        if peer.sni:
            outward.peers[at].sni = arena_text(arena, peer.sni + b"\0")
        outward.peers[at].identity = peer.identity
    return outward


def client_context(plan):
    context: cython.pointer[SSL_CTX] = SSL_CTX_new(TLS_client_method())
    if context is cython.NULL:
        raise MemoryError
    try:
        set_up(context, plan)
    except BaseException:
        SSL_CTX_free(context)
        raise
    return context


def set_up(context, plan):
    ciphers: bytes = plan.ciphers
    curves: bytes = plan.curves
    SSL_CTX_set_mode(
        context,
        SSL_MODE_ENABLE_PARTIAL_WRITE
        | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        | SSL_MODE_RELEASE_BUFFERS,
    )
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION)
    SSL_CTX_set_read_ahead(context, 1)
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
    SSL_CTX_sess_set_new_cb(context, keep_session)
    if SSL_CTX_set_min_proto_version(context, plan.min_version) != 1:
        refused("the lowest version")
    SSL_CTX_set_max_proto_version(context, 0)
    if SSL_CTX_set_cipher_list(context, ciphers) != 1:
        refused("the ciphers")
    if SSL_CTX_set1_groups_list(context, curves) != 1:
        refused("the curves")
    if plan.verified:
        add_authorities(context, plan.authority, False)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, cython.NULL)
    else:
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, cython.NULL)
    if plan.certificate is not None:
        add_certificate(context, plan.certificate)
    return 0


# ---- the workers' half ----


def peer_at(outward, slot):
    at: uint32_t = 0
    while at < outward.peer_count and outward.peers[at].slot != slot:
        at += 1
    return at


def outward_identity(outward, slot):
    at: uint32_t = peer_at(outward, slot)
    return outward.peers[at].identity if at < outward.peer_count else 0


def keep_session(ssl, session):
    """Called by OpenSSL with a new ticket; 1: the reference is ours now."""
    keeping: cython.pointer[Keeping] = cython.cast(cython.pointer[Keeping], SSL_get_app_data(ssl))
    if keeping is cython.NULL or keeping.place is cython.NULL:
        return 0
    SSL_SESSION_free(keeping.place.session)
    keeping.place.session = session
    keeping.place.identity = keeping.identity
    return 1
