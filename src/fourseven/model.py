"""THE model: what a file may say, and the only form in which the rest of the control plane sees it.

    Config      listeners, backends, workers
    Listener    where clients come in: bind, routes, limits, timeouts, trust
    Route       when (match), what is done (filters), and where to (backend, or backends by weight)
    Backend     servers, and how one is picked (balance)
    Server      an address, a weight
    Kernel      the planes in the kernel: on which interfaces, how many flows

A file may use short forms (`backend: web` for one route that takes all, `path: /x/`,
`servers: [10.0.0.1:80]`); validation spells them out, so code meets the long form alone.
Field names carry their unit and the file's key is the alias: `idle_timeout: 60s` is
`idle_timeout_ms`. The defaults are those of plan.py, which says why nothing here does twice.

Matches, filters and algorithms come from the registry (forms.py), so this file knows none of them
by name.

An option that only makes sense at a certain layer says so with `needs(...)`. Where the file sets
it, the listener needs that much; a default never forces a layer.

In the terms of Kubernetes' Gateway API:

    listeners.<name>            Gateway.spec.listeners[] (name, port, protocol)
    listeners.<name>.routes[]   HTTPRoute.spec.rules[]; at L4 TCPRoute, UDPRoute, TLSRoute
    routes[].match              rules[].matches[] (there: any of several; here `any:` says so)
    routes[].match.host, sni    HTTPRoute / TLSRoute .spec.hostnames
    routes[].filters            rules[].filters
    routes[].backends           rules[].backendRefs[] with weight
    backends.<name>             Service with its EndpointSlices; balance, retries: BackendLBPolicy
    timeouts                    rules[].timeouts (there per route; here per listener and backend)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    model_validator,
)

from fourseven.errors import Problem, Severity
from fourseven.features import Need
from fourseven.forms import (
    Balance,
    Form,
    NotEmpty,
    RouteFilter,
    RouteMatch,
    ServerSource,
)
from fourseven.forms_admin import Admin
from fourseven.forms_ejection import Ejection
from fourseven.forms_health import CheckedServer, Health
from fourseven.forms_observe import AccessLogForm, Tracing
from fourseven.forms_resilience import Resilient, ResilientRoute, ResilientServer, Zone, bare
from fourseven.forms_standing import StandingServer
from fourseven.forms_sticky import STICKY, Sticky
from fourseven.forms_tls import BackendTls, Tls
from fourseven.plan import (
    BackendPlan,
    KernelOptions,
    ListenerPlan,
    Plan,
    ServerPlan,
)
from fourseven.scalars import (
    L7,
    WEIGHT_MAX,
    BackendProtocol,
    Bind,
    Count,
    ForwardedHeader,
    HeaderName,
    HttpVersion,
    Interface,
    IpAddress,
    KernelPolicy,
    Name,
    NeedOf,
    Network,
    Path,
    Plane,
    Protocol,
    Relaxed,
    ReturnPath,
    ServerAddress,
    Size,
    Text,
    Time,
    Wait,
    listed,
    needs,
    version,
)

_LISTENER = ListenerPlan("", (), 0, ())
_BACKEND = BackendPlan("", (), "", 0)
_SERVER = ServerPlan("")
_PLAN = Plan((), ())
_KERNEL = KernelOptions()


# ---- the model itself ----


class Server(ServerSource, ResilientServer, StandingServer, CheckedServer):
    """One server of a backend, or a place that knows servers; what is said holds for each then."""

    address: ServerAddress = Field(
        _SERVER.address,
        description="host:port, [v6]:port or unix:/path; host:8000-8100 for a listener that binds"
        " as many ports: each goes to its own.",
    )
    weight: Annotated[int, Field(strict=True, ge=0, le=WEIGHT_MAX)] = Field(
        _SERVER.weight, description="Its share of new work, against the others; 0 takes none."
    )
    max_in_flight: Count = Field(
        _SERVER.max_in_flight, description="Requests (L7) or connections (L4) at once; 0: no limit."
    )

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"address": value}

    @model_validator(mode="after")
    def one_place(self) -> Server:
        return self.verified(bool(self.address))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        long = handler(schema)
        whole = handler.resolve_ref_schema(long)
        whole["oneOf"] = [{"required": [key]} for key in ("address", *cls.source_keys())]
        text = dict(whole["properties"]["address"])
        text.pop("default", None)
        return {"anyOf": [text, long]}


class Backend(Resilient):
    """A set of servers that are alike, and how one of them is picked."""

    servers: Annotated[tuple[Server, ...], NotEmpty()] = Field(
        description="Addresses, or {address, weight}."
    )
    balance: Balance | None = Field(
        None, description="How a server is picked; round_robin if left out."
    )
    health: Health | None = Field(
        None, description="How servers are checked; left out: all are taken as well."
    )
    ejection: Annotated[Ejection | None, BeforeValidator(bare)] = Field(
        None, description="Servers that do badly with requests get none for a while; true, or how."
    )
    slow_start_ms: Time = Field(
        _BACKEND.slow_start_ms,
        alias="slow_start",
        description="How long a server that comes back, or is new, takes to get its whole share of"
        " new work; 0: it has it at once.",
    )
    return_path: ReturnPath = Field(
        _BACKEND.return_path,
        description="How answers come back in a plane of the kernel. masquerade: servers see an"
        " address of this host, as with the relay. routed: servers see the client's address and"
        " have this host as their gateway. direct: servers hold the listener's address too and"
        " answer past this host.",
    )
    connect_timeout_ms: Wait = Field(
        _BACKEND.connect_timeout_ms,
        alias="connect_timeout",
        description="Until a server has accepted.",
    )
    response_timeout_ms: Wait = Field(
        _BACKEND.response_timeout_ms,
        alias="response_timeout",
        description="From the request's last byte to the answer's first.",
    )
    read_timeout_ms: Wait = Field(
        _BACKEND.read_timeout_ms,
        alias="read_timeout",
        description="Between two parts of an answer.",
    )
    idle_timeout_ms: Wait = Field(
        _BACKEND.idle_timeout_ms,
        alias="idle_timeout",
        description="How long a kept connection to a server waits for its next request.",
    )
    idle_max: Count = Field(
        _BACKEND.idle_max, description="Kept connections, for each worker and server."
    )
    proxy_protocol: Literal["v1", "v2"] | None = Field(
        None,
        description="Servers are told who the client is by HAProxy's PROXY protocol, in front of"
        " each connection. They must expect it.",
    )
    protocol: BackendProtocol = Field(
        "http/1.1",
        description="What its servers speak. h2: HTTP/2, with TLS by ALPN, without it known"
        " beforehand; requests of many clients share a connection. gRPC needs it.",
    )
    retries: Annotated[int, Field(strict=True, ge=0, le=3)] = Field(
        _BACKEND.retries,
        description="Further servers that are tried when one fails before its first byte.",
    )
    tls: Annotated[BackendTls | None, BeforeValidator(bare)] = Field(
        None, description="TLS to the servers: true, or a mapping. Left out: without TLS."
    )

    @model_validator(mode="after")
    def shares_connections(self) -> Backend:
        if self.protocol == "h2" and self.proxy_protocol is not None:
            raise ValueError(
                "proxy_protocol speaks of one client, and with protocol: h2 clients share a"
                " connection; remove one of them"
            )
        if self.protocol == "h2" and self.tls is not None and self.tls.alpn not in ((), ("h2",)):
            raise ValueError("tls.alpn contradicts protocol: h2; remove it")
        return self


class Route(ResilientRoute):
    """One line of a listener's table. The first whose match holds takes the request."""

    name: Text | None = Field(None, description="For explain, logs and metrics.")
    match: RouteMatch | None = Field(None, description="When; left out: always.")
    filters: Annotated[tuple[RouteFilter, ...], BeforeValidator(listed)] = Field(
        (), description="What is done, in this order."
    )
    backend: Text | None = Field(None, description="Where to.")
    backends: dict[str, Annotated[int, Field(strict=True, ge=0, le=1_000_000)]] | None = Field(
        None, description="Where to, by weight: {stable: 95, canary: 5}."
    )
    sticky: Sticky | None = Field(None, description=STICKY)
    tls: Literal["passthrough"] | None = Field(
        None,
        description="passthrough: TLS is not ended here, the server does. Such routes look at sni,"
        " alpn and address alone.",
    )

    @model_validator(mode="after")
    def goes_somewhere(self) -> Route:
        ends = [form.feature.key for form in self.filters if form.feature.terminal]
        if self.backend is not None and self.backends is not None:
            raise ValueError("backend and backends stand in one route; keep one of them")
        if self.sticky is not None and len(self.choices) < 2:
            raise ValueError("sticky chooses among backends; give the route several, by weight")
        if not self.choices and not ends:
            raise ValueError("the route goes nowhere; give it a backend: name")
        if self.fallback is not None and not self.choices:
            raise ValueError("fallback stands in for a backend; give the route one")
        if self.choices and ends:
            raise ValueError(
                f"{ends[0]} answers by itself, so the backend gets nothing; remove one of them"
            )
        if self.backends is not None and not sum(self.backends.values()):
            raise ValueError("the weights add up to 0; give one backend a weight above 0")
        return self

    @property
    def choices(self) -> tuple[tuple[str, int], ...]:
        """(backend's name, weight)."""
        if self.backend is not None:
            return ((self.backend, 1),)
        return tuple((self.backends or {}).items())

    @property
    def reaches(self) -> tuple[str, ...]:
        """Every backend that may serve it."""
        spare = (self.fallback,) if self.fallback is not None else ()
        return (*(name for name, _ in self.choices), *spare)


