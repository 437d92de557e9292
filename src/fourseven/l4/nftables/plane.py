"""The nftables plane: one table of ours, and the flows that it began.

    plane = open_plane(home)      takes over the table of that name, if a predecessor left one
    plane.apply(plan)             one batch: a packet meets the old rules or the new ones
    plane.close(remove=True)      the table goes, and with it every flow that it began

The table is in the kernel and needs no process. What a predecessor left is replaced by the first
`apply`, in one batch; counters that go on are kept, flows too.

Others may empty the kernel's whole ruleset (a firewall that restarts does): `tick` looks whether
anything was changed at all, and puts the table back if it is gone.

Laws: nothing outside the table `fourseven_<name>` is written, but for two settings of conntrack
(counting, and times of flows); they are put back by whoever removes the table, as noted in its
comment. The kernel alone ends flows that have been silent.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fourseven.l4 import netlink
from fourseven.l4.kernel_plan import (
    AT_RANDOM,
    BY_HASH,
    IN_TURN,
    MASQUERADE,
    TCP,
    UDP,
    End,
    KernelPlan,
    Service,
)
from fourseven.l4.kernel_plane import (
    CLOSED,
    Counts,
    FlowFilter,
    FlowRecord,
    Home,
    ListenerCounts,
    PlaneCounts,
)
from fourseven.l4.nftables.conntrack import (
    KEY,
    SERVER,
    Tracked,
    end_flows,
    end_of,
    key_of,
    not_inserted,
    set_setting,
    setting,
    state_of,
    tally,
    tracked,
)
from fourseven.l4.nftables.form import Ruleset
from fourseven.l4.nftables.netlink import NetlinkError
from fourseven.l4.nftables.rules import (
    KINDS,
    Kept,
    listener_counter,
    ruleset,
    server_counter,
    servers_of,
)
from fourseven.l4.nftables.seen import records
from fourseven.l4.nftables.table import Table
from fourseven.l4.records import packed

TICK_S = 10.0
GONE_S = 60.0  # how often what left the plan is looked at: it takes a look at every flow
SETTINGS = ("acct", "timestamp")  # packets and bytes of a flow; when it began


class NftablesPlane:
    """NAT by netfilter, from the same plan as the eBPF planes."""

    name = "nftables"

    def __init__(self, home: Home) -> None:
        self.table = Table(home.name)
        self.plan = KernelPlan(())
        self.kept = self.table.known()  # a predecessor's flows are ours
        self.rules: Ruleset | None = None  # what is in the kernel by us; None: nothing yet
        self.interfaces: tuple[str, ...] | None = None
        self.ways: dict[int, int | None] = {}  # servers' addresses: ours on the way there, if any
        self.timeouts = True
        self.past: dict[str, tuple[int, int]] = {}  # counters that are no more
        self.generation = b""
        self.gone_at = 0.0
        self.not_inserted = _not_inserted()  # before us
        comment = self.table.comment()
        self.adopted = comment is not None
        self.changed = _noted(comment)  # settings to put back

    def apply(self, plan: KernelPlan) -> None:
        """Serves these services from now on; FoursevenError: all is as it was."""
        kept, ways = self._keeps(plan), self._ways_of(plan)
        self._put(plan, kept, self.interfaces, ways)
        self.plan, self.kept, self.ways = plan, kept, ways

    @staticmethod
    def _ways_of(plan: KernelPlan) -> dict[int, int | None]:
        """Where the file has no addresses to masquerade with: those that the routes have, which
        netfilter's own masquerade does not ask."""
        said = {address >> 32 == 0xFFFF for address in plan.masquerade_addresses}
        lists = {id(s.servers): s.servers for s in plan.services if s.mode == MASQUERADE}
        servers = {one for some in lists.values() for one in some if one.is_v4 not in said}
        meant = {server.address for server in servers}
        found = netlink.sources(meant)
        return {one: found.get(one) for one in meant}

    def stand(self, interfaces: Sequence[str]) -> list[str]:
        """New flows are taken from these interfaces (and this host), and from no others."""
        wanted = tuple(sorted(set(interfaces)))
        present = {name for _, name in socket.if_nameindex()}
        if self.rules is not None and wanted != self.interfaces:
            self._put(self.plan, self.kept, wanted, self.ways)
        self.interfaces = wanted
        return [f"there is no interface {name!r}" for name in wanted if name not in present]

    def moved(self) -> bool:
        """Have the addresses of ours on the ways to servers changed? Then `apply` is due."""
        before = self.ways
        self.ways = self._ways_of(self.plan)
        return before != self.ways

    def tick(self) -> float:
        """Puts back what others removed; forgets what has no flow any more."""
        if self.rules is None:
            return TICK_S
        generation = self.table.generation()
        if generation != self.generation:
            if self.table.comment() is None:
                self.rules = None
                self._put(self.plan, self.kept, self.interfaces, self.ways)
            self.generation = self.table.generation()
        now = time.monotonic()
        if now >= self.gone_at:
            self.gone_at = now + GONE_S
            self._forget()
        return TICK_S

    def drain(self) -> None:
        """Takes no new flow; what it has goes on."""
        self.apply(KernelPlan((), self.plan.flows_max))

    def busy(self) -> int:
        """Flows that are alive."""
        return sum(self._alive().values())

    def counters(self) -> PlaneCounts:
        """Sums since the table was made; `flows_closed` is what is no longer alive."""
        values = self._values()
        listeners = {name: ListenerCounts() for name in self._listeners()}
        servers = {key: Counts() for key in self._servers()}
        ends = {end: end_of(end) for _, end in servers}
        active = Counter[tuple[str, bytes]]()
        of_listener = Counter[str]()
        backends = self._backends()
        places = {(backend, ends[end]) for backend, end in servers}
        vips = self._vips()
        for (service, server), count in self._alive().items():
            listener = vips[service]
            of_listener[listener] += count
            both = ((backend, server) for backend in backends.get(listener, ()))
            for place in [place for place in both if place in places][:1]:
                active[place] += count
        for name, found in listeners.items():
            _fill(found, {kind: values.get(listener_counter(kind, name), NONE) for kind in KINDS})
            _settle(found, of_listener[name])
            refused = values.get(listener_counter("none", name), NONE)[0]
            if refused:
                found.drops["no_server"] = refused
        for key, one in servers.items():
            _fill(one, {kind: values.get(server_counter(kind, *key), NONE) for kind in KINDS})
            _settle(one, active[key[0], ends[key[1]]])
        return PlaneCounts(listeners, servers, self._drops())

    def _drops(self) -> dict[str, int]:
        """Of flows that got no port; conntrack does not say whose they were."""
        if MASQUERADE not in self.plan.modes():
            return {}
        many = _not_inserted() - self.not_inserted
        return {"no_port": many} if many > 0 else {}

    def flows(self, wanted: FlowFilter | None = None) -> Iterator[FlowRecord]:
        """Live flows, in no order."""
        idle = {(s.protocol, s.vip): s.idle_ms for s in self.plan.services}
        return records(self._tracked(), wanted, idle)

    def records(self, wanted: FlowFilter) -> Iterator[bytes]:
        return packed(self.flows(wanted))

    def cut(self, server: tuple[str, End]) -> int:
        """Ends every flow of a server: the next packet of its client is answered with RST."""
        backend, end = server
        listeners = {name for name, names in self._backends().items() if backend in names}
        vips = {key for key, name in self._vips().items() if name in listeners}
        who = (end.address.to_bytes(16, "big"), end.port)
        return end_flows([f for f in self._tracked(vips) if (f.server, f.server_port) == who])

    def close(self, remove: bool) -> None:
        """Lets go. remove: the table goes, and every flow that it began."""
        if remove:
            flows = list(self._tracked())
            with contextlib.suppress(NetlinkError):
                self.table.batch([self.table.encoder.remove()])
            end_flows(flows)
            for name in self.changed:
                set_setting(name, "0")
        self.table.close()
        self.rules = None

    # ---- what is in the kernel ----

    def _put(
        self,
        plan: KernelPlan,
        kept: Kept,
        interfaces: Sequence[str] | None,
        ways: Mapping[int, int | None],
    ) -> None:
        """The rules of a plan, in one batch; from nothing, or from a predecessor's, the first
        time."""
        new = ruleset(plan, kept, interfaces, self.timeouts, ways)
        if self.rules is None:
            self._begin(new)
        else:
            gone = set(self.rules.counters) - set(new.counters)
            if gone:
                self._remember(gone)
            try:
                self.table.batch(self.table.encoder.change(self.rules, new))
            except NetlinkError as error:
                if error.errno not in OTHERS_DID_IT:
                    raise
                self._begin(new)
        self.rules = new
        self.generation = self.table.generation()

    def _begin(self, new: Ruleset) -> None:
        """The whole table, in place of one that may be there."""
        changed = self.changed
        if self.table.comment() is None:
            changed = tuple(name for name in SETTINGS if setting(name) == "0")
        there = self.table.there()
        objects = Ruleset(there.counters, there.timeouts)
        self.table.batch(
            [
                self.table.encoder.create(_note(changed)),
                self.table.encoder.no_rules(),
                *map(self.table.encoder.no_lookup, there.lookups),
                *map(self.table.encoder.no_chain, there.chains),
                *self.table.encoder.change(objects, new),
            ]
        )
        self.changed = changed
        for name in changed:
            set_setting(name, "1")

    def _values(self) -> dict[str, tuple[int, int]]:
        """The counters, with what they had before they were gone for a while."""
        values = dict(self.table.counters())
        for name, (packets, size) in self.past.items():
            now = values.get(name, NONE)
            values[name] = (now[0] + packets, now[1] + size)
        return values

    def _remember(self, gone: set[str]) -> None:
        values = self._values()
        self.past |= {name: values[name] for name in gone if values.get(name, NONE) != NONE}

    # ---- what is ours ----

    def _vips(self) -> dict[bytes, str]:
        """Where flows of ours began, and of which listener that is."""
        now = {(s.protocol, s.vip): s.listener for s in self.plan.services}
        return {key_of(*key): name for key, name in (self.kept.services | now).items()}

    def _listeners(self) -> set[str]:
        return {*self._vips().values(), *(listener for listener, _ in self.kept.backends)}

    def _servers(self) -> set[tuple[str, End]]:
        return servers_of(self.plan) | self.kept.servers

    def _backends(self) -> dict[str, list[str]]:
        """The backends of each listener, today's first."""
        found: dict[str, list[str]] = {}
        now = ((service.listener, service.backend) for service in self.plan.services)
        for listener, backend in (*now, *sorted(self.kept.backends)):
            known = found.setdefault(listener, [])
            if backend not in known:
                known.append(backend)
        return found

    def _families(self) -> list[int]:
        vips = [s.vip for s in self.plan.services] + [end for _, end in self.kept.services]
        return sorted({4 if vip.is_v4 else 6 for vip in vips})

    def _tracked(self, vips: Iterable[bytes] | None = None) -> Iterator[Tracked]:
        """The flows of these services, or of all."""
        keys = frozenset(self._vips() if vips is None else vips)
        for version in self._families():
            yield from tracked(version, keys)

    def _alive(self, closed: bool = False) -> Counter[tuple[bytes, bytes]]:
        """How many live flows each (service, server) has; `closed`: also those that are over."""
        vips = self._vips()
        found = Counter[tuple[bytes, bytes]]()
        for version in self._families():
            for who, count in tally(version).items():
                step, answered, _, protocol = who[:4]
                if who[KEY] not in vips:
                    continue
                if closed or state_of(protocol, step, answered) != CLOSED:
                    found[who[KEY], who[SERVER]] += count
        return found

    # ---- what leaves the plan and may have flows ----

    def _keeps(self, plan: KernelPlan) -> Kept:
        """What is to be counted on beside a new plan."""
        new = {(s.protocol, s.vip) for s in plan.services}
        servers = servers_of(plan)
        backends = {(s.listener, s.backend) for s in plan.services}
        before = {(s.listener, s.backend) for s in self.plan.services} | self.kept.backends
        old = self.kept.services | {(s.protocol, s.vip): s.listener for s in self.plan.services}
        return Kept(
            {key: name for key, name in old.items() if key not in new},
            self._servers() - servers,
            before - backends,
        )

    def _forget(self) -> None:
        """What has left the plan and has no flow any more is counted no more."""
        kept = self.kept
        if not (kept.services or kept.servers or kept.backends):
            return
        found = self._alive(closed=True)
        vips = {service for service, _ in found}
        ends = {server for _, server in found}
        services = {key: name for key, name in kept.services.items() if key_of(*key) in vips}
        servers = {key for key in kept.servers if end_of(key[1]) in ends}
        alive = {backend for backend, _ in servers}
        names = {*services.values(), *(s.listener for s in self.plan.services)}
        backends = {b for b in kept.backends if b[1] in alive and b[0] in names}
        left = Kept(services, servers, backends)
        if left != kept:
            self._put(self.plan, left, self.interfaces, self.ways)
            self.kept = left


