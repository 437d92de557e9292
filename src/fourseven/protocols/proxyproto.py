"""The PROXY protocol, versions 1 and 2: a proxy says in front of a connection who the client is.

    v1   PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\\r\\n
    v2   a signature of 12 bytes, version and command, family, a length; addresses; then TLVs

Whoever can send this header chooses who he is for every rule behind it, so it is read only from
those whom the file names, and there it is not guessed: they must send it.

Laws: every length is checked against what holds it, and used up exactly; a header is refused as
soon as its bytes can no longer become one. A TLV that we use may stand once: two of them would mean
one thing to us and another to the next. Unknown TLVs are passed over, as the standard says. A
checksum that is there is verified. LOCAL, UNKNOWN, unix sockets: the connection speaks for itself,
and its own addresses hold.

Not here: who may send it. Source: proxy-protocol.txt of HAProxy, 2.1 and 2.2.
"""

import cython
from cython.cimports.fourseven.protocols.canonical import canonical_host
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.protocols.proxyproto import (
    AF_INET,
    AF_INET6,
    AUTHORITY_ROOM,
    CLIENT_TLS,
    COMMAND_LOCAL,
    COMMAND_PROXY,
    NIBBLES,
    PROXY_CHECKSUM,
    PROXY_LONG,
    PROXY_MALFORMED,
    PROXY_MAX,
    PROXY_MORE,
    PROXY_NONE,
    PROXY_OK,
    PROXY_V1_MAX,
    SIGNATURE,
    SSL_HEAD,
    TEXT_ROOM,
    TLV_ALPN,
    TLV_AUTHORITY,
    TLV_CRC32C,
    TLV_HEAD,
    TLV_SSL,
    TLV_SSL_CIPHER,
    TLV_SSL_CN,
    TLV_SSL_VERSION,
    TLV_UNIQUE_ID,
    UNIQUE_ID_MAX,
    V2_HEAD,
    ProxyHeader,
    Rest,
    inet_ntop,
    inet_pton,
)
from cython.cimports.libc.stdint import uint8_t, uint32_t
from cython.cimports.libc.string import memchr, memcmp, memcpy, memset, strlen


def read_proxy(at, size, header):
    memset(header, 0, cython.sizeof(ProxyHeader))
    if size == 0:
        return PROXY_MORE
    if at[0] == 80:  # P
        return read_v1(at, size, header)
    return read_v2(at, size, header)


# ---- version 1 ----


def read_v1(at, size, header):
    begins: uint32_t = min(size, 6)
    end: cython.p_const_char
    line: Rest
    if memcmp(at, b"PROXY ", begins) != 0:
        return PROXY_NONE
    end = cython.cast(cython.p_const_char, memchr(at, 13, min(size, PROXY_V1_MAX - 1)))
    if end is cython.NULL:
        return PROXY_LONG if size >= PROXY_V1_MAX - 1 else PROXY_MORE
    header.size = cython.cast(uint32_t, end - at) + 2
    if header.size > size:
        return PROXY_MORE
    line = Rest(at=at + 6, size=header.size - 8)
    if end[1] != 10 or not read_v1_line(cython.address(line), header):
        return PROXY_MALFORMED
    header.version = 1
    return PROXY_OK


def read_v1_line(line, header):
    """Four words behind the family, one space between them, nothing behind the last."""
    family: cython.int = AF_INET
    words = cython.declare(Rest[5])
    i: uint32_t
    if line.size >= 7 and memcmp(line.at, b"UNKNOWN", 7) == 0:
        return line.size == 7 or line.at[7] == 32  # whatever follows is not to be looked at
    for i in range(5):
        if not read_word(line, cython.address(words[i])):
            return False
    if line.size != 0 or words[0].size != 4 or memcmp(words[0].at, b"TCP", 3) != 0:
        return False
    if words[0].at[3] == 54:
        family = AF_INET6
    elif words[0].at[3] != 52:
        return False
    header.told = 1
    return (
        read_address(cython.address(words[1]), family, cython.address(header.source))
        and read_address(cython.address(words[2]), family, cython.address(header.destination))
        and read_port(cython.address(words[3]), cython.address(header.source.port))
        and read_port(cython.address(words[4]), cython.address(header.destination.port))
    )


