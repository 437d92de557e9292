"""What is fuzzed, and what must always hold: one function for each reader.

An address sanitizer sees any read outside the bytes that were given; the laws below see the rest.
A law that does not hold aborts (`check` is assert), and the fuzzer keeps the input.

The first byte of an input chooses options (relaxed rules, small limits, the mode, the step), so
that the fuzzer may find those too.
"""

import cython
from cython.cimports.fourseven.native.linux import check
from cython.cimports.fourseven.protocols.canonical import canonical_path
from cython.cimports.fourseven.protocols.chunked import Chunked, chunked_read, chunked_start
from cython.cimports.fourseven.protocols.clienthello import (
    HELLO_MAX,
    HELLO_MORE,
    HELLO_OK,
    SNI_ROOM,
    ClientHello,
    read_client_hello,
)
from cython.cimports.fourseven.protocols.http1 import HeadLimits, read_request, read_response
from cython.cimports.fourseven.protocols.message import (
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
    SCRATCH_CAPACITY,
    Request,
    Response,
    Span,
)
from cython.cimports.fourseven.protocols.proxyproto import (
    PROXY_MAX,
    PROXY_MORE,
    PROXY_OK,
    PROXY_V1_MAX,
    PROXY_V2_ROOM,
    ProxyHeader,
    read_proxy,
    write_proxy,
)
from cython.cimports.fourseven.protocols.serverhello import (
    FLIGHT_HELLO,
    FLIGHT_MORE,
    FLIGHT_TICKET,
    MESSAGE_ROOM,
    ServerFlight,
    read_flight,
)
from cython.cimports.fourseven.snapshot.hashing import hash_bytes
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcmp, memcpy
from cython.cimports.targets import REQUESTS, RESPONSES, poison, unpoison


def request(data, size):
    """Whole and byte by byte give one result; all spans lie in the head or in the scratch."""
    n: uint32_t = 0
    scanned: uint32_t = 0
    whole: int32_t
    slow: int32_t = 0
    at: cython.p_char
    limits = cython.declare(HeadLimits)
    one: cython.pointer[Request] = cython.address(REQUESTS[0])
    other: cython.pointer[Request] = cython.address(REQUESTS[1])
    if size < 2:
        return
    limits = limits_of(data[0])
    size -= 1
    at = copied(data + 1, size)
    whole = read_request(at, size, cython.address(scanned), cython.address(limits), one)
    check_request(one, at, whole, cython.address(limits))
    check(whole <= cython.cast(int32_t, size))
    scanned = 0
    poison(at, size)
    while n < size and slow == 0:
        n += 1
        unpoison(at, n)
        slow = read_request(at, n, cython.address(scanned), cython.address(limits), other)
        check(scanned == n)
    unpoison(at, size)
    check(whole == slow or (whole < 0 and slow == 0))
    if slow < 0:
        check(one.fault == other.fault)
    if slow > 0:
        check(slow == cython.cast(int32_t, n))
        check(same(cython.address(one.path), cython.address(other.path)))
        check(same(cython.address(one.host), cython.address(other.host)))
        check(same(cython.address(one.query), cython.address(other.query)))
        check(one.framing == other.framing and one.content_length == other.content_length)
        check(one.keep_alive == other.keep_alive and one.upgrade == other.upgrade)
        check(one.header_count == other.header_count)
        check(same_headers(one.headers, other.headers, one.header_count))
    free(at)


def check_request(one, at, result, limits):
    scratch: cython.p_const_char = one.scratch
    head: uint32_t
    if result == 0:
        check(one.fault == 0)
        return
    if result < 0:
        check(one.fault != 0 and known_status(-result))
        return
    head = result
    check(one.head_size == head and head <= limits.head_max)
    check(inside(cython.address(one.method), at, head) and one.method.size > 0)
    check(inside(cython.address(one.target), at, head) and one.target.size > 0)
    check(one.target.size <= limits.target_max)
    check(one.query.at is cython.NULL or inside(cython.address(one.query), at, head))
    check(one.authority.at is cython.NULL or inside(cython.address(one.authority), at, head))
    check(one.version == 10 or one.version == 11)
    check(one.version == 10 or one.host.at is not cython.NULL)
    if one.host.at is not cython.NULL:
        check(one.host.size > 0)
        check(
            inside(cython.address(one.host), at, head)
            or inside(cython.address(one.host), scratch, SCRATCH_CAPACITY)
        )
    check(
        inside(cython.address(one.path), at, head)
        or inside(cython.address(one.path), scratch, SCRATCH_CAPACITY)
    )
    check(one.framing <= FRAMING_CHUNKED and one.keep_alive <= 1 and one.upgrade <= 1)
    check(not one.upgrade or (one.content_length == 0 and one.framing != FRAMING_CHUNKED))
    check(one.header_count <= limits.headers_max)
    check_headers(one.headers, one.header_count, at, head)
    if one.path.at[0] == b"/":
        check_canonical(cython.address(one.path), limits.relax)
    else:
        check(one.path.size == 1 and one.path.at[0] == b"*")


