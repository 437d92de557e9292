"""BTF: what the kernel must be told of a program's functions, so that it judges each by itself.

The verifier follows a function that it knows nothing of again from every call, with all that the
caller knows. One whose types stand in BTF as a global function is followed once, with any arguments
of these types, and a call of it is one step: a program that calls much is then judged in a fraction
of the time, and stays far from the million steps which the kernel allows.

The price: an address may be no address, so a function begins by asking (`Program.function`); and
nothing is known of what it gives but that it is a number.

Sources: Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fourseven.l4.bpf.code import Placed
from fourseven.l4.bpf.layout import Struct

MAGIC, VERSION, HEADER = 0xEB9F, 1, 24
INT, PTR, STRUCT, FUNC, FUNC_PROTO = 1, 2, 4, 12, 13  # BTF_KIND_*
GLOBAL = 1  # BTF_FUNC_GLOBAL
NUMBER = 1  # the first type: 64 bits, which a function gives, and gets where it gets no struct


class Types:
    """A BTF blob while it is written. Types are known by their numbers, from 1 on."""

    def __init__(self) -> None:
        self.types, self.names, self.count = bytearray(), bytearray(b"\0"), 0
        self.add(INT, "u64", 8, struct.pack("=I", 64))

    def add(self, kind: int, name: str, size: int, more: bytes = b"", count: int = 0) -> int:
        """A type; `size` is its bytes or the type that it is made of, as its kind wants it."""
        self.types += struct.pack("=III", self.name(name), kind << 24 | count, size) + more
        self.count += 1
        return self.count

    def name(self, name: str) -> int:
        """Where a name stands; that of nothing at 0."""
        if not name:
            return 0
        at = len(self.names)
        self.names += name.encode() + b"\0"
        return at

    def function(self, one: Placed) -> int:
        """A function's type."""
        given = b"".join(
            struct.pack("=II", self.name(f"given{i}"), self.parameter(form))
            for i, form in enumerate(one.forms)
        )
        prototype = self.add(FUNC_PROTO, "", NUMBER, given, len(one.forms))
        return self.add(FUNC, one.name, prototype, count=GLOBAL)

    def parameter(self, form: object) -> int:
        """A struct comes by its address; of its fields the kernel need not know."""
        if not isinstance(form, Struct):
            return NUMBER
        return self.add(PTR, "", self.add(STRUCT, form.name, form.size))

    def blob(self) -> bytes:
        lengths = (0, len(self.types), len(self.types), len(self.names))
        return (
            struct.pack("=HBBIIIII", MAGIC, VERSION, 0, HEADER, *lengths) + self.types + self.names
        )


def described(functions: Sequence[Placed]) -> tuple[bytes, bytes]:
    """The blob, and for each function where it begins and its type (struct bpf_func_info)."""
    types = Types()
    where = b"".join(struct.pack("=II", one.at, types.function(one)) for one in functions)
    return types.blob(), where