def read_word(line, word):
    """Up to the next space, which is taken too, or to the end; not empty."""
    space: cython.p_const_char = cython.cast(cython.p_const_char, memchr(line.at, 32, line.size))
    word.at = line.at
    word.size = line.size if space is cython.NULL else cython.cast(uint32_t, space - line.at)
    line.at += word.size
    line.size -= word.size
    if space is not cython.NULL:
        line.at += 1
        line.size -= 1
        if line.size == 0:  # a space that no word follows
            return False
    return word.size != 0


def read_address(word, family, address):
    """inet_pton has the rules that are wanted: no leading zeros, no zone, no short forms."""
    text = cython.declare(cython.char[TEXT_ROOM])
    if word.size >= TEXT_ROOM or memchr(word.at, 0, word.size) is not cython.NULL:
        return False
    memcpy(text, word.at, word.size)
    text[word.size] = 0
    if family == AF_INET6:
        return inet_pton(AF_INET6, text, address.bytes) == 1
    address.bytes[10] = address.bytes[11] = 0xFF
    return inet_pton(AF_INET, text, address.bytes + 12) == 1


def read_port(word, port):
    value: uint32_t = 0
    i: uint32_t
    if word.size == 0 or word.size > 5 or (word.at[0] == 48 and word.size > 1):
        return False
    for i in range(word.size):
        if word.at[i] < 48 or word.at[i] > 57:
            return False
        value = value * 10 + cython.cast(uint32_t, word.at[i] - 48)
    port[0] = value
    return value <= 65535


# ---- version 2 ----


def read_v2(at, size, header):
    """The head's bytes are looked at as they come, so that nonsense is not waited for."""
    rest: Rest
    command: uint32_t
    family: uint32_t
    if memcmp(at, SIGNATURE, min(size, 12)) != 0:
        return PROXY_NONE
    if size < 13:
        return PROXY_MORE
    command = cython.cast(cython.uchar, at[12])
    if command >> 4 != 2 or command & 15 > COMMAND_PROXY:
        return PROXY_MALFORMED
    if size < 14:
        return PROXY_MORE
    family = cython.cast(cython.uchar, at[13])
    if command & 15 == COMMAND_LOCAL:
        family = 0  # its own is to be ignored
    elif family != 0 and (family >> 4 not in (1, 2, 3) or family & 15 not in (1, 2)):
        return PROXY_MALFORMED
    if size < V2_HEAD:
        return PROXY_MORE
    header.size = V2_HEAD + number(at + 14, 2)
    if header.size > PROXY_MAX:
        return PROXY_LONG
    if size < header.size:
        return PROXY_MORE
    header.version = 2
    rest = Rest(at=at + V2_HEAD, size=header.size - V2_HEAD)
    if family == 0:
        return PROXY_OK  # no address, so nobody can say where TLVs would begin
    if not read_ends(family >> 4, cython.address(rest), header):
        return PROXY_MALFORMED
    return read_tlvs(at, cython.address(rest), header)


def read_ends(family, rest, header):
    width: uint32_t = 4
    if family == 3:  # unix: 108 bytes of path each, which say nothing to us
        if rest.size < 216:
            return False
        rest.at += 216
        rest.size -= 216
        return True
    if family == 2:
        width = 16
    if rest.size < 2 * width + 4:
        return False
    if family == 1:
        header.source.bytes[10] = header.source.bytes[11] = 0xFF
        header.destination.bytes[10] = header.destination.bytes[11] = 0xFF
    memcpy(header.source.bytes + 16 - width, rest.at, width)
    memcpy(header.destination.bytes + 16 - width, rest.at + width, width)
    header.source.port = number(rest.at + 2 * width, 2)
    header.destination.port = number(rest.at + 2 * width + 2, 2)
    header.told = 1
    rest.at += 2 * width + 4
    rest.size -= 2 * width + 4
    return True


