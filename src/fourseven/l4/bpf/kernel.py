"""bpf(2), called directly: maps, programs, links, pins and test runs.

A map, a program and a link are file descriptors: when the last holder closes (or is killed), the
kernel takes a link out of the packets' way and frees the rest. What is pinned (given a name in a
bpf filesystem) stays until the name is removed, and can be opened again by it.

Law: a refusal is a BpfError with the kernel's reason; the verifier's names the builder's line.
Source: include/uapi/linux/bpf.h, whose numbers and structs stand in the tables.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from fourseven.l4.bpf.btf import described
from fourseven.l4.bpf.build import Map
from fourseven.l4.bpf.code import Assembled, Placed

# How many the system call is, by machine (asm/unistd.h).
NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "armv7l": 386,
    "ppc64le": 361,
    "s390x": 351,
}
MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT, PROG_LOAD = 0, 1, 2, 3, 4, 5
OBJECT_PIN, OBJECT_GET, TEST_RUN, OBJECT_INFO, PROG_QUERY, TYPES_LOAD = 6, 7, 10, 15, 16, 18
LOOKUP_BATCH, LINK_CREATE, LINK_UPDATE, LINK_DETACH = 24, 28, 29, 34
ATTRIBUTES = 128  # bytes of union bpf_attr that we know; the kernel takes a shorter one as zeros
LOG = 1 << 20  # bytes; enough for the trace of a few thousand instructions
LOG_MAX = 1 << 26  # a branching program's trace can be long; the kernel gives no more than 1 GB
NAME = 15  # characters of a name that the kernel keeps
CHUNK = 4096  # rows that are read in one call; a call holds no lock longer than one bucket
FUNCTION = 8  # bytes of struct bpf_func_info
LICENSE = b"Dual MIT/GPL\0"  # some helpers are only for programs under the GPL
TEST_ROOM = 4096  # bytes more than went in that a program may make of a packet
LIVE_FRAMES = 2  # BPF_F_TEST_XDP_LIVE_FRAMES: what a test run makes of the packets truly happens
NATIVE, GENERIC = 4, 2  # XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE
MONOTONIC_COARSE = 6  # a clock of clock_gettime(2) that Python does not name

libc = ctypes.CDLL(None, use_errno=True)


class Hook(NamedTuple):
    """A place where packets meet a program."""

    name: str
    type: int  # enum bpf_prog_type
    attach: int  # enum bpf_attach_type


TCX_INGRESS = Hook("tcx ingress", 3, 46)
TCX_EGRESS = Hook("tcx egress", 3, 47)
XDP = Hook("xdp", 6, 37)


class BpfError(OSError):
    """The kernel refuses a bpf(2) call."""


def call(command: int, attributes: bytes) -> tuple[int, bytes]:
    """One call: what it returns (below 0: the negative errno), and the attributes afterwards."""
    number = NUMBERS.get(platform.machine())
    if number is None:
        raise BpfError(errno.ENOSYS, f"bpf(2) has no known number on {platform.machine()}")
    room = ctypes.create_string_buffer(attributes.ljust(ATTRIBUTES, b"\0"), ATTRIBUTES)
    result = libc.syscall(number, command, room, ATTRIBUTES)
    return (result if result >= 0 else -ctypes.get_errno()), room.raw


def bpf(command: int, attributes: bytes, what: str) -> tuple[int, bytes]:
    """One call that must succeed; `what` says in the error what was tried."""
    result, after = call(command, attributes)
    if result < 0:
        raise BpfError(-result, f"{what}: {os.strerror(-result)}")
    return result, after


def room(data: bytes) -> Any:
    """A copy of the bytes, which the kernel may read; there is room for at least one."""
    return ctypes.create_string_buffer(data, max(len(data), 1))


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

    def pin(self, path: Path) -> None:
        """Gives it a name in a bpf filesystem, by which it outlives this process."""
        name = room(bytes(path) + b"\0")
        attributes = struct.pack("=QI", ctypes.addressof(name), self.number)
        bpf(OBJECT_PIN, attributes, f"pinning {path}")

    def info(self, size: int, what: str) -> bytes:
        """What the kernel tells of a map, a program or a link: the first `size` bytes."""
        told = ctypes.create_string_buffer(size)
        attributes = struct.pack("=IIQ", self.number, size, ctypes.addressof(told))
        bpf(OBJECT_INFO, attributes, f"asking about {what}")
        return told.raw


def pinned(path: Path) -> int:
    """A descriptor of what has that name in a bpf filesystem."""
    name = room(bytes(path) + b"\0")
    attributes = struct.pack("=QI", ctypes.addressof(name), 0)
    return bpf(OBJECT_GET, attributes, f"opening {path}")[0]


def processors() -> int:
    """As many as this machine may ever have: so many rows has one of a map FOR_EACH_CPU."""
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1


def hertz() -> int:
    """How many ticks a second has, in which a program counts time by `jiffies64`."""
    return round(1 / time.clock_getres(MONOTONIC_COARSE))  # which moves once a tick


class Table(Descriptor):
    """A map in the kernel: rows by the names of their fields."""

    def __init__(self, form: Map, path: Path | None = None) -> None:
        """A new one; or the one that is pinned there, which must have the same form."""
        self.form = form
        self.copies = processors() if form.for_each_cpu else 1
        step = (form.value.size + 7) // 8 * 8 if form.for_each_cpu else form.value.size
        self.row_size = step * self.copies  # bytes of a row as the kernel gives it
        self._step = step
        super().__init__(pinned(path) if path is not None else self._made())
        if path is not None:
            self._same(path)
        self._key = ctypes.create_string_buffer(form.key.size)
        self._value = ctypes.create_string_buffer(self.row_size)

    def _made(self) -> int:
        form, name = self.form, self.form.name.encode()[:NAME]
        sizes = (form.type, form.key.size, form.value.size, form.size, form.flags, 0, 0)
        attributes = struct.pack("=IIIIIII16s", *sizes, name)
        return bpf(MAP_CREATE, attributes, f"the map {form.name}")[0]

    def _same(self, path: Path) -> None:
        form = self.form
        found = struct.unpack("=I4xIII", self.info(20, str(path)))  # struct bpf_map_info
        wanted = (form.type, form.key.size, form.value.size, form.size)
        if found != wanted:
            self.close()
            raise BpfError(errno.EINVAL, f"{path} has another form: {found}, and not {wanted}")

    def _call(self, command: int, value: Any, what: str) -> bool:
        """False when there is no such row."""
        at = ctypes.addressof(value) if value is not None else 0
        attributes = struct.pack("=IIQQQ", self.number, 0, ctypes.addressof(self._key), at, 0)
        result, _ = call(command, attributes)
        if result < 0 and result != -errno.ENOENT:
            why = f"{what} the map {self.form.name}: {os.strerror(-result)}"
            raise BpfError(-result, why)
        return result >= 0

    def put(self, key: bytes, value: bytes) -> None:
        """A row; of a map FOR_EACH_CPU, the same for each of them."""
        self._key.raw = key
        self._value.raw = (
            value if self.copies == 1 else value.ljust(self._step, b"\0") * self.copies
        )
        self._call(MAP_UPDATE, self._value, "writing to")

    def get(self, key: bytes) -> dict[str, Any] | None:
        """A row; of a map FOR_EACH_CPU, the sums over them."""
        raw = self.raw(key)
        return None if raw is None else self.row(raw)

    def raw(self, key: bytes) -> bytes | None:
        """A row as the kernel gives it."""
        self._key.raw = key
        return self._value.raw if self._call(MAP_LOOKUP, self._value, "reading") else None

    def row(self, raw: bytes) -> dict[str, Any]:
        """The fields of a row as the kernel gives it."""
        form = self.form.value
        if self.copies == 1:
            return form.unpack(raw)
        each = [form.unpack(raw[at:]) for at in range(0, self.row_size, self._step)]
        return {name: sum(row[name] for row in each) for name in form.fields}

    def remove(self, key: bytes) -> bool:
        """Was there such a row?"""
        self._key.raw = key
        return self._call(MAP_DELETE, None, "removing from")

    def memory(self) -> mmap.mmap:
        """The rows of a SHARED array themselves: what is written there is so at once, for both."""
        size = self.form.size * ((self.form.value.size + 7) // 8 * 8)
        return mmap.mmap(self.number, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)

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

    def chunks(self, size: int = CHUNK) -> Iterator[tuple[bytes, bytes, int]]:
        """All rows, some thousand a call: their keys, their rows, how many. Bytes, end to end.

        A map that changes meanwhile may give a row that comes and goes, or not; never half a one.
        """
        key_size, seen = self.form.key.size, ctypes.create_string_buffer(max(8, self.form.key.size))
        given = 0
        while True:
            keys = ctypes.create_string_buffer(size * key_size)
            rows = ctypes.create_string_buffer(size * self.row_size)
            where = (given, ctypes.addressof(seen), ctypes.addressof(keys), ctypes.addressof(rows))
            attributes = struct.pack("=QQQQIIQQ", *where, size, self.number, 0, 0)
            result, after = call(LOOKUP_BATCH, attributes)
            if result == -errno.ENOSPC and size < 1 << 20:  # one bucket has more than that
                size *= 2
                continue
            if result < 0 and result != -errno.ENOENT:
                why = f"reading the map {self.form.name}: {os.strerror(-result)}"
                raise BpfError(-result, why)
            (count,) = struct.unpack_from("=I", after, 32)
            if count:
                yield keys.raw[: count * key_size], rows.raw[: count * self.row_size], count
            if result < 0:
                return
            given = ctypes.addressof(seen)


class Link(Descriptor):
    """A program's place before the packets; it leaves when the last descriptor and pin are gone."""

    @classmethod
    def open(cls, path: Path) -> Link:
        """The one that is pinned there."""
        return cls(pinned(path))

    def update(self, program: Loaded) -> None:
        """Another program in the same place; no packet passes between the two."""
        attributes = struct.pack("=III", self.number, program.number, 0)
        bpf(LINK_UPDATE, attributes, "replacing a program")

    def detach(self) -> None:
        """Takes the program away, whoever else holds the link."""
        bpf(LINK_DETACH, struct.pack("=I", self.number), "detaching a program")

    def interface(self) -> int:
        """The number of the interface that it stands before; 0 when that is gone or detached."""
        kind, _, _, _, first, _ = struct.unpack("=IIIIII", self.info(24, "a link"))
        return int(first) if kind in LINKS_OF_INTERFACES else 0


