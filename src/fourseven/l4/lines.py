"""Many flows as text: the cells of a table for people, a line of JSON each for programs.

A listing of 400,000 flows is four million cells; made of Python's objects they would take some
seconds. Here each is written where it is to stand. A table is read twice: how wide its columns are
(`measure`), then its lines (`text`).

Laws: no line is longer than what its caller was told to have room for, and that there is room is
looked at before a line is written. Times and sizes read as `units` writes them, ends as `End` does;
a test compares.
"""

import cython
from cython.cimports.fourseven.l4 import scan
from cython.cimports.fourseven.l4.scan import Told
from cython.cimports.libc.stdint import uint8_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcpy, memset, strlen

LINE_MAX = ROW_MAX  # of JSON; for whoever gives the room


def word(text, out):
    length: uint32_t = cython.cast(uint32_t, strlen(text))
    memcpy(out, text, length)
    return length


def number(value, out):
    digits: uint8_t[20]
    at: uint32_t = 20
    while True:
        at -= 1
        digits[at] = cython.cast(uint8_t, 48 + value % 10)
        value //= 10
        if value == 0:
            break
    memcpy(out, cython.address(digits[at]), 20 - at)
    return 20 - at


def signed_number(value, out):
    if value < 0:
        out[0] = 45  # -
        return 1 + number(cython.cast(uint64_t, -value), out + 1)
    return number(cython.cast(uint64_t, value), out)


# ---- ends ----


def hexadecimal(value, out):
    """Up to four digits, without zeros before them."""
    length: uint32_t = 0
    shift: cython.int = 12
    digit: uint32_t
    while shift >= 0:
        digit = (value >> shift) & 15
        if digit or length or shift == 0:
            out[length] = cython.cast(uint8_t, (48 if digit < 10 else 87) + digit)
            length += 1
        shift -= 4
    return length


def v6(address, out):
    """RFC 5952: the first of the longest runs of two zeros or more is left out."""
    words: uint32_t[8]
    length: uint32_t = 0
    best: cython.int = -1
    most: cython.int = 1
    run: cython.int = 0
    i: cython.int
    for i in range(8):
        words[i] = (cython.cast(uint32_t, address[2 * i]) << 8) | address[2 * i + 1]
        run = run + 1 if words[i] == 0 else 0
        if run > most:
            most = run
            best = i - run + 1
    i = 0
    while i < 8:
        if i == best:
            out[length] = 58
            out[length + 1] = 58
            length += 2
            i += most
            continue
        if i > 0 and i != best + most:  # where none is left out, that is 0
            out[length] = 58
            length += 1
        length += hexadecimal(words[i], out + length)
        i += 1
    return length


def is_v4(address):
    i: uint32_t
    for i in range(10):
        if address[i] != 0:
            return False
    return address[10] == 0xFF and address[11] == 0xFF


def end(address, port, out):
    length: uint32_t = 0
    i: uint32_t
    if is_v4(address):
        for i in range(12, 16):
            length += number(address[i], out + length)
            out[length] = 58 if i == 15 else 46
            length += 1
    else:
        out[0] = 91
        length = 1 + v6(address, out + 1)
        length += word(b"]:", out + length)
    return length + number(port, out + length)


# ---- times and sizes ----


