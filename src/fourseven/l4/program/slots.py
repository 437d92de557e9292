"""The rows of flows: where one stands, how a packet finds it, how a place is taken and given back.

A hash of the client's end gives a row its home; it stands there, or in one of the six places
behind. So both rows of a flow stand side by side where the servers see the client: the client's
own at home, that of the answers (whose client is whom they go to) next to it. A packet does not say
which of its ends is the client's, so first the one is asked and then the other; where the second is
right, the first was the server's, and that place has been asked a thousand times by then.

The ports of a client, which are given to its connections one after the other, have their homes one
after the other too, two places to each, in streets of 128: so the next connection of a busy client
(a proxy, a network behind one address) stands where the processor has just been, and none in
another's place.

A byte for each home (`near`) says in which of its seven places rows of that home stand, so a packet
of a known flow reads that and its row, and one of no flow the byte alone: eight million bytes of
rows have one million of those. A table of this size is far from the processor: a page of it that is
asked for the first time costs more than all that is done with what stands there.

Where all seven are taken, as by a client who has one port of his own and asks many addresses, a
second home is asked, which both ends give, and the byte of the first says so (SPILLED). Half of all
places are for room: with as many flows as the file permits, one row in thirty needs its second
home, and one in five hundred finds no place; with half as many flows, one in two hundred and one in
some ten thousand.

    find(key)         the place of a key's row, or NOWHERE
    take(key, answers)  a place for a row of this key, BUSY: filled by whoever took it, then
                      `publish`; `answers`: 1 if it is one of answers, whose client they go to
    drop(place)       the row leaves

Who finds no place takes that of the flow that was used longest ago, of those at both homes; among
flows of the last two seconds, one of UDP first, for anybody can make those up.

Several processors do this at once, and the control plane takes rows out (`scan`). Laws: a row is
written between taking its place (BUSY, by one atomic step that only one can win) and publishing it;
only a USED row is ever believed; whoever takes a place counts its VERSION, and a packet that was
rewritten by a row asks at its end whether that has become `another`.

Two processors that make one flow in the same moment make its rows twice: those that are not found
any more fall idle.

The hash is seeded: whoever opens the tables first draws a number. It is that of scan.py.

Source: Herlihy, Shavit, Tzafrir 2008 (hopscotch hashing), without its moving of rows.
"""

from __future__ import annotations

from fourseven.l4.bpf.build import Map, Program
from fourseven.l4.bpf.kernel import hertz
from fourseven.l4.bpf.layout import U32, U64, Array, Struct
from fourseven.l4.bpf.values import Condition, Local, Pointer, Value
from fourseven.l4.headers import ENDS
from fourseven.l4.kernel_plan import UDP
from fourseven.l4.program.tables import (
    BUSY,
    INDEX,
    IS_UDP,
    KEYS,
    TO_CLIENT,
    USED,
    VERSION,
    VERSIONS,
    WORDS,
    Tables,
)

