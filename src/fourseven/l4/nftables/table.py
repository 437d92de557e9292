"""Our table in the kernel: what is there by that name, asked.

there()       names of everything in it, without contents
counters()    (name, (packets, bytes)) of each
known()       services and servers that are counted: what a predecessor served
comment()     whose it is, and what is to be put back when it goes
generation()  a number that changes with each change of any table
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping

from fourseven.l4.kernel_plan import MAPPED, TCP, End
from fourseven.l4.nftables import encode
from fourseven.l4.nftables.encode import Encoder
from fourseven.l4.nftables.form import Chain, Lookup, Ruleset, Timeout
from fourseven.l4.nftables.netlink import (
    TABLES,
    Message,
    Netlink,
    NetlinkError,
    attributes,
    each_attribute,
    number,
    text,
    text_of,
)
from fourseven.l4.nftables.rules import Kept, unnamed

PREFIX = "fourseven_"
NO_COMMENT = memoryview(b"\0\0")


def table_name(name: str) -> str:
    """The table of a fourseven of this name."""
    return PREFIX + name


def names() -> list[str]:
    """Every fourseven that has a table in this network namespace."""
    with Netlink(TABLES) as asking:
        asked = asking.dump(Message(encode.GET_TABLE, b""))
        tables = [text_of(attributes(one)[1]) for one in asked]
    return [one.removeprefix(PREFIX) for one in tables if one.startswith(PREFIX)]


class Table:
    """One table, and the socket by which the kernel is asked and told."""

    def __init__(self, name: str) -> None:
        self.name = table_name(name)
        self.encoder = Encoder(self.name)
        self.netlink = Netlink(TABLES)

    def close(self) -> None:
        self.netlink.close()

    def batch(self, messages: Iterable[Message], check: bool = False) -> None:
        """All of them or none. NetlinkError: none. check: judged, and never done."""
        self.netlink.batch(messages, check)

    def comment(self) -> str | None:
        """What the table's comment says; None when there is no such table."""
        found = self.netlink.ask(Message(encode.GET_TABLE, text(1, self.name)))
        if found is None:
            return None
        return text_of(attributes(found).get(6, NO_COMMENT)[2:])

    def generation(self) -> bytes:
        found = self.netlink.ask(Message(encode.GET_GENERATION, b"", family=0))
        return b"" if found is None else bytes(attributes(found).get(1, b""))

    def there(self) -> Ruleset:
        chains = {name: Chain(()) for name in self._names(encode.GET_CHAIN, 3)}
        lookups = {name: Lookup((), 0, "", {}) for name in self._names(encode.GET_SET, 2)}
        counters = tuple(self._names(encode.GET_OBJECT, 2, encode.COUNTER))
        timeouts = self._names(encode.GET_OBJECT, 2, encode.TIMEOUT)
        return Ruleset(counters, {name: Timeout(4, TCP, ()) for name in timeouts}, lookups, chains)

    def counters(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for found in self._each(encode.GET_OBJECT, encode.COUNTER):
            values = attributes(found[4])
            packets, size = (int.from_bytes(values[kind], "big") for kind in (2, 1))
            yield text_of(found[2]), (packets, size)

    def known(self) -> Kept:
        """What the table counts, as what may still have flows."""
        kept = Kept()
        for name in self._names(encode.GET_SET, 2):
            way, _, rest = name.partition(".")
            family, _, backend = rest.partition(".")
            if way != "in" or family not in SIZES:
                continue
            size = SIZES[family]
            for key, chain in self._elements(name):
                if backend:
                    kept.servers.add((unnamed(backend), _end(key, size)))
                else:
                    listener = unnamed(chain.partition(".")[2])
                    kept.services[key[0], _end(key[4:], size)] = listener
        return kept

    def _elements(self, name: str) -> Iterator[tuple[bytes, str]]:
        """(key, the chain that it leads to) of each element of a map."""
        asked = Message(encode.GET_ELEMENT, text(1, self.name) + text(2, name))
        for body in self._dump(asked):
            for _, element in each_attribute(attributes(body).get(3, memoryview(b""))):
                found = attributes(element)
                key = attributes(found[1])[1]
                value = attributes(found[2]) if 2 in found else {}
                yield bytes(key), _chain(value)

    def _names(self, question: int, place: int, kind: int = 0) -> Iterator[str]:
        for found in self._each(question, kind):
            yield text_of(found[place])

    def _each(self, question: int, kind: int = 0) -> Iterator[dict[int, memoryview]]:
        """What the table has of one sort; objects of one kind."""
        asked = text(1, self.name) + (number(3, kind) if kind else b"")
        for body in self._dump(Message(question, asked)):
            found = attributes(body)
            if text_of(found[1]) != self.name:
                continue
            if not kind or int.from_bytes(found[3], "big") == kind:
                yield found

    def _dump(self, asked: Message) -> Iterable[memoryview]:
        try:
            return list(self.netlink.dump(asked))
        except NetlinkError as error:
            if error.errno == errno.ENOENT:  # no such table
                return ()
            raise


SIZES = {"v4": 4, "v6": 16}


def _end(key: bytes, size: int) -> End:
    address = int.from_bytes(key[:size], "big") | (MAPPED if size == 4 else 0)
    return End(address, int.from_bytes(key[size : size + 2], "big"))


def _chain(value: Mapping[int, memoryview]) -> str:
    return text_of(attributes(value[2]).get(2, memoryview(b""))) if 2 in value else ""
