"""The rules of a plan: what netfilter does with a new flow, and what it counts of each.

    to a service? ── map services: (protocol, address, port) → how it is picked
        TCP without SYN: no new flow (reset where the address is not this host's own)
        numgen or jhash → place of the picking table → server → DNAT, once a flow
    leaving ── the flow's server sees us as its client? The address that the routes have for the way
        there (where none is known, one of the interface), ports below the ephemeral ones
    every packet of such a flow ── (protocol, address, port) of its beginning → its listener's
        chain: counters of the listener, and of the server by the address that answers

One lookup finds the service, however many there are, and one its server. After a flow's first
packet conntrack knows both ends, so a change of the rules concerns new flows only.

A backend's picking tables are its own, whole: with weights, and in the order that the other planes
have. Only the hash is another (jhash; the kernel has no other here), so the same client may meet
another server than on the other planes. The relay, tcx and xdp agree; nftables agrees with itself
on every machine.

What is kept (flows that go on after a change) is counted until they end: see `Kept`.

Laws: pure, and names in the kernel come from names in the file alone, so that what did not change
in the file does not change in the kernel.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fourseven.balancing.cycle import grouped
from fourseven.errors import FoursevenError
from fourseven.l4.kernel_plan import (
    AT_RANDOM,
    BY_HASH,
    IN_TURN,
    MASQUERADE,
    MASQUERADE_PORTS,
    TCP,
    UDP,
    End,
    KernelPlan,
    Service,
)
from fourseven.l4.nftables import form
from fourseven.l4.nftables.form import (
    ACCEPT,
    GOTO,
    JUMP,
    RETURN,
    Chain,
    Expression,
    Lookup,
    Named,
    Rule,
    Ruleset,
    Timeout,
    Value,
    Verdict,
    step,
)

ALL = (1 << 128) - 1
PLACES_MAX = 1 << 20  # of all picking tables together; each takes some 80 bytes of the kernel
PROTOCOLS = {TCP: "tcp", UDP: "udp"}
SEED = 0x47  # the same on every machine, so that all pick alike
BEFORE_OTHERS = 1  # ahead of other rules of the same kind: theirs would end a packet's search
DESTINATION, SOURCE, LAST = -100, 100, 250  # priorities of netfilter's hooks
LOOPBACK = 1  # the number of lo, in every network namespace
DNAT = 0x20  # IPS_DST_NAT
FIN_SYN_RST_ACK, SYN = 0x17, 0x02
WAYS = ("in", "out")  # of the original direction, of the reply
KINDS = (*WAYS, "new")  # of what is counted; new: once a flow

# Conntrack's states and how long each may be silent; as in the eBPF planes.
TCP_SECONDS = ((1, 30), (2, 30), (4, 60), (5, 60), (6, 30), (7, 10), (8, 10))
TCP_ESTABLISHED, UDP_UNREPLIED, UDP_REPLIED = 3, 1, 2
UDP_FIRST_SECONDS = 30

R1, R2, R3 = 8, 9, 10  # registers for keys
TO = 12  # where a server's address is put


@dataclass(slots=True)
class Kept:
    """What is no longer in the plan but may still have flows."""

    services: dict[tuple[int, End], str] = field(default_factory=dict)  # its listener
    servers: set[tuple[str, End]] = field(default_factory=set)  # (backend, address)
    backends: set[tuple[str, str]] = field(default_factory=set)  # (listener, backend)


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between IPv4 and IPv6."""

    name: str
    nfproto: int
    kind: int  # of an address, for nft
    size: int
    destination: int  # where it stands in the header
    source: int
    ct_source: int
    ct_destination: int

    def address(self, bits: int) -> bytes:
        return bits.to_bytes(16, "big")[16 - self.size :]

    @property
    def after(self) -> int:
        """The register after a service's key's address."""
        return R2 + self.size // 4


V4 = Family("v4", 2, form.IPV4, 4, 16, 12, 19, 20)
V6 = Family("v6", 10, form.IPV6, 16, 24, 8, 21, 22)


def family_of(end: End) -> Family:
    return V4 if end.is_v4 else V6