SPREAD = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: multiplying spreads neighbours (Knuth 6.4)
NOWHERE, FULL = 0xFFFFFFFF, 0xFFFFFFFE  # numbers of no place
SOURCE, DESTINATION = 0, 1  # whose home: of a client's packets, of answers; and what stands there
STREET_BITS = 7
STREET, HOUSE = 1 << STREET_BITS, 2  # ports that live side by side, and places from one to the next
WINDOW = 7  # places where a row may stand, from its home on: a bit each of a byte
ANY = (1 << WINDOW + 1) - 1
SPILLED = 1 << WINDOW  # the bit that is left: there are rows at second homes
EVER = 1 << 32  # longer than any time
TRIES = 2  # to take a row out whose state others change: each has its FIN or RST to say
NUMBERS = {  # a whole key
    family: Struct(f"numbers{family}", words=Array(U64, KEYS[family].size // 8)) for family in WORDS
}


class Slots:
    """The rows of one family; writes its functions."""

    def __init__(self, p: Program, tables: Tables, family: int, protocols: set[int]) -> None:
        self.p, self.family, self.protocols = p, family, protocols
        self.table: Map = tables.flows[family]
        self.near: Map = tables.near[family]
        self.births: Map = tables.births[family]
        self.seed: Map = tables.seed
        self.mask = self.table.size - 1
        self.bits = self.mask.bit_length()
        self._find()
        self._touch()
        self._take()
        self._idlest()
        self._drop()

    # ---- for the program ----

    def find(self, name: str, key: Pointer, at: Pointer) -> tuple[Pointer, Local]:
        """A key's row, and its place; `at` gets it too."""
        p = self.p
        place = p.invoke(f"find{self.family}", key.address, name=f"{name}_at", kind=U32)
        return self.row(name, place, at), place

    def find_fast(self, name: str, key: Pointer, at: Pointer) -> tuple[Pointer, Local, Local]:
        """The same where it stands where rows mostly do, without a call; the function elsewhere.
        Also its state, as it was before the key was compared."""
        p = self.p
        place, state = p.let("place", NOWHERE, U32), p.let("state", 0, U32)
        row = p.nowhere(self.table, name)
        with p.scope():
            wanted, near = self.wanted(key), p.let("near", 0)
            self.look(row, key, SOURCE, near, place, state, wanted, at)
            with p.when(place == NOWHERE):
                beyond = p.let("beyond", 0)
                self.look(row, key, DESTINATION, beyond, place, state, wanted, at)
                with p.when(place == NOWHERE):
                    elsewhere = near & (ANY ^ 1 << SOURCE) | beyond & (ANY ^ 1 << DESTINATION)
                    with p.when(elsewhere != 0):
                        self.find_elsewhere(key, place, state, wanted, at)
                    self.row_again(row, place, at)
        return row, place, state

    def look(  # noqa: PLR0917 - what is asked, and all that is learnt
        self,
        row: Pointer,
        key: Pointer,
        end: int,
        near: Local,
        place: Local,
        state: Local,
        wanted: Value | int,
        at: Pointer,
    ) -> None:
        """Does the row stand where rows mostly do, if this end is the client's? `near` gets the
        byte of that home."""
        p = self.p
        with p.scope():
            home = self.home_of_end(key, end)
            p.set(near, self.around(home, at))
            with p.when((near & (1 << end)) != 0):
                there = home if end == SOURCE else p.let("there", (home + end) & self.mask)
                self.row_again(row, there, at)
                with p.when(row.present):
                    p.set(state, row.state)
                    with p.when(self.differs(row, key, wanted, state)):
                        pass
                    with p.otherwise():
                        p.set(place, there.to(U32))

    def find_elsewhere(
        self, key: Pointer, place: Local, state: Local, wanted: Value | int, at: Pointer
    ) -> None:
        p = self.p
        p.set(place, p.invoke(f"find{self.family}", key.address, name="found", kind=U32))
        row = self.row("row", place, at)
        with p.when(row.present):
            p.set(state, row.state)
            with p.when(self.differs(row, key, wanted, state)):
                p.set(place, NOWHERE)  # it has left just now

    def row(self, name: str, place: Value, at: Pointer) -> Pointer:
        self.p.set(at.number, place.to(U32))
        return self.p.lookup(self.table, name, at)

    def row_again(self, row: Pointer, place: Value, at: Pointer) -> None:
        self.p.set(at.number, place.to(U32))
        self.p.look_again(row, self.table, at)

    def take(self, key: Pointer, answers: Value, at: Pointer) -> Local:
        """A place for a row of this key, or NOWHERE."""
        p = self.p
        given = key.address, answers
        name = f"take{self.family}"
        place = p.invoke(name, *given, name="place", kind=U32)
        with p.when(place == FULL):
            p.set(place, p.invoke(f"idlest{self.family}", *given, name="idlest", kind=U32))
            self.evict(place, at)
            p.set(place, p.invoke(name, *given, name="again", kind=U32))
        return place

    def evict(self, place: Local, at: Pointer) -> None:
        """The row leaves, and its flow's other one with it: half a flow is of no use."""
        p = self.p
        row = self.row("victim", place, at)
        with p.when(row.present):
            key = self.turned(row)
            other, there = self.find("other", key, at)
            with p.when(other.present), p.when(self.leads_to(other, row)):
                self.drop(there)
        self.drop(place)

    def turned(self, row: Pointer) -> Pointer:
        """The key of a flow's other row: what this one's packets become, turned round."""
        p = self.p
        key = p.stack("turned", KEYS[self.family])
        p.copy(key.source, row.destination)
        p.copy(key.destination, row.source)
        p.set(key.source_port, row.destination_port)
        p.set(key.destination_port, row.source_port)
        self.speaks(key, row.state)
        return key

    def speaks(self, key: Pointer, state: Value) -> None:
        """The protocol of a key, as its row's state says it."""
        p = self.p
        p.set(key.protocol, min(self.protocols))
        if len(self.protocols) > 1:
            with p.when((state & IS_UDP) != 0):
                p.set(key.protocol, UDP)

    def leads_to(self, other: Pointer, row: Pointer) -> Condition:
        """Do the packets of the other row become those that this one's turn round?"""
        same: Condition = (other.source_port == row.receiver_port) & (
            other.destination_port == row.sender_port
        )
        for i in range(row.sender.count):
            same &= (other.source[i] == row.receiver[i]) & (other.destination[i] == row.sender[i])
        return same

    def drop(self, place: Value) -> None:
        with self.p.scope():
            self.p.invoke(f"drop{self.family}", place, name="dropped")

    def publish(self, row: Pointer, state: Value) -> None:
        """A row that was taken is whole now."""
        self.p.turn_bits(row.state, state | (USED | BUSY))

    def another(self, row: Pointer, state: Value) -> Condition:
        """Is it no longer the row whose state this was?"""
        changed: Condition = ((row.state ^ state) & (USED | VERSIONS)) != 0
        return changed

    # ---- homes ----

    def around(self, home: Value, at: Pointer) -> Local:
        """The byte of a home."""
        p = self.p
        found = p.let("near", 0)
        with p.scope():
            p.set(at.number, (home >> 3).to(U32))
            near = p.lookup(self.near, "eight", at)
            with p.when(near.present):
                p.set(found, near.homes >> ((home & 7) << 3) & 0xFF)
        return found

    def tell(self, home: Value, bit: Value | int, at: Pointer, there: bool) -> None:
        """Sets or clears a bit of a home's byte."""
        p = self.p
        with p.scope():
            shifted = p.let("shifted", bit)
            p.set(shifted, shifted << ((home & 7) << 3))
            p.set(at.number, (home >> 3).to(U32))
            near = p.lookup(self.near, "eight", at)
            with p.when(near.present):
                if there:
                    p.set_bits(near.homes, shifted)
                else:
                    p.keep_bits(near.homes, ~shifted)

    # ---- words ----

    def hash(self, key: Pointer) -> Local:
        """Of a whole key: 64 bits of which the high ones are the good ones."""
        words = key.seen_as(NUMBERS[self.family]).words
        return self.mixed([words[i] for i in range(words.count)])

    def home_of_end(self, key: Pointer, end: int) -> Local:
        """The home by one end and the protocol: the upper part of the port chooses the
        neighbourhood, with the address, and the lower part the place in it."""
        p = self.p
        raw = key.destination_port if end else key.source_port
        port = p.let("port", raw.host().to(U64))
        last = port >> STREET_BITS << 16 | key.protocol
        if self.family == 4:
            address = key.destination[0] if end else key.source[0]
            mixed = self.mixed([address.to(U64) << 32 | last])
        else:
            words = key.seen_as(NUMBERS[self.family]).words
            mixed = self.mixed([words[2 * end], words[2 * end + 1], last])
        p.set(mixed, (self.home(mixed) ^ (port & STREET - 1) * HOUSE) & self.mask)
        return mixed

    def home_of(self, key: Pointer, answers: Value) -> Local:
        """The home of a row of this key: by its client's end."""
        p = self.p
        found = p.let("home", 0)
        for end in (SOURCE, DESTINATION):
            with p.when(answers == end):
                p.set(found, self.home_of_end(key, end))
        return found

    def mixed(self, parts: list[Value]) -> Local:
        p = self.p
        seed = p.only(self.seed, "seed")
        mixed = p.let("mixed", (seed.number ^ parts[0]) * SPREAD)
        for part in parts[1:]:
            p.set(mixed, (mixed ^ mixed >> 32 ^ part) * SPREAD)
        p.set(mixed, (mixed ^ mixed >> 29) * SPREAD)
        return mixed

    def home(self, mixed: Value) -> Value:
        return mixed >> 64 - self.bits

    def wanted(self, key: Pointer) -> Value | int:
        """What the state of its row says of USED and IS_UDP."""
        if len(self.protocols) == 1:
            return USED | IS_UDP if UDP in self.protocols else USED
        p = self.p
        wanted = p.let("wanted", USED, U32)
        with p.when(key.protocol == UDP):
            p.set(wanted, USED | IS_UDP)
        return wanted

    def differs(
        self, row: Pointer, key: Pointer, wanted: Value | int, state: Value | None = None
    ) -> Condition:
        """Is there no row, or another key's?"""
        layout = ENDS[self.family]
        theirs, ours = row.seen_as(layout), key.seen_as(layout)
        state = row.state if state is None else state
        found: Condition = (state & (USED | IS_UDP)) != wanted
        for i in range(theirs.words.count):
            found |= theirs.words[i] != ours.words[i]
        found |= theirs.ports != ours.ports
        return found

    # ---- functions ----

    def _find(self) -> None:
        p = self.p
        with p.function(f"find{self.family}", KEYS[self.family]) as (key,):
            at = p.stack("at", INDEX)
            wanted, spilled = self.wanted(key), p.let("spilled", 0)
            for end in (SOURCE, DESTINATION):
                with p.scope():
                    near = self._found_near(key, self.home_of_end(key, end), wanted, at)
                    p.set(spilled, spilled | near)
            with p.when((spilled & SPILLED) != 0):
                self._found_near(key, p.let("home", self.home(self.hash(key))), wanted, at)
            p.exit(NOWHERE)

    def _found_near(self, key: Pointer, home: Local, wanted: Value | int, at: Pointer) -> Local:
        """Gives the place if the row stands in one of those of a home; else its byte is known."""
        p = self.p
        near = self.around(home, at)
        for i in range(WINDOW):
            with p.when((near & (1 << i)) != 0):
                self._found_at(key, (home + i) & self.mask, wanted, at)
        return near

    def _found_at(self, key: Pointer, place: Value, wanted: Value | int, at: Pointer) -> None:
        """Gives the place if the row stands there."""
        p = self.p
        row = self.row("row", place, at)
        with p.when(row.present):
            with p.when(self.differs(row, key, wanted)):
                pass
            with p.otherwise():
                p.exit(place.to(U32))

    def touch(self, key: Pointer, answers: int) -> None:
        """A row of this key will be written: what is far away begins to come nearer meanwhile."""
        with self.p.scope():
            self.p.invoke(f"touch{self.family}", key.address, answers, name="touched")

    def _touch(self) -> None:
        p = self.p
        with p.function(f"touch{self.family}", KEYS[self.family], U64) as (key, answers):
            at = p.stack("at", INDEX)
            home = self.home_of(key, answers)
            row = self.row("row", (home + answers) & self.mask, at)
            birth = p.lookup(self.births, "birth", at)
            with p.when(row.present & birth.present):
                p.let("state", row.state)
                p.let("began", birth.began)
            p.exit(0)

    def _take(self) -> None:
        """Branches are dear to the verifier, which follows each to the end: so the free place is
        counted out, and a place that another processor takes meanwhile is given up."""
        p = self.p
        with p.function(f"take{self.family}", KEYS[self.family], U64) as (key, answers):
            at = p.stack("at", INDEX)
            first = self.home_of(key, answers)
            for second in (False, True):
                with p.scope():
                    home = p.let("home", self.home(self.hash(key)) if second else first)
                    free = self._free(home, answers, at)
                    with p.when(free < WINDOW):
                        self._claim(key, home, free, at)
                        if second:
                            self.tell(first, SPILLED, at, True)
                        p.exit(((home + free) & self.mask).to(U32))
            p.exit(FULL)

    def _free(self, home: Local, answers: Value, at: Pointer) -> Local:
        """A free place of a home; WINDOW: none. Each is a cache line that is far away, so others
        are looked at only when the one where the row should stand is taken."""
        p = self.p
        free = p.let("free", answers)
        with p.when(self._taken((home + answers) & self.mask, at) == 1):
            p.set(free, WINDOW)
            for i in reversed(range(WINDOW)):
                with p.scope():
                    taken = self._taken((home + i) & self.mask, at)
                    p.set(free, free * taken + (taken ^ 1) * i)
        return free

    def _taken(self, place: Value, at: Pointer) -> Local:
        """1: somebody stands there."""
        p = self.p
        row = self.row("row", place, at)
        with p.when(row.missing):
            p.exit(NOWHERE)
        return p.let("taken", (row.state >> 4 | row.state >> 5) & 1)  # USED, BUSY

    def _claim(self, key: Pointer, home: Value, behind: Local, at: Pointer) -> None:
        """The place is ours from now on, and has the key's ends; or NOWHERE is given."""
        p, layout = self.p, ENDS[self.family]
        row = self.row("row", (home + behind) & self.mask, at)
        with p.when(row.missing):
            p.exit(NOWHERE)
        before = p.let("before", row.state)
        with p.when((before & (USED | BUSY)) != 0):
            p.exit(NOWHERE)
        version = (before + VERSION) & VERSIONS
        with p.when(p.swap_if("seen", row.state, before, version | BUSY) != before):
            p.exit(NOWHERE)
        theirs, ours = row.seen_as(layout), key.seen_as(layout)
        p.copy(theirs.words, ours.words)
        p.set(theirs.ports, ours.ports)
        bit = p.let("bit", 1)
        p.set(bit, bit << (behind & 7))
        self.tell(home, bit, at, True)

    def _idlest(self) -> None:
        """idlest(key, answers): of the places at its homes the one to be given up: that of the
        longest silence; but while nobody was silent for two seconds, UDP goes before TCP, whose
        clients have shown that their address is theirs."""
        p = self.p
        with p.function(f"idlest{self.family}", KEYS[self.family], U64) as (key, answers):
            at = p.stack("at", INDEX)
            first, second = self.home_of(key, answers), p.let("second", self.home(self.hash(key)))
            now = p.let("now", p.call("jiffies64", name="jiffies").to(U32))
            best, which = p.let("best", 0), p.let("which", first)
            for place in [home + i for home in (first, second) for i in range(WINDOW)]:
                with p.scope():
                    row = self.row("row", place & self.mask, at)
                    with p.when(row.missing):
                        p.exit(NOWHERE)
                    since = p.let("since", (now - row.checked).to(U64))
                    with p.when(since > 2 * hertz()):
                        p.set(since, since + 2 * EVER)
                    with p.otherwise(), p.when((row.state & IS_UDP) != 0):
                        p.set(since, since + EVER)
                    with p.when(since >= best):
                        p.set(best, since)
                        p.set(which, place)
            p.exit((which & self.mask).to(U32))

    def _drop(self) -> None:
        p, layout = self.p, ENDS[self.family]
        with p.function(f"drop{self.family}", U64) as (place,):
            at = p.stack("at", INDEX)
            row = self.row("row", place, at)
            with p.when(row.missing):
                p.exit(0)
            won, was = p.let("won", 0), p.let("was", 0, U32)
            for _ in range(TRIES):
                with p.when(won == 0):
                    before = p.let("before", row.state)
                    with p.when((before & USED) == 0):
                        p.exit(0)
                    new = before & VERSIONS | BUSY
                    with p.when(p.swap_if("seen", row.state, before, new) == before):
                        p.set(won, 1)
                        p.set(was, before)
            with p.when(won == 0):
                p.exit(0)
            key = p.stack("key", KEYS[self.family])
            ours, theirs = key.seen_as(layout), row.seen_as(layout)
            p.copy(ours.words, theirs.words)
            p.set(ours.ports, theirs.ports)
            self.speaks(key, was)
            with p.scope():
                self._unmark(self.home_of(key, was & TO_CLIENT), place, at)
            with p.scope():
                self._unmark(self.home(self.hash(key)), place, at)
            p.keep_bits(row.state, 0xFFFFFFFF ^ BUSY)
            p.exit(1)

    def _unmark(self, home: Value, place: Local, at: Pointer) -> None:
        """At a home that a row may have had: it does not stand there any more."""
        p = self.p
        ours = p.let("home", home)
        behind = p.let("behind", (place - ours) & self.mask)
        with p.when(behind < WINDOW):
            bit = p.let("bit", 1)
            p.set(bit, bit << (behind & 7))
            self.tell(ours, bit, at, False)
