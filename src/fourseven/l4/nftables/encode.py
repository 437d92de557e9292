"""A ruleset as messages of nf_tables: whole, or what leads from one to the other.

The order of a change: objects, maps and chains that are new; the contents of what stays; then what
goes, those that refer before those that are referred to. All of it is one batch, so a packet sees
the old rules or the new ones.

Law: a counter that stays keeps its count, and so does a chain that did not change its numgen.

Source: include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache

from fourseven.l4.nftables.form import (
    MARK,
    NAME,
    Chain,
    Expression,
    Lookup,
    Named,
    Rule,
    Ruleset,
    Timeout,
    Value,
    Verdict,
)
from fourseven.l4.nftables.netlink import (
    APPEND,
    ATTRIBUTE,
    CREATE,
    NESTED,
    Message,
    attribute,
    nest,
    number,
    text,
)

NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, GET_SET, DELETE_SET = 9, 10, 11
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
GET_GENERATION = 16
NEW_OBJECT, GET_OBJECT, DELETE_OBJECT = 18, 19, 20
COUNTER, TIMEOUT = 1, 7  # kinds of objects
SET_MAP, SET_OBJECT = 0x8, 0x40
DATA_VERDICT = 0xFFFFFF00
ELEMENTS_MAX = 40_000  # bytes of one message's elements; an attribute holds 65,535
VALUES_MAX = 4096  # servers of a large backend
HOST_ORDER = struct.pack("=BBI", 0, 4, 1)  # userdata: nft shows the key as a number of this host
COMMENT = 0  # of userdata: what nft shows as comment


def data(kind: int, value: bytes) -> bytes:
    return nest(kind, attribute(1, value))


def verdict(kind: int, code: int, chain: str = "") -> bytes:
    said = number(1, code & 0xFFFFFFFF) + (text(2, chain) if chain else b"")
    return nest(kind, nest(2, said))


PORTS_GIVEN = 2  # NF_NAT_RANGE_PROTO_SPECIFIED: nat sets it by itself, masq does not

# ---- expressions: how each argument is written ----

# (name in the kernel, {argument: attribute}, {attribute: value that is always so})
SIMPLE: dict[str, tuple[str, dict[str, int], dict[int, int]]] = {
    "meta": ("meta", {"dreg": 1, "key": 2}, {}),
    "payload": ("payload", {"dreg": 1, "base": 2, "offset": 3, "len": 4}, {}),
    "cmp": ("cmp", {"sreg": 1, "op": 2, "data": 3}, {}),
    "immediate": ("immediate", {"dreg": 1, "data": 2}, {}),
    "lookup": ("lookup", {"set": 1, "sreg": 2, "dreg": 3, "inverted": 5}, {}),
    "numgen": ("numgen", {"dreg": 1, "modulus": 2, "kind": 3}, {}),
    "jhash": ("hash", {"sreg": 1, "dreg": 2, "len": 3, "modulus": 4, "seed": 5}, {}),
    "nat": ("nat", {"kind": 1, "family": 2, "address": 3, "port": 5, "port_max": 6}, {}),
    "masquerade": ("masq", {"port": 2, "port_max": 3}, {1: PORTS_GIVEN}),
    "objref": ("objref", {"name": 2}, {1: COUNTER}),
    "objref_timeout": ("objref", {"name": 2}, {1: TIMEOUT}),
    "objref_map": ("objref", {"sreg": 3, "set": 4}, {}),
    "fib_type": ("fib", {"dreg": 1}, {2: 3, 3: 2}),  # the type of the destination
}


def expression(found: Expression) -> bytes:
    """One step of a rule, as an element of its list."""
    arguments = dict(found.arguments)
    name, inside = _SPECIAL[found.what](arguments) if found.what in _SPECIAL else _simple(found)
    return nest(1, text(1, name), nest(2, inside))


def _simple(found: Expression) -> tuple[str, bytes]:
    name, places, always = SIMPLE[found.what]
    parts = [number(kind, value) for kind, value in always.items()]
    for argument, value in found.arguments:
        parts.append(_argument(places[argument], value))
    return name, b"".join(parts)


def _argument(kind: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return number(kind, value)
    return text(kind, value) if isinstance(value, str) else data(kind, value)


def _verdict(arguments: Mapping[str, int | str | bytes]) -> tuple[str, bytes]:
    code, chain = arguments["code"], arguments.get("chain", "")
    assert isinstance(code, int)
    assert isinstance(chain, str)
    return "immediate", number(1, 0) + verdict(2, code, chain)


def _bitwise(arguments: Mapping[str, int | str | bytes]) -> tuple[str, bytes]:
    mask = arguments["mask"]
    assert isinstance(mask, bytes)
    numbers = [arguments[name] for name in ("sreg", "dreg", "len")]
    parts = [number(kind, int(value)) for kind, value in enumerate(numbers, 1)]
    return "bitwise", b"".join(parts) + data(4, mask) + data(5, bytes(len(mask)))


def _ct(arguments: Mapping[str, int | str | bytes]) -> tuple[str, bytes]:
    parts = number(1, int(arguments["dreg"])) + number(2, int(arguments["key"]))
    if "direction" in arguments:
        parts += attribute(3, bytes((int(arguments["direction"]),)))
    return "ct", parts


def _reject(arguments: Mapping[str, int | str | bytes]) -> tuple[str, bytes]:
    kind = int(arguments["kind"])  # 1: TCP reset; 2: ICMP of either family
    return "reject", number(1, kind) + (attribute(2, b"\x01") if kind == 2 else b"")


_SPECIAL = {"verdict": _verdict, "bitwise": _bitwise, "ct": _ct, "reject": _reject}


# ---- messages ----


class Encoder:
    """Messages about one table."""

    def __init__(self, table: str) -> None:
        self.table = table

    def create(self, comment: str) -> Message:
        said = comment.encode()[:254] + b"\0"
        note = attribute(6, bytes((COMMENT, len(said))) + said)
        return Message(NEW_TABLE, text(1, self.table) + note, CREATE)

    def remove(self) -> Message:
        return Message(DELETE_TABLE, text(1, self.table))

    def counter(self, name: str) -> Message:
        inside = nest(4, attribute(1, bytes(8)), attribute(2, bytes(8)))
        body = text(1, self.table) + text(2, name) + number(3, COUNTER) + inside
        return Message(NEW_OBJECT, body, CREATE)

    def timeout(self, name: str, timeout: Timeout) -> Message:
        values = nest(3, *(number(state, seconds) for state, seconds in timeout.seconds))
        layer3 = attribute(1, struct.pack(">H", 2 if timeout.family == 4 else 10))
        inside = nest(4, layer3, attribute(2, bytes((timeout.protocol,))), values)
        body = text(1, self.table) + text(2, name) + number(3, TIMEOUT) + inside
        return Message(NEW_OBJECT, body, CREATE)

    def no_object(self, name: str, kind: int) -> Message:
        return Message(DELETE_OBJECT, text(1, self.table) + text(2, name) + number(3, kind))

    def lookup(self, name: str, lookup: Lookup) -> Message:
        flags = {"": 0, "counter": SET_OBJECT}.get(lookup.value, SET_MAP)
        parts = [text(1, self.table), text(2, name), number(3, flags)]
        parts += [number(4, _kinds(lookup.key)), number(5, lookup.key_size)]
        if lookup.value == "verdict":
            parts.append(number(6, DATA_VERDICT))
        elif lookup.value == "data":
            parts += [number(6, _kinds(lookup.data)), number(7, lookup.data_size)]
        elif lookup.value == "counter":
            parts.append(number(15, COUNTER))
        parts.append(number(10, 1))  # an id, which the kernel asks for
        if lookup.key in ((MARK,), (NAME,)):
            parts.append(attribute(13, HOST_ORDER))
        return Message(NEW_SET, b"".join(parts), CREATE)

    def no_lookup(self, name: str) -> Message:
        return Message(DELETE_SET, text(1, self.table) + text(2, name))

    def elements(self, name: str, elements: Iterable[tuple[bytes, Value]]) -> Iterator[Message]:
        yield from self._elements(NEW_ELEMENT, CREATE, name, map(_element, elements))

    def no_elements(self, name: str, keys: Iterable[bytes]) -> Iterator[Message]:
        yield from self._elements(DELETE_ELEMENT, 0, name, (_element((k, None)) for k in keys))

    def _elements(
        self, kind: int, flags: int, name: str, each: Iterable[bytes]
    ) -> Iterator[Message]:
        where = text(1, self.table) + text(2, name)
        held: list[bytes] = []
        size = 0
        for one in each:
            held.append(one)
            size += len(one)
            if size > ELEMENTS_MAX:
                yield Message(kind, where + nest(3, *held), flags)
                held, size = [], 0
        if held:
            yield Message(kind, where + nest(3, *held), flags)

    def chain(self, name: str, chain: Chain) -> Message:
        parts = [text(1, self.table), text(3, name)]
        if chain.hook:
            kind, hook, priority = chain.hook
            place = number(1, hook) + number(2, priority & 0xFFFFFFFF)
            parts += [nest(4, place), number(5, 1), text(7, kind)]  # policy: accept
        return Message(NEW_CHAIN, b"".join(parts), CREATE)

    def no_chain(self, name: str) -> Message:
        return Message(DELETE_CHAIN, text(1, self.table) + text(3, name))

    def rule(self, chain: str, rule: Rule) -> Message:
        said = rule.meaning.encode()[:200] + b"\0"
        note = attribute(7, bytes((COMMENT, len(said))) + said)
        steps = nest(4, *map(expression, rule.steps))
        body = text(1, self.table) + text(2, chain) + steps + note
        return Message(NEW_RULE, body, CREATE | APPEND)

    def no_rules(self, chain: str = "") -> Message:
        """Empties a chain, or all of them."""
        return Message(DELETE_RULE, text(1, self.table) + (text(2, chain) if chain else b""))

    def change(self, old: Ruleset, new: Ruleset) -> Iterator[Message]:
        """What leads from the one to the other."""
        yield from self._added(old, new)
        yield from self._changed(old, new)
        yield from self._removed(old, new)

    def _added(self, old: Ruleset, new: Ruleset) -> Iterator[Message]:
        known = set(old.counters)
        yield from (self.counter(name) for name in new.counters if name not in known)
        for name, timeout in new.timeouts.items():
            if name not in old.timeouts:
                yield self.timeout(name, timeout)
        for name, lookup in new.lookups.items():
            if name not in old.lookups:
                yield self.lookup(name, lookup)
        for name, chain in new.chains.items():
            if name not in old.chains:
                yield self.chain(name, chain)

    def _changed(self, old: Ruleset, new: Ruleset) -> Iterator[Message]:
        for name, lookup in new.lookups.items():
            before = old.lookups[name].elements if name in old.lookups else {}
            now = lookup.elements
            if before is now:
                continue
            differ = [(k, v) for k, v in now.items() if k not in before or before[k] != v]
            yield from self.no_elements(name, [k for k, _ in differ if k in before])
            yield from self.elements(name, differ)
            yield from self.no_elements(name, [k for k in before if k not in now])
        for name, chain in new.chains.items():
            before_rules = old.chains[name].rules if name in old.chains else ()
            if chain.rules == before_rules:
                continue
            if before_rules:
                yield self.no_rules(name)
            yield from (self.rule(name, rule) for rule in chain.rules)

    def _removed(self, old: Ruleset, new: Ruleset) -> Iterator[Message]:
        chains = [name for name in old.chains if name not in new.chains]
        yield from (self.no_rules(name) for name in chains if old.chains[name].rules)
        for name in old.lookups:
            if name not in new.lookups:
                yield self.no_lookup(name)
        yield from map(self.no_chain, chains)
        kept = set(new.counters)
        yield from (self.no_object(name, COUNTER) for name in old.counters if name not in kept)
        for name in old.timeouts:
            if name not in new.timeouts:
                yield self.no_object(name, TIMEOUT)


def _kinds(parts: tuple[int, ...]) -> int:
    """Several kinds as one number: six bits for each."""
    whole = 0
    for part in parts:
        whole = whole << 6 | part
    return whole


def _element(found: tuple[bytes, Value]) -> bytes:
    key, value = found
    inside = _key_head(len(key)) + key + bytes(-len(key) % 4) + _value(value)
    return ATTRIBUTE.pack(4 + len(inside), 1 | NESTED) + inside


@cache
def _key_head(size: int) -> bytes:
    return data(1, bytes(size))[: 2 * ATTRIBUTE.size]


@lru_cache(VALUES_MAX)
def _value(value: Value) -> bytes:
    """What an element says; many say the same."""
    if value is None:
        return b""
    if isinstance(value, Verdict):
        return verdict(2, value.code, value.chain)
    return text(9, value.name) if isinstance(value, Named) else data(2, value)