def times(amount, scale, unit, out):
    """As so many of a unit, where that is exact; else nothing."""
    length: uint32_t
    if amount % scale:
        return 0
    length = number(amount // scale, out)
    return length + word(unit, out + length)


def duration(milliseconds, out):
    """Whole seconds, in the largest unit that is exact."""
    seconds: uint64_t
    if milliseconds < 1000:
        return word(b"<1s", out)
    seconds = cython.cast(uint64_t, milliseconds // 1000)
    return (
        times(seconds, 86_400, b"d", out)
        or times(seconds, 3600, b"h", out)
        or times(seconds, 60, b"m", out)
        or times(seconds, 1, b"s", out)
    )


def size(amount, out):
    one: uint64_t = 1
    if amount == 0:
        return word(b"0", out)
    return (
        times(amount, one << 40, b"TiB", out)
        or times(amount, one << 30, b"GiB", out)
        or times(amount, one << 20, b"MiB", out)
        or times(amount, one << 10, b"KiB", out)
        or times(amount, 1, b"B", out)
    )


# ---- a flow ----


def protocol(flow, out):
    if flow.protocol == TCP:
        return word(b"tcp", out)
    return word(b"udp", out) if flow.protocol == UDP else number(flow.protocol, out)


def state(flow, out):
    if flow.stage == scan.ESTABLISHED:
        return word(b"established", out)
    if flow.stage == scan.CLOSING:
        return word(b"closing", out)
    if flow.stage == scan.CLOSED:
        return word(b"closed", out)
    return word(b"opening", out) if flow.stage == scan.OPENING else word(b"new", out)


def cell(flow, which, out):
    if which == 0:
        return protocol(flow, out)
    if which == 1:
        return end(flow.client, flow.client_port, out)
    if which == 2:
        return end(flow.vip, flow.vip_port, out)
    if which == 3:
        return end(flow.server, flow.server_port, out)
    if which == 4:
        return state(flow, out)
    if which == 5:
        return duration(flow.age_ms, out)
    if which == 6:
        return duration(flow.idle_ms, out)
    return size(flow.bytes_in if which == 7 else flow.bytes_out, out)


def told(records, at):
    return cython.cast(
        cython.pointer[cython.const[Told]], cython.address(records[at * cython.sizeof(Told)])
    )


def measure(records, widths):
    """Makes the columns as wide as these flows ask; how many flows there are."""
    room: uint8_t[CELL_MAX]
    count: uint64_t = records.shape[0] // cython.sizeof(Told)
    at: uint64_t
    which: uint32_t
    if widths.shape[0] != CELLS:
        raise ValueError("a table has other columns")
    for at in range(count):
        for which in range(cython.cast(uint32_t, CELLS)):
            widths[which] = max(widths[which], cell(told(records, at), which, room))
    return count


def text(records, widths, into):
    """Lines of a table with columns so wide; how many bytes."""
    room: uint8_t[CELL_MAX]
    count: uint64_t = records.shape[0] // cython.sizeof(Told)
    line: uint64_t = 2 * CELLS
    length: uint64_t = 0
    used: uint32_t
    at: uint64_t
    which: uint32_t
    if widths.shape[0] != CELLS:
        raise ValueError("a table has other columns")
    for which in range(cython.cast(uint32_t, CELLS)):
        line += max(widths[which], cython.cast(uint32_t, CELL_MAX))
    for at in range(count):
        if length + line > cython.cast(uint64_t, into.shape[0]):
            raise ValueError("there is no room for the lines")
        for which in range(cython.cast(uint32_t, CELLS)):
            used = cell(told(records, at), which, room)
            memcpy(cython.address(into[length]), room, used)
            length += used
            if which == CELLS - 1:
                into[length] = 10
                length += 1
                continue
            used = widths[which] - used + 2 if widths[which] > used else 2
            memset(cython.address(into[length]), 32, used)
            length += used
    return length


# ---- JSON ----


def quoted_end(name, address, port, out):
    length: uint32_t = word(name, out)
    length += end(address, port, out + length)
    out[length] = 34
    return length + 1


def counted(name, value, out):
    length: uint32_t = word(name, out)
    return length + number(value, out + length)


def row_json(flow, plane, size, out):
    at: uint32_t = word(b'{"plane": "', out)
    memcpy(out + at, plane, size)
    at += size
    if flow.protocol == TCP or flow.protocol == UDP:
        at += word(b'", "protocol": "', out + at)
        at += protocol(flow, out + at)
        at += word(b'", ', out + at)
    else:
        at += word(b'", "protocol": ', out + at)
        at += protocol(flow, out + at)
        at += word(b", ", out + at)
    at += quoted_end(b'"client": "', flow.client, flow.client_port, out + at)
    at += quoted_end(b', "vip": "', flow.vip, flow.vip_port, out + at)
    at += quoted_end(b', "server": "', flow.server, flow.server_port, out + at)
    if flow.masqueraded:
        at += quoted_end(b', "source": "', flow.source, flow.source_port, out + at)
    else:
        at += word(b', "source": null', out + at)
    at += word(b', "state": "', out + at)
    at += state(flow, out + at)
    at += word(b'", "age_ms": ', out + at)
    at += signed_number(flow.age_ms, out + at)
    at += word(b', "idle_ms": ', out + at)
    at += signed_number(flow.idle_ms, out + at)
    at += counted(b', "packets_in": ', flow.packets_in, out + at)
    at += counted(b', "bytes_in": ', flow.bytes_in, out + at)
    at += counted(b', "packets_out": ', flow.packets_out, out + at)
    at += counted(b', "bytes_out": ', flow.bytes_out, out + at)
    out[at] = 125
    return at + 1


def json(records, plane, into):
    """An object a line, with a comma behind each; how many bytes."""
    count: uint64_t = records.shape[0] // cython.sizeof(Told)
    length: uint64_t = 0
    at: uint64_t
    if plane.shape[0] == 0 or plane.shape[0] > PLANE_MAX:
        raise ValueError("this is no name of a plane")
    for at in range(count):
        if length + ROW_MAX > cython.cast(uint64_t, into.shape[0]):
            raise ValueError("there is no room for the lines")
        length += row_json(
            told(records, at),
            cython.address(plane[0]),
            cython.cast(uint32_t, plane.shape[0]),
            cython.address(into[length]),
        )
        into[length] = 44
        into[length + 1] = 10
        length += 2
    return length
