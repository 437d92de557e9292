"""The plan: what the compiler decided, as plain data, before it is packed.

The compiler (Python) makes a Plan from the model; `snapshot.writer` packs it into memory that
workers read; `explain` prints it. So each decision stands here once, readable, and no native
code ever sees the model.

A match becomes an expression (All, Any, Not over Conditions). A filter becomes Actions. A backend
becomes a pick function and perhaps a table. Nothing here is computed; it is only said.

Units stand in the names. Text that reaches the wire is bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Condition:
    """One row: does `test(field(request, name), operand)` hold?"""

    field: int  # matching.table.Field
    test: int  # matching.table.Test
    name: bytes = b""  # which header, cookie, query parameter, JSON pointer
    operand: bytes = b""  # in the form that the test reads
    number: int = 0  # for tests that compare a size


@dataclass(frozen=True, slots=True)
class All:
    """Holds when every part holds; an empty one always holds."""

    parts: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Any_:
    """Holds when one part holds; an empty one never holds."""

    parts: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Not:
    """Holds when the part does not."""

    part: Expression


Expression = Condition | All | Any_ | Not


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a template: a literal or a variable."""

    kind: int  # snapshot.layout.PartKind
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Action:
    """One step that a filter takes on a request or on an answer."""

    kind: int  # snapshot.layout.ActionKind
    name: bytes = b""
    value: tuple[Part, ...] = ()
    status: int = 0
    regex: bytes = b""


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """What something is counted or chosen by."""

    field: int  # matching.table.Field
    name: bytes = b""  # which header, cookie, query parameter
    prefix_v4: int = 32
    prefix_v6: int = 128


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a JWK set stands that control fetches."""

    url: str
    authority: str = ""  # PEM, a file; empty: the system's
    refresh_s: float = 600.0
    algorithms: int = -1  # bits of those that the filter takes


@dataclass(frozen=True, slots=True)
class GatePlan:
    """A filter that may answer or hold up a request; what its parts mean is the gate's own."""

    kind: int  # snapshot.layout.GateKind
    numbers: tuple[int, ...] = ()  # at most 8
    keys: tuple[KeyPlan, ...] = ()
    texts: tuple[bytes, ...] = field(default=(), repr=False)
    networks: tuple[str, ...] = ()  # CIDRs
    value: tuple[Part, ...] = ()
    backend: str = ""  # that it asks, or sends copies to
    built: tuple[tuple[bytes, int, bytes], ...] = field(default=(), repr=False)  # token keys
    files: tuple[str, ...] = ()  # that its texts were made of, to be looked at again
    fetched: KeySource | None = None  # `built` is what stands there
    # Bytes that it keeps over snapshots, its GateState included; 0: none. While size, kind and
    # place (listener, route, which one of its kind) stay, so do the bytes.
    state_size: int = 0
    holds: bool = False  # it hears of the end of each request that it let pass


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """One route: when it matches, what is done, and where the request goes."""

    name: str  # as in the file, or routes[3]
    match: Expression
    backends: tuple[tuple[str, int], ...] = ()  # (backend's name, weight); empty: an action answers
    request_actions: tuple[Action, ...] = ()
    response_actions: tuple[Action, ...] = ()
    source: str = ""  # file:line:column, for explain
    passthrough: bool = False  # TLS is not ended: the server's bytes go to the client as they are
    gates: tuple[GatePlan, ...] = ()
    fallback: str = ""  # the backend that serves where the chosen one cannot
    sticky: int = 0  # snapshot.layout.StickyKind
    sticky_key: KeyPlan | None = None