def read_tlvs(head, rest, header):
    kind: uint32_t = 0
    value = cython.declare(Span)
    crc: Span = Span(at=cython.NULL, size=0)
    while rest.size:
        if not take_tlv(rest, cython.address(kind), cython.address(value)):
            return PROXY_MALFORMED
        if kind == TLV_CRC32C:
            if value.size != 4 or not once(cython.address(crc), cython.address(value)):
                return PROXY_MALFORMED
        elif not read_tlv(kind, cython.address(value), header):
            return PROXY_MALFORMED
    if crc.at is not cython.NULL and not checksum_holds(head, header.size, cython.address(crc)):
        return PROXY_CHECKSUM
    return PROXY_OK


def take_tlv(rest, kind, value):
    """Takes one from the front; false where it does not fit what is left."""
    if rest.size < TLV_HEAD:
        return False
    kind[0] = number(rest.at, 1)
    value.size = number(rest.at + 1, 2)
    value.at = rest.at + TLV_HEAD
    if value.size > rest.size - TLV_HEAD:
        return False
    rest.at += TLV_HEAD + value.size
    rest.size -= TLV_HEAD + value.size
    return True


def read_tlv(kind, value, header):
    if kind == TLV_ALPN:
        return 1 <= value.size <= 255 and once(cython.address(header.alpn), value)
    if kind == TLV_UNIQUE_ID:
        return value.size <= UNIQUE_ID_MAX and once(cython.address(header.unique_id), value)
    if kind == TLV_SSL:
        return read_ssl(value, header)
    if kind != TLV_AUTHORITY:
        return True
    if header.authority.at is not cython.NULL:
        return False
    return (
        canonical_host(
            value.at,
            value.size,
            header.authority_text,
            AUTHORITY_ROOM,
            cython.address(header.authority),
        )
        == 0
    )


def read_ssl(value, header):
    kind: uint32_t = 0
    inner = cython.declare(Span)
    good: cython.bint
    rest: Rest
    if header.tls_told or value.size < SSL_HEAD:
        return False
    header.tls_told = 1
    header.client = cython.cast(uint8_t, number(value.at, 1) & 7)
    if not header.client & CLIENT_TLS:
        return True  # it says that there was no TLS; the rest would be about nothing
    header.verified = number(value.at + 1, 4) == 0
    rest = Rest(at=value.at + SSL_HEAD, size=value.size - SSL_HEAD)
    while rest.size:
        if not take_tlv(cython.address(rest), cython.address(kind), cython.address(inner)):
            return False
        good = True
        if kind == TLV_SSL_VERSION:
            good = once(cython.address(header.tls_version), cython.address(inner))
        elif kind == TLV_SSL_CN:
            good = once(cython.address(header.common_name), cython.address(inner))
        elif kind == TLV_SSL_CIPHER:
            good = once(cython.address(header.tls_cipher), cython.address(inner))
        if not good:
            return False
    return True


def once(place, value):
    if place.at is not cython.NULL:
        return False
    place[0] = value[0]
    return True


def checksum_holds(head, size, value):
    """Over the whole header, with zeros where the checksum stands."""
    before: uint32_t = cython.cast(uint32_t, value.at - head)
    zeros = cython.declare(cython.char[4])
    crc: uint32_t = crc32c(0xFFFFFFFF, head, before)
    memset(zeros, 0, 4)
    crc = crc32c(crc, zeros, 4)
    crc = crc32c(crc, value.at + 4, size - before - 4)
    crc = ~crc
    return crc == number(value.at, 4)


def crc32c(crc, at, size):
    """Castagnoli's, half a byte at a time; before and behind it stands a complement (RFC 3720)."""
    i: uint32_t
    for i in range(size):
        crc ^= cython.cast(cython.uchar, at[i])
        crc = crc >> 4 ^ NIBBLES[crc & 15]
        crc = crc >> 4 ^ NIBBLES[crc & 15]
    return crc


def number(at, width):
    """Big endian; the caller knows that the bytes are there."""
    value: uint32_t = 0
    i: uint32_t
    for i in range(width):
        value = value << 8 | cython.cast(cython.uchar, at[i])
    return value


# ---- writing ----