def response(data, size):
    """As for a request; and any refusal is a 502."""
    n: uint32_t = 0
    scanned: uint32_t = 0
    whole: int32_t
    slow: int32_t = 0
    at: cython.p_char
    limits = cython.declare(HeadLimits)
    method: uint8_t
    one: cython.pointer[Response] = cython.address(RESPONSES[0])
    other: cython.pointer[Response] = cython.address(RESPONSES[1])
    if size < 2:
        return
    limits = limits_of(data[0])
    method = data[0] & 3
    size -= 1
    at = copied(data + 1, size)
    whole = read_response(at, size, cython.address(scanned), cython.address(limits), method, one)
    check(whole <= cython.cast(int32_t, size) and (whole >= 0 or whole == -502))
    check((whole < 0) == (one.fault != 0))
    if whole > 0:
        check(one.head_size == cython.cast(uint32_t, whole))
        check(inside(cython.address(one.reason), at, whole))
        check(one.status >= 100 and one.status <= 999 and one.framing <= FRAMING_CLOSE)
        check(one.framing != FRAMING_CLOSE or not one.keep_alive)
        check(one.header_count <= limits.headers_max)
        check_headers(one.headers, one.header_count, at, whole)
    scanned = 0
    poison(at, size)
    while n < size and slow == 0:
        n += 1
        unpoison(at, n)
        slow = read_response(at, n, cython.address(scanned), cython.address(limits), method, other)
    unpoison(at, size)
    check(whole == slow or (whole < 0 and slow == 0))
    if slow < 0:
        check(one.fault == other.fault)
    if slow > 0:
        check(one.framing == other.framing and one.content_length == other.content_length)
        check(one.keep_alive == other.keep_alive and one.status == other.status)
        check(one.header_count == other.header_count)
        check(same_headers(one.headers, other.headers, one.header_count))
    free(at)


def chunked(data, size):
    """However it is cut, one output; and that output is read as itself, with the same data."""
    mode: uint8_t
    step: uint32_t
    sizes = cython.declare(uint32_t[4])
    done = cython.declare(cython.bint[4])
    whole: int32_t
    out: cython.p_char
    if size < 2:
        return
    mode = data[0] & 1
    step = 1 + (cython.cast(cython.uchar, data[0]) >> 1) % 16
    data += 1
    size -= 1
    out = cython.cast(cython.p_char, malloc(4 * cython.cast(cython.size_t, size)))
    whole = feed(data, size, size, mode, out, cython.address(sizes[0]), cython.address(done[0]))
    check(whole == feed(
        data, size, step, mode, out + size, cython.address(sizes[1]), cython.address(done[1])
    ))  # fmt: skip
    if whole == 0:
        check(sizes[0] == sizes[1] and done[0] == done[1] and sizes[0] <= size)
        check(memcmp(out, out + size, sizes[0]) == 0)
    if whole == 0 and mode == 0 and sizes[0]:
        check(feed(
            out, sizes[0], sizes[0], 0, out + size, cython.address(sizes[1]), cython.address(done[1])
        ) == 0)  # fmt: skip
        check(sizes[1] == sizes[0] and done[1] == done[0])
        check(memcmp(out, out + size, sizes[0]) == 0)
        feed(data, size, size, 1, out + 2 * size, cython.address(sizes[2]), cython.address(done[2]))
        feed(
            out,
            sizes[0],
            step,
            1,
            out + 3 * size,
            cython.address(sizes[3]),
            cython.address(done[3]),
        )
        check(sizes[2] == sizes[3] and done[2] == done[3])
        check(memcmp(out + 2 * size, out + 3 * size, sizes[2]) == 0)
    free(out)