@dataclass(frozen=True, slots=True, weakref_slot=True)
class CertificatePlan:
    """A certificate with its chain and its key, both PEM."""

    file: str  # for people
    names: tuple[str, ...]  # host names it stands for: a.example, *.example
    kind: str  # of its key: ECDSA, RSA, Ed25519
    not_after: float  # seconds since 1970
    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    staple: bytes = field(default=b"", repr=False)  # an OCSP response, shown to who asks
    staple_until: float = 0.0  # seconds since 1970
    staple_fault: str = ""  # why there is none, though the file wants one
    fetches: bool = False  # control asks the authority for it


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """How a listener ends TLS."""

    certificates: tuple[CertificatePlan, ...]
    sets: tuple[tuple[int, ...], ...]  # certificates that are shown together; the first: by default
    names: tuple[tuple[bytes, int], ...]  # b"a.example" or b".example" (for *.example) -> its set
    files: tuple[str, ...]  # everything that was read, to be looked at again
    identity: bytes  # 32 bytes: a ticket is good only where this is the same
    min_version: int = 0x0303
    ciphers: bytes = b""  # of TLS 1.2
    suites: bytes = b""  # of TLS 1.3; empty: OpenSSL's
    curves: bytes = b""
    protocols: bytes = b""  # as in ALPN, of what is relayed; empty: none is chosen
    client_authority: bytes = field(default=b"", repr=False)  # PEM; empty: clients are not asked
    client_required: bool = False
    client_crl: bytes = field(default=b"", repr=False)  # PEM; empty: revocation is not asked about
    client_crl_since: float = 0.0  # when the last of these lists begins
    client_crl_until: float = 0.0  # when the first of these lists ends; 0: none does


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """Whom one server must prove to be."""

    name: bytes  # verified
    is_address: bool  # `name` is an IP address
    sni: bytes  # empty: none is sent
    identity: int  # of all that a connection is made under; never 0


@dataclass(frozen=True, slots=True)
class PeerRule:
    """How it follows from a server whom it must prove to be (compiler.peers)."""

    name: str  # the file's, for all servers; empty: each its own
    sni: str
    common: bytes = field(repr=False)  # all else that connections are made under


@dataclass(frozen=True, slots=True)
class OutwardPlan:
    """TLS to the servers of a backend."""

    peers: tuple[PeerPlan, ...]  # in the order of the servers
    authority: bytes = field(repr=False)  # PEM
    verified: bool = True  # False: the file has relaxed it
    certificate: CertificatePlan | None = None  # ours, for servers that ask
    protocols: bytes = b""  # ALPN as on the wire; empty: the plane's own
    files: tuple[str, ...] = ()  # everything that was read, to be looked at again
    min_version: int = 0x0303
    ciphers: bytes = b""  # of TLS 1.2
    curves: bytes = b""
    rule: PeerRule | None = None  # for servers that are found later


@dataclass(frozen=True, slots=True)
class ListenerPlan:
    """One listener: how it is served and what it allows."""

    name: str
    bind: tuple[str, ...]  # tcp://host:port, udp://host:port or unix:/path, canonical
    mode: int  # snapshot.layout.ListenerMode
    routes: tuple[RoutePlan, ...]
    layer: str = "L7"  # for people: L4, L4 + peek, L4 proxy, L7
    plane: str = "http"  # http, relay, or beside a relay: tcx, xdp, nftables
    because: str = ""  # which rule forced the layer
    refused: tuple[str, ...] = ()  # planes that cannot serve it, each with its reason
    notes: tuple[str, ...] = ()  # what this host adds to what its kernel plane costs
    unheard: tuple[str, ...] = ()  # binds without a socket: this host does not have the address
    body_prefix_max: int = 0
    trusted: tuple[str, ...] = ()  # CIDRs
    forwarded: int = 1  # bits of ForwardedMode
    request_id: bytes = b""  # header name; empty: none
    connections_max: int = 0
    head_max: int = 32 * 1024
    headers_max: int = 128
    target_max: int = 8 * 1024
    body_max: int = 0
    requests_max: int = 0
    flows_max: int = 65_536
    head_timeout_ms: int = 10_000
    body_timeout_ms: int = 0
    body_rate_min: int = 240  # bytes a second
    idle_timeout_ms: int = 60_000
    send_timeout_ms: int = 60_000
    tunnel_timeout_ms: int = 3_600_000
    relax: int = 0  # bits of Relax
    logged: bool = False  # its requests stand in the access log
    protocols: int = 1  # bits of Protocols
    streams_max: int = 128  # HTTP/2: requests at once on one connection
    tls: TlsPlan | None = None
    hello: bool = False  # the ClientHello is looked at before anything is served
    hello_routes: int = 0  # with tls: so many routes, the first ones, say at the hello if TLS ends
    hello_timeout_ms: int = 10_000
    proxies: tuple[str, ...] = ()  # CIDRs of those who must send the PROXY protocol; empty: nobody


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """One server of a backend."""

    address: str  # host:port, [v6]:port or unix:/path
    weight: int = 1
    max_in_flight: int = 0
    max_connections: int = 0
    tier: int = 0  # 0: the servers that are used first
    name: str = ""  # the host name by which it was found
    known_as: str = ""  # what a hash orders it by, where that is not its address
    zone: str = ""  # where it stands; empty: nobody says
    health: HealthPlan | None = None  # how it alone is checked; None: as the backend says
    unchecked: bool = False  # it is taken as well
    standing: Literal["enable", "drain", "maintenance"] = "enable"  # what the file says of it
    drain_ms: int = 0  # of a drain: until kept sessions end; 0: never


