"""A server's own word: how busy it says it is, in the head of its answers or behind them.

    X-Load: 0.35                        or 35%
    endpoint-load-metrics: TEXT application_utilization=0.35,cpu_utilization=0.2
    endpoint-load-metrics: JSON {"cpu_utilization": 0.35}
    endpoint-load-metrics: BIN SQAAAAAAAOA/          (l7.load_binary)
    endpoint-load-metrics-bin: SQAAAAAAAOA/          gRPC's, in its trailers

1 is as much as it can do. Of an ORCA report `application_utilization` counts, or where it is absent
or 0 `cpu_utilization`, as gRPC does it. What is heard stands in the server's slot, smoothed; what
follows from it is control's (control.load).

Laws: a report is bounded in size, digits and value, and one that cannot be read is counted and
changes nothing. Only a backend that asks for it is listened to: elsewhere the header is a header
like others. Trailers are heard where they come by HTTP/2, as those of gRPC do; behind chunks of
HTTP/1.1 they pass unread.

Source: ORCA, xds.data.orca.v3.OrcaLoadReport; Envoy, "HTTP header formats of load reports" (source/
common/orca/orca_parser.cc); gRPC A51 (custom backend metrics), A58 (weighted round robin).
"""

import cython
from cython.cimports.fourseven.l7.load import (
    LOAD_BAD,
    LOAD_MAX,
    LOAD_WHOLE,
    ORCA_BINARY,
    REPORT_MAX,
    SMOOTH,
)
from cython.cimports.fourseven.l7.load_binary import load_binary
from cython.cimports.fourseven.l7.records import Stream, slot_of
from cython.cimports.fourseven.matching.fields import same_name
from cython.cimports.fourseven.matching.json import json_find
from cython.cimports.fourseven.native.atomics import (
    count,
    load_relaxed,
    load_relaxed_u32,
    store_relaxed,
    store_relaxed_u32,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import LOAD_ORCA, LOAD_X, Backend, Resilience
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcmp

STALE_MS = cython.declare(cython.int, 10000)  # a report after so long begins anew


def load_heard(worker, session):
    stream: cython.pointer[Stream] = session.stream
    rules: cython.pointer[cython.const[Resilience]] = stream.backend.resilience
    counters = cython.address(worker.backend_counters[stream.backend_number])
    at: uint32_t
    word: uint32_t
    load: int32_t
    for at in range(worker.response.header_count):
        line = cython.address(worker.response.headers[at])
        word = word_of(line)
        if word == 0 or not rules.load_words & (LOAD_X if word == LOAD_X else LOAD_ORCA):
            continue
        if not rules.load_passes:
            line.drop = 1
        load = load_read(cython.address(line.value), word)
        if load < 0:
            count(cython.address(counters.load_reports_bad), 1)
            continue
        count(cython.address(counters.load_reports), 1)
        note(worker, stream.slot, cython.cast(uint32_t, load))


def load_trailer(worker, slot, header):
    """Its backend may have left the file since the head; the slot says whose it is."""
    word: uint32_t = word_of(header)
    backend: cython.pointer[cython.const[Backend]]
    load: int32_t
    if word == 0:
        return False
    backend = backend_found(worker.snapshot, slot_of(worker, slot).backend)
    if backend is cython.NULL or backend.resilience is cython.NULL:
        return False
    if not backend.resilience.load_words & (LOAD_X if word == LOAD_X else LOAD_ORCA):
        return False
    load = load_read(cython.address(header.value), word)
    counters = cython.address(worker.backend_counters[backend.number])
    if load < 0:
        count(cython.address(counters.load_reports_bad), 1)
    else:
        count(cython.address(counters.load_reports), 1)
        note(worker, slot, cython.cast(uint32_t, load))
    return not backend.resilience.load_passes


def backend_found(snapshot, number):
    at: uint32_t
    for at in range(snapshot.backend_count):
        if snapshot.backends[at].number == number:
            return cython.address(snapshot.backends[at])
    return cython.NULL


def word_of(header):
    x: Span = Span(at=b"x-load", size=6)
    orca: Span = Span(at=b"endpoint-load-metrics", size=21)
    binary: Span = Span(at=b"endpoint-load-metrics-bin", size=25)
    if same_name(cython.address(header.name), cython.address(x)):
        return LOAD_X
    if same_name(cython.address(header.name), cython.address(orca)):
        return LOAD_ORCA
    if same_name(cython.address(header.name), cython.address(binary)):
        return ORCA_BINARY
    return 0


def note(worker, slot, load):
    """Two words that several workers write: one report more or less changes little."""
    at = slot_of(worker, slot)
    before: uint32_t = load_relaxed_u32(cython.address(at.load))
    if load_relaxed(cython.address(at.load_at_ms)) + STALE_MS < worker.now_ms:
        before = load
    load = (before * (SMOOTH - 1) + load) // SMOOTH
    store_relaxed_u32(cython.address(at.load), load)
    store_relaxed(cython.address(at.load_at_ms), worker.now_ms)


# ---- reading ----


def load_read(value, word):
    if value.size == 0 or value.size > REPORT_MAX:
        return LOAD_BAD
    if word == ORCA_BINARY:
        return load_binary(value)
    return read_x(value) if word == LOAD_X else read_orca(value)


def read_x(value):
    """`0.35`, `35%`."""
    if value.at[value.size - 1] == b"%":
        return read_number(value.at, value.size - 1, -2)
    return read_number(value.at, value.size, 0)


def read_orca(value):
    application: Span = Span(at=b"application_utilization", size=23)
    cpu: Span = Span(at=b"cpu_utilization", size=15)
    rest = cython.declare(Span)
    load: int32_t
    if begins(value, b"BIN ", 4):
        rest = Span(at=value.at + 4, size=value.size - 4)
        return load_binary(cython.address(rest))
    if not begins(value, b"TEXT ", 5) and not begins(value, b"JSON ", 5):
        return LOAD_BAD
    rest = Span(at=value.at + 5, size=value.size - 5)
    if value.at[0] == b"J":
        return read_json(cython.address(rest))
    load = read_text(cython.address(rest), cython.address(application))
    return load if load > 0 else max(load, read_text(cython.address(rest), cython.address(cpu)))


def begins(value, word, size):
    return value.size > size and memcmp(value.at, word, size) == 0


def read_text(value, name):
    """The number of `name=number` among others, separated by commas; the last one counts."""
    at: uint32_t = 0
    end: uint32_t
    found: int32_t = LOAD_BAD
    while at < value.size:
        while at < value.size and value.at[at] == b" ":
            at += 1
        end = at
        while end < value.size and value.at[end] != b",":
            end += 1
        if end - at > name.size and memcmp(value.at + at, name.at, name.size) == 0:
            if value.at[at + name.size] == b"=":
                found = read_number(value.at + at + name.size + 1, end - at - name.size - 1, 0)
        at = end + 1
    return found


def read_json(value):
    """Both spellings that protobuf's JSON knows."""
    pointers = cython.declare(Span[4])
    room = cython.declare(cython.char[64])
    number = cython.declare(Span)
    load: int32_t = LOAD_BAD
    at: uint32_t
    pointers[0] = Span(at=b"/application_utilization", size=24)
    pointers[1] = Span(at=b"/applicationUtilization", size=23)
    pointers[2] = Span(at=b"/cpu_utilization", size=16)
    pointers[3] = Span(at=b"/cpuUtilization", size=15)
    for at in range(4):
        number = json_find(value, True, cython.address(pointers[at]), cython.address(room[0]), 64)
        if number.at is cython.NULL:
            continue
        load = max(load, read_number(number.at, number.size, 0))
        if load > 0:
            break
    return load


def read_number(at, size, exponent):
    """A decimal number that is not negative, by 10^exponent, in 1/1024; at most LOAD_MAX. LOAD_BAD
    for all else."""
    i: uint32_t = 0
    digits: uint64_t = 0
    said: int32_t = 0
    seen: uint32_t = 0
    enough: uint64_t = cython.cast(uint64_t, 100000000000000)  # digits beyond these say nothing
    behind: cython.bint = False
    negative: cython.bint = False
    while i < size and (48 <= at[i] <= 57 or (at[i] == b"." and not behind)):
        if at[i] == b".":
            behind = True
        else:
            seen += 1
            if digits < enough:
                digits = digits * 10 + cython.cast(uint64_t, at[i] - 48)
                exponent -= behind
            elif not behind:
                exponent += 1
        i += 1
    if seen == 0:
        return LOAD_BAD
    if i < size and (at[i] == b"e" or at[i] == b"E"):
        i += 1
        if i < size and (at[i] == b"-" or at[i] == b"+"):
            negative = at[i] == b"-"
            i += 1
        if i == size:
            return LOAD_BAD
        while i < size and 48 <= at[i] <= 57:
            said = said * 10 + (at[i] - 48) if said < 10000 else said
            i += 1
        exponent += -said if negative else said
    return LOAD_BAD if i < size else scaled(digits, exponent)


def scaled(digits, exponent):
    """digits * 10^exponent in 1/1024, rounded down. No product here is above 2^60."""
    if digits == 0:
        return 0
    while exponent > 0 and digits < LOAD_MAX:
        digits *= 10
        exponent -= 1
    if exponent > 0:
        return LOAD_MAX
    digits *= LOAD_WHOLE
    while exponent < 0 and digits > 0:
        digits //= 10
        exponent += 1
    return cython.cast(int32_t, digits if digits < LOAD_MAX else cython.cast(uint64_t, LOAD_MAX))
