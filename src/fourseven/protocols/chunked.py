"""The chunked transfer coding (RFC 9112 7.1): checked, and rewritten in place into one plain form.

What a server gets is what we understood and nothing else: sizes without leading zeros, no
extensions, no trailer that could change the meaning of a head already sent. Each piece of output
is no longer than the input it stands for, so it is written over it; where nothing changes, nothing
is moved.

Strict: a size is 1*HEXDIG below 2^63, right at the start of its line; an extension is
;token[=token|"quoted"]; lines end in CRLF. Servers have been split apart by each of these
(bare LF in an extension, `0x`, overflow, white space).

Trailers: a field that we know by name belongs into a head (RFC 9110 6.5.1: framing, routing,
authentication, content), so it is dropped, and so is its underscore twin; only ETag may stay.

It does not buffer: an unfinished line stays with the caller, and is read again with what follows.
"""

import cython
from cython.cimports.fourseven.protocols.chunked import (
    CHUNK_LINE_MAX,
    CHUNKED_DATA,
    CHUNKED_DATA_END,
    CHUNKED_DECODE,
    CHUNKED_DONE,
    CHUNKED_KEEP,
    CHUNKED_SIZE,
    CHUNKED_TRAILER,
    EXTENSIONS_MAX,
    TRAILERS_MAX,
)
from cython.cimports.fourseven.protocols.grammar import (
    FIELD,
    TOKEN,
    Name,
    class_of,
    hex_value,
    known_name,
    skip_field,
    twin_name,
)
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memmove, memset


def chunked_start(chunked, mode):
    memset(chunked, 0, cython.sizeof(chunked[0]))
    chunked.mode = mode


def chunked_read(chunked, at, size, used):
    position: uint32_t = 0
    out: uint32_t = 0
    wrote: uint32_t
    count: uint32_t
    line: int32_t
    used[0] = 0
    while position < size and chunked.state != CHUNKED_DONE:
        wrote = 0
        if chunked.state == CHUNKED_DATA:
            count = size - position
            if chunked.remaining < count:
                count = cython.cast(uint32_t, chunked.remaining)
            if out != position:
                memmove(at + out, at + position, count)
            chunked.remaining -= count
            chunked.total += count
            if chunked.remaining == 0:
                chunked.state = CHUNKED_DATA_END
            position += count
            out += count
            continue
        if chunked.state == CHUNKED_SIZE:
            line = read_chunk_line(
                chunked, at + position, size - position, at + out, cython.address(wrote)
            )
        elif chunked.state == CHUNKED_DATA_END:
            line = read_data_end(
                chunked, at + position, size - position, at + out, cython.address(wrote)
            )
        else:
            line = read_trailer(
                chunked, at + position, size - position, at + out, cython.address(wrote)
            )
        if line < 0:
            return line
        if line == 0:
            break
        position += line
        out += wrote
    used[0] = position
    return out


def read_chunk_line(chunked, at, size, out, wrote):
    position: uint32_t = 0
    digit: cython.int
    value: uint64_t = 0
    line: int32_t
    while position < size:
        digit = hex_value(at[position])
        if digit < 0:
            break
        if value >> 59:  # one more digit would reach 2^63
            return -400
        value = value * 16 + cython.cast(uint64_t, digit)
        position += 1
        if position >= CHUNK_LINE_MAX:
            return -400
    if position == size:
        return 0
    if position == 0:
        return -400
    if at[position] == b";":
        line = skip_extensions(at, position, size)
        if line <= 0:
            return line
        if chunked.extensions + (line - position) > EXTENSIONS_MAX:
            return -400
        chunked.extensions += line - position
        position = line
    line = line_end(at, position, size)
    if line <= 0:
        return line
    chunked.remaining = value
    chunked.state = CHUNKED_DATA if value else CHUNKED_TRAILER
    if chunked.mode == CHUNKED_KEEP:
        wrote[0] = put_size(value, out)
    return line


