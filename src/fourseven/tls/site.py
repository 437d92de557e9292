"""What a TLS listener shows to its clients: its certificates, found by the name they ask for.

Each set of certificates that stand for the same names (an ECDSA and an RSA one, say) is one
SSL_CTX; OpenSSL picks of the two what the client can verify. A ClientHello that names a host is
answered by the context of that very name, else by that of the wildcard above it, else by the
first one.

A site is part of a snapshot and holds a reference to each of its contexts, which may be those of
the snapshot before (tls.contexts). A connection holds its own reference to the contexts that it
uses, and finds the current site through its listener: so a handshake that outlives a reload is
finished with the newest certificates.

Laws: no renegotiation and no compression (both have been attacks), no session cache (tickets need
none). Where clients must show a certificate there are no tickets either: each connection is
verified anew. The app data of a context is the ticket ring; that of a connection is the place of
its listener's plan (`Listener **`).

Source: RFC 6066 3 (SNI), RFC 7301 (ALPN), RFC 6125 6.4.3 (wildcards stand for one label).
"""

from dataclasses import replace

import cython
from cython.cimports.fourseven.native.arena import arena_on_drop, arena_take, arena_text
from cython.cimports.fourseven.native.openssl import (
    BIO,
    EVP_PKEY,
    SSL_CTX,
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER,
    SSL_MODE_ENABLE_PARTIAL_WRITE,
    SSL_MODE_RELEASE_BUFFERS,
    SSL_OP_NO_COMPRESSION,
    SSL_OP_NO_RENEGOTIATION,
    SSL_OP_NO_TICKET,
    SSL_SESS_CACHE_OFF,
    SSL_TLSEXT_ERR_ALERT_FATAL,
    SSL_TLSEXT_ERR_NOACK,
    SSL_TLSEXT_ERR_OK,
    SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    SSL_VERIFY_PEER,
    X509,
    X509_CRL,
    X509_STORE,
    X509_V_FLAG_CRL_CHECK,
    X509_V_FLAG_CRL_CHECK_ALL,
    BIO_free,
    BIO_new_mem_buf,
    ERR_clear_error,
    ERR_error_string_n,
    ERR_peek_error,
    EVP_PKEY_free,
    OPENSSL_malloc,
    PEM_read_bio_PrivateKey,
    PEM_read_bio_X509,
    PEM_read_bio_X509_CRL,
    SSL_CTX_add1_chain_cert,
    SSL_CTX_add_client_CA,
    SSL_CTX_check_private_key,
    SSL_CTX_free,
    SSL_CTX_get0_certificate,
    SSL_CTX_get_cert_store,
    SSL_CTX_get_client_CA_list,
    SSL_CTX_new,
    SSL_CTX_set1_cert_store,
    SSL_CTX_set1_groups_list,
    SSL_CTX_set_alpn_select_cb,
    SSL_CTX_set_app_data,
    SSL_CTX_set_cipher_list,
    SSL_CTX_set_ciphersuites,
    SSL_CTX_set_client_CA_list,
    SSL_CTX_set_max_proto_version,
    SSL_CTX_set_min_proto_version,
    SSL_CTX_set_mode,
    SSL_CTX_set_num_tickets,
    SSL_CTX_set_options,
    SSL_CTX_set_read_ahead,
    SSL_CTX_set_session_cache_mode,
    SSL_CTX_set_session_id_context,
    SSL_CTX_set_timeout,
    SSL_CTX_set_tlsext_servername_callback,
    SSL_CTX_set_tlsext_status_arg,
    SSL_CTX_set_tlsext_status_cb,
    SSL_CTX_set_tlsext_ticket_key_evp_cb,
    SSL_CTX_set_verify,
    SSL_CTX_up_ref,
    SSL_CTX_use_certificate,
    SSL_CTX_use_PrivateKey,
    SSL_dup_CA_list,
    SSL_get_app_data,
    SSL_get_certificate,
    SSL_get_servername,
    SSL_set_SSL_CTX,
    SSL_set_tlsext_status_ocsp_resp,
    TLS_server_method,
    TLSEXT_NAMETYPE_host_name,
    X509_CRL_free,
    X509_free,
    X509_STORE_add_cert,
    X509_STORE_add_crl,
    X509_STORE_set_flags,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.hashing import hash_bytes
from cython.cimports.fourseven.snapshot.layout import (
    MODE_HTTP,
    PROTOCOL_HTTP1,
    PROTOCOL_HTTP2,
    Listener,
)
from cython.cimports.fourseven.tls.site import (
    NAME_MAX,
    NO_CONTEXT,
    TICKET_LIFE_S,
    TlsName,
    TlsSite,
    TlsStaple,
    TlsStaples,
)
from cython.cimports.fourseven.tls.tickets import ticket_key
from cython.cimports.libc.stdint import int32_t, int64_t, uint32_t
from cython.cimports.libc.string import memcmp, memcpy, strlen
from cython.cimports.libc.time import time

# ---- control's half: from the plan ----


def site_build(arena, plan, tickets, kept):
    at: cython.int
    context: cython.pointer[SSL_CTX]
    first: cython.pointer[SSL_CTX] = cython.NULL
    site: cython.pointer[TlsSite] = cython.cast(
        cython.pointer[TlsSite], arena_take(arena, cython.sizeof(TlsSite))
    )
    site.contexts = cython.cast(
        cython.pointer[cython.pointer[SSL_CTX]],
        arena_take(arena, cython.sizeof(cython.p_void) * len(plan.sets)),
    )
    for at, members in enumerate(plan.sets):
        context = kept_context(arena, plan, members, tickets, first, kept)
        first = site.contexts[0] if at else context
        site.contexts[at] = context
        arena_on_drop(arena, drop_context, context)
    site.context_count = len(plan.sets)
    fill_names(arena, site, list(plan.names))
    site.protocols = arena_text(arena, plan.protocols)
    return site


def kept_context(arena, plan, members, tickets, first, kept):
    """That of the last snapshot, where all that it was made of is the same."""
    context: cython.pointer[SSL_CTX]
    settings = replace(plan, certificates=(), sets=(), names=(), files=())
    shown = [plan.certificates[number] for number in members]
    made_of = (cython.cast(cython.size_t, tickets), settings, *shown)
    context = kept.find(made_of)
    if context is not cython.NULL:
        SSL_CTX_up_ref(context)
        return context
    context = new_context(arena, plan, members, tickets, first)
    responses = [one.staple for one in shown if one.staple]
    if not responses:  # a response stands in the memory of this snapshot
        kept.keep(made_of, context)
    return context


def drop_context(context):
    SSL_CTX_free(cython.cast(cython.pointer[SSL_CTX], context))


def fill_names(arena, site, names):
    """At most half full, so that a look-up ends soon."""
    places: uint32_t = 4
    at: uint32_t
    while places < 2 * len(names):
        places *= 2
    site.name_mask = places - 1
    site.names = cython.cast(
        cython.pointer[TlsName], arena_take(arena, cython.sizeof(TlsName) * places)
    )
    for at in range(places):
        site.names[at].context = NO_CONTEXT
    for name, chosen in names:
        text = arena_text(arena, name)
        at = cython.cast(uint32_t, hash_bytes(text.at, text.size)) & site.name_mask
        while site.names[at].context != NO_CONTEXT:
            at = (at + 1) & site.name_mask
        site.names[at].text = text
        site.names[at].context = chosen
    return 0


def new_context(arena, plan, members, tickets, first):
    context: cython.pointer[SSL_CTX] = SSL_CTX_new(TLS_server_method())
    staples: cython.pointer[TlsStaples]
    if context is cython.NULL:
        raise MemoryError
    try:
        set_up(context, plan, tickets, first)
        staples = cython.cast(
            cython.pointer[TlsStaples], arena_take(arena, cython.sizeof(TlsStaples))
        )
        staples.count = 0
        staples.at = cython.cast(
            cython.pointer[TlsStaple], arena_take(arena, cython.sizeof(TlsStaple) * len(members))
        )
        for number in members:
            add_certificate(context, plan.certificates[number])
            add_staple(arena, staples, context, plan.certificates[number])
    except BaseException:
        SSL_CTX_free(context)
        raise
    return context


def set_up(context, plan, tickets, first):
    options = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
    identity: bytes = plan.identity
    name: cython.p_const_char = identity
    SSL_CTX_set_app_data(context, tickets)
    SSL_CTX_set_mode(
        context,
        SSL_MODE_ENABLE_PARTIAL_WRITE
        | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        | SSL_MODE_RELEASE_BUFFERS,
    )
    SSL_CTX_set_read_ahead(context, 1)  # a record's head and body in one system call
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF)
    SSL_CTX_set_timeout(context, cython.cast(cython.long, TICKET_LIFE_S))
    SSL_CTX_set_session_id_context(
        context, cython.cast(cython.pointer[cython.const[cython.uchar]], name), len(identity)
    )
    SSL_CTX_set_tlsext_servername_callback(context, choose_certificate)
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, cython.NULL)
    if plan.client_authority:
        options |= SSL_OP_NO_TICKET
        SSL_CTX_set_num_tickets(context, 0)
        set_clients(context, plan, first)
    else:
        SSL_CTX_set_num_tickets(context, 1)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, ticket_key)
    SSL_CTX_set_options(context, options)
    if SSL_CTX_set_min_proto_version(context, plan.min_version) != 1:
        refused("the lowest version")
    SSL_CTX_set_max_proto_version(context, 0)
    ciphers: bytes = plan.ciphers
    curves: bytes = plan.curves
    if SSL_CTX_set_cipher_list(context, ciphers) != 1:
        refused("the ciphers")
    suites: bytes = plan.suites
    if suites and SSL_CTX_set_ciphersuites(context, suites) != 1:
        refused("the suites")
    if SSL_CTX_set1_groups_list(context, curves) != 1:
        refused("the curves")
    return 0


