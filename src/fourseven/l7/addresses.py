"""Addresses as text, read strictly and written in the one canonical form.

What a header says about an address decides whom we believe, so the reader takes no form that two
programs read differently: no leading zeros (is 010 eight or ten?), no shortened 127.1, no zone.
It tolerates what proxies in the field do add: a port, and brackets around IPv6. The digits are
read by inet_pton, which has exactly these rules; what it must not see (a colon and a port behind
it) is cut off first. Written text follows RFC 5952, so that equal addresses are equal texts.

Laws: an address is 16 bytes; IPv4 is ::ffff:a.b.c.d and is written as a.b.c.d, so that no rule is
by-passed by the other form.
"""

import cython
from cython.cimports.fourseven.l7.addresses import AF_INET, AF_INET6, inet_pton
from cython.cimports.fourseven.protocols.message import Address
from cython.cimports.libc.stdint import uint8_t, uint16_t, uint32_t
from cython.cimports.libc.string import memchr, memcpy, memset


def is_v4(bytes):
    at: uint32_t
    for at in range(10):
        if bytes[at] != 0:
            return False
    return bytes[10] == 0xFF and bytes[11] == 0xFF


def address_text(out, address):
    if is_v4(address.bytes):
        return text_v4(out, address.bytes + 12)
    return text_v6(out, address.bytes)


def text_v4(out, bytes):
    size: uint32_t = 0
    at: uint32_t
    byte: uint8_t
    for at in range(4):
        byte = bytes[at]
        if at:
            out[size] = 46  # .
            size += 1
        if byte >= 100:
            out[size] = 48 + byte // 100
            size += 1
        if byte >= 10:
            out[size] = 48 + byte // 10 % 10
            size += 1
        out[size] = 48 + byte % 10
        size += 1
    return size


def text_v6(out, bytes):
    groups = cython.declare(uint32_t[8])
    size: uint32_t = 0
    at: uint32_t
    run: uint32_t = 0
    gap: uint32_t = 8
    gap_size: uint32_t = 1  # RFC 5952 4.2.2: one zero group alone is not shortened
    for at in range(8):
        groups[at] = cython.cast(uint32_t, bytes[2 * at]) << 8 | bytes[2 * at + 1]
        run = run + 1 if groups[at] == 0 else 0
        if run > gap_size:  # the first of equally long ones (4.2.3)
            gap_size = run
            gap = at + 1 - run
    at = 0
    while at < 8:
        if at == gap:
            out[size] = out[size + 1] = 58  # ::
            size += 2
            at += gap_size
            continue
        if at != 0 and at != gap + gap_size:
            out[size] = 58
            size += 1
        size += text_group(out + size, groups[at])
        at += 1
    return size


def text_group(out, group):
    size: uint32_t = 0
    shift: uint32_t = 12
    digit: uint32_t
    while True:
        digit = group >> shift & 15
        if digit or size or shift == 0:
            out[size] = 48 + digit if digit < 10 else 87 + digit
            size += 1
        if shift == 0:
            return size
        shift -= 4


def address_read(text, address):
    found = cython.declare(Address)
    at: cython.p_const_char = text.at
    size: uint32_t = text.size
    close: cython.p_const_char
    first: cython.p_const_char
    memset(cython.address(found), 0, cython.sizeof(Address))
    if size == 0:
        return False
    if at[0] == 91:  # [v6] or [v6]:port
        close = cython.cast(cython.p_const_char, memchr(at, 93, size))
        if close is cython.NULL or not read_host(at + 1, close - at - 1, AF_INET6, found.bytes):
            return False
        if not read_port(close + 1, size - (close + 1 - at), cython.address(found.port)):
            return False
        address[0] = found
        return True
    first = cython.cast(cython.p_const_char, memchr(at, 58, size))
    if (
        first is not cython.NULL
        and memchr(first + 1, 58, size - (first + 1 - at)) is not cython.NULL
    ):
        if not read_host(at, size, AF_INET6, found.bytes):  # two colons: IPv6, and no port
            return False
        address[0] = found
        return True
    if first is cython.NULL:
        first = at + size
    found.bytes[10] = found.bytes[11] = 0xFF
    if not read_host(at, first - at, AF_INET, found.bytes + 12):
        return False
    if not read_port(first, size - (first - at), cython.address(found.port)):
        return False
    address[0] = found
    return True


def read_host(at, size, family, bytes):
    text = cython.declare(cython.char[48])  # 45 digits, dots and colons are the longest form
    if size > 45 or memchr(at, 0, size) is not cython.NULL:
        return False
    memcpy(text, at, size)
    text[size] = 0
    return inet_pton(family, text, bytes) == 1


def read_port(at, size, port):
    """Nothing at all, or a colon and one to five digits."""
    number: uint32_t = 0
    i: uint32_t
    port[0] = 0
    if size == 0:
        return True
    if at[0] != 58 or size < 2 or size > 6:
        return False
    for i in range(1, size):
        if at[i] < 48 or at[i] > 57:
            return False
        number = number * 10 + cython.cast(uint32_t, at[i] - 48)
    port[0] = cython.cast(uint16_t, number)
    return number <= 65535
