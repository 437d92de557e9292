"""The window through which tests and `explain` look at the readers: bytes in, plain dicts out.

Each reader runs here on an exact copy of its input, so that an address sanitizer sees a read of one
byte too far; and with `step` it is fed as a slow client would: `step` bytes more at each call, at a
new place in memory, with `scanned` carried along. It is no part of the path of a request.
"""

import ipaddress

import cython
from cython.cimports.fourseven.protocols.canonical import (
    PORT_NONE,
    canonical_path,
    read_authority,
)
from cython.cimports.fourseven.protocols.chunked import Chunked, chunked_read, chunked_start
from cython.cimports.fourseven.protocols.clienthello import ClientHello, read_client_hello
from cython.cimports.fourseven.protocols.grammar import Name, known_name, twin_name
from cython.cimports.fourseven.protocols.http1 import HeadLimits, read_request, read_response
from cython.cimports.fourseven.protocols.message import Address, Request, Response, Span
from cython.cimports.fourseven.protocols.proxyproto import (
    PROXY_V2_ROOM,
    ProxyHeader,
    crc32c,
    read_proxy,
    write_proxy,
)
from cython.cimports.fourseven.protocols.serverhello import ServerFlight, read_flight
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.stdlib import calloc, free, malloc
from cython.cimports.libc.string import memcpy, memset

from fourseven.protocols.clienthello import HelloResult
from fourseven.protocols.http1 import Fault
from fourseven.protocols.proxyproto import ProxyResult
from fourseven.protocols.serverhello import FlightEvent


def request(data: bytes, step=0, head_max=32768, headers_max=128, target_max=8192, relax=0) -> dict:
    """Reads a request head. `result`: its size, 0 for more bytes, or -STATUS."""
    limits = HeadLimits(
        head_max=head_max, headers_max=headers_max, target_max=target_max, relax=relax
    )
    scanned: uint32_t = 0
    result: int32_t = 0
    size: cython.Py_ssize_t = 0
    found: dict = {}
    copy: cython.p_char
    message: cython.pointer[Request] = cython.cast(
        cython.pointer[Request], calloc(1, cython.sizeof(Request))
    )
    if message is cython.NULL:
        raise MemoryError
    try:
        while result == 0 and size < len(data):
            size = min(size + step, len(data)) if step else len(data)
            copy = exact_copy(data, size)
            result = read_request(
                copy, size, cython.address(scanned), cython.address(limits), message
            )
            found = request_of(message) if result > 0 else {}
            free(copy)
        return {"result": result, "fault": Fault(message.fault).name, "size": size, **found}
    finally:
        free(message)


def response(data: bytes, method_id=1, step=0, head_max=32768, headers_max=128, relax=0) -> dict:
    """Reads a response head; `method_id` is of the request that it answers."""
    limits = HeadLimits(head_max=head_max, headers_max=headers_max, target_max=0, relax=relax)
    scanned: uint32_t = 0
    result: int32_t = 0
    size: cython.Py_ssize_t = 0
    found: dict = {}
    copy: cython.p_char
    message: cython.pointer[Response] = cython.cast(
        cython.pointer[Response], calloc(1, cython.sizeof(Response))
    )
    if message is cython.NULL:
        raise MemoryError
    try:
        while result == 0 and size < len(data):
            size = min(size + step, len(data)) if step else len(data)
            copy = exact_copy(data, size)
            result = read_response(
                copy, size, cython.address(scanned), cython.address(limits), method_id, message
            )
            found = response_of(message) if result > 0 else {}
            free(copy)
        return {"result": result, "fault": Fault(message.fault).name, "size": size, **found}
    finally:
        free(message)


def chunked(pieces: list, mode=0) -> dict:
    """Feeds a chunked body piece by piece; what a piece leaves over comes before the next one."""
    state = cython.declare(Chunked)
    used: uint32_t = 0
    wrote: int32_t = 0
    copy: cython.p_char
    out = b""
    rest = b""
    left = b""
    chunked_start(cython.address(state), mode)
    for piece in pieces:
        if state.done:
            left += piece
            continue
        rest += piece
        copy = exact_copy(rest, len(rest))
        wrote = chunked_read(cython.address(state), copy, len(rest), cython.address(used))
        if wrote > 0:
            out += copy[:wrote]
        free(copy)
        if wrote < 0:
            return {"result": wrote, "out": out, "done": False, "total": state.total}
        if wrote > cython.cast(int32_t, used):
            raise AssertionError("the output is longer than its input")
        rest = rest[used:]
    rest += left
    return {
        "result": 0, "out": out, "done": bool(state.done), "total": state.total, "rest": rest,
    }  # fmt: skip