def set_clients(context, plan, first):
    """What vouches for clients is read once, and all contexts share it: there may be a thousand of
    them, and a list of revoked certificates may be of megabytes."""
    mode: cython.int = SSL_VERIFY_PEER
    if plan.client_required:
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    SSL_CTX_set_verify(context, mode, cython.NULL)
    if first is not cython.NULL:
        SSL_CTX_set1_cert_store(context, SSL_CTX_get_cert_store(first))
        SSL_CTX_set_client_CA_list(context, SSL_dup_CA_list(SSL_CTX_get_client_CA_list(first)))
        return 0
    add_authorities(context, plan.client_authority, True)
    if plan.client_crl:
        add_revoked(SSL_CTX_get_cert_store(context), plan.client_crl)
    return 0


def add_authorities(context, pem, named):
    """`named`: clients are told these names, so that they can choose among their certificates."""
    text: bytes = pem
    store: cython.pointer[X509_STORE] = SSL_CTX_get_cert_store(context)
    bio: cython.pointer[BIO] = BIO_new_mem_buf(cython.cast(cython.p_const_char, text), len(text))
    one: cython.pointer[X509]
    found: cython.int = 0
    while True:
        one = PEM_read_bio_X509(bio, cython.NULL, cython.NULL, cython.NULL)
        if one is cython.NULL:
            break
        found += X509_STORE_add_cert(store, one)
        if named:
            SSL_CTX_add_client_CA(context, one)
        X509_free(one)
    BIO_free(bio)
    if found == 0:
        refused("the certificates of the authorities")
    ERR_clear_error()
    return 0


