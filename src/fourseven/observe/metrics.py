"""The metrics: one table, of which the exposition and docs/metrics.md are made.

Each row has a name by Prometheus' conventions (base units, `_total` for what only grows), its
labels, and a function that reads its values out of what was counted. A server is labelled
(backend, server), a listener (listener), a route (listener, route); sums over one of them are
Prometheus' work, except those of backends, which everybody wants.

A counter of the workers that has no row of its own appears in fourseven_events_total by its name,
so that nothing that is counted stays unseen.

Law: pure, and cheap: a thousand servers are read in milliseconds.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fourseven import __version__
from fourseven.observe.latency import BOUNDS_S
from fourseven.plan import Plan

Key = tuple[str, str]
CODES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")  # of the status rows in worker.h


class Word(Protocol):
    """What is known of a server's state."""

    @property
    def state(self) -> str: ...
    @property
    def usable(self) -> bool: ...
    @property
    def weight(self) -> int: ...
    @property
    def ejections(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything at one moment."""

    plan: Plan
    loaded_at: float  # seconds since 1970
    workers: int
    counted: Mapping[str, Any]  # as DataPlane.counters()
    words: Mapping[Key, Word] = field(default_factory=dict)
    draining: bool = False

    @property
    def listeners(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.counted["listeners"]
        return found

    @property
    def servers(self) -> Mapping[Key, Mapping[str, Any]]:
        found: Mapping[Key, Mapping[str, Any]] = self.counted["servers"]
        return found

    @property
    def routes(self) -> Mapping[Key, Mapping[str, Any]]:
        """By (listener, route)."""
        found: Mapping[Key, Mapping[str, Any]] = self.counted.get("routes", {})
        return found

    @property
    def backends(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.counted.get("backends", {})
        return found

    @property
    def totals(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.counted["workers"]
        return found


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts by upper bound; one more count than bounds: what is above all of them."""

    bounds: tuple[str, ...]
    counts: Sequence[int]
    sum: float


Value = int | float | Histogram
Sample = tuple[tuple[str, ...], Value]
Read = Callable[[Reading], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One family."""

    name: str
    kind: str  # counter, gauge or histogram
    help: str
    labels: tuple[str, ...]
    read: Read


# ---- how rows are read ----


def one(value: Callable[[Reading], Value]) -> Read:
    """A single number."""

    def read(reading: Reading) -> Iterator[Sample]:
        yield (), value(reading)

    return read


def total(name: str, scale: float = 1) -> Read:
    """A counter over all workers."""

    def read(reading: Reading) -> Iterator[Sample]:
        if name in reading.totals:
            yield (), reading.totals[name] if scale == 1 else reading.totals[name] * scale

    return read


def totals(**by_label: str) -> Read:
    """Several counters of the workers as one family: label value -> counter."""

    def read(reading: Reading) -> Iterator[Sample]:
        for label, name in by_label.items():
            if name in reading.totals:
                yield (label,), reading.totals[name]

    return read


def group(name: str, *before: str) -> Read:
    """A group of counters of the workers, by the names in it; zeros are left out."""

    def read(reading: Reading) -> Iterator[Sample]:
        for label, value in reading.totals.get(name, {}).items():
            if value:
                yield (*before, label), value

    return read


def both(*reads: Read) -> Read:
    def read(reading: Reading) -> Iterator[Sample]:
        for some in reads:
            yield from some(reading)

    return read


def of_listener(name: str, *after: str) -> Read:
    """A counter of each listener that has it."""

    def read(reading: Reading) -> Iterator[Sample]:
        for listener, row in reading.listeners.items():
            if name in row:
                yield (listener, *after), row[name]

    return read


def of_server(name: str, *after: str, scale: float = 1) -> Read:
    """A counter of each server that has it."""

    def read(reading: Reading) -> Iterator[Sample]:
        for key, row in reading.servers.items():
            value = row.get(name)
            if value is not None:
                yield (*key, *after), value if scale == 1 else value * scale

    return read


def by_code(labels: tuple[str, ...], row: Mapping[str, Any]) -> Iterator[Sample]:
    """A row's answers by class: 2xx always, so that its rate begins at 0; others as they come."""
    for code, value in zip(CODES, row.get("status", ()), strict=False):
        if value or code == "2xx":
            yield (*labels, code), value


def answers_of_listeners(reading: Reading) -> Iterator[Sample]:
    for listener, row in reading.listeners.items():
        yield from by_code((listener,), row)


def answers_of_routes(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.routes.items():
        yield from by_code(key, row)


def of_route(name: str, *after: str) -> Read:
    """A counter of each route that was asked for."""

    def read(reading: Reading) -> Iterator[Sample]:
        for key, row in reading.routes.items():
            if name in row:
                yield (*key, *after), row[name]

    return read


def in_flight_of_routes(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.routes.items():
        yield key, row["begun"] - row["ended"]


def reasons(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.routes.items():
        for reason, value in row.get("reasons", {}).items():
            yield (*key, reason), value


def of_backend(name: str) -> Read:
    def read(reading: Reading) -> Iterator[Sample]:
        for backend, row in reading.backends.items():
            if name in row:
                yield (backend,), row[name]

    return read


def histogram(row: Mapping[str, Any]) -> Histogram:
    """A row's latencies, two classes in one: every scrape carries them."""
    counts = row["latencies"]
    pairs = [counts[0], *(sum(counts[at : at + 2]) for at in range(1, len(counts), 2))]
    return Histogram(BUCKETS, pairs, row["latency_ns"] / 1e9)


def durations_of_routes(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.routes.items():
        if row["ended"]:
            yield key, histogram(row)


def durations_of_backends(reading: Reading) -> Iterator[Sample]:
    for backend, row in reading.backends.items():
        if row.get("latency_ns"):
            yield (backend,), histogram(row)


def answers_of_servers(reading: Reading) -> Iterator[Sample]:
    for key, row in reading.servers.items():
        yield from by_code(key, row)


def answers_of_backends(reading: Reading) -> Iterator[Sample]:
    sums: dict[str, list[int]] = {}
    for (backend, _), row in reading.servers.items():
        before = sums.setdefault(backend, [0] * len(CODES))
        for at, value in enumerate(row.get("status", ())):
            before[at] += value
    for backend, values in sums.items():
        yield from by_code((backend,), {"status": values})


def in_flight_of_backends(reading: Reading) -> Iterator[Sample]:
    sums = dict.fromkeys((one.name for one in reading.plan.backends), 0)
    for (backend, _), row in reading.servers.items():
        sums[backend] = sums.get(backend, 0) + row.get("in_flight", 0)
    for backend, value in sums.items():
        yield (backend,), value


def usable_of_backends(reading: Reading) -> Iterator[Sample]:
    for backend in reading.plan.backends:
        usable = 0
        for server in backend.servers:
            word = reading.words.get((backend.name, server.address))
            usable += word is None or word.usable
        yield (backend.name,), usable


def servers_of_backends(reading: Reading) -> Iterator[Sample]:
    for backend in reading.plan.backends:
        yield (backend.name,), len(backend.servers)


def word_of(value: Callable[[Word], Value]) -> Read:
    def read(reading: Reading) -> Iterator[Sample]:
        for key, word in reading.words.items():
            yield key, value(word)

    return read


def states(reading: Reading) -> Iterator[Sample]:
    for key, word in reading.words.items():
        yield (*key, word.state), 1


def planes(reading: Reading) -> Iterator[Sample]:
    for listener in reading.plan.listeners:
        yield (listener.name, listener.layer, listener.plane), 1


def accepted_by_worker(reading: Reading) -> Iterator[Sample]:
    for at, value in enumerate(reading.totals.get("accepted_by_worker", ())):
        yield (str(at),), value


def drops(reading: Reading) -> Iterator[Sample]:
    for listener, row in reading.listeners.items():
        for reason, value in row.get("drops", {}).items():
            yield (listener, reason), value


def plane_drops(reading: Reading) -> Iterator[Sample]:
    for plane, row in reading.counted.get("kernel", {}).items():
        for reason, value in row.items():
            yield (plane, reason), value


def events(reading: Reading) -> Iterator[Sample]:
    """Counters of the workers for which no row was written."""
    for name, value in reading.totals.items():
        if isinstance(value, int) and name not in NAMED:
            yield (name,), value


def memory(_: Reading) -> int:
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu(_: Reading) -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def descriptors(_: Reading) -> Iterator[Sample]:
    """Linux 6.2 and later count them for us; listing a million would take too long."""
    if count := os.stat("/proc/self/fd").st_size:
        yield (), count


STARTED = time.time()
BUCKETS = tuple(f"{bound:.9f}" for bound in BOUNDS_S[::2])
ROUTE = ("listener", "route")
LISTENER, SERVER, BACKEND = ("listener",), ("backend", "server"), ("backend",)
BOTH_WAYS = (*LISTENER, "direction")
TO_SERVERS = (*SERVER, "direction")
C, G, H = "counter", "gauge", "histogram"

METRICS: tuple[Metric, ...] = (
    # the process
    Metric("fourseven_build_info", G, "The version that runs; always 1.", ("version",),
           lambda _: [((__version__,), 1)]),
    Metric("process_cpu_seconds_total", C, "User and system time.", (), one(cpu)),
    Metric("process_resident_memory_bytes", G, "Resident memory.", (), one(memory)),
    Metric("process_start_time_seconds", G, "When the engine started.", (), one(lambda _: STARTED)),
    Metric("process_open_fds", G, "Open descriptors, where the kernel counts them.", (),
           descriptors),
    Metric("fourseven_workers", G, "Worker threads.", (), one(lambda r: r.workers)),
    Metric("fourseven_draining", G, "1: no new connections are taken.", (),
           one(lambda r: int(r.draining))),
    Metric("fourseven_config_loaded_timestamp_seconds", G, "When the file was put in force.", (),
           one(lambda r: r.loaded_at)),
    Metric("fourseven_config_warnings", G, "Warnings of the file in force.", (),
           one(lambda r: len(r.plan.warnings))),
    # listeners
    Metric("fourseven_listener_info", G, "How each listener is served; always 1.",
           (*LISTENER, "layer", "plane"), planes),
    Metric("fourseven_connections_total", C, "Connections that were taken.", LISTENER,
           of_listener("accepted")),
    Metric("fourseven_connections_refused_total", C, "Connections beyond connections_max.",
           LISTENER, of_listener("refused_limit")),
    Metric("fourseven_connections_open", G, "Connections or UDP flows that are open.", LISTENER,
           of_listener("sessions")),
    Metric("fourseven_requests_total", C, "Requests that ended, by class of the answer; none:"
           " closed without one.", (*LISTENER, "code"), answers_of_listeners),
    Metric("fourseven_bytes_total", C, "Bytes from (in) and to (out) clients.", BOTH_WAYS,
           both(of_listener("bytes_in", "in"), of_listener("bytes_out", "out"))),
    Metric("fourseven_udp_flows_total", C, "UDP flows of the relay.", LISTENER,
           of_listener("flows")),
    Metric("fourseven_udp_flows_refused_total", C, "UDP flows beyond flows_max.", LISTENER,
           of_listener("flows_refused")),
    Metric("fourseven_udp_datagrams_total", C, "Datagrams from (in) and to (out) clients.",
           BOTH_WAYS, both(of_listener("datagrams_in", "in"), of_listener("datagrams_out", "out"))),
    # routes
    Metric("fourseven_route_requests_total", C, "Requests of each route, by class of the answer.",
           (*ROUTE, "code"), answers_of_routes),
    Metric("fourseven_route_in_flight", G, "Requests of a route that have not ended.", ROUTE,
           in_flight_of_routes),
    Metric("fourseven_route_bytes_total", C, "Bytes from (in) and to (out) clients, by route.",
           (*ROUTE, "direction"), both(of_route("bytes_in", "in"), of_route("bytes_out", "out"))),
    Metric("fourseven_request_duration_seconds", H, "From a request's head to the end of its"
           " answer.", ROUTE, durations_of_routes),
    Metric("fourseven_reasons_total", C, "Answers that we gave ourselves, and ends without one,"
           " by reason.", (*ROUTE, "reason"), reasons),
    # backends
    Metric("fourseven_backend_requests_total", C, "Requests to a backend, by class of the answer.",
           (*BACKEND, "code"), answers_of_backends),
    Metric("fourseven_backend_tries_total", C, "Requests that were sent to its servers, tries"
           " again among them.", BACKEND, of_backend("requests")),
    Metric("fourseven_backend_retries_total", C, "Tries at another server.", BACKEND,
           of_backend("retries")),
    Metric("fourseven_backend_no_server_total", C, "Requests for which no server was usable.",
           BACKEND, of_backend("pick_failed")),
    Metric("fourseven_backend_response_seconds", H, "From a request's last byte to the answer's"
           " first.", BACKEND, durations_of_backends),
    Metric("fourseven_backend_in_flight", G, "Requests or connections at a backend now.", BACKEND,
           in_flight_of_backends),
    Metric("fourseven_backend_servers", G, "Servers in the file.", BACKEND, servers_of_backends),
    Metric("fourseven_backend_servers_usable", G, "Servers that may have new work.", BACKEND,
           usable_of_backends),
    # servers
    Metric("fourseven_server_usable", G, "1: it may have new work.", SERVER,
           word_of(lambda word: int(word.usable))),
    Metric("fourseven_server_state", G, "Its state; always 1.", (*SERVER, "state"), states),
    Metric("fourseven_server_weight", G, "Its weight now.", SERVER,
           word_of(lambda word: word.weight)),
    Metric("fourseven_server_in_flight", G, "Requests or connections at a server now.", SERVER,
           of_server("in_flight")),
    Metric("fourseven_server_latency_ewma_seconds", G, "Moving average of its response time.",
           SERVER, of_server("ewma_ns", scale=1e-9)),
    Metric("fourseven_server_requests_total", C, "Requests to a server, by class of the answer;"
           " none: it gave none.", (*SERVER, "code"), answers_of_servers),
    Metric("fourseven_server_connections_total", C, "Connections that were made to a server.",
           SERVER, of_server("connects")),
    Metric("fourseven_server_failures_total", C, "What a server did wrong.",
           (*SERVER, "reason"),
           both(of_server("connect_errors", "connect"), of_server("timeouts", "timeout"),
                of_server("resets", "reset"), of_server("bad_answers", "bad_answer"),
                of_server("tls_failed", "tls"))),
    Metric("fourseven_server_ejections_total", C, "Times that it was left out for what it did.",
           SERVER, word_of(lambda word: word.ejections)),
    Metric("fourseven_server_bytes_total", C, "Bytes to and from a server.", TO_SERVERS,
           both(of_server("bytes_to", "to"), of_server("bytes_from", "from"))),
    Metric("fourseven_server_tls_handshakes_total", C, "TLS handshakes with a server.", SERVER,
           of_server("tls_handshakes")),
    Metric("fourseven_server_tls_resumed_total", C, "Those of them that were resumed.", SERVER,
           of_server("tls_resumed")),
    # the workers
    Metric("fourseven_worker_connections_total", C, "Connections that each worker took.",
           ("worker",), accepted_by_worker),
    Metric("fourseven_own_answers_total", C, "Answers that we gave ourselves.", (),
           total("own_answers")),
    Metric("fourseven_retries_total", C, "Requests that were tried at another server.", (),
           total("retries")),
    Metric("fourseven_no_server_total", C, "Requests for which no server could be picked.", (),
           total("pick_failed")),
    Metric("fourseven_upgrades_total", C, "Connections that became tunnels (WebSocket).", (),
           total("upgrades")),
    Metric("fourseven_faults_total", C, "Requests and answers that were refused, by the rule that"
           " they broke.", ("fault",), group("faults")),
    Metric("fourseven_timeouts_total", C, "Clients that were too slow.", ("wait",),
           totals(head="timeouts_head", body="timeouts_body", idle="timeouts_idle",
                  send="timeouts_send", hello="timeouts_hello")),
    Metric("fourseven_arrivals_refused_total", C, "Connections that were refused before anything"
           " was served.", ("stage",), totals(hello="hello_refused", proxy="proxy_refused")),
    Metric("fourseven_tls_handshakes_total", C, "TLS handshakes with clients.", (),
           total("tls_handshakes")),
    Metric("fourseven_tls_resumed_total", C, "Those of them that were resumed.", (),
           total("tls_resumed")),
    Metric("fourseven_tls_failures_total", C, "TLS that failed, with clients and with servers.",
           ("side", "fault"),
           both(group("tls_faults", "client"), group("tls_server_faults", "server"))),
    Metric("fourseven_http2_connections_total", C, "Connections that spoke HTTP/2.", (),
           total("http2_sessions")),
    Metric("fourseven_http2_streams_total", C, "Requests over HTTP/2.", (), total("http2_streams")),
    Metric("fourseven_http2_resets_total", C, "Streams of HTTP/2 that were reset.", (),
           total("http2_resets")),
    Metric("fourseven_http2_calmed_total", C, "Connections of HTTP/2 whose fault budget was"
           " spent.", (), total("http2_calmed")),
    Metric("fourseven_accept_errors_total", C, "Connections that could not be taken.", (),
           total("accept_errors")),
    Metric("fourseven_memory_refused_total", C, "Times that a limit of memory said no.", (),
           total("memory_refused")),
    Metric("fourseven_buffers", G, "Buffers in use.", ("kind",),
           totals(large="buffers_large", small="buffers_small", pipe="pipes")),
    Metric("fourseven_pool_connections", G, "Idle connections to servers.", (),
           total("upstream_idle")),
    Metric("fourseven_turns_total", C, "Turns of the workers' loops.", (), total("turns")),
    Metric("fourseven_events_total", C, "Other things that workers count, by name.", ("event",),
           events),
    # the kernel planes
    Metric("fourseven_kernel_packets_total", C, "Packets from (in) and to (out) clients in the"
           " kernel.", BOTH_WAYS,
           both(of_listener("packets_in", "in"), of_listener("packets_out", "out"))),
    Metric("fourseven_kernel_flows_active", G, "Flows that the kernel has.", LISTENER,
           of_listener("flows_active")),
    Metric("fourseven_kernel_flows_total", C, "Flows that began, ended, or made room.",
           (*LISTENER, "event"),
           both(of_listener("flows_new", "new"), of_listener("flows_closed", "closed"),
                of_listener("flows_evicted", "evicted"))),
    Metric("fourseven_kernel_passed_total", C, "Packets that were left to the host's own stack.",
           LISTENER, of_listener("passed")),
    Metric("fourseven_kernel_drops_total", C, "Packets that were dropped, by reason.",
           (*LISTENER, "reason"), drops),
    Metric("fourseven_kernel_plane_drops_total", C, "Dropped packets that belong to no listener.",
           ("plane", "reason"), plane_drops),
    Metric("fourseven_kernel_server_packets_total", C, "Packets to and from a server.", TO_SERVERS,
           both(of_server("packets_to", "to"), of_server("packets_from", "from"))),
    Metric("fourseven_kernel_server_flows_active", G, "Flows at a server.", SERVER,
           of_server("flows_active")),
)  # fmt: skip

# Counters that rows above read, or that are sums of what they read.
NAMED = {
    "accepted", "accept_errors", "sessions_opened", "sessions_closed", "requests", "own_answers",
    "upgrades", "retries", "buffers_large", "buffers_small", "pipes", "upstream_idle",
    "memory_refused", "pick_failed", "timeouts_head", "timeouts_body", "timeouts_idle",
    "timeouts_send", "timeouts_hello", "tls_handshakes", "tls_resumed", "tls_failed", "arrivals",
    "hello_refused", "proxy_refused", "http2_sessions", "http2_streams", "http2_resets",
    "http2_calmed", "turns",
}  # fmt: skip
