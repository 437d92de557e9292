"""One request on trial: which route takes it, why the others do not, and whom it goes to.

Everything is asked of the code that serves: the reader of requests, the walk over
X-Forwarded-For, the conditions in their packed rows, the pick of a server. Only the going through
all, any and not is done here, since it must say at which condition a route fails; in the end its
answer is compared with that of the routing table, and a difference is an error of ours.

Law: no socket, no server is touched. Servers are taken to be idle, and well unless the plan says
otherwise (ServerPlan.standing); the answer says so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fourseven.balancing.probe import Probe as PickProbe
from fourseven.balancing.probe import key_of_address, key_of_text
from fourseven.errors import FoursevenError
from fourseven.features import Picker
from fourseven.l7.preview import Preview
from fourseven.matching.probe import Probe as MatchProbe
from fourseven.matching.probe import packed_address
from fourseven.matching.records import Field, Test
from fourseven.matching.rows import unpack_list
from fourseven.plan import (
    All,
    Any_,
    BackendPlan,
    Condition,
    Expression,
    ListenerPlan,
    Not,
    Plan,
    RoutePlan,
    ServerPlan,
    TlsPlan,
)
from fourseven.protocols import probe as reader
from fourseven.snapshot.layout import ListenerMode
from fourseven.tls.shown import Shown, stands_for

# Numbers spread over 64 bits, for picks that show what a choice depends on.
DRAWS = [at * 0x9E3779B97F4A7C15 % 2**64 for at in range(1, 65)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client sends, and from where."""

    head: bytes
    body: bytes
    peer: str
    sni: str = ""  # what its ClientHello says
    alpn: tuple[str, ...] = ()
    certificate: bytes = b""  # the client's, in PEM; empty: it shows none


@dataclass(frozen=True, slots=True)
class Miss:
    """One condition that was not as its route wants it."""

    field: str
    wanted: str
    got: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One route: taken, or the conditions that failed."""

    number: int
    name: str
    source: str
    taken: bool
    held: int  # conditions that held before one failed
    misses: tuple[Miss, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to the request."""

    listener: str
    layer: str
    peer: str  # who has the connection
    client: str  # the same, or whom a trusted peer speaks for
    seen: dict[str, str]  # the canonical request, as matches see it
    refused: str  # why the reader refuses it, or ""
    attempts: tuple[Attempt, ...]
    route: str  # the one that takes it, or ""
    answered: bool  # by an action of the route, without a backend
    shares: tuple[tuple[str, int], ...]  # the route's backends with their weights
    backend: str
    algorithm: str
    server: str
    why: str


def judge(plan: Plan, listener: ListenerPlan, asked: Asked) -> Verdict:
    """The whole trial of one request at one listener."""
    if listener.hello_routes:
        early = judge(plan, at_hello(listener), asked)
        if any(one.passthrough and one.name == early.route for one in listener.routes):
            return early
    relayed = listener.mode != ListenerMode.MODE_HTTP
    shown, closed = shake(listener, asked)
    if closed:
        return _unread(listener, asked, closed)
    head: dict[str, Any] = {} if relayed else read(listener, asked)
    if head.get("result", 1) <= 0:
        return _refused(listener, asked, head)
    if listener.tls is not None and astray(listener.tls, asked.sni, head.get("host") or b""):
        return _unread(listener, asked, f"421: the certificate of {asked.sni} is not of this host")
    client = asked.peer if relayed else client_of(listener, asked)
    if client != asked.peer:  # at the hello nobody spoke for him
        never = [replace(one, match=Any_()) if one.passthrough else one for one in listener.routes]
        listener = replace(listener, routes=tuple(never))
    scene = Scene(listener, asked, head, client, shown)
    attempts = tuple(_attempts(listener, scene))
    taken = attempts[-1].number if attempts and attempts[-1].taken else -1
    if taken != scene.native():
        raise FoursevenError(
            f"the routing table says route {scene.native()} and explain says {taken};"
            " this is a fault of fourseven: please report it with the file and the request"
        )
    route = listener.routes[taken] if taken >= 0 else None
    backends = {backend.name: backend for backend in plan.backends}
    chosen = (
        backends[max(route.backends, key=lambda one: one[1])[0]]
        if route and route.backends
        else None
    )
    server, why = pick(chosen, scene) if chosen else ("", "")
    return Verdict(
        listener=listener.name,
        layer=listener.layer,
        peer=asked.peer,
        client=client,
        seen=scene.seen(),
        refused="",
        attempts=attempts,
        route=route.name if route else "",
        answered=bool(route and not route.backends),
        shares=route.backends if route else (),
        backend=chosen.name if chosen else "",
        algorithm=chosen.algorithm if chosen else "",
        server=server,
        why=why,
    )


