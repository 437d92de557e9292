"""Program: a program of the kernel's machine, written as Python statements.

    p = Program("count", context=SKB)
    seen = p.map("seen", HASH, key=KEY, value=COUNT, size=1024)
    ip = p.packet("ip", 14, IPV4, otherwise=PASS)
    key = p.stack("key", KEY)
    p.set(key.address, ip.source)
    count = p.lookup(seen, "count", key)
    with p.when(count.present):
        p.add(count.packets, 1)
    p.exit(PASS)

Each statement emits at once; how, is told in `emit`.

What the verifier would refuse late and darkly is refused here, in the line that is wrong: a field
behind a lookup that was not checked, a header used after a helper has moved the packet, a
statement that is never reached, a program that runs off its end, a full stack.

Loops are Python's own: what is repeated is written out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fourseven.l4.bpf import code
from fourseven.l4.bpf.code import Assembled
from fourseven.l4.bpf.emit import CONTEXT, GIVEN, Emitter, proofs
from fourseven.l4.bpf.helpers import HELPERS
from fourseven.l4.bpf.layout import U32, U64, BuildError, Kind, Struct
from fourseven.l4.bpf.polish import polished
from fourseven.l4.bpf.values import (
    Condition,
    Const,
    Load,
    Local,
    MapHandle,
    Pointer,
    Value,
    operand,
)

# enum bpf_map_type; a row of one FOR_EACH_CPU is as many rows as the machine has processors
HASH, ARRAY, LRU_HASH = 1, 2, 9
HASH_FOR_EACH_CPU, ARRAY_FOR_EACH_CPU, LRU_HASH_FOR_EACH_CPU = 5, 6, 10
# BPF_F_NO_PREALLOC, _NO_COMMON_LRU, _MMAPABLE: whoever has it open may see its memory
NO_PREALLOC, LRU_OF_EACH_CPU, SHARED = 1, 2, 1 << 10


@dataclass(frozen=True)
class Map:
    """A table that the program shares with the one who loads it."""

    name: str
    type: int
    key: Struct
    value: Struct
    size: int
    flags: int = 0

    @property
    def for_each_cpu(self) -> bool:
        return self.type in (HASH_FOR_EACH_CPU, ARRAY_FOR_EACH_CPU, LRU_HASH_FOR_EACH_CPU)


class Program(Emitter):
    """A program while it is written. `context` is the struct that the kernel hands to it."""

    def __init__(self, name: str, context: Struct) -> None:
        super().__init__()
        self.name = name
        self.maps: dict[str, Map] = {}
        local = Local("context", U64, CONTEXT, 0, 0)
        self.context = Pointer(context, "context", "context", local, 0, 0)
        self._emit(code.ALU64 | code.MOV | code.REGISTER, to=CONTEXT, source=1, text="r6 = context")

    # ---- variables ----

    def let(self, name: str, value: Value | int, kind: Kind = U64) -> Local:
        """A new variable; its kind is the value's."""
        made = self._local(name, value.kind if isinstance(value, Value) else kind)
        self.set(made, value)
        return made

    def set(self, target: Local | Load, value: Value | int) -> None:
        """Gives a variable or a field a new value."""
        said = operand(value, target.kind, "=")
        if said.kind.size > target.kind.size:
            raise BuildError(
                f"{said} of kind {said.kind.name} does not fit into {target} "
                f"of kind {target.kind.name}; write .to({target.kind.name.upper()})"
            )
        if isinstance(target, Local):
            self._assign(target, said)
            return
        if isinstance(said, Const) and said.number < 1 << 31 and not target.of_context:
            base, offset = self._base(target.pointer, 1), self._offset(target)
            opcode = code.ST | code.WIDTHS[target.kind.size]
            text = f"{target} = {said}"
            self._emit(opcode, to=base, offset=offset, number=said.number, text=text)
            return
        self._value(said, 0, (2, 3, 4, 5))
        base = self._base(target.pointer, 1)
        offset = self._offset(target)
        opcode = code.STX | code.WIDTHS[target.kind.size]
        self._emit(opcode, to=base, source=0, offset=offset, text=f"{target} = r0")

    def forgotten(self, local: Local, other: Value) -> Value:
        """The same number, of which the verifier knows nothing any more, since it went through an
        `other` that it does not know. Ways that differ only in what is known of it become one for
        the verifier, which otherwise follows each to the program's end."""
        mixed = self.let("mixed", local ^ other)
        return mixed ^ other

    def add(self, target: Load, value: Value | int) -> None:
        """Adds to a 64-bit field of a map, whole even when several processors do it at once."""
        if target.kind is not U64:
            raise BuildError(f"{target} is {target.kind.name}: only u64 is added to as a whole")
        self._value(operand(value, U64, "+="), 0, (2, 3, 4, 5))
        base = self._base(target.pointer, 1)
        offset = self._offset(target)
        self._emit(code.ATOMIC64, to=base, source=0, offset=offset, text=f"{target} += r0")

    def fetch_add(self, name: str, target: Load, value: Value | int) -> Local:
        """As `add`; what the field held before is a new variable."""
        self.add(target, value)
        last = self._code[-1]
        last.number, last.text = code.FETCH, f"r0 = {target}; {target} += r0"
        made = self._local(name, U64)
        self._keep(made, 0)
        return made

    def fetch_or(self, name: str, target: Load, bits: Value) -> Local:
        """Sets bits of a field of a map, whole; what it held before is a new variable."""
        self._whole_bits(target, code.FETCH_OR, bits, f"r0 = {target}; {target} |= {bits}")
        made = self._local(name, target.kind)
        self._keep(made, 0)
        return made

    def set_bits(self, target: Load, bits: Value | int) -> None:
        """As `fetch_or`, where nobody asks what was there. (The fetch makes it a barrier, too.)"""
        self._whole_bits(target, code.FETCH_OR, bits, f"{target} |= {bits}")

    def keep_bits(self, target: Load, bits: Value | int) -> None:
        """Clears all other bits of a field of a map, whole."""
        self._whole_bits(target, code.FETCH_AND, bits, f"{target} &= {bits}")

    def turn_bits(self, target: Load, bits: Value | int) -> None:
        """Turns bits of a field of a map over, whole."""
        self._whole_bits(target, code.XOR | code.FETCH, bits, f"{target} ^= {bits}")

    def swap_if(self, name: str, target: Load, expected: Local, new: Value) -> Local:
        """Gives a 32-bit field of a map a new value if it holds the expected one, whole; what it
        held before is a new variable."""
        if target.kind is not U32:
            raise BuildError(f"{target} is {target.kind.name}: only a u32 is swapped")
        self._value(new, 2, (3, 4, 5, 0))
        base = self._base(target.pointer, 1)
        self._value(expected, 0, (3, 4, 5))
        text = f"r0 = {target}; {target} = {new} if it was {expected}"
        self._emit(
            code.ATOMIC32,
            to=base,
            source=2,
            offset=self._offset(target),
            number=code.SWAP_IF,
            text=text,
        )
        made = self._local(name, U32)
        self._keep(made, 0)
        return made

    def _whole_bits(self, target: Load, number: int, bits: Value | int, text: str) -> None:
        if target.kind not in (U32, U64):
            raise BuildError(f"{target} is {target.kind.name}: bits are set in a u32 or u64")
        self._value(operand(bits, target.kind), 0, (2, 3, 4, 5))
        base = self._base(target.pointer, 1)
        offset = self._offset(target)
        opcode = code.ATOMIC32 if target.kind is U32 else code.ATOMIC64
        self._emit(opcode, to=base, offset=offset, number=number, text=text)

    def stack(self, name: str, struct: Struct) -> Pointer:
        """A struct on the stack, all zero."""
        made = self.room(name, struct)
        self.clear(made)
        return made

    def room(self, name: str, struct: Struct) -> Pointer:
        """A place for a struct on the stack, in which nothing stands yet: `clear` it where it is
        used, and the ways that do not use it pay nothing."""
        at = self._take(name, (struct.size + 7) // 8 * 8)
        return Pointer(struct, name, "stack", None, at, self._blocks[-1].number)

    def clear(self, made: Pointer) -> None:
        """A struct on the stack becomes all zero."""
        place = made.address
        self._alive(made, place.block)
        for offset in range(0, made._struct.size, 8):
            text = f"{made}+{offset} = 0"
            at = place.offset + offset
            self._emit(code.ST | code.WIDTHS[8], to=code.FRAME, offset=at, text=text)

    def copy(self, to: Any, source: Any) -> None:
        """An array field into another of the same length."""
        if to.count != source.count:
            raise BuildError(f"{to.count} elements cannot take {source.count}")
        for i in range(to.count):
            self.set(to[i], source[i])

    # ---- the packet ----

    def packet(
        self,
        name: str,
        at: Value | int,
        struct: Struct,
        otherwise: int,
        short: Callable[[], None] | None = None,
    ) -> Pointer:
        """A header `at` bytes into the packet. Where the packet ends before the header does, the
        program exits with `otherwise`, after what `short` writes."""
        local = self._local(name, U64)
        where = operand(at, U64) if isinstance(at, int) else at
        data, end = self.context.data, self.context.data_end
        self._value(data, 1, ())
        if isinstance(where, Const):
            self._alu("+", 1, where.number, f"r1 += {where}")
        else:
            self._value(where, 2, (3, 4, 5, 0))
            self._alu_register("+", 1, 2, f"r1 += {where}")
        self._keep(local, 1)
        self._alu("+", 1, struct.size, f"r1 += size of {struct.name}")
        self._value(end, 2, ())
        inside = self._label()
        text = f"if {name} ends inside the packet"
        self._emit(code.JMP | 0xB8, to=1, source=2, label=inside, text=text)
        if short is not None:
            with self.scope():
                short()
        self._emit(code.ALU64 | code.MOV, to=0, number=otherwise, text=f"r0 = {otherwise}")
        self._emit(code.EXIT, text="exit")
        self._labels[inside] = len(self._code)
        self._reachable = True
        return Pointer(struct, name, "packet", local, 0, self._moves)

    def stands(self, header: Pointer) -> bool:
        """Is the packet where it was when this header was taken?"""
        return header._taken == self._moves

    # ---- maps and helpers ----

    def map(  # noqa: PLR0917 - what the kernel wants to know of a map
        self, name: str, type: int, key: Struct, value: Struct, size: int, flags: int = 0
    ) -> Map:
        """Declares a map."""
        self.maps[name] = Map(name, type, key, value, size, flags)
        return self.maps[name]

    def lookup(self, map: Map, name: str, key: Pointer) -> Pointer:
        """What a map holds for a key on the stack; ask `.present` or `.missing` before a field."""
        self._fits(map.key, key)
        found = self.call("map_lookup_elem", MapHandle(map.name), key.address, name=name)
        return Pointer(map.value, name, "map", found, 0, 0)

    def nowhere(self, map: Map, name: str) -> Pointer:
        """A lookup that has found nothing, for `look_again`."""
        return Pointer(map.value, name, "map", self.let(name, 0), 0, 0)

    def look_again(self, found: Pointer, map: Map, key: Pointer) -> None:
        """As `lookup`, into a variable that has found something else in the same map before."""
        self._fits(map.key, key)
        self.do("map_lookup_elem", MapHandle(map.name), key.address)
        local = found._local
        assert local is not None
        for block in self._blocks:
            block.proven = {one for one in block.proven if one._local is not local}
        self._keep(local, 0)

    def only(self, map: Map, name: str) -> Pointer:
        """The row of an array that has but one: nothing is looked up."""
        if map.type != ARRAY or map.size != 1:
            raise BuildError(f"{map.name} is no array of one row")
        local = self._local(name, U64)
        text = f"r0 = the row of {map.name}"
        self._emit(code.LDDW, to=0, source=code.MAP_ROW, map=map.name, text=text)
        self._keep(local, 0)
        made = Pointer(map.value, name, "map", local, 0, 0)
        self._blocks[-1].proven.add(made)
        return made

    def update(self, map: Map, key: Pointer, value: Pointer) -> None:
        """Puts a key and its value, both on the stack, into a map."""
        self._fits(map.key, key)
        self._fits(map.value, value)
        self.do("map_update_elem", MapHandle(map.name), key.address, value.address, 0)

    def remove(self, map: Map, key: Pointer) -> None:
        """Takes the row of a key out of a map, if there is one."""
        self._fits(map.key, key)
        self.do("map_delete_elem", MapHandle(map.name), key.address)

    def _fits(self, wanted: Struct, given: Pointer) -> None:
        if given._struct is not wanted:
            raise BuildError(f"{given} is {given._struct.name}; the map takes {wanted.name}")

    def call(
        self, helper: str, *arguments: Value | Pointer | int, name: str = "result", kind: Kind = U64
    ) -> Local:
        """Calls a function of the kernel. What it returns is a new variable."""
        self.do(helper, *arguments)
        result = self._local(name, kind)
        self._keep(result, 0)
        return result

    def do(self, helper: str, *arguments: Value | Pointer | int) -> None:
        """As `call`, where nobody asks what it returns."""
        known = HELPERS.get(helper)
        if known is None or known.arguments != len(arguments):
            wanted = f"takes {known.arguments} arguments" if known else "is not known here"
            raise BuildError(f"the helper {helper} {wanted}")
        for i, argument in enumerate(arguments, 1):
            if argument is self.context:
                text = f"r{i} = context"
                self._emit(code.ALU64 | code.MOV | code.REGISTER, to=i, source=CONTEXT, text=text)
            elif isinstance(argument, Pointer):
                raise BuildError(f"{argument}: write .address for where a struct stands")
            else:
                value = operand(argument, U64) if isinstance(argument, int) else argument
                self._value(value, i, (*range(i + 1, 6), 0))
        self._emit(code.CALL, number=known.number, text=f"r0 = {helper}(…)")
        if known.moves:
            self._moves += 1
            self._moved_by = helper

    # ---- functions of the program ----

    @contextlib.contextmanager
    def function(self, name: str, *parameters: Struct | Kind) -> Iterator[tuple[Any, ...]]:
        """What is written in the block is a function: structs come by their address, numbers as
        they are, and `exit` gives its result."""
        with self._aside(name, parameters):
            given: list[Any] = []
            for i, (form, register) in enumerate(zip(parameters, GIVEN, strict=False)):
                if isinstance(form, Struct):
                    self._there(register)
                local = self._local(f"given{i}", U64 if isinstance(form, Struct) else form)
                self._keep(local, register)
                if isinstance(form, Struct):
                    given.append(Pointer(form, f"given{i}", "given", local, 0, 0))
                else:
                    given.append(local)
            yield tuple(given)

    def _there(self, register: int) -> None:
        """Leaves the function if it was given no address: it always is, but the kernel, which looks
        at the function alone, wants to see it asked."""
        after = self._label()
        text = f"if r{register} != 0"
        self._emit(code.JMP | code.JUMPS["!="], to=register, label=after, text=text)
        self._emit(code.ALU64 | code.MOV, text="r0 = 0")
        self._emit(code.EXIT, text="exit")
        self._labels[after] = len(self._code)
        self._reachable = True

    def invoke(self, function: str, *arguments: Value | int, name: str, kind: Kind = U64) -> Local:
        """Calls a function of the program. What it gives is a new variable."""
        known = self._functions.get(function)
        if known is None or len(known.forms) != len(arguments):
            wanted = f"takes {len(known.forms)} arguments" if known else "is not written yet"
            raise BuildError(f"the function {function} {wanted}")
        known.called = True
        for i, argument in enumerate(arguments, 1):
            value = operand(argument, U64) if isinstance(argument, int) else argument
            self._value(value, i, (*range(i + 1, 6), 0))
        text = f"r0 = {function}(…)"
        self._emit(code.CALL, source=code.OURS, label=known.label, text=text)
        result = self._local(name, kind)
        self._keep(result, 0)
        return result

    # ---- the way through ----

    @contextlib.contextmanager
    def when(self, condition: Condition) -> Iterator[None]:
        """What follows in the block happens only when the condition holds."""
        self._close()
        if not isinstance(condition, Condition):
            raise BuildError(f"{condition!r} is no condition; compare it with something")
        after = self._label()
        self._branch(condition, after, False)
        self._enter(proofs(condition, True))
        yield
        falls = self._leave()
        self._open = (after, falls, condition)

    @contextlib.contextmanager
    def otherwise(self) -> Iterator[None]:
        """After a `when`: what happens when its condition does not hold."""
        if self._open is None:
            raise BuildError("otherwise() stands right after a when(…) block")
        after, falls, condition = self._open
        self._open = None
        end = self._label()
        if falls:
            self._emit(code.JMP | 0x00, label=end, text="go on")
        self._labels[after] = len(self._code)
        self._reachable = True
        self._enter(proofs(condition, False))
        yield
        falls_too = self._leave()
        if falls:
            self._labels[end] = len(self._code)
        self._reachable = falls or falls_too

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Variables made in the block end with it, and their places are free again."""
        self._close()
        self._enter(set())
        yield
        self._leave()

    def exit(self, code_: Value | int) -> None:
        """The program ends with this code."""
        self._value(operand(code_, U32), 0, (1, 2, 3, 4, 5))
        self._emit(code.EXIT, text="exit")
        self._reachable = False

    def assemble(self) -> Assembled:
        """The finished program."""
        self._close()
        if self._reachable:
            raise BuildError(f"{self.name} runs off its end; the last statement is an exit")
        instructions, labels = polished(*self._whole())
        called = {name: one for name, one in self._functions.items() if one.called}
        functions = [(name, one.label, one.forms) for name, one in called.items()]
        return code.place(self.name, instructions, labels, functions)
