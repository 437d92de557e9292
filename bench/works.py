"""The works: what is asked of each peer, one row each.

A work names a setup (how the proxy is configured) and a load (what is sent through it). Two works
with one setup differ only in what is sent, so that a figure never hides a second configuration.

Laws: a row is data; nothing here starts or measures. Sizes are bytes, times are in the names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# How a proxy can be set up, and how a work can be measured.
HTTP, RELAY, ROUTES, GRPC = "http", "relay", "routes", "grpc"
EVERYTHING = "everything"  # health checks, persistence, a rate limit, metrics, an access log
THROUGHPUT, RATE, IDLE = "throughput", "rate", "idle"
# Who makes the load of a throughput.
WRK, STREAMS = "wrk", "h2load"
FULL, RESUMED = "openssl s_time -new", "openssl s_time -reuse"

ROUTES_FEW, ROUTES_MANY = 10, 10_000
IDLE_CONNECTIONS = 10_000  # the descriptor limit of a common container is 20,000
RATE_PER_SECOND = 20_000  # a quarter of what one core can do: latency without saturation


@dataclass(frozen=True, slots=True)
class Setup:
    """How a proxy is configured: where it listens, whom it asks, and how many routes it has."""

    kind: str
    port: int = 0
    origin_port: int = 0
    grpc_port: int = 0  # of the origin, where it speaks HTTP/2
    other_port: int = 0  # of the origin, as a second server
    routes: int = 0
    tls: bool = False  # clients speak TLS
    gzip: bool = False  # answers are compressed, each peer by zlib at level 5 if it has it
    buffers: bool = False  # give a peer that has small ones by default buffers for a whole answer

    def at(self, port: int, origin_port: int, grpc_port: int, other_port: int = 0) -> Setup:
        ports = {"origin_port": origin_port, "grpc_port": grpc_port, "other_port": other_port}
        return replace(self, port=port, **ports)


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the result: a setup and what is sent through it."""

    name: str
    title: str
    setup: Setup
    measure: str = THROUGHPUT
    tool: str = WRK
    path: str = "/128"
    size: int = 128
    connections: int = 64
    streams: int = 1  # at once on each connection; more than one is HTTP/2
    close: bool = False
    floor: float = 0.0  # the least ratio to the better peer that the issues ask for
    aim: float = 0.0


def route_target(number: int) -> tuple[str, str]:
    """Host and path of a request that only route `number` takes: half by host, half by path."""
    if number % 2:
        return f"shop-{number}.example.test", "/cart/128"
    return "www.example.test", f"/section-{number}/128"


WEB = Setup(HTTP)
SECURE = Setup(HTTP, tls=True)
REMOTE = Setup(GRPC, tls=True)
CONTROLLED = Setup(EVERYTHING)
BUFFERED = Setup(HTTP, buffers=True)
COMPRESSED = Setup(HTTP, gzip=True)
FEW = Setup(ROUTES, routes=ROUTES_FEW)
MANY = Setup(ROUTES, routes=ROUTES_MANY)

WORKS = (
    Work("128B", "128 B answers, 64 keep-alive connections", WEB, floor=1.3, aim=1.5),
    Work("512", "128 B answers, 512 connections", WEB, connections=512, floor=1.8, aim=2.0),
    Work("64KiB", "64 KiB answers", WEB, path="/65536", size=1 << 16, floor=1.5, aim=2.0),
    Work(
        "1MiB",
        "1 MiB answers",
        WEB,
        path="/1048576",
        size=1 << 20,
        connections=16,
        floor=2.0,
        aim=4.0,
    ),
    Work("64KiB-tuned", "64 KiB, nginx with 32k buffers", BUFFERED, path="/65536", size=1 << 16),
    Work(
        "1MiB-tuned",
        "1 MiB, nginx with 32k buffers",
        BUFFERED,
        path="/1048576",
        size=1 << 20,
        connections=16,
    ),
    Work("new", "a new connection per request", WEB, close=True, floor=1.4, aim=1.6),
    Work("10", "10 routes, the late ones hit", FEW),
    Work("10000", "10,000 routes, the late ones hit", MANY),
    Work("relay", "relay (Layer 4), 64 keep-alive connections", Setup(RELAY), floor=1.0, aim=1.3),
    Work("tls-128B", "TLS: 128 B answers, 64 keep-alive connections", SECURE, floor=1.15, aim=1.3),
    Work(
        "tls-64KiB", "TLS: 64 KiB answers", SECURE, path="/65536", size=1 << 16, floor=1.0, aim=1.2
    ),
    Work(
        "tls-new",
        "TLS 1.3: a full handshake per request",
        SECURE,
        tool=FULL,
        connections=4,
        floor=1.0,
        aim=1.2,
    ),
    Work("tls-return", "TLS 1.3: a resumed handshake per request", SECURE, close=True, floor=1.0),
    Work(
        "tls-resumed",
        "TLS 1.2: a resumed handshake, no request",
        SECURE,
        tool=RESUMED,
        connections=1,
        floor=1.0,
    ),
    Work(
        "h2",
        "HTTP/2 over TLS: 128 B answers, 100 streams per connection",
        SECURE,
        tool=STREAMS,
        connections=8,
        streams=100,
        floor=1.2,
        aim=1.5,
    ),
    Work(
        "grpc",
        "gRPC over TLS: a unary call, 100 streams per connection",
        REMOTE,
        tool=STREAMS,
        path="/bench.Echo/Say",
        connections=8,
        streams=100,
    ),
    Work(
        "everything",
        "everything on: checks, cookie, rate limit, metrics, JSON log",
        CONTROLLED,
        floor=1.2,
    ),
    Work("gzip", "64 KiB answers, compressed by gzip", COMPRESSED, path="/65536", size=1 << 16),
    Work("rate", "added latency at 20,000 requests a second", WEB, measure=RATE),
    Work("idle", "memory per idle connection", WEB, measure=IDLE, connections=IDLE_CONNECTIONS),
    Work("tls-idle", "memory per idle TLS connection", SECURE, measure=IDLE, connections=2_000),
)
