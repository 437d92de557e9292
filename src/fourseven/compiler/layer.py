"""Which layer a listener is served at, by which plane, and because of which rule.

Every feature and every option declares its need. The layer is the highest need among all that the
listener's traffic meets: its routes' matches and filters, the algorithms of the backends they lead
to, and the options that the file sets. The plane is the cheapest one that serves that need.

    ADDRESS       L4          tcx, xdp, nftables, relay: `planes` chooses by what the host permits
    CLIENT_HELLO  L4 + peek   relay, after a look at the ClientHello
    BYTES         L4 proxy    relay
    REQUEST       L7          http

`protocol` overrides it: `http` gives L7 where addresses would do, `tcp` promises that nothing is
looked into, and is an error where a rule has to.

Law: pure. What this host permits is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fourseven.compiler.hello import Conflict, hello_conflicts
from fourseven.features import Need
from fourseven.forms import MatchForm
from fourseven.model import Backend, Config, Listener
from fourseven.snapshot.layout import ListenerMode

Path = tuple[str | int, ...]


class Reason(NamedTuple):
    """One rule that needs something: where it stands (below its listener, or a backend)."""

    need: Need
    what: str  # routes[2].match.path
    path: Path  # below the listener; () for what stands in a backend


@dataclass(frozen=True, slots=True)
class Decision:
    """How one listener is served."""

    need: Need
    layer: str
    plane: str
    mode: int
    because: str
    conflicts: tuple[Conflict, ...]


LAYERS = {
    Need.ADDRESS: "L4",
    Need.CLIENT_HELLO: "L4 + peek",
    Need.BYTES: "L4 proxy",
    Need.REQUEST: "L7",
}
SEES = {
    Need.ADDRESS: "addresses and ports",
    Need.CLIENT_HELLO: "the TLS ClientHello",
    Need.BYTES: "the bytes of the connection",
    Need.REQUEST: "the HTTP request",
}


def decide(config: Config, name: str) -> Decision:
    """The layer, the plane and the reason for one listener, with what contradicts it."""
    listener = config.listeners[name]
    transport = _transport(listener)
    found = strongest(reasons(config, listener))
    need = found.need if found else Need.ADDRESS
    because = _because(found)
    if listener.protocol == "http":
        need = Need.REQUEST
        because = because if found and found.need is Need.REQUEST else "protocol: http asks for it"
    conflicts = (
        *_conflicts(config, listener, transport),
        *_plane_conflict(listener, need),
        *hello_conflicts(listener, need, backends_need_hello(config, listener)),
        *_session_conflicts(config, listener, need),
    )
    if need is Need.REQUEST:
        return Decision(need, LAYERS[need], "http", ListenerMode.MODE_HTTP, because, conflicts)
    mode = ListenerMode.MODE_RELAY_UDP if transport == "udp" else ListenerMode.MODE_RELAY_TCP
    return Decision(need, LAYERS[need], "relay", mode, because, conflicts)


def reasons(config: Config, listener: Listener) -> Iterator[Reason]:
    """Every rule of a listener that needs more than addresses, in the order of the file."""
    for key, need in listener.option_needs():
        if need > Need.ADDRESS:
            yield Reason(need, key, (key,))
    backends: dict[str, None] = {}
    for i, route in enumerate(listener.all_routes):
        if route.match is not None:
            yield from _match_reasons(route.match, f"routes[{i}].match", ("routes", i, "match"))
        if route.tls is not None:
            yield Reason(Need.CLIENT_HELLO, f"routes[{i}].tls", ("routes", i, "tls"))
        if route.sticky is not None:
            yield Reason(Need.REQUEST, f"routes[{i}].sticky", ("routes", i, "sticky"))
        for j, form in enumerate(route.filters):
            if form.feature.need > Need.ADDRESS:
                what = f"routes[{i}].filters[{j}].{form.feature.key}"
                yield Reason(form.feature.need, what, ("routes", i, "filters", j, form.feature.key))
        backends.update(dict.fromkeys(route.reaches))
    for name in backends:
        if name in config.backends:
            yield from _backend_reasons(name, config.backends[name])


def backends_need_hello(config: Config, listener: Listener) -> bool:
    """Does a backend of the listener know clients by what their ClientHello says?"""
    names = {name for route in listener.all_routes for name in route.reaches}
    return any(
        reason.need is Need.CLIENT_HELLO
        for name in names & config.backends.keys()
        for reason in _backend_reasons(name, config.backends[name])
    )


def _backend_reasons(name: str, backend: Backend) -> Iterator[Reason]:
    if backend.tls is not None:
        yield Reason(Need.BYTES, f"backends.{name}.tls", ())
    if backend.protocol == "h2":
        yield Reason(Need.REQUEST, f"backends.{name}.protocol", ())
    if backend.proxy_protocol is not None:
        yield Reason(Need.BYTES, f"backends.{name}.proxy_protocol", ())
    for key, form in (("persistence", backend.persistence), ("balance", backend.balance)):
        if form is not None and form.feature.need > Need.ADDRESS:
            yield Reason(form.feature.need, f"backends.{name}.{key}.{form.feature.key}", ())


def strongest(found: Iterator[Reason]) -> Reason | None:
    """The first one with the highest need; looks no further once nothing can be higher."""
    best: Reason | None = None
    for reason in found:
        if best is None or reason.need > best.need:
            best = reason
            if best.need is Need.REQUEST:
                break
    return best


def _match_reasons(match: MatchForm, what: str, path: Path) -> Iterator[Reason]:
    for feature in match.features():
        if feature.need > Need.ADDRESS:
            yield Reason(feature.need, f"{what}.{feature.key}", (*path, feature.key))
    for key, parts in (("all", match.all_), ("any", match.any_)):
        for i, part in enumerate(parts):
            yield from _match_reasons(part, f"{what}.{key}[{i}]", (*path, key, i))
    if match.not_ is not None:
        yield from _match_reasons(match.not_, f"{what}.not", (*path, "not"))


def _because(found: Reason | None) -> str:
    if found is None:
        return "no rule looks further than addresses and ports"
    return f"{found.what} needs to see {SEES[found.need]}"


def _transport(listener: Listener) -> str:
    """tcp, udp, or "both" which no listener can be."""
    kinds = {"udp" if bind.startswith("udp:") else "tcp" for bind in listener.bind}
    return kinds.pop() if len(kinds) == 1 else "both"


def _conflicts(config: Config, listener: Listener, transport: str) -> Iterator[Conflict]:
    if transport == "both":
        yield Conflict(
            ("bind",), "tcp and udp stand in one listener; make two, they may lead to one backend"
        )
        return
    protocol = listener.protocol
    if protocol == "http" and transport == "udp":
        yield Conflict(
            ("protocol",), "HTTP does not come over udp://; bind to tcp, or remove protocol: http"
        )
        return
    if protocol == "udp" and transport == "tcp":
        yield Conflict(("protocol",), "protocol: udp with a TCP socket; write bind: udp://…")
    if protocol == "tcp" and transport == "udp":
        yield Conflict(("protocol",), "protocol: tcp with a UDP socket; remove one of the two")
    forced = protocol in ("tcp", "udp") or transport == "udp"
    if forced:
        kept = "protocol: tcp" if protocol == "tcp" and transport == "tcp" else "a UDP listener"
        for reason in reasons(config, listener):
            if _tcp_sees(listener, transport, reason.need):
                continue
            mend = "remove it, or protocol: tcp" if kept.startswith("protocol") else "remove it"
            text = f"{reason.what} needs to see {SEES[reason.need]}, and {kept} never does; {mend}"
            yield Conflict(reason.path, text)


def _tcp_sees(listener: Listener, transport: str, need: Need) -> bool:
    """TLS and PROXY headers are the relay's own affair: it looks at no byte of the client's."""
    if transport != "tcp":
        return False
    return need is Need.BYTES or (need is Need.CLIENT_HELLO and listener.tls is not None)


def _session_conflicts(config: Config, listener: Listener, need: Need) -> Iterator[Conflict]:
    """Where TLS ends here, no client has a session of a server's."""
    if listener.tls is None and need is not Need.REQUEST:
        return
    hidden = {name for r in listener.all_routes if r.tls != "passthrough" for name in r.reaches}
    for name in sorted(hidden & config.backends.keys()):
        form = config.backends[name].persistence
        if form is not None and form.feature.key == "tls_session":
            text = f"backends.{name}.persistence.tls_session is for TLS that is passed through, and"
            text += " here a route leads to it that does not; use cookie or source"
            yield Conflict((), text)


def _plane_conflict(listener: Listener, need: Need) -> Iterator[Conflict]:
    """A plane that the file asks for and that cannot serve, whatever the host permits."""
    if listener.plane == "http" and need is not Need.REQUEST:
        yield Conflict(
            ("plane",),
            "no rule needs the HTTP plane; write protocol: http to have it, or leave plane out",
        )
    if listener.plane not in ("auto", "http") and need is Need.REQUEST:
        yield Conflict(
            ("plane",), f"the plane {listener.plane} cannot look at requests; leave plane out"
        )