@dataclass(frozen=True, slots=True)
class TierPlan:
    """The servers of a backend that are used while those of the tiers before are not enough."""

    members: tuple[int, ...]  # indexes into the backend's servers
    table: Any = None  # of indexes into `members`
    # With less than this share of its weight usable it takes as much less; 0: all or nothing.
    spill_percent: int = 0
    spill_by_hash: bool = False  # a key spills each time or never


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """A place that knows servers of a backend."""

    source: Any  # features.Source
    folder: str  # what its paths are relative to
    server: ServerPlan  # what those that it finds are like, but for address and weight


@dataclass(frozen=True, slots=True)
class HealthPlan:
    """How the servers of a backend are checked."""

    check: Any  # features.Check
    interval_ms: int = 2_000
    fast_interval_ms: int = 500
    timeout_ms: int = 2_000
    rise: int = 2
    fall: int = 3
    port: int = 0
    panic_percent: int = 0
    on_down: Literal["keep", "cut"] = "keep"  # what becomes of its flows at Layer 4
    jitter_percent: int = 10  # of each interval, both ways


@dataclass(frozen=True, slots=True)
class EjectionPlan:
    """When a server does so badly with real requests that it gets none for a while."""

    errors_in_a_row: int = 5  # 0: never for these
    rate_deviations: float = 3.0  # 0: never
    slow_times: float = 0.0  # 0: never
    requests_min: int = 100
    servers_min: int = 3
    interval_ms: int = 1_000
    time_ms: int = 30_000
    time_max_ms: int = 300_000
    share_max_percent: int = 50


@dataclass(frozen=True, slots=True)
class PersistencePlan:
    """Who comes back to which server."""

    kind: int  # snapshot.layout.PersistenceKind
    key: KeyPlan  # what names a client: a cookie, a header, its address
    attributes: bytes = b""  # of our cookie, from the first semicolon
    secure: int = 0  # 0 never, 1 where the client came by TLS, 2 always
    ttl_ms: int = 0  # of a row in the table
    rows: int = 0  # of the table, at the most
    secrets: tuple[bytes, ...] = field(default=(), repr=False)  # the first signs; none: our own
    secret_file: str = ""  # where they stand, to be read by the compiler
    fallback: int = 0  # snapshot.layout.Fallback
    wait_ms: int = 5_000