def at_hello(listener: ListenerPlan) -> ListenerPlan:
    """The same listener, as it is before it is clear whether TLS ends."""
    return replace(
        listener,
        mode=ListenerMode.MODE_RELAY_TCP,
        layer="L4 + peek: TLS is passed through",
        routes=listener.routes[: listener.hello_routes],
        hello_routes=0,
    )


def shake(listener: ListenerPlan, asked: Asked) -> tuple[Shown | None, str]:
    """The client's certificate, where the listener asks for one, or why the handshake fails."""
    if listener.tls is None or not listener.tls.client_authority:
        return None, ""
    if not asked.certificate:
        needed = listener.tls.client_required
        return None, "TLS: a client must show a certificate, and shows none" if needed else ""
    shown = Shown(asked.certificate)
    fault = shown.fault(listener.tls.client_authority, listener.tls.client_crl)
    return shown, f"TLS: the client's certificate does not verify: {fault}" if fault else ""


def astray(tls: TlsPlan, asked_for: str, host: bytes) -> bool:
    """Whether a connection that asked for one name has a request for a host that is not its own."""
    if not asked_for or not host or asked_for.encode() == host:
        return False
    names = dict(tls.names)
    above = "." + asked_for.partition(".")[2]
    shown = names.get(asked_for.encode(), names.get(above.encode(), 0))
    return not any(stands_for(tls.certificates[one].chain, host) for one in tls.sets[shown])


def read(listener: ListenerPlan, asked: Asked) -> dict[str, Any]:
    """The head as the engine reads it, under the listener's limits."""
    return reader.request(
        asked.head,
        head_max=listener.head_max,
        headers_max=listener.headers_max,
        target_max=listener.target_max,
        relax=listener.relax,
    )


def client_of(listener: ListenerPlan, asked: Asked) -> str:
    """The peer, or whom a trusted peer speaks for."""
    preview = Preview(listener)
    preview.read(asked.head, peer=asked.peer)
    return preview.client()[0]


def _refused(listener: ListenerPlan, asked: Asked, head: dict[str, Any]) -> Verdict:
    fault = head["fault"].removeprefix("FAULT_").replace("_", " ").lower()
    why = f"{-head['result']}: {fault}" if head["result"] else "the head does not end"
    return _unread(listener, asked, why)


def _unread(listener: ListenerPlan, asked: Asked, why: str) -> Verdict:
    peer = asked.peer
    return Verdict(
        listener.name, listener.layer, peer, peer, {}, why, (), "", False, (), "", "", "", ""
    )


class Scene:
    """The request before the native matcher, and the listener's table."""

    def __init__(
        self,
        listener: ListenerPlan,
        asked: Asked,
        head: dict[str, Any],
        client: str,
        shown: Shown | None,
    ) -> None:
        prefix = asked.body[: listener.body_prefix_max] if listener.body_prefix_max else None
        self.client = client
        self.message: dict[str, Any] = {"client": client}
        if asked.sni:
            self.message["sni"] = asked.sni.encode()
        if asked.alpn:
            names = [name.encode() for name in asked.alpn]
            self.message["alpn"] = b"".join(bytes([len(name)]) + name for name in names)
        self.certificate = ""
        if shown is not None:
            self.message["certificate"] = shown
            self.certificate = f"{text(shown.subject())}, verified"
        elif asked.certificate:
            self.certificate = "is not asked for here, so nobody sees it"
        if head:
            self.message |= {
                "method": head["method"],
                "host": head["host"],
                "path": head["path"],
                "query": head["query"],
                "headers": [(name, value) for name, value, *_ in head["fields"]],
                "body": prefix,
                "complete": prefix is None or len(prefix) == len(asked.body),
                "framing": head["framing"],
                "content_length": head["content_length"],
            }
        self.table = MatchProbe(listener.routes)
        self.table.request(**self.message)
        self.known: dict[Condition, bool] = {}

    def native(self) -> int:
        """The route that the engine would take; below 0: none."""
        return max(self.table.find(), -1)

    def holds(self, condition: Condition) -> bool:
        found = self.known.get(condition)
        if found is None:
            probe = MatchProbe([RoutePlan("", condition)])
            probe.request(**self.message)
            found = self.known[condition] = probe.find() == 0
        return found

    def value(self, field: int, name: bytes = b"", number: int = 0) -> bytes | None:
        return self.table.value(field, name, number)

    def seen(self) -> dict[str, str]:
        """The parts of the canonical request that routes mostly look at."""
        keys = ("sni", "method", "host", "path", "query")
        seen = {key: text(self.message[key]) for key in keys if self.message.get(key) is not None}
        return {"certificate": self.certificate, **seen} if self.certificate else seen