def feed(data, size, step, mode, out, wrote, done):
    """Feeds `step` bytes at a time; 0 or -400. What a call leaves is given to the next one."""
    state = cython.declare(Chunked)
    used: uint32_t = 0
    read: uint32_t = 0
    came: uint32_t = 0
    result: int32_t = 0
    at: cython.p_char = copied(data, size)
    poison(at, size)
    wrote[0] = 0
    chunked_start(cython.address(state), mode)
    while came < size and not state.done:
        came = min(came + step, size)
        unpoison(at, came)
        result = chunked_read(cython.address(state), at + read, came - read, cython.address(used))
        if result < 0:
            break
        check(result <= cython.cast(int32_t, used) and used <= came - read)
        memcpy(out + wrote[0], at + read, result)
        wrote[0] += result
        read += used
    done[0] = state.done
    unpoison(at, size)
    free(at)
    return min(result, 0)


def client_hello(data, size):
    """A decision, once made, stays; and no part of an accepted message is accepted."""
    n: uint32_t = 0
    at: cython.p_char = copied(data, size)
    hello: cython.pointer[ClientHello] = cython.cast(
        cython.pointer[ClientHello], malloc(cython.sizeof(ClientHello))
    )
    whole: int32_t = read_client_hello(at, size, hello)
    slow: int32_t = HELLO_MORE
    if whole == HELLO_OK:
        check(hello.size <= size and hello.version_count >= 1)
        if hello.sni.at is not cython.NULL:
            check(hello.sni.size > 0 and hello.sni.size < 256)
            check(
                inside(cython.address(hello.sni), at, size)
                or inside(cython.address(hello.sni), hello.sni_text, SNI_ROOM)
                or inside(cython.address(hello.sni), hello.scratch, HELLO_MAX)
            )
        if hello.alpn.at is not cython.NULL:
            check(
                inside(cython.address(hello.alpn), at, size)
                or inside(cython.address(hello.alpn), hello.scratch, HELLO_MAX)
            )
    poison(at, size)
    while n < size and slow == HELLO_MORE:
        n += 1
        unpoison(at, n)
        slow = read_client_hello(at, n, hello)
    unpoison(at, size)
    check(slow == whole)
    if slow == HELLO_OK:
        check(hello.size == n)
    free(hello)
    free(at)


def server_flight(data, size):
    """However it is cut, the same is heard; what is found lies in the reader's own room."""
    whole: uint64_t = 0
    cut: uint64_t = 0
    step: uint32_t
    if size < 2:
        return
    step = 1 + cython.cast(cython.uchar, data[0]) % 64
    check(
        hear(data + 1, size - 1, size, cython.address(whole))
        == hear(data + 1, size - 1, step, cython.address(cut))
    )
    check(whole == cut)


def hear(data, size, step, digest):
    """How many bytes are read, in pieces of `step`; all that was found goes into the digest."""
    flight: cython.pointer[ServerFlight] = cython.cast(
        cython.pointer[ServerFlight], calloc(1, cython.sizeof(ServerFlight))
    )
    position: uint32_t = 0
    used: uint32_t = 0
    piece: uint32_t
    event: int32_t
    at: cython.p_char
    while position < size and flight.ended == 0:
        piece = min(step, size - position)
        at = copied(data + position, piece)
        event = read_flight(flight, at, piece, cython.address(used))
        check(used <= piece and (used == piece or event != FLIGHT_MORE))
        if event == FLIGHT_HELLO:
            check(flight.version >= 0x300 and flight.session.size <= 32)  # drafts of 1.3: 0x7f00
            check(inside(cython.address(flight.session), flight.room, MESSAGE_ROOM))
            digest[0] = digest[0] * 31 + hash_bytes(flight.session.at, flight.session.size)
        elif event == FLIGHT_TICKET:
            check(flight.ticket.size > 0 and flight.version != 0)
            check(inside(cython.address(flight.ticket), flight.room, MESSAGE_ROOM))
            digest[0] = digest[0] * 31 + hash_bytes(flight.ticket.at, flight.ticket.size)
        position += used
        free(at)
    digest[0] = digest[0] * 31 + flight.version + cython.cast(uint64_t, flight.ended)
    free(flight)
    return position