def service_key(protocol: int, end: End) -> bytes:
    address = family_of(end).address(end.address)
    return struct.pack("B3x", protocol) + address + struct.pack(">H2x", end.port)


def end_key(end: End) -> bytes:
    return family_of(end).address(end.address) + struct.pack(">H2x", end.port)


def end_name(end: End) -> str:
    """An address and a port in letters that a name may have."""
    return str(end).strip("[").replace("]:", ".").replace(":", "." if end.is_v4 else "_")


def named(*parts: str) -> str:
    """A name in the kernel: a file's names have letters, digits, `_`, `.` and `-`, and the parts of
    a range of ports a colon, which nft could not read back."""
    return ".".join(parts).replace(":", "/")


def unnamed(name: str) -> str:
    """The name of the file of which `named` made this."""
    return name.replace("/", ":")


def listener_counter(kind: str, listener: str) -> str:
    return named("l", kind, listener)


def server_counter(kind: str, backend: str, end: End) -> str:
    return named("s", kind, backend, end_name(end))


def whole(backend: str) -> str:
    """The backend of which this one may be the part for one port of a range."""
    return backend.partition(":")[0]


class Writer:
    """The ruleset while it is written."""

    def __init__(
        self,
        plan: KernelPlan,
        kept: Kept,
        interfaces: Sequence[str] | None,
        timeouts: bool,
        ways: Mapping[int, int | None],
    ) -> None:
        self.plan, self.kept, self.ways = plan, kept, ways
        self.interfaces = interfaces
        self.with_timeouts = timeouts
        self.counters: dict[str, None] = {}
        self.timeouts: dict[str, Timeout] = {}
        self.lookups: dict[str, dict[bytes, Value]] = {}
        self.shapes: dict[str, Lookup] = {}
        self.chains: dict[str, Chain] = {}
        self.names: dict[object, str] = {}  # of what was written already
        self.taken: set[str] = set()
        self.tokens: dict[object, int] = {}
        self.ends: dict[int, tuple[int, int]] = {}
        self.seen: dict[int, tuple[object, int]] = {}
        self.places = 0

    def ruleset(self) -> Ruleset:
        self.families = [f for f in (V4, V6) if self._has(f)]
        for family in self.families:
            self.services(family)
            self.counting(family)
        self.hooks()
        lookups = {
            name: Lookup(s.key, s.key_size, s.value, self.lookups[name], s.data, s.data_size)
            for name, s in self.shapes.items()
        }
        return Ruleset(tuple(self.counters), self.timeouts, lookups, self.chains)

    def _has(self, family: Family) -> bool:
        ends = [service.vip for service in self.plan.services]
        ends += [end for _, end in self.kept.services]
        return any(family_of(end) is family for end in ends)

    def _lookup(self, name: str, shape: Lookup) -> dict[bytes, Value]:
        self.shapes.setdefault(name, shape)
        return self.lookups.setdefault(name, {})

    def _name(self, wanted: str, what: object) -> str:
        """The same name for the same thing, a name of its own for another."""
        if what not in self.names:
            name, count = wanted, 1
            while name in self.taken:
                count += 1
                name = f"{wanted}.{count}"
            self.names[what] = name
            self.taken.add(name)
        return self.names[what]

    def _token(self, found: tuple[object, ...]) -> int:
        """A number for a long tuple, which many services share: it is looked through once."""
        known = self.seen.get(id(found))
        if known is None:
            token = self.tokens.setdefault(found, len(self.tokens))
            known = self.seen[id(found)] = (found, token)  # held, so that its id stays its own
        return known[1]

    # ---- new flows ----

    def services(self, family: Family) -> None:
        key = (form.PROTOCOL, family.kind, form.PORT)
        size = 8 + family.size
        found = self._lookup(f"services.{family.name}", Lookup(key, size, "verdict", {}))
        masked = self._lookup(f"masquerade.{family.name}", Lookup(key, size, "", {}))
        for service in self.plan.services:
            if family_of(service.vip) is not family:
                continue
            where = service_key(service.protocol, service.vip)
            if service.table:
                found[where] = Verdict(GOTO, self.picking(service, family))
            else:
                found[where] = Verdict(GOTO, self.nobody(service))
            if service.mode == MASQUERADE:
                masked[where] = None

    def nobody(self, service: Service) -> str:
        """A chain for what has no server: counted, refused."""
        protocol = PROTOCOLS[service.protocol]
        name = named("none", protocol, service.listener)
        counter = listener_counter("none", service.listener)
        self.counters[counter] = None
        refuse = step("reject", kind=1) if service.protocol == TCP else step("reject", kind=2)
        steps = (step("objref", name=counter), refuse)
        self.chains[name] = Chain((Rule("no server: count, refuse", steps),))
        return name

    def picking(self, service: Service, family: Family) -> str:
        """The chain that picks a server; the same for all services that it is the same for."""
        port, servers = self._servers(service.servers)
        table = self._token(service.table)
        what = (service.pick, table, servers, service.mask, service.idle_ms)
        variant = 0
        name = ""
        for variant in range(len(self.plan.services) + 1):
            backend = whole(service.backend)
            key = (backend, service.protocol, family.name, what, variant)
            name = self._name(named(PROTOCOLS[service.protocol], family.name, backend), key)
            if not port or self._port(name, service, port):
                break
        if name not in self.chains:
            self.chains[name] = Chain(tuple(self.pick(name, service, family, bool(port))))
        return name

    def _servers(self, servers: tuple[End, ...]) -> tuple[int, int]:
        """The port of all of them, or 0, and a number for them: for their addresses alone where
        the port is one, since then a place of the table gives an address, whatever the port."""
        token = self._token(servers)
        if token not in self.ends:
            ports = {server.port for server in servers}
            if len(ports) == 1:
                token_of_all = self._token(("addresses", *(s.address for s in servers)))
                self.ends[token] = (ports.pop(), token_of_all)
            else:
                self.ends[token] = (0, token)
        return self.ends[token]

    def _port(self, chain: str, service: Service, port: int) -> bool:
        """Notes which port of the servers a port becomes; False if it becomes another already."""
        shape = Lookup((form.PORT,), 2, "data", {}, (form.PORT,), 2)
        known = self._lookup(f"ports.{chain}", shape)
        said = struct.pack(">H", port)
        return known.setdefault(struct.pack(">H", service.vip.port), said) == said

    def pick(self, name: str, service: Service, family: Family, one: bool) -> Iterable[Rule]:
        if service.protocol == TCP:
            self.late()
            yield Rule(
                "only a SYN begins a flow",
                (
                    step("payload", dreg=R1, base=2, offset=13, len=1),
                    step("bitwise", sreg=R1, dreg=R1, len=1, mask=bytes((FIN_SYN_RST_ACK,))),
                    step("cmp", sreg=R1, op=1, data=bytes((SYN,))),
                    step("verdict", code=GOTO, chain="late"),
                ),
            )
        if self.with_timeouts and service.idle_ms:
            timeout = self.timeout(service, family)
            yield Rule("its own timeouts", (step("objref_timeout", name=timeout),))
        table = _table(service)
        places = self.table(service, family, table, one)
        port = TO + family.size // 4
        steps = [*_drawn(service, family, len(table)), step("lookup", set=places, sreg=R1, dreg=TO)]
        if one:
            steps.append(step("payload", dreg=R1, base=2, offset=2, len=2))
            steps.append(step("lookup", set=f"ports.{name}", sreg=R1, dreg=port))
        steps.append(step("nat", kind=1, family=family.nfproto, address=TO, port=port))
        yield Rule(f"one of {len(table)} places", tuple(steps))

    def late(self) -> None:
        """TCP in the middle of a flow that nobody knows: this host's own, or refused."""
        if "late" in self.chains:
            return
        local = (
            step("fib_type", dreg=R1),
            step("cmp", sreg=R1, op=0, data=struct.pack("=I", 2)),  # RTN_LOCAL
            step("verdict", code=ACCEPT),
        )
        self.chains["late"] = Chain(
            (
                Rule("an address of this host: its own connection", local),
                Rule("a flow that is no more", (step("reject", kind=1),)),
            )
        )

    def timeout(self, service: Service, family: Family) -> str:
        seconds = max(1, -(-service.idle_ms // 1000))
        name = f"{PROTOCOLS[service.protocol]}.{family.name}.{seconds}s"
        if service.protocol == TCP:
            values: tuple[tuple[int, int], ...] = (*TCP_SECONDS, (TCP_ESTABLISHED, seconds))
        else:
            values = ((UDP_UNREPLIED, min(seconds, UDP_FIRST_SECONDS)), (UDP_REPLIED, seconds))
        version = 4 if family is V4 else 6
        self.timeouts[name] = Timeout(version, service.protocol, tuple(sorted(values)))
        return name

    def table(self, service: Service, family: Family, table: Sequence[int], one: bool) -> str:
        """The map from a place to its server; services with the same one share it."""
        servers = service.servers
        says = [family.address(s.address) if one else end_key(s) for s in servers]
        backend = whole(service.backend)
        key = ("table", family.name, backend, self._token(service.table), tuple(says))
        name = self._name(named("table", family.name, backend), key)
        if name in self.shapes:
            return name
        self.places += len(table)
        if self.places > PLACES_MAX:
            raise FoursevenError(f"nftables: the tables need more than {PLACES_MAX} places")
        kinds = (family.kind,) if one else (family.kind, form.PORT)
        shape = Lookup((form.MARK,), 4, "data", {}, kinds, family.size if one else family.size + 4)
        at = struct.Struct("=I").pack
        self._lookup(name, shape).update((at(i), says[s]) for i, s in enumerate(table))
        return name

    # ---- counting ----

    def counting(self, family: Family) -> None:
        """The maps from a flow's beginning to its listener's chains, and from servers to counts."""
        listeners: dict[tuple[int, End], str] = dict(self.kept.services)
        backends: dict[str, dict[str, None]] = {}
        servers: dict[str, set[End]] = {}
        for service in self.plan.services:
            listeners[service.protocol, service.vip] = service.listener
            backends.setdefault(service.listener, {})[service.backend] = None
        for backend, server in servers_of(self.plan):
            servers.setdefault(backend, set()).add(server)
        for listener, backend in sorted(self.kept.backends):
            backends.setdefault(listener, {})[backend] = None
        for backend, server in self.kept.servers:
            servers.setdefault(backend, set()).add(server)
        key = (form.PROTOCOL, family.kind, form.PORT)
        for kind in KINDS:
            counters = Lookup((family.kind, form.PORT), family.size + 4, "counter", {})
            for backend, ends in servers.items():
                counts = self._lookup(named(kind, family.name, backend), counters)
                counts.update(self.counted(kind, backend, family, ends))
            chains = Lookup(key, 8 + family.size, "verdict", {})
            found = self._lookup(f"{kind}.{family.name}", chains)
            ours = {k: name for k, name in listeners.items() if family_of(k[1]) is family}
            for name in dict.fromkeys(ours.values()):
                self.count(kind, name, backends.get(name, {}))
            for (protocol, vip), name in ours.items():
                found[service_key(protocol, vip)] = Verdict(JUMP, named(kind, name))

    def counted(
        self, kind: str, backend: str, family: Family, ends: Iterable[End]
    ) -> Iterable[tuple[bytes, Named]]:
        """The counters of a backend's servers, by the address that answers."""
        for end in ends:
            if family_of(end) is family:
                yield end_key(end), Named(self.counter(kind, backend, end))

    def counter(self, kind: str, backend: str, end: End) -> str:
        name = server_counter(kind, backend, end)
        self.counters[name] = None
        return name

    def count(self, kind: str, listener: str, backends: Iterable[str]) -> None:
        """The chain that counts one way of a listener."""
        chain = named(kind, listener)
        if chain in self.chains:
            return
        counter = listener_counter(kind, listener)
        self.counters[counter] = None
        rules = [Rule(f"listener {listener}", (step("objref", name=counter),))]
        for backend in backends:
            for family in self.families:
                port = R1 + family.size // 4
                steps = (
                    *_is(family),
                    step("ct", dreg=R1, key=family.ct_source, direction=1),
                    step("ct", dreg=port, key=11, direction=1),  # the port that answers
                    step("objref_map", sreg=R1, set=named(kind, family.name, backend)),
                    step("verdict", code=RETURN),
                )
                rules.append(Rule(f"servers of {backend}", steps))
        self.chains[chain] = Chain(tuple(rules))

    # ---- where packets pass ----

    def hooks(self) -> None:
        arriving: list[Rule] = []
        if self.interfaces is not None:
            names = {name.encode().ljust(16, b"\0")[:16]: None for name in self.interfaces}
            self._lookup("interfaces", Lookup((form.NAME,), 16, "", {})).update(names)
            steps = (
                step("meta", dreg=R1, key=6),  # iifname
                step("lookup", set="interfaces", sreg=R1, inverted=1),
                step("verdict", code=ACCEPT),
            )
            arriving.append(Rule("not our interface", steps))
        asked = [self.asked(family) for family in self.families]
        first = [self.told(f, "new", ()) for f in self.families]
        masked = [rule for family in self.families for rule in self.masquerade(family)]
        each = [
            self.told(family, kind, _direction(way))
            for way, kind in enumerate(WAYS)
            for family in self.families
        ]
        before = DESTINATION - BEFORE_OTHERS
        after = SOURCE - BEFORE_OTHERS
        dnat = (
            step("ct", dreg=R1, key=2),
            step("bitwise", sreg=R1, dreg=R1, len=4, mask=struct.pack("=I", DNAT)),
            step("cmp", sreg=R1, op=1, data=bytes(4)),
        )
        count = Rule("where its destination was changed", (*dnat, _go(JUMP, "each")))
        new = Rule("where its destination was changed", (*dnat, _go(JUMP, "first")))
        away = (
            step("meta", dreg=R1, key=5),  # oif: what leaves by lo is counted as it comes in
            step("cmp", sreg=R1, op=1, data=struct.pack("=I", LOOPBACK)),
        )
        leaving = Rule("what leaves by lo comes in again", (*away, *count.steps))
        self.chains |= {
            "first": Chain((*first, *masked)),
            "arrived": Chain(tuple(first)),
            "each": Chain(tuple(each)),
            "prerouting": Chain((*arriving, *asked), ("nat", form.PREROUTING, before)),
            "output": Chain(tuple(asked), ("nat", form.OUTPUT, before)),
            "postrouting": Chain((new,), ("nat", form.POSTROUTING, after)),
            "input": Chain(
                (Rule(new.meaning, (*dnat, _go(JUMP, "arrived"))),), ("nat", form.INPUT, after)
            ),
            "leaving": Chain((leaving,), ("filter", form.POSTROUTING, LAST)),
            "staying": Chain((count,), ("filter", form.INPUT, LAST)),
        }

    def asked(self, family: Family) -> Rule:
        steps = (
            *_is(family),
            step("meta", dreg=R1, key=16),  # l4proto
            step("payload", dreg=R2, base=1, offset=family.destination, len=family.size),
            step("payload", dreg=family.after, base=2, offset=2, len=2),
            step("lookup", set=f"services.{family.name}", sreg=R1, dreg=form.VERDICT),
        )
        return Rule("a service?", steps)

    def told(self, family: Family, kind: str, more: tuple[Expression, ...]) -> Rule:
        """To the chain of the listener to which the flow came."""
        steps = (
            *_is(family),
            *more,
            *_begun(family),
            step("lookup", set=f"{kind}.{family.name}", sreg=R1, dreg=form.VERDICT),
        )
        return Rule(f"counts: {kind}", steps)

    def masquerade(self, family: Family) -> Iterable[Rule]:
        if not self.lookups[f"masquerade.{family.name}"]:
            return
        least, most = (struct.pack(">H", port) for port in MASQUERADE_PORTS)
        known = step("lookup", set=f"masquerade.{family.name}", sreg=R1)
        flow = (*_is(family), *_begun(family), known)
        between = (step("immediate", dreg=R1, data=least), step("immediate", dreg=R2, data=most))
        nat = step("nat", kind=0, family=family.nfproto, address=TO, port=R1, port_max=R2)
        meaning = "the server sees us as its client"
        ours = [a for a in self.plan.masquerade_addresses if family_of(End(a, 0)) is family]
        if ours:
            places = {struct.pack("=I", i): family.address(a) for i, a in enumerate(ours)}
            chosen = (
                step("numgen", dreg=R3, modulus=len(ours), kind=0),
                self._address(f"addresses.{family.name}", form.MARK, R3, family, places),
            )
            yield Rule(meaning, (*flow, *chosen, *between, nat))
            return
        ways = [(server, own) for server, own in self.ways.items() if own is not None]
        of = [(server, own) for server, own in ways if family_of(End(server, 0)) is family]
        if way := {family.address(server): family.address(own) for server, own in of}:
            chosen = (
                step("payload", dreg=R1, base=1, offset=family.destination, len=family.size),
                self._address(f"ways.{family.name}", family.kind, R1, family, way),
            )
            yield Rule(meaning, (*flow, *chosen, *between, nat))
        yield Rule(meaning, (*flow, *between, step("masquerade", port=R1, port_max=R2)))

    def _address(
        self, name: str, kind: int, key: int, family: Family, found: Mapping[bytes, Value]
    ) -> Expression:
        """Looks an address of ours up, in a map of this name."""
        size = 4 if kind == form.MARK else family.size
        shape = Lookup((kind,), size, "data", {}, (family.kind,), family.size)
        self._lookup(name, shape).update(found)
        return step("lookup", set=name, sreg=key, dreg=TO)


def ruleset(
    plan: KernelPlan,
    kept: Kept | None = None,
    interfaces: Sequence[str] | None = None,
    timeouts: bool = True,
    ways: Mapping[int, int | None] | None = None,
) -> Ruleset:
    """The rules of a plan; `interfaces` None: on all of them; `ways`: ours towards each server."""
    return Writer(plan, kept or Kept(), interfaces, timeouts, ways or {}).ruleset()


def servers_of(plan: KernelPlan) -> set[tuple[str, End]]:
    """(backend, address) of every server; a thousand services may have the same thousand."""
    each = {(s.backend, id(s.servers)): s for s in plan.services}.values()
    return {(s.backend, end) for s in each for end in s.servers}


def _is(family: Family) -> tuple[Expression, ...]:
    return (
        step("meta", dreg=R1, key=15),  # nfproto
        step("cmp", sreg=R1, op=0, data=bytes((family.nfproto,))),
    )


def _direction(way: int) -> tuple[Expression, ...]:
    return (step("ct", dreg=R1, key=1), step("cmp", sreg=R1, op=0, data=bytes((way,))))


def _begun(family: Family) -> tuple[Expression, ...]:
    """(protocol, address, port) that the client asked for; of the packet itself, so that an ICMP
    error about the flow is not taken for a part of it."""
    return (
        step("meta", dreg=R1, key=16),
        step("ct", dreg=R2, key=family.ct_destination, direction=0),
        step("ct", dreg=family.after, key=12, direction=0),
    )


def _go(code: int, chain: str) -> Expression:
    return step("verdict", code=code, chain=chain)


def _table(service: Service) -> Sequence[int]:
    """The picking table; where order does not matter, as short as the weights allow."""
    if service.pick != AT_RANDOM:
        return service.table
    counts = Counter(service.table)
    weights = [counts[i] for i in range(len(service.servers))]
    return grouped(weights)


def _drawn(service: Service, family: Family, length: int) -> tuple[Expression, ...]:
    """A number below `length`, in the first register."""
    if service.pick == IN_TURN:
        return (step("numgen", dreg=R1, modulus=length, kind=0),)
    if service.pick == AT_RANDOM:
        return (step("numgen", dreg=R1, modulus=length, kind=1),)
    if service.pick != BY_HASH:
        raise FoursevenError(f"nftables: {service.listener}: no such pick")
    size = family.size
    mask = family.address(service.mask)
    steps = [step("payload", dreg=R1, base=1, offset=family.source, len=size)]
    if mask != b"\xff" * size:
        steps.append(step("bitwise", sreg=R1, dreg=R1, len=size, mask=mask))
    jhash = step("jhash", sreg=R1, dreg=R1, len=size, modulus=length, seed=SEED)
    return (*steps, jhash)