class ProxyProtocol(Form):
    """Proxies in front say who the client is, by HAProxy's PROXY protocol (version 1 or 2)."""

    from_: Annotated[tuple[Network, ...], NotEmpty(), BeforeValidator(listed)] = Field(
        alias="from",
        description="Networks of those proxies. They must send it; nobody else is let in.",
    )


class Listener(Form):
    """Where clients come in, and what is allowed there."""

    bind: Annotated[tuple[Bind, ...], NotEmpty(), BeforeValidator(listed)] = Field(
        description="0.0.0.0:80, [::]:80, :8080, 10.0.0.1:8000-8100, udp://0.0.0.0:53, unix:/path,"
        " or a list.",
    )
    backend: Text | None = Field(None, description="Short for one route that takes everything.")
    routes: Annotated[tuple[Route, ...], NotEmpty()] = Field((), description="First match wins.")
    protocol: Protocol = Field(
        "auto",
        description="auto: the lowest layer that can decide. http: Layer 7 in any case."
        " tcp: never look inside.",
    )
    plane: Plane = Field(
        "auto",
        description="Which data plane; auto: the cheapest that serves, and that this host permits."
        " Where another is named and cannot be had, the file is refused.",
    )
    tls: Annotated[Tls | None, L7] = Field(
        None, description="TLS ends here: HTTPS, or with protocol: tcp any bytes. Left out: plain."
    )
    http_versions: Annotated[
        tuple[Annotated[HttpVersion, BeforeValidator(version)], ...] | None,
        NotEmpty(),
        BeforeValidator(listed),
        L7,
    ] = Field(
        None,
        description="What clients may speak: [1.1, 2]. Left out: both with TLS, else 1.1 alone;"
        " without TLS a client of HTTP/2 must know it beforehand.",
    )
    # trust
    proxy_protocol: Annotated[ProxyProtocol | None, needs(Need.BYTES)] = Field(
        None, description="Left out: a connection's own address is the client's."
    )
    trusted: Annotated[tuple[Network, ...], BeforeValidator(listed), L7] = Field(
        _LISTENER.trusted, description="Networks whose X-Forwarded-* headers are believed."
    )
    forwarded: Annotated[tuple[ForwardedHeader, ...], BeforeValidator(listed), L7] = Field(
        ("x-forwarded",), description="Headers that tell servers who the client is; [] for none."
    )
    access_log: Annotated[bool, L7] = Field(
        True, description="Whether its requests stand in the access log, where the file has one."
    )
    request_id: Annotated[HeaderName | bool, L7] = Field(
        False,
        description="true, or the header's name: each request gets an id unless it brings one.",
    )
    # limits
    connections_max: Count = Field(
        _LISTENER.connections_max, description="Clients at once; 0: only the process's limit."
    )
    head_max: Annotated[Size, Field(ge=1024, le=65536), L7] = Field(
        _LISTENER.head_max, description="Bytes of a request's head."
    )
    headers_max: Annotated[int, Field(strict=True, ge=1, le=256), L7] = Field(
        _LISTENER.headers_max, description="Headers of a request."
    )
    target_max: Annotated[Size, Field(ge=64, le=65536), L7] = Field(
        _LISTENER.target_max, description="Bytes of a request's target."
    )
    body_max: Annotated[Size, L7] = Field(
        _LISTENER.body_max, description="Bytes of a request's body; 0: no limit."
    )
    requests_max: Annotated[Count, L7] = Field(
        _LISTENER.requests_max, description="Requests on one connection; 0: no limit."
    )
    streams_max: Annotated[int, Field(strict=True, ge=1, le=1000), L7] = Field(
        _LISTENER.streams_max, description="HTTP/2: requests at once on one connection."
    )
    flows_max: Annotated[int, Field(strict=True, ge=1, le=16_777_216)] = Field(
        _LISTENER.flows_max, description="UDP flows at once, for each worker."
    )
    # timeouts
    hello_timeout_ms: Wait = Field(
        _LISTENER.hello_timeout_ms,
        alias="hello_timeout",
        description="For a whole TLS ClientHello or PROXY header, where one is read.",
    )
    head_timeout_ms: Annotated[Wait, L7] = Field(
        _LISTENER.head_timeout_ms, alias="head_timeout", description="For a whole request head."
    )
    body_timeout_ms: Annotated[Time, L7] = Field(
        _LISTENER.body_timeout_ms,
        alias="body_timeout",
        description="For a whole request body; 0: only body_rate_min holds.",
    )
    body_rate_min: Annotated[Size, Field(le=2**31 - 1), L7] = Field(
        _LISTENER.body_rate_min,
        description="Bytes a second below which a request's body is given up.",
    )
    idle_timeout_ms: Wait = Field(
        _LISTENER.idle_timeout_ms,
        alias="idle_timeout",
        description="L7: between two requests. L4: no byte either way.",
    )
    send_timeout_ms: Wait = Field(
        _LISTENER.send_timeout_ms, alias="send_timeout", description="While a client takes nothing."
    )
    tunnel_timeout_ms: Annotated[Wait, L7] = Field(
        _LISTENER.tunnel_timeout_ms,
        alias="tunnel_timeout",
        description="After an Upgrade (WebSocket): no byte either way.",
    )
    relax: Annotated[tuple[Relaxed, ...], BeforeValidator(listed), L7] = Field(
        (), description="Defences that are switched off, by name; check warns of each."
    )

    @model_validator(mode="after")
    def leads_somewhere(self) -> Listener:
        if self.backend is not None and self.routes:
            raise ValueError(
                "backend and routes stand in one listener; make the backend the last route"
            )
        if self.backend is None and not self.routes:
            raise ValueError("the listener leads nowhere; give it routes or a backend: name")
        return self

    @property
    def spoken(self) -> frozenset[HttpVersion]:
        """HTTP/2 too where TLS lets a client choose; without TLS only if it is named."""
        return frozenset(self.http_versions or (("1.1", "2") if self.tls else ("1.1",)))

    @property
    def all_routes(self) -> tuple[Route, ...]:
        """The routes, with the short form spelt out."""
        return self.routes or (_route_to(self.backend),)

    def option_needs(self) -> Iterator[tuple[str, Need]]:
        """(key in the file, need) of each option that the file sets."""
        for name, field in type(self).model_fields.items():
            marks = [mark for mark in field.metadata if isinstance(mark, NeedOf)]
            if marks and name in self.model_fields_set:
                ends_tls = name == "tls" and self.protocol == "tcp"
                yield field.alias or name, Need.BYTES if ends_tls else marks[0].need


