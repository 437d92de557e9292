"""The window through which tests and measurements look at limits, codings and reports of load.

A RateProbe owns a table of rate_table as a gate's state would hold it, and takes from it at times
that the caller names: virtual time for rules, real threads for what many workers do at once.

`accepted` chooses a coding as the gate of compression does; `coded` runs one compressor over pieces
of a body, with as little room for what comes out as the caller likes.

Laws: it asks exactly the function that the gate asks. Nothing here is used to serve a request.
"""

import cython
from cython.cimports.fourseven.l7.load import load_read
from cython.cimports.fourseven.l7.rate_table import (
    BUCKET,
    LOCKS,
    Rate,
    RateEntry,
    RateTable,
    Taken,
    rate_take,
)
from cython.cimports.fourseven.native.linux import CLOCK_MONOTONIC, clock_gettime, timespec
from cython.cimports.fourseven.native.pages import pages_drop, pages_new
from cython.cimports.fourseven.protocols.accept_encoding import (
    Accepted,
    accept_begin,
    accept_choose,
    accept_read,
)
from cython.cimports.fourseven.protocols.coding import (
    CODE_END,
    CODE_FLUSH,
    CODE_ON,
    Coded,
    Coder,
    coder_begin,
    coder_drop,
    coder_new,
    coder_run,
)
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.hashing import hash_number
from cython.cimports.fourseven.snapshot.layout import GATE_HEAD
from cython.cimports.fourseven.snapshot.siphash import siphash13
from cython.cimports.libc.stdint import uint32_t, uint64_t


@cython.cclass
class RateProbe:
    """One limit. `keys` is a multiple of 8; 0: no key."""

    def __cinit__(self, interval_ns, burst, keys=0):
        self.interval_ns = interval_ns
        self.burst_ns = interval_ns * burst
        self.size = GATE_HEAD + (keys // BUCKET or 1) * BUCKET * cython.sizeof(RateEntry)
        self.table = cython.cast(cython.pointer[RateTable], pages_new(self.size))

    def __dealloc__(self):
        pages_drop(self.table, self.size)

    def take(self, now_ns, key=0):
        """(nanoseconds to wait or 0, nanoseconds owed)."""
        rate = cython.declare(Rate)
        taken: Taken = Taken(owed_ns=0, replaced=0)
        rate.interval_ns = self.interval_ns
        rate.burst_ns = self.burst_ns
        wait_ns: uint64_t = rate_take(
            self.table, self.size, key, cython.address(rate), now_ns, cython.address(taken)
        )
        self.replaced_keys += taken.replaced
        return wait_ns, taken.owed_ns

    def hammer(self, now_ns, times, keys=1, first=0):
        """Takes `times` from each of so many keys in turn, without the GIL; how many each got."""
        rate = cython.declare(Rate)
        taken: Taken = Taken(owed_ns=0, replaced=0)
        now: uint64_t = now_ns
        count: uint64_t = keys
        rounds: uint64_t = times
        at: uint64_t
        _round: uint64_t
        begin: uint64_t = first
        got: list = [0] * keys
        here = cython.declare(uint32_t[1024])
        if not 1 <= keys <= 1024:
            raise ValueError("1 to 1024 keys")
        rate.interval_ns = self.interval_ns
        rate.burst_ns = self.burst_ns
        with cython.nogil:
            for at in range(count):
                here[at] = 0
            for _round in range(rounds):
                for at in range(count):
                    here[at] += 0 == rate_take(
                        self.table,
                        self.size,
                        hash_number(begin + at) | 1,
                        cython.address(rate),
                        now,
                        cython.address(taken),
                    )
        self.replaced_keys += taken.replaced
        for at in range(count):
            got[at] = here[at]
        return got

    def replaced(self):
        return self.replaced_keys

    def locked(self):
        """Whether an insertion has left its lock behind."""
        at: cython.int
        for at in range(cython.cast(cython.int, LOCKS)):
            if self.table.locks[at]:
                return True
        return False


def sip(first, second, text: bytes):
    """SipHash-1-3 of the text."""
    return siphash13(first, second, cython.cast(cython.p_char, text), len(text))


def accepted(values: list, *order) -> int:
    """The Coding for a request with these headers, from a server that likes them in this order."""
    said = cython.declare(Accepted)
    liked: uint64_t = 0
    accept_begin(cython.address(said))
    for value in values:
        text: bytes = value
        accept_read(cython.address(said), cython.cast(cython.p_char, text), len(text))
    for number in reversed(order):
        liked = liked << 8 | number
    return accept_choose(cython.address(said), liked)


def coded(coding: int, level: int, pieces: list, room: int, flush: bool) -> list:
    """What came out for each piece; the last one is the end's."""
    coder: cython.pointer[Coder] = coder_new(coding)
    if coder is cython.NULL or not coder_begin(coder, level, 0, False):
        coder_drop(coder)
        raise ValueError("no such coding")
    try:
        found = []
        for one in pieces:
            out = run(cython.cast(cython.size_t, coder), one, CODE_ON, room)
            if flush:
                out += run(cython.cast(cython.size_t, coder), b"", CODE_FLUSH, room)
            found.append(out)
        found.append(run(cython.cast(cython.size_t, coder), b"", CODE_END, room))
    finally:
        coder_drop(coder)
    return found


def run(coder: cython.size_t, piece: bytes, step: cython.uint, room: cython.uint) -> bytes:
    """As often as it takes, with so much room each time."""
    io = cython.declare(Coded)
    done: cython.int = 0
    out: bytes = b""
    to = bytearray(room)
    io.source = piece
    io.size = len(piece)
    while done == 0:
        io.to = to
        io.room = room
        done = coder_run(cython.cast(cython.pointer[Coder], coder), cython.address(io), step)
        if done < 0:
            raise ValueError("the library has given up")
        out += bytes(to[: room - io.room])
    return out


def cost(calls, keys):
    """Nanoseconds for one token of a table with so many keys in use."""
    probe = RateProbe(1, 1, 65536)
    begun = cython.declare(timespec)
    ended = cython.declare(timespec)
    rate = cython.declare(Rate)
    taken: Taken = Taken(owed_ns=0, replaced=0)
    at: uint64_t
    many: uint64_t = calls
    mask: uint64_t = keys - 1
    rate.interval_ns = 1
    rate.burst_ns = 1
    clock_gettime(CLOCK_MONOTONIC, cython.address(begun))
    for at in range(many):
        rate_take(
            probe.table,
            probe.size,
            hash_number(at & mask) | 1,
            cython.address(rate),
            at + 1,
            cython.address(taken),
        )
    clock_gettime(CLOCK_MONOTONIC, cython.address(ended))
    took_ns = (ended.tv_sec - begun.tv_sec) * 1_000_000_000 + ended.tv_nsec - begun.tv_nsec
    return took_ns / calls


def load(text: bytes, word: int) -> int:
    """What a report says, in 1/1024; -1: it cannot be read. `word`: snapshot.layout.LoadWord."""
    value: Span = Span(at=text, size=len(text))
    return load_read(cython.address(value), word)
