"""Who a client is, as its certificate says: read once a connection, for matches and headers.

The certificate has been verified when this is asked: a listener that asks for certificates takes
none that does not verify, so one that is there is one that is good.

Names are text here as RFC 2253 writes them (the most specific part first), with everything that is
not printable ASCII escaped. Alternative names are DNS names, addresses, e-mail addresses and URIs,
plainly; one with a byte that is not printable is left out, for it can only be meant to deceive.

Laws: one piece of memory holds all, so that free() ends it. A certificate with more text than
IDENTITY_MAX is as good as none, so whatever asks for a fact of it fails.
"""

import cython
from cython.cimports.fourseven.native.linux import AF_INET, AF_INET6
from cython.cimports.fourseven.native.openssl import (
    ASN1_STRING,
    BIO,
    GEN_DNS,
    GEN_EMAIL,
    GEN_IPADD,
    GEN_URI,
    GENERAL_NAMES,
    X509,
    XN_FLAG_RFC2253,
    ASN1_STRING_get0_data,
    ASN1_STRING_length,
    BIO_free,
    BIO_get_mem_data,
    BIO_new,
    BIO_s_mem,
    ERR_clear_error,
    EVP_sha256,
    GENERAL_NAME_get0_value,
    GENERAL_NAMES_free,
    NID_subject_alt_name,
    SSL_get0_peer_certificate,
    X509_digest,
    X509_get0_serialNumber,
    X509_get_ext_d2i,
    X509_get_issuer_name,
    X509_get_subject_name,
    X509_NAME_print_ex,
    sk_GENERAL_NAME_num,
    sk_GENERAL_NAME_value,
)
from cython.cimports.fourseven.protocols.message import CERTIFICATE_FACTS, ClientCertificate, Span
from cython.cimports.fourseven.tls.identity import ENDS, IDENTITY_MAX, NAMES_MAX, Text, inet_ntop
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy, strlen


def identity_of(ssl):
    certificate: cython.pointer[X509] = SSL_get0_peer_certificate(ssl)
    if certificate is cython.NULL:
        return cython.NULL
    return identity_read(certificate)


def identity_read(certificate):
    found: cython.pointer[ClientCertificate] = cython.NULL
    text: Text
    text.size = 0
    text.full = False
    text.at = cython.cast(cython.p_char, malloc(IDENTITY_MAX))
    if text.at is cython.NULL:
        return found
    found = read_facts(certificate, cython.address(text))
    free(text.at)
    ERR_clear_error()
    return found


def read_facts(certificate, text):
    starts = cython.declare(uint32_t[NAMES_MAX])
    facts = cython.declare(uint32_t[ENDS])
    digest = cython.declare(cython.uchar[64])
    digest_size: cython.uint = 0
    serial: cython.pointer[cython.const[ASN1_STRING]] = X509_get0_serialNumber(certificate)
    at: uint32_t
    names: uint32_t
    base: cython.p_char
    found: cython.pointer[ClientCertificate]
    facts[0] = 0
    put_name(text, X509_get_subject_name(certificate))
    facts[1] = text.size
    put_name(text, X509_get_issuer_name(certificate))
    facts[2] = text.size
    X509_digest(certificate, EVP_sha256(), digest, cython.address(digest_size))
    put_hex(text, digest, digest_size)
    facts[3] = text.size
    put_hex(text, ASN1_STRING_get0_data(serial), cython.cast(uint32_t, ASN1_STRING_length(serial)))
    facts[4] = text.size
    names = put_names(text, certificate, starts)
    facts[5] = text.size
    if text.full:
        return cython.NULL
    found = cython.cast(
        cython.pointer[ClientCertificate],
        malloc(cython.sizeof(ClientCertificate) + names * cython.sizeof(Span) + text.size),
    )
    if found is cython.NULL:
        return found
    base = cython.cast(cython.p_char, found) + cython.sizeof(ClientCertificate)
    found.names = cython.cast(cython.pointer[Span], base)
    base += names * cython.sizeof(Span)
    memcpy(base, text.at, text.size)
    for at in range(cython.cast(uint32_t, CERTIFICATE_FACTS)):
        found.facts[at] = Span(at=base + facts[at], size=facts[at + 1] - facts[at])
    found.name_count = names
    for at in range(names):  # a name ends where the ", " before the next one begins
        found.names[at].at = base + starts[at]
        found.names[at].size = (starts[at + 1] - 2 if at + 1 < names else facts[5]) - starts[at]
    return found


def put(text, at, size):
    if size > cython.cast(uint32_t, IDENTITY_MAX) - text.size:
        text.full = True
        return
    memcpy(text.at + text.size, at, size)
    text.size += size


def put_name(text, name):
    said: cython.pointer[BIO] = BIO_new(BIO_s_mem())
    kept: cython.p_char = cython.NULL
    size: cython.long
    if said is cython.NULL:
        text.full = True
        return
    X509_NAME_print_ex(said, name, 0, XN_FLAG_RFC2253)
    size = BIO_get_mem_data(said, cython.address(kept))
    if size > 0:
        put(
            text, kept, cython.cast(uint32_t, size if size < IDENTITY_MAX + 1 else IDENTITY_MAX + 1)
        )
    BIO_free(said)


def put_hex(text, at, size):
    hexadecimal: cython.p_const_char = b"0123456789abcdef"
    two = cython.declare(cython.char[2])
    i: uint32_t
    for i in range(size):
        two[0] = hexadecimal[at[i] >> 4]
        two[1] = hexadecimal[at[i] & 15]
        put(text, two, 2)


def put_names(text, certificate, starts):
    """The alternative names with ", " between them; how many, and where each begins."""
    room = cython.declare(cython.char[256])
    names: cython.pointer[GENERAL_NAMES] = cython.cast(
        cython.pointer[GENERAL_NAMES],
        X509_get_ext_d2i(certificate, NID_subject_alt_name, cython.NULL, cython.NULL),
    )
    value: cython.p_void
    kind: cython.int = 0
    at: cython.int
    size: uint32_t
    count: uint32_t = 0
    if names is cython.NULL:
        return 0
    for at in range(sk_GENERAL_NAME_num(names)):
        if count == NAMES_MAX:
            break
        value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, at), cython.address(kind))
        size = alternative(room, kind, value)
        if size == 0:
            continue
        if count > 0:
            put(text, b", ", 2)
        starts[count] = text.size
        put(text, room, size)
        count += 1
    GENERAL_NAMES_free(names)
    return count


def alternative(room, kind, value):
    """The text of one name in a room of 256 bytes; 0 where it has none that is to be believed."""
    said: cython.pointer[cython.const[ASN1_STRING]] = cython.cast(
        cython.pointer[cython.const[ASN1_STRING]], value
    )
    at: cython.pointer[cython.const[cython.uchar]]
    size: cython.int
    i: cython.int
    if kind != GEN_DNS and kind != GEN_EMAIL and kind != GEN_URI and kind != GEN_IPADD:
        return 0
    at = ASN1_STRING_get0_data(said)
    size = ASN1_STRING_length(said)
    if kind == GEN_IPADD:
        if size != 4 and size != 16:
            return 0
        inet_ntop(AF_INET if size == 4 else AF_INET6, at, room, 64)
        return cython.cast(uint32_t, strlen(room))
    if size <= 0 or size > 256:
        return 0
    for i in range(size):
        # A comma would make two names of one in the header that holds them all.
        if at[i] <= 32 or at[i] >= 127 or at[i] == b",":
            return 0
        room[i] = at[i]
    return cython.cast(uint32_t, size)
