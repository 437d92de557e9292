"""The fields that the reader has already laid out: address, host, path, method, header
lines, and what the ClientHello said.

A field gives its first value, and when it is called again with the same cursor the next one; an
absent value ends that. Fields which decode or search have files of their own (cookies, queries,
bodies, useragent).

Laws: a header line is a value of its own. Lines of one name are not joined: whether any line
holds is what the program asks, and joining would need room for what a hostile client sends.
All lines count, also those that will not be forwarded (Connection, Upgrade): a match may ask
for them.
"""

import cython
from cython.cimports.fourseven.protocols.message import (
    CERTIFICATE_FACTS,
    FACT_NAMES,
    ClientCertificate,
    Span,
)
from cython.cimports.libc.stdint import uint32_t


def field_client(request, name, number, scratch, cursor):
    return Span(at=cython.cast(cython.p_const_char, request.client.bytes), size=16)


def field_host(request, name, number, scratch, cursor):
    return request.host


def field_path(request, name, number, scratch, cursor):
    return request.path


def field_method(request, name, number, scratch, cursor):
    return request.method


def field_header(request, name, number, scratch, cursor):
    value: Span = Span(at=cython.NULL, size=0)
    while cursor.line < request.header_count:
        line: uint32_t = cursor.line
        cursor.line += 1
        if same_name(cython.address(request.headers[line].name), name):
            value = request.headers[line].value
            if value.at is cython.NULL:
                value.at = b""
            break
    return value


def field_sni(request, name, number, scratch, cursor):
    return request.sni


def field_alpn(request, name, number, scratch, cursor):
    """The next name of the list; its reader has checked the sizes, and they are checked anew."""
    value: Span = Span(at=cython.NULL, size=0)
    list_: Span = request.alpn
    size: uint32_t
    if list_.at is cython.NULL or cursor.at >= list_.size:
        return value
    size = cython.cast(cython.uchar, list_.at[cursor.at])
    if size > list_.size - cursor.at - 1:
        return value
    value = Span(at=list_.at + cursor.at + 1, size=size)
    cursor.at += 1 + size
    return value


def field_certificate(request, name, number, scratch, cursor):
    """A fact of the client's certificate; absent where it has shown none."""
    certificate: cython.pointer[cython.const[ClientCertificate]] = request.certificate
    line: uint32_t = cursor.line
    if certificate is cython.NULL or number >= CERTIFICATE_FACTS:
        return Span(at=cython.NULL, size=0)
    cursor.line += 1
    if number == FACT_NAMES and line < certificate.name_count:
        return certificate.names[line]
    if number == FACT_NAMES or line > 0:
        return Span(at=cython.NULL, size=0)
    return certificate.facts[number]


def same_name(left, right):
    """RFC 9110 5.1: names of fields ignore the case of ASCII letters, and of no others."""
    at: uint32_t
    a: cython.uchar
    b: cython.uchar
    if left.size != right.size:
        return False
    for at in range(left.size):
        a = left.at[at]
        b = right.at[at]
        if a == b:
            continue
        if (a | 32) != (b | 32) or (a | 32) < 97 or (a | 32) > 122:
            return False
    return True
