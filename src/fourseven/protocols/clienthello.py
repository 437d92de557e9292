"""A TLS ClientHello, looked at without ending TLS: server name, protocols (ALPN), versions,
and what names a session that it would take up again.

A relay that routes by name must decide from the first bytes of a connection and pass them on
unchanged. So this reads and writes nothing back; it needs no TLS library, and it looks at four
extensions only.

Laws: every length is checked against its block, and every block must be used up exactly, for a
server that reads on where we stopped would see another name. The message may be spread over
several records (some clients split it to slip past such readers): it is then gathered in
`scratch`, up to HELLO_MAX. An extension that stands twice is refused.

Not here: encrypted ClientHello (the outer name is what is seen), SSL 2, QUIC.
Sources: RFC 8446 4.1.2, 5.1; RFC 6066 3; RFC 7301 3.1; RFC 5077 3.2.
"""

import cython
from cython.cimports.fourseven.protocols.canonical import canonical_host
from cython.cimports.fourseven.protocols.clienthello import (
    EXTENSION_ALPN,
    EXTENSION_SERVER_NAME,
    EXTENSION_TICKET,
    EXTENSION_VERSIONS,
    HELLO_LONG,
    HELLO_MALFORMED,
    HELLO_MAX,
    HELLO_MORE,
    HELLO_NOT_TLS,
    HELLO_OK,
    MESSAGE_CLIENT_HELLO,
    MESSAGE_HEAD,
    RECORD_HANDSHAKE,
    RECORD_HEAD,
    RECORD_MAX,
    RECORDS_MAX,
    SEEN_ALPN,
    SEEN_SERVER_NAME,
    SEEN_TICKET,
    SEEN_VERSIONS,
    SNI_ROOM,
    Block,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.string import memcpy


def read_client_hello(at, size, hello):
    message = cython.declare(Block)
    result: int32_t
    hello.sni = Span(at=cython.NULL, size=0)
    hello.alpn = Span(at=cython.NULL, size=0)
    hello.session = Span(at=cython.NULL, size=0)
    hello.ticket = Span(at=cython.NULL, size=0)
    hello.version_count = 0
    hello.seen = 0
    result = gather(at, size, hello, cython.address(message))
    if result != HELLO_OK:
        return result
    return read_message(cython.address(message), hello)


def gather(at, size, hello, message):
    """Finds the whole message: in the buffer when one record holds it, else put together."""
    position: uint32_t = 0
    count: uint32_t = 0
    had: uint32_t = 0
    here: uint32_t
    part: int32_t
    wanted: int32_t
    for count in range(cython.cast(uint32_t, RECORDS_MAX)):
        part = check_record(at + position, size - position)
        if part <= 0:
            return HELLO_MALFORMED if part == HELLO_NOT_TLS and count else part
        position += RECORD_HEAD
        here = min(cython.cast(uint32_t, part), size - position)
        if had + here > HELLO_MAX:
            return HELLO_LONG
        if count == 0:
            message.at = at + position
        else:
            if count == 1:
                memcpy(hello.scratch, message.at, had)
                message.at = hello.scratch
            memcpy(hello.scratch + had, at + position, here)
        had += here
        position += here
        wanted = message_size(message.at, had)
        if wanted < 0:
            return wanted
        if here < cython.cast(uint32_t, part):
            return HELLO_MORE
        if wanted and had >= cython.cast(uint32_t, wanted):
            hello.size = position
            message.size = wanted
            # Nothing may follow in its record: no client has more to say before the answer.
            return HELLO_OK if had == message.size else HELLO_MALFORMED
    return HELLO_LONG


def check_record(at, size):
    """The size of the record's content; HELLO_MORE when its head is not whole, or a refusal."""
    length: uint32_t
    if size > 0 and at[0] != RECORD_HANDSHAKE:
        return HELLO_NOT_TLS
    if size > 1 and at[1] != 3:  # SSL 3 and each TLS
        return HELLO_NOT_TLS
    if size < RECORD_HEAD:
        return 0
    length = cython.cast(cython.uchar, at[3]) * 256 + cython.cast(cython.uchar, at[4])
    if length == 0 or length > RECORD_MAX:
        return HELLO_MALFORMED
    return length


def message_size(at, size):
    """The size of the message with its head; 0 when that is not here yet, or a refusal."""
    block: Block = Block(at=at, size=size)
    kind: uint32_t = 0
    length: uint32_t = 0
    if size and at[0] != MESSAGE_CLIENT_HELLO:
        return HELLO_MALFORMED
    if not take(cython.address(block), 1, cython.address(kind)):
        return 0
    if not take(cython.address(block), 3, cython.address(length)):
        return 0
    return length + MESSAGE_HEAD if length + MESSAGE_HEAD <= HELLO_MAX else HELLO_LONG


def read_message(message, hello):
    version: uint32_t = 0
    kind: uint32_t = 0
    inner = cython.declare(Block)
    extensions = cython.declare(Block)
    rest: cython.pointer[Block] = cython.address(inner)
    message.at += MESSAGE_HEAD
    message.size -= MESSAGE_HEAD
    if not take(message, 2, cython.address(version)) or message.size < 32:
        return HELLO_MALFORMED
    message.at += 32  # random
    message.size -= 32
    if not take_block(message, 1, 0, rest) or inner.size > 32:
        return HELLO_MALFORMED
    hello.session = Span(at=inner.at, size=inner.size)
    if not take_block(message, 2, 2, rest) or inner.size & 1:  # cipher suites
        return HELLO_MALFORMED
    if not take_block(message, 1, 1, rest):  # compression
        return HELLO_MALFORMED
    hello.versions[0] = version
    hello.version_count = 1
    if message.size == 0:  # TLS 1.2 allows none
        return HELLO_OK
    if not take_block(message, 2, 0, cython.address(extensions)) or message.size:
        return HELLO_MALFORMED
    while extensions.size:
        if not take(cython.address(extensions), 2, cython.address(kind)):
            return HELLO_MALFORMED
        if not take_block(cython.address(extensions), 2, 0, rest):
            return HELLO_MALFORMED
        if not read_extension(kind, rest, hello):
            return HELLO_MALFORMED
    return HELLO_OK


def read_extension(kind, block, hello):
    bit: uint32_t
    if kind == EXTENSION_SERVER_NAME:
        bit = SEEN_SERVER_NAME
    elif kind == EXTENSION_ALPN:
        bit = SEEN_ALPN
    elif kind == EXTENSION_VERSIONS:
        bit = SEEN_VERSIONS
    elif kind == EXTENSION_TICKET:
        bit = SEEN_TICKET
    else:
        return True
    if hello.seen & bit:
        return False
    hello.seen |= bit
    if bit == SEEN_SERVER_NAME:
        return read_server_name(block, hello)
    if bit == SEEN_ALPN:
        return read_protocols(block, hello)
    if bit == SEEN_VERSIONS:
        return read_versions(block, hello)
    hello.ticket = Span(at=block.at, size=block.size)  # RFC 5077 3.2: all of it; empty asks for one
    return True


def read_server_name(block, hello):
    """One name of the only kind there is. Several would be a choice, and servers choose apart."""
    names = cython.declare(Block)
    name = cython.declare(Block)
    kind: uint32_t = 0
    if not take_block(block, 2, 1, cython.address(names)) or block.size:
        return False
    if not take(cython.address(names), 1, cython.address(kind)) or kind != 0:
        return False
    if not take_block(cython.address(names), 2, 1, cython.address(name)) or names.size:
        return False
    return (
        canonical_host(name.at, name.size, hello.sni_text, SNI_ROOM, cython.address(hello.sni)) == 0
    )


def read_protocols(block, hello):
    names = cython.declare(Block)
    name = cython.declare(Block)
    if not take_block(block, 2, 2, cython.address(names)) or block.size:
        return False
    hello.alpn = Span(at=names.at, size=names.size)
    while names.size:
        if not take_block(cython.address(names), 1, 1, cython.address(name)):
            return False
    return True


def read_versions(block, hello):
    list_ = cython.declare(Block)
    version: uint32_t = 0
    if not take_block(block, 1, 2, cython.address(list_)) or block.size or list_.size & 1:
        return False
    hello.version_count = 0
    while take(cython.address(list_), 2, cython.address(version)):
        hello.versions[hello.version_count] = version  # at most 127: one byte of length
        hello.version_count += 1
    return True


def take(block, width, number):
    """Takes a number of `width` bytes from the front; false when they are not there."""
    i: uint32_t
    if block.size < width:
        return False
    number[0] = 0
    for i in range(width):
        number[0] = number[0] << 8 | cython.cast(cython.uchar, block.at[i])
    block.at += width
    block.size -= width
    return True


def take_block(block, width, least, inner):
    """Takes a length of `width` bytes and as many bytes as it says, at least `least`."""
    length: uint32_t = 0
    if not take(block, width, cython.address(length)):
        return False
    if length < least or length > block.size:
        return False
    inner.at = block.at
    inner.size = length
    block.at += length
    block.size -= length
    return True