def standing_at(interface: int, hook: Hook) -> int:
    """How many programs stand in a place before an interface."""
    attributes = struct.pack("=IIIIQIIQQQQ", interface, hook.attach, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    _, after = bpf(PROG_QUERY, attributes, f"asking who stands at {hook.name}")
    return int(struct.unpack_from("=I", after, 24)[0])


LINKS_OF_INTERFACES = (6, 11)  # BPF_LINK_TYPE_XDP, _TCX: their bpf_link_info begins with it


class Types(Descriptor):
    """Types of functions, as the kernel keeps them."""

    def __init__(self, blob: bytes) -> None:
        given = room(blob)
        attributes = struct.pack("=QQIII", ctypes.addressof(given), 0, len(blob), 0, 0)
        super().__init__(bpf(TYPES_LOAD, attributes, "loading types")[0])


class Loaded(Descriptor):
    """A program that the verifier has taken."""

    def __init__(
        self, program: Assembled, tables: Mapping[str, Table], hook: Hook = TCX_INGRESS
    ) -> None:
        self.hook = hook
        self.name = program.name
        self._code = program.encode({name: table.number for name, table in tables.items()})
        self._types, self._functions = -1, b""
        with contextlib.ExitStack() as open_meanwhile:
            if program.functions:
                blob, self._functions = described([Placed(program.name, 0), *program.functions])
                self._types = open_meanwhile.enter_context(Types(blob)).number
            try:
                number = self._load(None)
            except BpfError as error:
                if error.errno not in (errno.EINVAL, errno.EACCES, errno.E2BIG, errno.EFAULT):
                    raise
                number = self._told(program)
        super().__init__(number)

    @classmethod
    def open(cls, path: Path, hook: Hook = TCX_INGRESS) -> Loaded:
        """The one that is pinned there."""
        made = cls.__new__(cls)
        made.hook, made.name, made._code = hook, path.name, b""
        made.number = pinned(path)
        return made

    def _load(self, log: Any) -> int:
        bytecode, license, functions = room(self._code), room(LICENSE), room(self._functions)
        where = (1, len(log), ctypes.addressof(log)) if log is not None else (0, 0, 0)
        attributes = struct.pack(
            "=IIQQIIQII16sIIIIQI",
            self.hook.type,
            len(self._code) // 8,
            ctypes.addressof(bytecode),
            ctypes.addressof(license),
            *where,
            0,
            0,
            self.name.encode()[:NAME],
            0,
            self.hook.attach,
            max(self._types, 0),
            FUNCTION if self._functions else 0,
            ctypes.addressof(functions),
            len(self._functions) // FUNCTION,
        )
        return bpf(PROG_LOAD, attributes, f"loading {self.name}")[0]

    def _told(self, program: Assembled) -> int:
        """Once more with the verifier's log, which costs time: only after a refusal."""
        size = LOG
        while True:
            log = ctypes.create_string_buffer(size)
            try:
                return self._load(log)
            except BpfError as again:
                if again.errno == errno.ENOSPC and size < LOG_MAX:
                    size *= 8
                    continue
                if not log.value:
                    raise
                text = program.explain(log.value.decode("utf-8", "replace"))
                raise BpfError(again.errno, text) from None

    def _test(self, given: Any, out: Any, context: Any, *, repeat: int, flags: int) -> bytes:
        """BPF_PROG_RUN; the attributes as they are afterwards."""
        sizes = (ctypes.sizeof(given) if given is not None else 0, 0 if out is None else len(out))
        attributes = struct.pack(
            "=IIIIQQIIIIQQII",
            self.number,
            0,
            *sizes,
            ctypes.addressof(given) if given is not None else 0,
            ctypes.addressof(out) if out is not None else 0,
            repeat,
            0,
            len(context) if context is not None else 0,
            0,
            ctypes.addressof(context) if context is not None else 0,
            0,
            flags,
            0,
        )
        return bpf(TEST_RUN, attributes, f"a test run of {self.name}")[1]

    def run(self, packet: bytes, context: bytes = b"") -> tuple[int, bytes]:
        """Runs it once on a packet that goes nowhere: its exit code, and the packet afterwards.
        `context` is what the kernel hands over, where it matters (struct __sk_buff or xdp_md)."""
        given = ctypes.create_string_buffer(packet, len(packet))
        out = ctypes.create_string_buffer(len(packet) + TEST_ROOM)
        told = room(context) if context else None
        after = self._test(given, out, told, repeat=1, flags=0)
        code, _, size = struct.unpack_from("=III", after, 4)
        return code, out.raw[:size]

    def nanoseconds(self, packet: bytes, repeat: int, context: bytes = b"") -> int:
        """How long a run takes, over many. A packet that it changes comes changed the next time."""
        given = ctypes.create_string_buffer(packet, len(packet))
        told = room(context) if context else None
        after = self._test(given, None, told, repeat=repeat, flags=0)
        return int(struct.unpack_from("=I", after, 36)[0])

    def flood(self, frame: bytes, interface: int, repeat: int) -> None:
        """An xdp program runs on so many copies of a frame as though the interface had received
        them, and what it decides happens: sent, redirected, or up into the kernel."""
        given = ctypes.create_string_buffer(frame, len(frame))
        context = room(struct.pack("=IIIIII", 0, len(frame), 0, interface, 0, 0))  # struct xdp_md
        self._test(given, None, context, repeat=repeat, flags=LIVE_FRAMES)

    def attach(self, interface: int, hook: Hook | None = None, flags: int = 0) -> Link:
        """Puts it before the packets of an interface. `flags`: NATIVE or GENERIC, of xdp."""
        where = hook or self.hook
        attributes = struct.pack("=IIII", self.number, interface, where.attach, flags)
        return Link(bpf(LINK_CREATE, attributes, f"attaching to {where.name}")[0])