def _attempts(listener: ListenerPlan, scene: Scene) -> Iterator[Attempt]:
    """Each route in turn, up to the one that takes the request."""
    for number, route in enumerate(listener.routes):
        misses = tuple(failing(route.match, scene))
        held = sum(scene.holds(one) for one in conditions(route.match)) if misses else 0
        yield Attempt(number, route.name, route.source, not misses, held, misses)
        if not misses:
            return


def failing(match: Expression, scene: Scene, negated: bool = False) -> list[Miss]:
    """The conditions that keep a match from holding (negated: from not holding); none: it does."""
    if isinstance(match, Condition):
        return [] if scene.holds(match) != negated else [_miss(match, scene, negated)]
    if isinstance(match, Not):
        return failing(match.part, scene, not negated)
    parts = [failing(part, scene, negated) for part in match.parts]
    needs_all = isinstance(match, All) != negated
    if needs_all:
        return next((misses for misses in parts if misses), [])
    if not parts:
        return [Miss("any" if not negated else "not", "one of none", "")]
    return (
        [] if any(not misses for misses in parts) else [one for misses in parts for one in misses]
    )


def conditions(match: Expression) -> Iterator[Condition]:
    """Every condition in a match."""
    if isinstance(match, Condition):
        yield match
    elif isinstance(match, Not):
        yield from conditions(match.part)
    elif isinstance(match, All | Any_):
        for part in match.parts:
            yield from conditions(part)


# ---- in words ----

FIELDS = {
    Field.FIELD_CLIENT: "the client's address",
    Field.FIELD_HOST: "host",
    Field.FIELD_PATH: "path",
    Field.FIELD_METHOD: "method",
    Field.FIELD_HEADER: "header {}",
    Field.FIELD_COOKIE: "cookie {}",
    Field.FIELD_QUERY: "query {}",
    Field.FIELD_DEVICE: "device",
    Field.FIELD_BODY: "body",
    Field.FIELD_BODY_JSON: "body at {}",
    Field.FIELD_BODY_SIZE: "size of the body",
    Field.FIELD_BODY_TYPE: "type of the body",
    Field.FIELD_SNI: "SNI",
    Field.FIELD_ALPN: "ALPN",
    Field.FIELD_CERTIFICATE: "{} of the client's certificate",
}
TESTS = {
    Test.TEST_PRESENT: "to be there",
    Test.TEST_EXACT: "{}",
    Test.TEST_PREFIX: "{}…",
    Test.TEST_SUFFIX: "…{}",
    Test.TEST_CONTAINS: "…{}…",
    Test.TEST_REGEX: "regex {}",
    Test.TEST_GLOB: "glob {}",
    Test.TEST_SEGMENTS: "{}/ or below",
    Test.TEST_WILDCARD: "*{}",
    Test.TEST_ABOVE: "more than {number}",
    Test.TEST_BELOW: "less than {number}",
    Test.TEST_EQUAL: "{number}",
}


def _miss(condition: Condition, scene: Scene, negated: bool) -> Miss:
    field = FIELDS[Field(condition.field)].format(text(condition.name))
    wanted = _wanted(condition)
    fact = condition.number if condition.field == Field.FIELD_CERTIFICATE else 0
    got = scene.value(condition.field, condition.name, fact)
    shown = _address(got) if condition.field == Field.FIELD_CLIENT else text(got)
    return Miss(field, f"not {wanted}" if negated else wanted, "nothing" if got is None else shown)


def _wanted(condition: Condition) -> str:
    if condition.test == Test.TEST_ANY_OF:
        return "one of " + ", ".join(text(value) for value in unpack_list(condition.operand))
    if condition.test == Test.TEST_RANGES:
        return "one of " + ", ".join(_networks(condition.operand))
    return TESTS[Test(condition.test)].format(text(condition.operand), number=condition.number)


