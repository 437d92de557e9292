"""What was probably not meant. It never stops anything; `check` prints it and exits with 1.

One function for each rule, all in the table WARNINGS. Each says what will happen and what would
be right.

Law: a warning is given only where it is certain. A check that guesses is one that people learn to
ignore.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Iterator

from fourseven.compiler.hello import looks_at_hello
from fourseven.compiler.layer import decide
from fourseven.compiler.planes import PREFERRED, can
from fourseven.compiler.ranges import said
from fourseven.compiler.routes import TELLING
from fourseven.compiler.shadow import shadowed
from fourseven.errors import Problem
from fourseven.features import Need
from fourseven.forms import MatchForm
from fourseven.l4.abilities import ABILITIES
from fourseven.matching.grpc import Grpc
from fourseven.matching.records import Field
from fourseven.model import Config
from fourseven.plan import CertificatePlan, Condition, Expression, Not, Plan
from fourseven.scalars import Path

KERNEL = frozenset(ABILITIES)
RELAXED = {
    "underscores": "a server that reads X_Forwarded_For as X-Forwarded-For can be deceived",
    "trace": "TRACE echoes cookies and credentials to whoever can send it",
    "encoded_slash": "a server that decodes %2F sees another path than the rules here did",
    "merge_slashes": "//admin is another path than /admin here, and perhaps not on the server",
}


def warnings_of(config: Config, plan: Plan) -> list[Problem]:
    """Every warning, in the order of the file."""
    return sorted(problem for rule in WARNINGS for problem in rule(config, plan))


def unused_backend(config: Config, _: Plan) -> Iterator[Problem]:
    used = {
        name
        for listener in config.listeners.values()
        for route in listener.all_routes
        for name in (
            *route.reaches,
            *(name for form in route.filters for name in form.feature.backends()),
        )
    }
    for name in config.backends:
        if name not in used:
            text = f"no route leads to the backend {name!r}; name it in a route, or remove it"
            yield _warning(config, ("backends", name), text)


def shadowed_route(config: Config, plan: Plan) -> Iterator[Problem]:
    for listener in plan.listeners:
        for later, earlier in shadowed(listener.routes):
            before = listener.routes[earlier]
            line = before.source.split(":")[-2] if before.source else ""
            where = f"{before.name} (line {line})" if line else before.name
            text = (
                f"this route never matches: {where} takes all that it would; move this one above it"
            )
            yield _warning(config, ("listeners", listener.name, "routes", later), text)


def relaxed_defence(config: Config, _: Plan) -> Iterator[Problem]:
    for name, listener in config.listeners.items():
        for i, rule in enumerate(listener.relax):
            text = (
                f"the defence {rule!r} is off: {RELAXED[rule]}; remove it unless you must have it"
            )
            yield _warning(config, ("listeners", name, "relax", i), text)


def unverified_servers(config: Config, _: Plan) -> Iterator[Problem]:
    for name, backend in config.backends.items():
        for i, _rule in enumerate(backend.tls.relax if backend.tls is not None else ()):
            text = "no server of this backend is verified: whoever stands between can read and "
            text += "change everything; name the authority of its certificate with ca: instead"
            yield _warning(config, ("backends", name, "tls", "relax", i), text)


def everybody_trusted(config: Config, _: Plan) -> Iterator[Problem]:
    for name, listener in config.listeners.items():
        for i, network in enumerate(listener.trusted):
            if ipaddress.ip_network(network).prefixlen == 0:
                text = f"{network} trusts everybody, so any client can claim any address; "
                text += "name the networks of your own proxies"
                yield _warning(config, ("listeners", name, "trusted", i), text)


def routes_without_http(config: Config, _: Plan) -> Iterator[Problem]:
    """Somebody who writes routes may believe that requests are looked at."""
    for name, listener in config.listeners.items():
        need = decide(config, name).need
        meant = listener.protocol != "auto" or looks_at_hello(listener, need)
        if listener.routes and need < Need.REQUEST and not meant:
            text = "no rule here looks at a request, so connections are relayed at Layer 4; "
            text += "write protocol: http for Layer 7, or protocol: tcp to say that it is meant"
            yield _warning(config, ("listeners", name, "routes"), text)


def return_path_without_kernel(config: Config, plan: Plan) -> Iterator[Problem]:
    """The relay and Layer 7 end connections: their servers always see this host and answer to it.

    Certain only where no kernel plane could serve the listener on any host, or the file rules it
    out; what this host permits is for `explain` and the log to say.
    """
    backends = {backend.name: backend for backend in plan.backends}
    told = set()
    for listener in plan.listeners:
        off = config.kernel.plane == "off" or config.listeners[said(listener.name)].plane == "relay"
        if not off and any(can(listener, backends, plane) for plane in PREFERRED):
            continue
        for name in {said(name) for route in listener.routes for name, _ in route.backends}:
            path = config.backends[name].return_path
            if path != "masquerade" and name not in told and listener.plane not in KERNEL:
                told.add(name)
                text = f"the listener {said(listener.name)!r} is served by {listener.plane}, and "
                text += f"that cannot give return_path {path}: servers see this host's address"
                yield _warning(config, ("backends", name, "return_path"), text)


def no_server_takes_work(config: Config, _: Plan) -> Iterator[Problem]:
    for name, backend in config.backends.items():
        if not any(server.weight for server in backend.servers):
            text = "every server has weight 0, so nothing is served; give one a weight above 0"
            yield _warning(config, ("backends", name, "servers"), text)
        elif not any(server.standing == "enable" for server in backend.servers):
            text = "every server is taken out by drain or maintenance, so nothing new is served"
            yield _warning(config, ("backends", name, "servers"), text)


def same_server_twice(config: Config, _: Plan) -> Iterator[Problem]:
    for name, backend in config.backends.items():
        seen: dict[str, int] = {}
        for i, server in enumerate(backend.servers):
            if server.address and seen.setdefault(server.address, i) != i:
                text = f"{server.address} stands here twice; use its weight for a larger share"
                yield _warning(config, ("backends", name, "servers", i), text)


def step_after_the_end(config: Config, _: Plan) -> Iterator[Problem]:
    for name, listener in config.listeners.items():
        for i, route in enumerate(listener.routes):
            steps = [form.feature for form in route.filters]
            ends = [j for j, step in enumerate(steps) if step.terminal]
            if ends and ends[0] + 1 < len(steps) and steps[ends[0] + 1].request_actions():
                text = f"{steps[ends[0]].key} has answered before this step; put it last"
                path = ("listeners", name, "routes", i, "filters", ends[0] + 1)
                yield _warning(config, path, text)


def nobody_is_asked(config: Config, plan: Plan) -> Iterator[Problem]:
    """A rule about clients' certificates where no client is asked for one."""
    for listener in plan.listeners:
        if listener.tls is not None and listener.tls.client_authority:
            continue
        for i, route in enumerate(listener.routes):
            parts = [part for step in route.request_actions for part in step.value]
            if looks_at(route.match, Field.FIELD_CERTIFICATE) or any(
                part.kind in TELLING for part in parts
            ):
                text = "no client is asked for a certificate here, so none is ever seen; "
                text += "give the listener tls: {client_certificates: …}"
                yield _warning(config, ("listeners", said(listener.name), "routes", i), text)


