"""A backend in memory alone, to see whom an algorithm picks.

The window through which tests and `explain` look at the native picks: a Probe holds one backend,
its table and its slots, laid out as in a snapshot, and calls the same function that a worker
calls. Servers go by their index in the file; slot numbers are different on purpose (the reverse
order, behind a gap), so that a pick which confuses the two is seen.
"""

import cython
from cython.cimports.fourseven.balancing.ewma import ewma_update
from cython.cimports.fourseven.balancing.key import hash_address
from cython.cimports.fourseven.native.linux import aligned_alloc
from cython.cimports.fourseven.snapshot.hashing import hash_bytes, hash_number
from cython.cimports.fourseven.snapshot.layout import TRIED_MAX, BackendState, Pick, Slot, pick_fn
from cython.cimports.libc.stdint import int32_t, uint8_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memset


class Probe:
    def __cinit__(self, picker, weights):
        at: cython.int
        self.count = len(weights)
        table = picker.table if picker.table is not None else ()
        size: cython.size_t = (self.count + GAP) * cython.sizeof(Slot)
        self.slots = cython.cast(cython.pointer(Slot), aligned_alloc(64, size))
        self.state = cython.cast(
            cython.pointer(BackendState), aligned_alloc(64, cython.sizeof(BackendState))
        )
        self.backend.slots = cython.cast(cython.pointer(uint32_t), calloc(self.count + 1, 4))
        self.backend.weights = cython.cast(cython.pointer(uint32_t), calloc(self.count + 1, 4))
        self.backend.table = cython.cast(cython.pointer(uint32_t), calloc(len(table) + 1, 4))
        if (
            self.slots is cython.NULL
            or self.state is cython.NULL
            or self.backend.slots is cython.NULL
            or self.backend.weights is cython.NULL
            or self.backend.table is cython.NULL
        ):
            raise MemoryError
        memset(self.slots, 0, size)
        memset(self.state, 0, cython.sizeof(BackendState))
        self.backend.pick = cython.cast(pick_fn, cython.cast(cython.size_t, picker.pick))
        self.backend.state = self.state
        self.backend.server_count = self.count
        self.backend.table_size = len(table)
        self.backend.bounded_load_percent = picker.bounded_load_percent
        for at in range(self.count):
            self.backend.slots[at] = self.count - 1 - at + GAP
            self.backend.weights[at] = weights[at]
            self.backend.weight_total += weights[at]
            self.slot(at).usable = 1
        for at in range(len(table)):
            if not 0 <= table[at] < self.count:
                raise ValueError(f"table[{at}] is {table[at]}, and there are {self.count} servers")
            self.backend.table[at] = table[at]

    def __dealloc__(self):
        free(self.slots)
        free(self.state)
        free(self.backend.slots)
        free(self.backend.weights)
        free(self.backend.table)

    def slot(self, at):
        if not 0 <= at < self.count:
            raise IndexError(at)
        return cython.address(self.slots[self.backend.slots[at]])

    def once(self, pick):
        number: int32_t = self.backend.pick(cython.address(self.backend), pick)
        return -1 if number < 0 else self.count - 1 - (number - GAP)

    def pick(self, hash=0, random=0, now_ns=0, tried=()) -> int:
        """The index of the server that is picked, or -1."""
        pick: Pick
        i: cython.int
        memset(cython.address(pick), 0, cython.sizeof(Pick))
        pick.slots = self.slots
        pick.hash = hash
        pick.random = random
        pick.now_ns = now_ns
        pick.tried_count = len(tried)
        for i in range(len(tried) if len(tried) < TRIED_MAX else TRIED_MAX):
            pick.tried[i] = self.backend.slots[tried[i]] if 0 <= tried[i] < self.count else 0
        return self.once(cython.address(pick))

    def spread(self, count, seed=1, hold=False, now_ns=0) -> list:
        """`count` picks, each with a fresh hash and random number; how many each server got. The
        last entry counts the -1. With `hold` each pick stays in flight."""
        pick: Pick
        _pick: cython.long
        at: int32_t
        number: uint64_t = seed
        holds: cython.bint = hold
        got = [0] * (self.count + 1)
        memset(cython.address(pick), 0, cython.sizeof(Pick))
        pick.slots = self.slots
        pick.now_ns = now_ns
        for _pick in range(count):
            number += 1
            pick.hash = hash_number(number)
            pick.random = hash_number(~number)
            at = self.once(cython.address(pick))
            got[at if at >= 0 else self.count] += 1
            if holds and at >= 0:
                self.add(at, 1)
        return got

    def set(self, at, usable=None, max_in_flight=None, share=None) -> None:
        """What control writes in a slot."""
        if share is not None:
            self.slot(at).share = share
        if usable is not None:
            self.slot(at).usable = usable
        if max_in_flight is not None:
            self.slot(at).max_in_flight = max_in_flight

    def add(self, at, count) -> None:
        """Work begun (or, below 0, ended) on a server."""
        self.slot(at).in_flight += count
        self.state.in_flight += count

    def in_flight(self, at) -> int:
        return self.slot(at).in_flight

    def answered(self, at, sample_ns, now_ns) -> int:
        """Tells the average of one response time; returns the average."""
        ewma_update(self.slot(at), sample_ns, now_ns)
        return self.slot(at).ewma_ns


def key_of_address(address: bytes, prefix_v4: int = 32, prefix_v6: int = 128) -> int:
    """Pick.hash for a client's address, given as 16 bytes."""
    at: cython.pointer(uint8_t)
    if len(address) != 16:
        raise ValueError(f"{len(address)} bytes; an address is 16")
    at = cython.cast(cython.pointer(uint8_t), cython.cast(cython.p_char, address))
    return hash_address(at, prefix_v4, prefix_v6)


def key_of_text(text: bytes) -> int:
    """Pick.hash for a key of the request."""
    return hash_bytes(cython.cast(cython.p_char, text), len(text))
