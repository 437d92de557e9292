"""What gates keep while snapshots come and go: the tokens of a rate limit, who is in flight.

A state belongs to a place in the file (listener, route, which gate of its kind there) and has a
size; as long as both stay, a reload finds the same bytes. It begins with a GateState, whose `users`
counts the streams that still point to it; the rest is zeroed pages for the gate to use.

Laws: control takes and releases, while packing and while reclaiming; the bytes are the workers'.
Nothing is freed that a snapshot in use may name, or that a stream holds.
"""

import cython
from cython.cimports.fourseven.native.atomics import load_acquire_i64
from cython.cimports.fourseven.native.pages import pages_drop, pages_new
from cython.cimports.fourseven.snapshot.layout import GateState


@cython.no_gc  # numbers alone are kept: no cycle, and nothing is cleared before __dealloc__
@cython.cclass
class States:
    """All of one data plane."""

    def __cinit__(self):
        self.kept = {}

    def __dealloc__(self):
        """The workers must have stopped."""
        for (_, size), at in self.kept.items():
            pages_drop(state_at(at), size)

    def take(self, key, size):
        """The state of this key and size, zeroed if it is new."""
        at: object = self.kept.get((key, size))
        if at is None:
            at = cython.cast(cython.size_t, pages_new(size))
            self.kept[key, size] = at
        return state_at(at)

    def release(self, wanted: set) -> int:
        """Frees the states whose (key, size) is not wanted and that no stream holds; how many."""
        freed = 0
        for kept in [one for one in self.kept if one not in wanted]:
            state = state_at(self.kept[kept])
            if load_acquire_i64(cython.address(state.users)) == 0:
                pages_drop(state, kept[1])
                del self.kept[kept]
                freed += 1
        return freed

    def held(self) -> int:
        """Streams that point to any of them now."""
        found: int = 0
        for at in self.kept.values():
            found += load_acquire_i64(cython.address(state_at(at).users))
        return found


@cython.cfunc
@cython.exceptval(check=False)
def state_at(at: cython.size_t) -> cython.pointer[GateState]:
    return cython.cast(cython.pointer[GateState], at)