def calls_without_http2(config: Config, _: Plan) -> Iterator[Problem]:
    """gRPC is HTTP/2 alone, on both sides."""
    for name, listener in config.listeners.items():
        for i, route in enumerate(listener.routes):
            if takes_calls_alone(route.match):
                yield from _where_http1_is(config, name, i)


def _where_http1_is(config: Config, name: str, i: int) -> Iterator[Problem]:
    listener, path = config.listeners[name], ("listeners", name, "routes", i)
    if "2" not in listener.spoken:
        text = "no client of gRPC can come in here, for it speaks HTTP/2; give the "
        text += "listener tls, or http_versions: [1.1, 2]"
        yield _warning(config, (*path, "match"), text)
    for backend in sorted({*listener.routes[i].reaches} & {*config.backends}):
        if config.backends[backend].protocol != "h2":
            text = f"the servers of {backend!r} are spoken to in HTTP/1.1, and servers of "
            text += "gRPC speak HTTP/2; give the backend protocol: h2"
            yield _warning(config, path, text)


def takes_calls_alone(match: MatchForm | None) -> bool:
    """Whether a request that is no call of gRPC surely is not taken."""
    if match is None:
        return False
    every = [*match.features(), *(one for part in match.all_ for one in part.features())]
    return any(isinstance(one, Grpc) for one in every)