def add_revoked(store, pem):
    """From here on the whole chain of a client is looked up: who is on no list is refused too."""
    text: bytes = pem
    bio: cython.pointer[BIO] = BIO_new_mem_buf(cython.cast(cython.p_const_char, text), len(text))
    one: cython.pointer[X509_CRL]
    found: cython.int = 0
    while True:
        one = PEM_read_bio_X509_CRL(bio, cython.NULL, cython.NULL, cython.NULL)
        if one is cython.NULL:
            break
        found += X509_STORE_add_crl(store, one)
        X509_CRL_free(one)
    BIO_free(bio)
    if found == 0:
        refused("the lists of revoked certificates")
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)
    ERR_clear_error()
    return 0


def add_certificate(context, said):
    chain: bytes = said.chain
    secret: bytes = said.key
    bio: cython.pointer[BIO] = BIO_new_mem_buf(cython.cast(cython.p_const_char, chain), len(chain))
    one: cython.pointer[X509] = PEM_read_bio_X509(bio, cython.NULL, cython.NULL, cython.NULL)
    key: cython.pointer[EVP_PKEY]
    good: cython.bint = one is not cython.NULL and SSL_CTX_use_certificate(context, one) == 1
    X509_free(one)
    while good:
        one = PEM_read_bio_X509(bio, cython.NULL, cython.NULL, cython.NULL)
        if one is cython.NULL:
            break
        good = SSL_CTX_add1_chain_cert(context, one) == 1
        X509_free(one)
    BIO_free(bio)
    if not good:
        refused(f"the certificate {said.file}")
    bio = BIO_new_mem_buf(cython.cast(cython.p_const_char, secret), len(secret))
    # The empty text is the pass phrase: OpenSSL would ask at a terminal for another.
    key = PEM_read_bio_PrivateKey(
        bio, cython.NULL, cython.NULL, cython.cast(cython.p_void, cython.cast(cython.p_char, b""))
    )
    BIO_free(bio)
    good = key is not cython.NULL and SSL_CTX_use_PrivateKey(context, key) == 1
    EVP_PKEY_free(key)
    if not good or SSL_CTX_check_private_key(context) != 1:
        refused(f"the key of {said.file}")
    ERR_clear_error()
    return 0