def proxy(data, size):
    """A decision, once made, stays; and what was read is written and read as itself."""
    n: uint32_t = 0
    at: cython.p_char = copied(data, size)
    header = cython.declare(ProxyHeader)
    whole: int32_t = read_proxy(at, size, cython.address(header))
    slow: int32_t = PROXY_MORE
    if whole == PROXY_OK:
        check(header.size <= size and header.size <= PROXY_MAX)
        check_proxy(cython.address(header), at)
    poison(at, size)
    while n < size and slow == PROXY_MORE:
        n += 1
        unpoison(at, n)
        slow = read_proxy(at, n, cython.address(header))
    unpoison(at, size)
    check(slow == whole)
    if slow == PROXY_OK:
        check(header.size == n)
    free(at)


def check_proxy(header, at):
    i: uint32_t
    size: uint32_t
    texts = cython.declare(Span[6])
    again = cython.declare(ProxyHeader)
    out: cython.p_char = cython.cast(cython.p_char, malloc(PROXY_V2_ROOM))
    texts[0] = header.alpn
    texts[1] = header.unique_id
    texts[2] = header.tls_version
    texts[3] = header.tls_cipher
    texts[4] = header.common_name
    for i in range(5):
        check(texts[i].at is cython.NULL or inside(cython.address(texts[i]), at, header.size))
    check(
        header.authority.at is cython.NULL
        or inside(cython.address(header.authority), at, header.size)
        or inside(cython.address(header.authority), header.authority_text, 256)
    )
    for i in range(1, 3):
        size = write_proxy(out, i, header)
        check(size <= (PROXY_V1_MAX if i == 1 else cython.cast(uint32_t, PROXY_V2_ROOM)))
        check(read_proxy(out, size, cython.address(again)) == PROXY_OK and again.size == size)
        check(again.told == header.told)
        check(memcmp(again.source.bytes, header.source.bytes, 16) == 0 or not header.told)
        check(again.source.port == header.source.port and again.version == i)
    free(out)


def path(data, size):
    """The canonical form is its own canonical form, and stays within its capacity."""
    out: cython.p_char
    at: cython.p_char
    relax: uint32_t
    capacity: uint32_t
    result: int32_t
    text = cython.declare(Span)
    if size < 2:
        return
    relax = data[0] & 15
    capacity = 4 + 3 * size if data[0] & 16 else size
    at = copied(data + 1, size - 1)
    at[0] = b"/"
    out = cython.cast(cython.p_char, malloc(capacity))
    result = canonical_path(at, size - 1, out, capacity, relax)
    check(result <= cython.cast(int32_t, capacity))
    if result > 0:
        text = Span(at=out, size=result)
        check_canonical(cython.address(text), relax)
    free(at)
    free(out)


def copied(data, size):
    """An exact copy, so that a sanitizer sees one byte too far."""
    at: cython.p_char = cython.cast(cython.p_char, malloc(size if size else 1))
    memcpy(at, data, size)
    return at


def limits_of(options):
    limits = cython.declare(HeadLimits)
    limits.relax = options & 15
    limits.head_max = 64 if options & 16 else 32768
    limits.headers_max = 3 if options & 32 else 128
    limits.target_max = 16 if options & 64 else 8192
    return limits


def check_headers(headers, count, at, size):
    i: uint32_t
    for i in range(count):
        check(headers[i].name.size > 0 and headers[i].drop <= 1)
        check(inside(cython.address(headers[i].name), at, size))
        check(inside(cython.address(headers[i].value), at, size))


def check_canonical(text, relax):
    capacity: uint32_t = text.size + 4
    out: cython.p_char = cython.cast(cython.p_char, malloc(capacity))
    check(
        canonical_path(text.at, text.size, out, capacity, relax) == cython.cast(int32_t, text.size)
    )
    check(memcmp(out, text.at, text.size) == 0)
    free(out)


def inside(span, at, size):
    return span.at >= at and span.at + span.size <= at + size


def same(one, other):
    if one.at is cython.NULL or other.at is cython.NULL:
        return one.at is cython.NULL and other.at is cython.NULL
    return one.size == other.size and memcmp(one.at, other.at, one.size) == 0


def same_headers(one, other, count):
    i: uint32_t
    for i in range(count):
        if not same(cython.address(one[i].name), cython.address(other[i].name)):
            return False
        if not same(cython.address(one[i].value), cython.address(other[i].value)):
            return False
        if one[i].known != other[i].known or one[i].drop != other[i].drop:
            return False
    return True


def known_status(status):
    return status in (400, 405, 414, 417, 431, 501, 505)