def looks_at(match: Expression, field: int) -> bool:
    """Whether a condition on this field stands anywhere in it."""
    if isinstance(match, Condition):
        return match.field == field
    if isinstance(match, Not):
        return looks_at(match.part, field)
    return any(looks_at(part, field) for part in match.parts)


def expired_certificate(config: Config, plan: Plan) -> Iterator[Problem]:
    now = time.time()
    for path, one in _certificates(plan):
        if one.not_after <= now:
            day = _day(one.not_after)
            text = f"the certificate in {one.file} expired on {day}, so clients refuse it; renew it"
            yield _warning(config, path, text)


def revocation_out_of_date(config: Config, plan: Plan) -> Iterator[Problem]:
    now = time.time()
    for listener in plan.listeners:
        tls, when = listener.tls, ""
        if tls is not None and 0 < tls.client_crl_until <= now:
            when = f"ended on {_day(tls.client_crl_until)}"
        elif tls is not None and tls.client_crl_since > now:
            when = f"begins on {_day(tls.client_crl_since)}"
        if when:
            text = f"a list in it {when}, so clients of that authority are refused; renew it"
            path = ("listeners", said(listener.name), "tls", "client_certificates", "crl")
            yield _warning(config, path, text)


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def staple_that_is_not_shown(config: Config, plan: Plan) -> Iterator[Problem]:
    for path, one in _certificates(plan):
        if one.staple_fault:
            text = f"the certificate in {one.file} is shown without an OCSP response: "
            yield _warning(config, path, text + one.staple_fault)


def certificate_without_a_name(config: Config, plan: Plan) -> Iterator[Problem]:
    for path, one in _certificates(plan):
        if not one.names:
            text = f"the certificate in {one.file} names no host, so no client's name chooses it; "
            text += "have one made with a subjectAltName"
            yield _warning(config, path, text)


def certificate_never_shown(config: Config, plan: Plan) -> Iterator[Problem]:
    seen: dict[tuple[str | int, ...], int] = {}
    for path, one in _certificates(plan):
        number = int(path[-1])
        for name in one.names:
            first = seen.setdefault((path[1], name, one.kind), number)
            if first != number:
                text = f"certificates[{first}] stands for {name} with a key of {one.kind} too, "
                text += "and is shown; remove the name from one of them"
                yield _warning(config, path, text)


def _certificates(plan: Plan) -> Iterator[tuple[Path, CertificatePlan]]:
    for listener in plan.listeners:
        for i, one in enumerate(listener.tls.certificates if listener.tls else ()):
            yield ("listeners", listener.name, "tls", "certificates", i), one


def _warning(config: Config, path: Path, text: str) -> Problem:
    return config.problem(path, text, "warning")


Rule = Callable[[Config, Plan], Iterator[Problem]]
WARNINGS: tuple[Rule, ...] = (
    unused_backend,
    shadowed_route,
    relaxed_defence,
    unverified_servers,
    everybody_trusted,
    routes_without_http,
    return_path_without_kernel,
    no_server_takes_work,
    same_server_twice,
    step_after_the_end,
    nobody_is_asked,
    calls_without_http2,
    expired_certificate,
    revocation_out_of_date,
    staple_that_is_not_shown,
    certificate_without_a_name,
    certificate_never_shown,
)