def _not_inserted() -> int:
    try:
        return not_inserted()
    except (NetlinkError, OSError):  # a kernel that keeps no such books
        return 0


NONE = (0, 0)
OTHERS_DID_IT = (errno.ENOENT, errno.EEXIST, errno.EBUSY)  # the table is not as we left it
NOTE = "of fourseven"


def _note(changed: Sequence[str]) -> str:
    """The table's comment: it names what is to be put back."""
    return NOTE + (f"; it switched on {', '.join(changed)}" if changed else "")


def _noted(comment: str | None) -> tuple[str, ...]:
    return tuple(name for name in SETTINGS if comment is not None and name in comment)


def _fill(count: Counts, values: dict[str, tuple[int, int]]) -> None:
    count.packets_in, count.bytes_in = values["in"]
    count.packets_out, count.bytes_out = values["out"]
    count.flows_new = values["new"][0]


def _settle(count: Counts, active: int) -> None:
    count.flows_active = active
    count.flows_new = max(count.flows_new, active)  # the table may be younger than its flows
    count.flows_closed = count.flows_new - active


def open_plane(home: Home) -> NftablesPlane:
    """The plane of this name, with what a predecessor left."""
    return NftablesPlane(home)


def remove(home: Home) -> bool:
    """Removes the table of this name and the flows that it began, if there is one."""
    plane = open_plane(home)
    plane.close(plane.adopted)
    return plane.adopted