def write_proxy(out, version, header):
    return write_v1(out, header) if version == 1 else write_v2(out, header)


def is_v4(bytes):
    at: uint32_t
    for at in range(10):
        if bytes[at] != 0:
            return False
    return bytes[10] == 0xFF and bytes[11] == 0xFF


def write_v1(out, header):
    text = cython.declare(cython.char[TEXT_ROOM])
    at: uint32_t
    v4: cython.bint = is_v4(header.source.bytes) and is_v4(header.destination.bytes)
    if not header.told:
        return put_text(out, b"PROXY UNKNOWN\r\n")
    at = put_text(out, b"PROXY TCP4 " if v4 else b"PROXY TCP6 ")
    if v4:
        inet_ntop(AF_INET, header.source.bytes + 12, text, TEXT_ROOM)
    else:
        inet_ntop(AF_INET6, header.source.bytes, text, TEXT_ROOM)
    at += put_text(out + at, text)
    at += put_text(out + at, b" ")
    if v4:
        inet_ntop(AF_INET, header.destination.bytes + 12, text, TEXT_ROOM)
    else:
        inet_ntop(AF_INET6, header.destination.bytes, text, TEXT_ROOM)
    at += put_text(out + at, text)
    at += put_text(out + at, b" ")
    at += put_port(out + at, header.source.port)
    at += put_text(out + at, b" ")
    at += put_port(out + at, header.destination.port)
    return at + put_text(out + at, b"\r\n")


def write_v2(out, header):
    at: uint32_t = V2_HEAD
    width: uint32_t = 16
    inside: uint32_t
    memcpy(out, SIGNATURE, 12)
    out[12] = 0x21
    out[13] = 0x21
    if is_v4(header.source.bytes) and is_v4(header.destination.bytes):
        width = 4
        out[13] = 0x11
    if not header.told:  # of the client nothing is known that this header could say
        out[13] = 0
        put_number(out + 14, 0, 2)
        return V2_HEAD
    memcpy(out + at, header.source.bytes + 16 - width, width)
    memcpy(out + at + width, header.destination.bytes + 16 - width, width)
    put_number(out + at + 2 * width, header.source.port, 2)
    put_number(out + at + 2 * width + 2, header.destination.port, 2)
    at += 2 * width + 4
    at += put_tlv(out + at, TLV_ALPN, cython.address(header.alpn))
    at += put_tlv(out + at, TLV_AUTHORITY, cython.address(header.authority))
    if header.client & CLIENT_TLS:
        inside = at + TLV_HEAD
        out[inside] = header.client
        put_number(out + inside + 1, 0 if header.verified else 1, 4)
        inside += SSL_HEAD
        inside += put_tlv(out + inside, TLV_SSL_VERSION, cython.address(header.tls_version))
        inside += put_tlv(out + inside, TLV_SSL_CN, cython.address(header.common_name))
        inside += put_tlv(out + inside, TLV_SSL_CIPHER, cython.address(header.tls_cipher))
        out[at] = TLV_SSL
        put_number(out + at + 1, inside - at - TLV_HEAD, 2)
        at = inside
    put_number(out + 14, at - V2_HEAD, 2)
    return at


def put_text(out, text):
    size: uint32_t = cython.cast(uint32_t, strlen(text))
    memcpy(out, text, size)
    return size


def put_port(out, port):
    size: uint32_t = 1
    above: uint32_t = port
    at: uint32_t
    while above >= 10:
        above //= 10
        size += 1
    for at in range(size):
        out[size - 1 - at] = 48 + port % 10
        port //= 10
    return size


def put_number(out, value, width):
    at: uint32_t
    for at in range(width):
        out[width - 1 - at] = cython.cast(cython.char, value & 255)
        value >>= 8
    return width


def put_tlv(out, kind, value):
    """Nothing where it is absent, or too long to be what it says."""
    if value.at is cython.NULL or value.size == 0 or value.size > 255:
        return 0
    out[0] = kind
    put_number(out + 1, value.size, 2)
    memcpy(out + TLV_HEAD, value.at, value.size)
    return TLV_HEAD + value.size
