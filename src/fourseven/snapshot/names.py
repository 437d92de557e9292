"""What the numbers mean, for records that a worker writes when only numbers are left.

A route, a backend and a server have stable numbers (control.numbers). Here stands the name of each
as text that a worker may copy while control gives names to others.

Laws: a number's name changes only after nothing speaks of its old bearer. An old text is freed when
no worker can be reading it (`free_retired`, with the snapshots).
"""

import json

import cython
from cython.cimports.fourseven.native.pages import pages_drop, pages_new
from cython.cimports.fourseven.snapshot.layout import BACKENDS_MAX, ROUTES_MAX, SLOTS_MAX
from cython.cimports.fourseven.snapshot.names import NameText
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.stdlib import free, malloc
from cython.cimports.libc.string import memcpy


@cython.cclass
class Names:
    """All names of one data plane."""

    def __cinit__(self):
        self.known = {}
        self.retired = []
        self.table.routes = table(ROUTES_MAX)
        self.table.backends = table(BACKENDS_MAX)
        self.table.slots = table(SLOTS_MAX)

    def __dealloc__(self):
        """The workers must have stopped."""
        self.free_retired()
        drop(self.table.routes, ROUTES_MAX)
        drop(self.table.backends, BACKENDS_MAX)
        drop(self.table.slots, SLOTS_MAX)

    def use(self, numbers) -> None:
        """The names that numbers have now; before a snapshot with new ones is published."""
        for (_, route), number in numbers.routes.taken.items():
            self.set(self.table.routes, "route", number, route)
        for backend, number in numbers.backends.taken.items():
            self.set(self.table.backends, "backend", number, backend)
        for (_, server), number in numbers.slots.taken.items():
            self.set(self.table.slots, "slot", number, server)

    def set(self, at, kind, number, name):
        text: cython.pointer[NameText]
        if self.known.get((kind, number)) == name:
            return 0
        raw: bytes = json.dumps(name, ensure_ascii=False)[1:-1].encode("utf-8", "replace")
        text = cython.cast(cython.pointer[NameText], malloc(cython.sizeof(NameText) + len(raw)))
        if text is cython.NULL:
            raise MemoryError
        text.size = len(raw)
        memcpy(cython.address(text.at[0]), cython.cast(cython.p_char, raw), len(raw))
        if at[number] is not cython.NULL:
            self.retired.append(cython.cast(cython.size_t, at[number]))
        at[number] = text
        self.known[kind, number] = name
        return 0

    def free_retired(self) -> None:
        """No worker can be reading an old text any more."""
        for at in self.retired:
            free(cython.cast(cython.p_void, cython.cast(cython.size_t, at)))
        self.retired = []


def table(count):
    return cython.cast(
        cython.pointer[cython.pointer[NameText]], pages_new(count * cython.sizeof(cython.p_void))
    )


@cython.cfunc
@cython.exceptval(check=False)
def drop(names: cython.pointer[cython.pointer[NameText]], count: uint32_t) -> cython.void:
    at: uint32_t
    if names is cython.NULL:
        return
    for at in range(count):
        free(names[at])
    pages_drop(names, count * cython.sizeof(cython.p_void))