def denied() -> str:
    """Why this host does not permit it; empty when it does. Rules of every sort are shown to the
    kernel, which judges them and then forgets them."""
    services = tuple(
        Service(
            "probe",
            End(address, port),
            protocol,
            pick,
            (0, 1),
            (End(server, 1), End(server, 2)),
            MASK,
            60_000,
            MASQUERADE,
            "probe",
        )
        for address, server in PROBED
        for port, pick in enumerate((IN_TURN, AT_RANDOM, BY_HASH), 1)
        for protocol in (TCP, UDP)
    )
    plan = KernelPlan((*services, replace(services[0], vip=End(PROBED[0][0], 9), table=())))
    try:
        with contextlib.closing(Table("probe")) as table:
            messages = table.encoder.change(Ruleset(), ruleset(plan, Kept(), ("lo",)))
            table.batch([table.encoder.create(NOTE), *messages], check=True)
    except NetlinkError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return "CAP_NET_ADMIN is missing; start it as root"
        return str(error)
    except OSError as error:
        return f"no netfilter: {error.strerror}"
    return ""


MASK = (1 << 128) - 256  # so that a mask is tried, too
PROBED = (  # of the ranges for documentation: (service, server)
    (0xFFFF_C000_0201, 0xFFFF_C000_0202),
    (0x2001_0DB8 << 96 | 1, 0x2001_0DB8 << 96 | 2),
)