def add_staple(arena, staples, context, said):
    """Of the certificate that was added last."""
    one: cython.pointer[TlsStaple] = cython.address(staples.at[staples.count])
    if not said.staple:
        return 0
    one.certificate = SSL_CTX_get0_certificate(context)
    one.response = arena_text(arena, said.staple)
    one.until_s = cython.cast(int64_t, said.staple_until)
    staples.count += 1
    SSL_CTX_set_tlsext_status_cb(context, show_staple)
    SSL_CTX_set_tlsext_status_arg(context, staples)
    return 0


def refused(what):
    text = cython.declare(cython.char[256])
    ERR_error_string_n(ERR_peek_error(), text, 256)
    ERR_clear_error()
    raise ValueError(f"OpenSSL does not take {what}: {text.decode(errors='replace')}")


# ---- the workers' half: called by OpenSSL in a handshake ----


def choose_certificate(ssl, alert, argument):
    """The name decides. For one that is not ours the first certificate is shown."""
    lower = cython.declare(cython.char[256])
    name: cython.p_const_char = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
    size: cython.size_t
    at: cython.size_t
    found: int32_t
    site: cython.pointer[TlsSite]
    plan: cython.pointer[cython.pointer[cython.const[Listener]]] = cython.cast(
        cython.pointer[cython.pointer[cython.const[Listener]]], SSL_get_app_data(ssl)
    )
    if plan[0] is cython.NULL or plan[0].tls is cython.NULL:
        return SSL_TLSEXT_ERR_ALERT_FATAL  # a reload has taken TLS off this listener
    site = cython.cast(cython.pointer[TlsSite], plan[0].tls)
    if name is cython.NULL:
        SSL_set_SSL_CTX(ssl, site.contexts[0])
        return SSL_TLSEXT_ERR_NOACK
    size = strlen(name)
    if size > 0 and name[size - 1] == 46:
        size -= 1
    found = NO_CONTEXT
    if size <= NAME_MAX:
        for at in range(size):
            lower[at] = name[at]
            if 65 <= name[at] and name[at] <= 90:
                lower[at] = name[at] + 32
        found = site_find(site, lower, cython.cast(uint32_t, size))
    SSL_set_SSL_CTX(ssl, site.contexts[0 if found == NO_CONTEXT else found])
    return SSL_TLSEXT_ERR_OK


