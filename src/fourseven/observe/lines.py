"""The lines of the access log: a record, field by field, as JSON or as plain text.

Law: a line is a line, whatever a client sends. In JSON a string is a valid JSON string in valid
UTF-8; in plain text a control character, a quote, a backslash and what is no UTF-8 stand as \\xHH,
as other servers write them. Names from the file come escaped (snapshot.names).

Days are counted by Howard Hinnant's civil_from_days (chrono-compatible low-level date algorithms).
"""

import cython
from cython.cimports.fourseven.l7.forwarded import put_address
from cython.cimports.fourseven.l7.output import Output, put, put_byte, put_number, put_text
from cython.cimports.fourseven.l7.record import TEXT_LISTENER, record_text
from cython.cimports.fourseven.observe.lines import TIME_ROOM
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import (
    LINE_ANSWER,
    LINE_BYTES_IN,
    LINE_BYTES_OUT,
    LINE_CLIENT,
    LINE_CONNECT,
    LINE_ID,
    LINE_JSON,
    LINE_LISTENER,
    LINE_LITERAL,
    LINE_PORT,
    LINE_PROTOCOL,
    LINE_QUEUE,
    LINE_REASON,
    LINE_RETRIES,
    LINE_SCHEME,
    LINE_SERVER,
    LINE_SPAN,
    LINE_STATUS,
    LINE_TIME,
    LINE_TIME_COMMON,
    LINE_TIME_UNIX,
    LINE_TOTAL,
    LINE_TRACE,
)
from cython.cimports.libc.stdint import int64_t, uint32_t, uint64_t

US_PER_S = cython.declare(cython.int, 1000000)


def put_line(to, pieces, record, reasons):
    at: uint32_t
    start: uint32_t = to.size
    for at in range(pieces.count):
        put_piece(to, cython.address(pieces.pieces[at]), record, reasons)
    put_byte(to, 10)
    if to.full:
        to.size = start


def put_piece(to, piece, record, reasons):
    none: Span = Span(at=cython.NULL, size=0)
    if piece.field == LINE_LITERAL:
        put(to, piece.at, piece.size)
    elif piece.field >= LINE_TIME and piece.field <= LINE_TIME_UNIX:
        put_time(to, piece, record.began_us)
    elif piece.field == LINE_CLIENT:
        if piece.mode == LINE_JSON:
            put_byte(to, 34)
        put_address(to, cython.address(record.client))
        if piece.mode == LINE_JSON:
            put_byte(to, 34)
    elif piece.field >= LINE_LISTENER and piece.field <= LINE_ID:
        put_string(
            to,
            piece.mode,
            record_text(record, piece.field - LINE_LISTENER + TEXT_LISTENER),
            piece.field <= LINE_SERVER and piece.field > LINE_LISTENER,
        )
    elif piece.field == LINE_PROTOCOL:
        put_string(to, piece.mode, protocol_of(record), True)
    elif piece.field == LINE_SCHEME:
        none = Span(at=b"https", size=5)
        if not record.secure:
            none.size = 4
        put_string(to, piece.mode, none, True)
    elif piece.field == LINE_REASON:
        put_string(to, piece.mode, reasons[record.reason] if record.reason else none, True)
    elif piece.field == LINE_TRACE:
        put_bytes_hex(to, piece.mode, cython.address(record.trace[0]), 16, record.traced)
    elif piece.field == LINE_SPAN:
        put_bytes_hex(to, piece.mode, cython.address(record.span[0]), 8, record.traced)
    else:
        put_number_field(to, piece, record)


def put_number_field(to, piece, record):
    if piece.field == LINE_PORT:
        put_number(to, record.client.port)
    elif piece.field == LINE_STATUS:
        put_number(to, record.status)
    elif piece.field == LINE_BYTES_IN:
        put_number(to, record.bytes_in)
    elif piece.field == LINE_BYTES_OUT:
        put_number(to, record.bytes_out)
    elif piece.field == LINE_RETRIES:
        put_number(to, record.tries)
    elif piece.field == LINE_TOTAL:
        put_ms(to, record.total_us)
    elif piece.field == LINE_QUEUE:
        put_ms(to, record.queue_us)
    elif piece.field == LINE_CONNECT:
        put_ms(to, record.connect_us)
    elif piece.field == LINE_ANSWER:
        put_ms(to, record.answer_us)


def protocol_of(record):
    if record.version == 20:
        return Span(at=b"HTTP/2", size=6)
    if record.version == 10:
        return Span(at=b"HTTP/1.0", size=8)
    return Span(at=b"HTTP/1.1", size=8)


# ---- strings ----


def put_string(to, mode, text, clean):
    """clean: it holds nothing that must be escaped."""
    if text.at is cython.NULL or text.size == 0:
        put_text(to, b"null" if mode == LINE_JSON else b"-")
        return
    if mode == LINE_JSON:
        put_byte(to, 34)
    if clean:
        put(to, text.at, text.size)
    else:
        put_escaped(to, cython.address(text), mode == LINE_JSON)
    if mode == LINE_JSON:
        put_byte(to, 34)