def path(data: bytes, relax=0, capacity=65536) -> bytes | int:
    """The canonical path, or the code why there is none."""
    out: cython.p_char = cython.cast(cython.p_char, malloc(capacity or 1))
    copy: cython.p_char = exact_copy(data, len(data))
    try:
        size: int32_t = canonical_path(copy, len(data), out, capacity, relax)
        return out[:size] if size >= 0 else size
    finally:
        free(copy)
        free(out)


def authority(data: bytes) -> tuple | int:
    """(canonical host, port or None), or the code why there is none."""
    out = cython.declare(cython.char[256])
    host: Span = Span(at=cython.NULL, size=0)
    port: int32_t = PORT_NONE
    copy: cython.p_char = exact_copy(data, len(data))
    try:
        result: int32_t = read_authority(
            copy, len(data), out, 256, cython.address(host), cython.address(port)
        )
        if result < 0:
            return result
        return text_of(host), None if port == PORT_NONE else port
    finally:
        free(copy)


def client_hello(data: bytes) -> dict:
    """Reads a ClientHello. `alpn` is the list of names, None when there is none."""
    at: uint32_t = 0
    i: uint32_t
    copy: cython.p_char = exact_copy(data, len(data))
    hello: cython.pointer[ClientHello] = cython.cast(
        cython.pointer[ClientHello], calloc(1, cython.sizeof(ClientHello))
    )
    try:
        result: int32_t = read_client_hello(copy, len(data), hello)
        if result != HelloResult.HELLO_OK:
            return {"result": result}
        names = None if hello.alpn.at is cython.NULL else []
        listed = text_of(hello.alpn) or b""
        while at < len(listed):
            names.append(listed[at + 1 : at + 1 + listed[at]])
            at += 1 + listed[at]
        versions = [hello.versions[i] for i in range(hello.version_count)]
        return {
            "result": result, "sni": text_of(hello.sni), "alpn": names, "versions": versions,
            "size": hello.size, "session": text_of(hello.session), "ticket": text_of(hello.ticket),
        }  # fmt: skip
    finally:
        free(hello)
        free(copy)


def server_flight(data: bytes, step=0) -> list:
    """What a server says, in pieces of `step` bytes: events with what they found, the last one with
    the number of bytes that were read."""
    flight: cython.pointer[ServerFlight] = cython.cast(
        cython.pointer[ServerFlight], calloc(1, cython.sizeof(ServerFlight))
    )
    used: uint32_t = 0
    position: cython.Py_ssize_t = 0
    event: int32_t = 0
    found: list = []
    copy: cython.p_char
    try:
        while flight.ended == 0 and position < len(data):
            piece = data[position : position + step] if step else data[position:]
            copy = exact_copy(piece, len(piece))
            event = read_flight(flight, copy, len(piece), cython.address(used))
            position += used
            if event == FlightEvent.FLIGHT_HELLO:
                found.append((event, flight.version, text_of(flight.session)))
            elif event == FlightEvent.FLIGHT_TICKET:
                found.append((event, text_of(flight.ticket)))
            free(copy)
        return [*found, (flight.ended, position)]
    finally:
        free(flight)


def proxy(data: bytes) -> dict:
    """Reads a PROXY header; addresses as (text, port), None where it names none."""
    copy: cython.p_char = exact_copy(data, len(data))
    header = cython.declare(ProxyHeader)
    try:
        result: int32_t = read_proxy(copy, len(data), cython.address(header))
        if result != ProxyResult.PROXY_OK:
            return {"result": result}
        return {
            "result": result,
            "size": header.size,
            "version": header.version,
            "source": address_of(header.source) if header.told else None,
            "destination": address_of(header.destination) if header.told else None,
            "authority": text_of(header.authority),
            "alpn": text_of(header.alpn),
            "unique_id": text_of(header.unique_id),
            "client": header.client,
            "verified": header.verified,
            "tls_version": text_of(header.tls_version),
            "tls_cipher": text_of(header.tls_cipher),
            "common_name": text_of(header.common_name),
        }
    finally:
        free(copy)