@dataclass(frozen=True, slots=True)
class LocalityPlan:
    """Servers near us are used before all others of their tier."""

    zone: str  # ours
    spill_percent: int = 70


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What follows from how busy servers say they are."""

    expires_ms: int = 10_000  # of a report
    share_min: int = 100  # per mille: what a server keeps of its weight, however busy


@dataclass(frozen=True, slots=True)
class ResiliencePlan:
    """What is done when servers fail or are full, beyond plain retries."""

    retry_on: int = 3  # bits of snapshot.layout.RetryOn: connect, reset
    retry_any_method: bool = False
    retry_same: bool = False
    try_timeout_ms: int = 0
    budget_percent: int = 0  # 0: no budget
    budget_min: int = 0  # a second
    hedge_ms: int = 0  # without an answer for so long, a second server is asked
    hedge_percent: int = 0  # ... for longer than so many percent of the answers took; 0: never
    statuses: tuple[int, ...] = ()
    requests_max: int = 0
    connections_max: int = 0
    breaker_of: int = 0  # bits of snapshot.layout.BreakerOf
    load_words: int = 0  # bits of snapshot.layout.LoadWord
    load_passes: bool = False
    queue_max: int = 0
    queue_wait_ms: int = 0
    queue_header: bytes = b""
    breaker_percent: int = 0
    breaker_requests: int = 0
    breaker_window_ms: int = 0
    breaker_open_ms: int = 0
    tier_percent: int = 0


@dataclass(frozen=True, slots=True)
class BackendPlan:
    """One backend: its servers and how one is picked."""

    name: str
    servers: tuple[ServerPlan, ...]
    algorithm: str  # the registry's name, for people
    pick: int  # address of the native pick function
    table: Any = None  # array("I") of indexes into servers, or None
    hash_field: int = 0  # matching.table.Field; 0: the client's address
    hash_name: bytes = b""
    hash_prefix_v4: int = 32
    hash_prefix_v6: int = 128
    bounded_load_percent: int = 0
    connect_timeout_ms: int = 3_000
    response_timeout_ms: int = 60_000
    read_timeout_ms: int = 60_000
    idle_timeout_ms: int = 60_000
    idle_max: int = 512
    proxy_protocol: int = 0  # version of the PROXY header that servers get; 0: none
    http2: bool = False
    retries: int = 1
    health: HealthPlan | None = None
    tls: OutwardPlan | None = None
    sources: tuple[SourcePlan, ...] = ()  # of more servers, which are found while it runs
    balance: Any = None  # features.Algorithm: asked anew when servers or weights change
    ejection: EjectionPlan | None = None
    slow_start_ms: int = 0  # from a server's (re)birth to its whole share; 0: at once
    persistence: PersistencePlan | None = None
    resilience: ResiliencePlan | None = None
    tiers: tuple[TierPlan, ...] = ()  # in the order of use; empty: all servers stand in one
    locality: LocalityPlan | None = None
    load: LoadPlan | None = None
    # routed and direct: in planes of the kernel alone
    return_path: Literal["masquerade", "routed", "direct"] = "masquerade"


@dataclass(frozen=True, slots=True)
class KernelOptions:
    """What the planes in the kernel share."""

    interfaces: tuple[str, ...] = ()  # none: every Ethernet interface that is up
    flows_max: int = 262_144  # each takes two rows of some 100 bytes, taken as they come: 50 MB
    masquerade_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdminPlan:
    """Where the admin API listens beside its unix socket, and what it asks for there."""

    bind: tuple[str, ...] = ()
    token: bytes = field(default=b"", repr=False)
    read_token: bytes = field(default=b"", repr=False)
    hosts: tuple[str, ...] = ()  # that a browser may name


@dataclass(frozen=True, slots=True)
class LogPlan:
    """The access log."""

    to: str  # stdout, stderr, file:/path, syslog:/path, syslog:host:port
    pieces: tuple[tuple[int, int, bytes], ...]  # observe.lines: LineField, LineMode, literal


@dataclass(frozen=True, slots=True)
class TracingPlan:
    """W3C trace context, and what becomes of recorded spans."""

    sample: int  # of 2^32 - 1: traces begun here that are recorded
    export: str = ""  # OTLP over HTTP
    service: str = "fourseven"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the data planes need to know."""

    listeners: tuple[ListenerPlan, ...]
    backends: tuple[BackendPlan, ...]
    kernel: KernelOptions = KernelOptions()
    workers: int = 0  # 0: one for each core
    shutdown_timeout_ms: int = 30_000  # how long a drain waits before it cuts
    warnings: tuple[str, ...] = field(default=())
    admin: AdminPlan = AdminPlan()
    access_log: LogPlan | None = None
    tracing: TracingPlan | None = None
