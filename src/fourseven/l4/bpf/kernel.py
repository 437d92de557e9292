"""bpf(2), called directly: maps, programs, links and test runs.

A map, a program and a link are file descriptors: when the last holder closes (or is killed), the
kernel takes a link out of the packets' way and frees the rest. So nothing is left behind unless
it is pinned, and nothing here pins.

Law: a refusal is a BpfError with the kernel's reason; the verifier's names the builder's line.
Source: include/uapi/linux/bpf.h, whose numbers stand in the tables.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from fourseven.l4.bpf.build import Map
from fourseven.l4.bpf.code import Assembled

# How many the system call is, by machine (asm/unistd.h).
NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "armv7l": 386,
    "ppc64le": 361,
    "s390x": 351,
}
MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT = 0, 1, 2, 3, 4
PROG_LOAD, PROG_TEST_RUN, LINK_CREATE, UPDATE_BATCH = 5, 10, 28, 26
ATTRIBUTES = 128  # bytes of union bpf_attr that we know; the kernel takes a shorter one as zeros
LOG = 1 << 20  # bytes; enough for the trace of a few thousand instructions
NAME = 15  # characters of a name that the kernel keeps

SCHED_CLS, TCX_INGRESS = 3, 46  # program and attach types
LICENSE = b"Dual MIT/GPL\0"  # some helpers are only for programs under the GPL
TEST_ROOM = 4096  # bytes more than went in that a program may make of a packet

libc = ctypes.CDLL(None, use_errno=True)


class BpfError(OSError):
    """The kernel refuses a bpf(2) call."""


def bpf(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    """One call: what it returns, and the attributes as the kernel left them."""
    number = NUMBERS.get(platform.machine())
    if number is None:
        raise BpfError(errno.ENOSYS, f"bpf(2) has no known number on {platform.machine()}")
    room = ctypes.create_string_buffer(attributes.ljust(ATTRIBUTES, b"\0"), ATTRIBUTES)
    result = libc.syscall(number, command, room, ATTRIBUTES)
    if result < 0:
        reason = ctypes.get_errno()
        raise BpfError(reason, f"{what}: {os.strerror(reason)}")
    return result, room.raw


class Descriptor:
    """A file descriptor that closes with its block."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class Table(Descriptor):
    """A map in the kernel: rows by the names of their fields."""

    def __init__(self, form: Map) -> None:
        self.form = form
        name = form.name.encode()[:NAME]
        attributes = struct.pack(
            "=IIIIIII16s", form.type, form.key.size, form.value.size, form.size, 0, 0, 0, name
        )
        super().__init__(bpf(MAP_CREATE, attributes, f"the map {form.name}")[0])
        self._key = ctypes.create_string_buffer(form.key.size)
        self._value = ctypes.create_string_buffer(form.value.size)

    def _call(self, command: int, value: Any, what: str) -> bool:
        """False when there is no such row."""
        at = ctypes.addressof(value) if value is not None else 0
        attributes = struct.pack("=IIQQQ", self.number, 0, ctypes.addressof(self._key), at, 0)
        try:
            bpf(command, attributes, f"{what} the map {self.form.name}")
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def put(self, key: bytes, value: bytes) -> None:
        self._key.raw, self._value.raw = key, value
        self._call(MAP_UPDATE, self._value, "writing to")

    def get(self, key: bytes) -> dict[str, Any] | None:
        self._key.raw = key
        found = self._call(MAP_LOOKUP, self._value, "reading")
        return self.form.value.unpack(self._value.raw) if found else None

    def remove(self, key: bytes) -> bool:
        """Was there such a row?"""
        self._key.raw = key
        return self._call(MAP_DELETE, None, "removing from")

    def fill(self, first: int, values: bytes, count: int) -> None:
        """Writes `count` rows of an array from `first` on, in one call."""
        keys = struct.pack(f"={count}I", *range(first, first + count))
        if not count:
            return
        names, rows = (ctypes.create_string_buffer(x, len(x)) for x in (keys, values))
        attributes = struct.pack(
            "=QQQQIIQQ",
            0,
            0,
            ctypes.addressof(names),
            ctypes.addressof(rows),
            count,
            self.number,
            0,
            0,
        )
        bpf(UPDATE_BATCH, attributes, f"filling the map {self.form.name}")

    def keys(self) -> Iterator[bytes]:
        """Every key that stands in it, as it changes under our hands."""
        current = ctypes.create_string_buffer(self.form.key.size)
        following = ctypes.create_string_buffer(self.form.key.size)
        at = 0
        while True:
            attributes = struct.pack("=IIQQQ", self.number, 0, at, ctypes.addressof(following), 0)
            try:
                bpf(MAP_NEXT, attributes, f"walking the map {self.form.name}")
            except BpfError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield following.raw
            current.raw = following.raw
            at = ctypes.addressof(current)


class Loaded(Descriptor):
    """A program that the verifier has taken."""

    def __init__(self, program: Assembled, tables: dict[str, Table]) -> None:
        code = program.encode({name: table.number for name, table in tables.items()})
        bytecode = ctypes.create_string_buffer(code, len(code))
        license = ctypes.create_string_buffer(LICENSE)

        def load(log: Any) -> int:
            where = (1, LOG, ctypes.addressof(log)) if log is not None else (0, 0, 0)
            attributes = struct.pack(
                "=IIQQIIQII16sII",
                SCHED_CLS,
                len(code) // 8,
                ctypes.addressof(bytecode),
                ctypes.addressof(license),
                *where,
                0,
                0,
                program.name.encode()[:NAME],
                0,
                TCX_INGRESS,
            )
            return bpf(PROG_LOAD, attributes, f"loading {program.name}")[0]

        try:
            number = load(None)
        except BpfError as error:
            if error.errno not in (errno.EINVAL, errno.EACCES):
                raise
            log = ctypes.create_string_buffer(LOG)  # the log costs time: only after a refusal
            try:
                number = load(log)
            except BpfError as again:
                if not log.value:
                    raise
                text = program.explain(log.value.decode("utf-8", "replace"))
                raise BpfError(again.errno, text) from None
        super().__init__(number)

    def run(self, packet: bytes) -> tuple[int, bytes]:
        """Runs it once on a packet that goes nowhere: its exit code, and the packet afterwards."""
        given = ctypes.create_string_buffer(packet, len(packet))
        room = ctypes.create_string_buffer(len(packet) + TEST_ROOM)
        attributes = struct.pack(
            "=IIIIQQII",
            self.number,
            0,
            len(packet),
            len(room),
            ctypes.addressof(given),
            ctypes.addressof(room),
            1,
            0,
        )
        _, after = bpf(PROG_TEST_RUN, attributes, "a test run")
        code, _, size = struct.unpack_from("=III", after, 4)
        return code, room.raw[:size]

    def attach(self, interface: int) -> Descriptor:
        """Puts it before every packet that an interface receives, until the link is closed."""
        attributes = struct.pack("=IIII", self.number, interface, TCX_INGRESS, 0)
        return Descriptor(bpf(LINK_CREATE, attributes, "attaching to tcx ingress")[0])