def show_staple(ssl, argument):
    """The certificate is chosen; the client asks whether it is still good. In the end of a response
    none is shown: a client refuses an old one, and passes over none.
    """
    staples: cython.pointer[TlsStaples] = cython.cast(cython.pointer[TlsStaples], argument)
    certificate: cython.pointer[X509] = SSL_get_certificate(ssl)
    one: cython.pointer[TlsStaple]
    copy: cython.p_void
    at: uint32_t
    for at in range(staples.count):
        one = cython.address(staples.at[at])
        if one.certificate != certificate or one.until_s <= time(cython.NULL):
            continue
        copy = OPENSSL_malloc(one.response.size)
        if copy is cython.NULL:
            break
        memcpy(copy, one.response.at, one.response.size)
        SSL_set_tlsext_status_ocsp_resp(
            ssl,
            cython.cast(cython.pointer[cython.uchar], copy),
            cython.cast(cython.long, one.response.size),
        )
        return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_NOACK


def site_find(site, at, size):
    first: uint32_t = 0
    found: int32_t = name_find(site, at, size)
    if found != NO_CONTEXT:
        return found
    while first < size and at[first] != 46:
        first += 1
    if first == 0 or first == size:
        return NO_CONTEXT
    return name_find(site, at + first, size - first)


def name_find(site, at, size):
    place: uint32_t = cython.cast(uint32_t, hash_bytes(at, size)) & site.name_mask
    name: cython.pointer[cython.const[TlsName]]
    while True:
        name = cython.address(site.names[place])
        if name.context == NO_CONTEXT:
            return NO_CONTEXT
        if name.text.size == size and memcmp(name.text.at, at, size) == 0:
            return name.context
        place = (place + 1) & site.name_mask


def choose_protocol(ssl, out, out_size, offered, size, argument):
    """HTTP/2 before 1.1, of what the listener speaks; of what is relayed, as the file has it. A
    client that offers only others is told so (RFC 7301 3.2).
    """
    plan: cython.pointer[cython.pointer[cython.const[Listener]]] = cython.cast(
        cython.pointer[cython.pointer[cython.const[Listener]]], SSL_get_app_data(ssl)
    )
    spoken: uint32_t = 0 if plan[0] is cython.NULL else plan[0].protocols
    if plan[0] is not cython.NULL and plan[0].mode != MODE_HTTP:
        return choose_inside(
            cython.cast(cython.pointer[TlsSite], plan[0].tls), out, out_size, offered, size
        )
    if spoken & PROTOCOL_HTTP2 and offers(out, out_size, offered, size, b"h2", 2):
        return SSL_TLSEXT_ERR_OK
    if spoken & PROTOCOL_HTTP1 and offers(out, out_size, offered, size, b"http/1.1", 8):
        return SSL_TLSEXT_ERR_OK
    return SSL_TLSEXT_ERR_ALERT_FATAL


def choose_inside(site, out, out_size, offered, size):
    ours: Span
    at: uint32_t = 0
    length: uint32_t
    if site is cython.NULL:
        return SSL_TLSEXT_ERR_NOACK
    ours = site.protocols
    if ours.size == 0:
        return SSL_TLSEXT_ERR_NOACK  # what is inside is not ours to say
    while at < ours.size:
        length = cython.cast(cython.uchar, ours.at[at])
        if offers(out, out_size, offered, size, ours.at + at + 1, length):
            return SSL_TLSEXT_ERR_OK
        at += 1 + length
    return SSL_TLSEXT_ERR_ALERT_FATAL


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def offers(
    out: cython.pointer[cython.pointer[cython.const[cython.uchar]]],
    out_size: cython.pointer[cython.uchar],
    offered: cython.pointer[cython.const[cython.uchar]],
    size: cython.uint,
    name: cython.p_const_char,
    name_size: cython.uint,
) -> cython.bint:
    """Does this name stand in the client's list? Then it is chosen."""
    at: cython.uint = 0
    length: cython.uint
    while at < size:
        length = offered[at]
        if at + 1 + length > size:
            break
        if length == name_size and memcmp(offered + at + 1, name, length) == 0:
            out[0] = offered + at + 1
            out_size[0] = cython.cast(cython.uchar, length)
            return True
        at += 1 + length
    return False