def proxy_header(version: int, ends: tuple | None = None, client=0, verified=0, **texts) -> bytes:
    """Writes a PROXY header; `ends` are two pairs (address, port), texts those of `proxy`."""
    header = cython.declare(ProxyHeader)
    out = cython.declare(cython.char[PROXY_V2_ROOM])
    memset(cython.address(header), 0, cython.sizeof(ProxyHeader))
    if ends is not None:
        header.told = 1
        header.source = packed_end(ends[0])
        header.destination = packed_end(ends[1])
    header.client = client
    header.verified = verified
    header.authority = span_of(texts.get("authority"))
    header.alpn = span_of(texts.get("alpn"))
    header.tls_version = span_of(texts.get("tls_version"))
    header.tls_cipher = span_of(texts.get("tls_cipher"))
    header.common_name = span_of(texts.get("common_name"))
    size: uint32_t = write_proxy(out, version, cython.address(header))
    return out[:size]


def crc(data: bytes) -> int:
    """The CRC32c of some bytes."""
    return crc32c(0xFFFFFFFF, data, len(data)) ^ 0xFFFFFFFF


def known(name: bytes) -> int:
    """The KnownHeader of a field name, 0 for another one."""
    row: cython.pointer[cython.const[Name]] = known_name(name, len(name))
    return 0 if row is cython.NULL else row.known


def twin(name: bytes) -> int:
    """The KnownHeader whose underscore twin the name is, 0 for none."""
    row: cython.pointer[cython.const[Name]] = twin_name(name, len(name))
    return 0 if row is cython.NULL else row.known


def address_of(address):
    packed = cython.cast(cython.p_char, address.bytes)[:16]
    found = ipaddress.IPv6Address(packed)
    return str(found.ipv4_mapped or found), address.port


def packed_end(end):
    address = cython.declare(Address)
    memset(cython.address(address), 0, cython.sizeof(Address))
    found = ipaddress.ip_address(end[0])
    packed: bytes = found.packed if found.version == 6 else bytes(10) + b"\xff\xff" + found.packed
    memcpy(address.bytes, cython.cast(cython.p_const_char, packed), 16)
    address.port = end[1]
    return address


def span_of(text):
    """It lives as long as the bytes that the caller keeps."""
    if text is None:
        return Span(at=cython.NULL, size=0)
    return Span(at=text, size=len(text))


def exact_copy(data, size):
    copy: cython.p_char = cython.cast(cython.p_char, malloc(size or 1))
    if copy is cython.NULL:
        raise MemoryError
    memcpy(copy, cython.cast(cython.p_const_char, data), size)
    return copy


def text_of(span):
    return None if span.at is cython.NULL else span.at[: span.size]


def fields_of(headers, count):
    i: uint32_t
    found = []
    for i in range(count):
        name = text_of(headers[i].name)
        found.append((name, text_of(headers[i].value), headers[i].known, headers[i].drop))
    return found


def request_of(request):
    return {
        "method": text_of(request.method),
        "target": text_of(request.target),
        "authority": text_of(request.authority),
        "host": text_of(request.host),
        "path": text_of(request.path),
        "query": text_of(request.query),
        "content_length": request.content_length,
        "head_size": request.head_size,
        "method_id": request.method_id,
        "version": request.version,
        "framing": request.framing,
        "keep_alive": request.keep_alive,
        "expect_continue": request.expect_continue,
        "upgrade": request.upgrade,
        "fields": fields_of(request.headers, request.header_count),
    }


def response_of(response):
    return {
        "reason": text_of(response.reason),
        "status": response.status,
        "content_length": response.content_length,
        "head_size": response.head_size,
        "version": response.version,
        "framing": response.framing,
        "keep_alive": response.keep_alive,
        "upgrade": response.upgrade,
        "fields": fields_of(response.headers, response.header_count),
    }