def skip_extensions(at, start, size):
    """Where the line ends; 0 when more bytes are needed, -400 when it is no extension."""
    position: int32_t = start
    cut: cython.bint = size >= CHUNK_LINE_MAX
    if cut:
        size = CHUNK_LINE_MAX
    while position > 0 and cython.cast(uint32_t, position) < size and at[position] == b";":
        position = skip_token(at, position + 1, size)
        if position > 0 and at[position] == b"=":
            if cython.cast(uint32_t, position) + 1 < size and at[position + 1] == b'"':
                position = skip_quoted(at, position + 1, size)
            else:
                position = skip_token(at, position + 1, size)
    if position == 0 or position == cython.cast(int32_t, size):
        return -400 if cut else 0
    return position


def skip_token(at, start, size):
    """Behind the token at `start`; 0: it may go on; -400: there is none."""
    position: uint32_t = start
    while position < size and class_of(at[position]) & TOKEN:
        position += 1
    if position >= size:
        return 0
    return position if position > start else -400


def skip_quoted(at, start, size):
    """Behind the quoted string that begins at `start`; 0: more bytes; -400: no quoted string."""
    position: uint32_t = start + 1
    while position < size and at[position] != b'"':
        if at[position] == b"\\":
            position += 1
            if position == size:
                return 0
        if not class_of(at[position]) & FIELD:
            return -400
        position += 1
    return position + 1 if position < size else 0


def read_data_end(chunked, at, size, out, wrote):
    line: int32_t = line_end(at, 0, size)
    if line > 0:
        chunked.state = CHUNKED_SIZE
        if chunked.mode == CHUNKED_KEEP:
            out[0] = b"\r"
            out[1] = b"\n"
            wrote[0] = 2
    return line


def read_trailer(chunked, at, size, out, wrote):
    name: uint32_t = 0
    position: uint32_t
    line: int32_t
    whole: uint32_t = size
    if size > TRAILERS_MAX:
        size = TRAILERS_MAX
    if at[0] == b"\r":
        line = line_end(at, 0, size)
        if line > 0:
            chunked.state = CHUNKED_DONE
            chunked.done = 1
            if chunked.mode != CHUNKED_DECODE:
                memmove(out, at, 2)
                wrote[0] = 2
        return line
    while name < size and class_of(at[name]) & TOKEN:
        name += 1
    position = name
    if name < size:
        if at[name] != b":" or name == 0:
            return -400
        position = skip_field(at, name + 1, size)
    line = line_end(at, position, size)
    if line < 0 or (line == 0 and whole >= TRAILERS_MAX):
        return -400
    if line == 0:
        return 0
    if chunked.trailers + line > TRAILERS_MAX:
        return -400
    chunked.trailers += line
    if chunked.mode != CHUNKED_DECODE and allowed_trailer(at, name):
        memmove(out, at, line)
        wrote[0] = line
    return line


def line_end(at, position, size):
    """Behind the CRLF at `position`; 0: more bytes; -400: something else stands there."""
    if position >= size:
        return 0
    if at[position] != b"\r":
        return -400
    if position + 1 == size:
        return 0
    return position + 2 if at[position + 1] == b"\n" else -400


def allowed_trailer(name, size):
    known: cython.pointer[cython.const[Name]] = known_name(name, size)
    if known is not cython.NULL:
        return known.hop & 2
    return twin_name(name, size) is cython.NULL


def put_size(value, out):
    """Writes the size and CRLF; how many bytes. No longer than any form of it that we accept."""
    digits: uint32_t = 1
    i: uint32_t
    digit: uint32_t
    while digits < 16 and value >> (4 * digits):
        digits += 1
    for i in range(digits):
        digit = cython.cast(uint32_t, value >> (4 * (digits - 1 - i))) & 15
        out[i] = digit + 0x30 if digit < 10 else digit - 10 + 0x61
    out[digits] = b"\r"
    out[digits + 1] = b"\n"
    return digits + 2