def _route_to(backend: str | None) -> Route:
    return Route.model_construct(name="backend", backend=backend)


class Kernel(Form):
    """The planes in the kernel, which serve listeners that need only addresses."""

    plane: KernelPolicy = Field(
        "auto", description="Of listeners that leave it open. off: the relay serves them."
    )
    interfaces: Literal["auto"] | Annotated[tuple[Interface, ...], NotEmpty()] = Field(
        "auto",
        description="Where packets of clients and servers arrive; auto: every Ethernet interface"
        " that is up, also later ones.",
    )
    flows_max: Annotated[int, Field(strict=True, ge=1024, le=16_777_216)] = Field(
        _KERNEL.flows_max,
        description="Flows at once; the one that was used longest ago makes room. A change takes"
        " effect when all is started anew.",
    )
    masquerade_addresses: Annotated[tuple[IpAddress, ...], BeforeValidator(listed)] = Field(
        _KERNEL.masquerade_addresses,
        description="Addresses of this host that servers see; left out: that of the way to them."
        " Each has 31,744 ports for one server.",
    )


class Config(Form):
    """A whole file. Keys that begin with x- are yours: a place for anchors."""

    listeners: dict[Name, Listener] = Field(min_length=1, description="By name.")
    backends: dict[Name, Backend] = Field(default_factory=dict, description="By name.")
    zone: Zone | None = Field(None, description="Where this machine stands; see locality.")
    workers: Annotated[int, Field(strict=True, ge=0, le=64)] = Field(
        0, description="Data-plane threads; 0: one for each core."
    )
    shutdown_timeout_ms: Time = Field(
        _PLAN.shutdown_timeout_ms,
        alias="shutdown_timeout",
        description="How long a stop or an upgrade waits for what runs before it cuts.",
    )

    kernel: Kernel = Field(
        Kernel.model_validate({}), description="Layer 4 in the kernel; see docs/kernel.md."
    )
    access_log: AccessLogForm | None = Field(
        None, description="A line for each HTTP request; see docs/access-log.md. Left out: none."
    )
    tracing: Tracing | None = Field(
        None, description="Trace context and spans; see docs/tracing.md. Left out: headers pass."
    )
    admin: Admin = Field(Admin.model_validate({}), description="The admin API; see docs/admin.md.")

    _source: Any = PrivateAttr(None)  # config.tree.Document: where everything stands; None in tests

    def at(self, *path: str | int) -> str:
        """file:line:column of a value, or "" for a model that came from no file."""
        return self._source.at(path) if self._source is not None else ""

    @property
    def folder(self) -> str:
        """That of the file: what paths in it are relative to."""
        return os.path.dirname(self._source.file) if self._source is not None else ""

    def problem(self, path: Path, text: str, severity: Severity = "error") -> Problem:
        """What is wrong at this path, with the place in the file if there is one."""
        if self._source is None:
            return Problem("", 0, 0, ".".join(map(str, path)), text, severity)
        found: Problem = self._source.problem(path, text, severity)
        return found