def _networks(operand: bytes) -> Iterator[str]:
    """The CIDRs of pairs of first and last addresses of 16 bytes."""
    for at in range(0, len(operand), 32):
        first, last = (ipaddress.IPv6Address(operand[i : i + 16]) for i in (at, at + 16))
        low: Any = first.ipv4_mapped if first.ipv4_mapped and last.ipv4_mapped else first
        high: Any = last.ipv4_mapped if first.ipv4_mapped and last.ipv4_mapped else last
        yield from (str(one) for one in ipaddress.summarize_address_range(low, high))


def _address(packed: bytes | None) -> str:
    address = ipaddress.IPv6Address(packed or bytes(16))
    return str(address.ipv4_mapped or address)


def text(value: bytes | None) -> str:
    """Bytes for a terminal: controls are escaped, and a long value is cut."""
    shown = "".join(
        c if c.isprintable() else f"\\x{ord(c):02x}" for c in (value or b"").decode("latin-1")
    )
    return shown if len(shown) <= 120 else f"{shown[:117]}..."


# ---- the server ----


def pick(backend: BackendPlan, scene: Scene) -> tuple[str, str]:
    """(server, why that one): the native function is asked, over servers that are idle.

    What a choice depends on is found by trying: the same again, other keys, other random numbers.
    """
    members, table = _tier(backend)
    servers = [backend.servers[at] for at in members]
    picker = Picker(backend.pick, table, bounded_load_percent=backend.bounded_load_percent)
    probe = PickProbe(picker, [server.weight for server in servers])
    for at, one in enumerate(servers):
        probe.set(at, usable=one.standing == "enable")
    key, key_name = _key(backend, scene)
    at = probe.pick(hash=key, random=DRAWS[0])
    if at < 0:
        unknown = not backend.servers and backend.sources
        return "", "its servers are found while it runs" if unknown else "no server takes work"
    if sum(map(_takes_work, servers)) > 1:
        return servers[at].address, _why(probe, at, key, key_name)
    of_tier = " of its tier" if len(backend.servers) > 1 else ""
    others = " that takes work" if len(servers) > 1 else of_tier
    return servers[at].address, f"it is the only one{others}"


def _why(probe: PickProbe, at: int, key: int, key_name: str) -> str:
    """What it depends on that the pick fell on this one of several."""
    if {probe.pick(hash=key, random=DRAWS[0]) for _ in DRAWS} != {at}:
        return "the servers take turns, and all are idle here: this one has the first"
    if len({probe.pick(hash=draw, random=DRAWS[0]) for draw in DRAWS}) > 1:
        return f"{key_name} decides: the same goes there while that server takes work"
    if len({probe.pick(hash=key, random=draw) for draw in DRAWS}) > 1:
        return "chance decides, and all servers are idle here: this is one draw"
    return "it is the best while all servers are idle"


def _tier(backend: BackendPlan) -> tuple[Sequence[int], Any]:
    """Who is asked first, and their table: the first tier with enough servers left (worker.tiers),
    or the first that has any."""
    left = []
    for tier in backend.tiers:
        servers = [backend.servers[at] for at in tier.members]
        usable = sum(one.weight for one in servers if _takes_work(one))
        if usable:
            left.append((tier, 100 * usable // sum(one.weight for one in servers)))
    if not left:
        return range(len(backend.servers)), backend.table
    least = backend.resilience.tier_percent if backend.resilience is not None else 0
    tier = next((tier for tier, share in left if share >= least), left[0][0])
    return tier.members, tier.table


def _takes_work(server: ServerPlan) -> bool:
    return server.standing == "enable" and server.weight > 0


def _key(backend: BackendPlan, scene: Scene) -> tuple[int, str]:
    """What is hashed, and its name."""
    if backend.hash_field:
        value = scene.value(backend.hash_field, backend.hash_name)
        if value:
            name = FIELDS[Field(backend.hash_field)].format(text(backend.hash_name))
            return key_of_text(value), f"{name} ({text(value)})"
    address = packed_address(scene.client)
    prefixes = (backend.hash_prefix_v4, backend.hash_prefix_v6)
    return key_of_address(address, *prefixes), f"the client's address ({scene.client})"