def put_escaped(to, text, json):
    hexadecimal: cython.p_const_char = b"0123456789abcdef"
    at: uint32_t = 0
    begun: uint32_t = 0  # of what may stand as it is
    byte: cython.uchar
    whole: uint32_t
    while at < text.size:
        byte = text.at[at]
        whole = 1
        if byte >= 128:
            whole = utf8_size(text.at + at, text.size - at)
        if whole and byte >= 32 and byte not in (34, 92, 127):
            at += whole
            continue
        put(to, text.at + begun, at - begun)
        if json and byte in (34, 92):
            put_byte(to, 92)
            put_byte(to, byte)
        else:
            put_text(to, b"\\u00" if json else b"\\x")
            put_byte(to, hexadecimal[byte >> 4])
            put_byte(to, hexadecimal[byte & 15])
        at += 1
        begun = at
    put(to, text.at + begun, at - begun)


def utf8_size(at, size):
    """Bytes of the character that begins here; 0: it is none (RFC 3629 4)."""
    first: cython.uchar = at[0]
    second: cython.uchar
    more: uint32_t
    i: uint32_t
    low: uint32_t = 128
    high: uint32_t = 191
    if first >= 194 and first <= 223:
        more = 1
    elif first >= 224 and first <= 239:
        more = 2
    elif first >= 240 and first <= 244:
        more = 3
    else:
        return 0
    if size <= more:
        return 0
    if first == 224:
        low = 160
    elif first == 237:
        high = 159
    elif first == 240:
        low = 144
    elif first == 244:
        high = 143
    second = at[1]
    if second < low or second > high:
        return 0
    for i in range(2, more + 1):
        if (cython.cast(cython.uchar, at[i]) & 192) != 128:
            return 0
    return more + 1


def put_bytes_hex(to, mode, at, count, there):
    hexadecimal: cython.p_const_char = b"0123456789abcdef"
    i: uint32_t
    if not there:
        put_text(to, b"null" if mode == LINE_JSON else b"-")
        return
    if mode == LINE_JSON:
        put_byte(to, 34)
    for i in range(count):
        put_byte(to, hexadecimal[at[i] >> 4])
        put_byte(to, hexadecimal[at[i] & 15])
    if mode == LINE_JSON:
        put_byte(to, 34)


# ---- numbers ----


def put_digits(to, number, places):
    """At least so many digits."""
    scale: uint64_t = 1
    _place: uint32_t
    for _place in range(places - 1):
        scale *= 10
    while scale > 1 and number < scale:
        put_byte(to, 48)
        scale //= 10
    put_number(to, number)


def put_three(to, number):
    """Three digits, of a number below a thousand."""
    digits = cython.declare(cython.char[3])
    digits[0] = cython.cast(cython.char, 48 + number // 100)
    digits[1] = cython.cast(cython.char, 48 + number // 10 % 10)
    digits[2] = cython.cast(cython.char, 48 + number % 10)
    put(to, cython.address(digits[0]), 3)


def put_ms(to, us):
    put_number(to, us // 1000)
    put_byte(to, 46)
    put_three(to, cython.cast(uint32_t, us % 1000))


def put_time(to, piece, began_us):
    seconds: uint64_t = began_us // US_PER_S
    room: Output = Output(at=cython.address(piece.text[0]), size=0, capacity=TIME_ROOM, full=0)
    if piece.text_size == 0 or piece.second != seconds:
        put_second(cython.address(room), piece, seconds)
        piece.text_size = room.size
        piece.second = seconds
    put(to, cython.address(piece.text[0]), piece.text_size)
    if piece.field != LINE_TIME_COMMON:
        put_byte(to, 46)
        put_three(to, cython.cast(uint32_t, began_us % US_PER_S // 1000))
    if piece.field == LINE_TIME:
        put_byte(to, 90)
    if piece.mode == LINE_JSON and piece.field != LINE_TIME_UNIX:
        put_byte(to, 34)


def put_second(to, piece, seconds):
    """A time up to its second: the calendar, from days since 1970 (Hinnant)."""
    of_day: uint64_t = seconds % 86400
    days: int64_t = cython.cast(int64_t, seconds // 86400) + 719468
    era: int64_t = days // 146097
    of_era: int64_t = days - era * 146097
    year: int64_t = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year: int64_t = of_era - (365 * year + year // 4 - year // 100)
    month: int64_t = (5 * of_year + 2) // 153
    day: int64_t = of_year - (153 * month + 2) // 5 + 1
    months: cython.p_const_char = b"JanFebMarAprMayJunJulAugSepOctNovDec"
    month = month + 3 if month < 10 else month - 9
    year = year + era * 400 + (1 if month <= 2 else 0)
    if piece.field == LINE_TIME_UNIX:
        put_number(to, seconds)
        return
    if piece.mode == LINE_JSON:
        put_byte(to, 34)
    if piece.field == LINE_TIME_COMMON:
        put_digits(to, day, 2)
        put_byte(to, 47)
        put(to, months + 3 * (month - 1), 3)
        put_byte(to, 47)
        put_digits(to, year, 4)
        put_byte(to, 58)
        put_clock(to, of_day)
        put_text(to, b" +0000")
        return
    put_digits(to, year, 4)
    put_byte(to, 45)
    put_digits(to, month, 2)
    put_byte(to, 45)
    put_digits(to, day, 2)
    put_byte(to, 84)
    put_clock(to, of_day)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def put_clock(to: cython.pointer[Output], of_day: uint64_t) -> cython.void:
    put_digits(to, of_day // 3600, 2)
    put_byte(to, 58)
    put_digits(to, of_day // 60 % 60, 2)
    put_byte(to, 58)
    put_digits(to, of_day % 60, 2)
