"""The metrics: one table, of which the exposition and docs/metrics.md are made.

Each row has a name by Prometheus' conventions (base units, `_total` for what only grows), its
labels, and a function that reads its values out of what was counted. A server is labelled
(backend, server), a listener (listener), a route (listener, route); sums over one of them are
Prometheus' work, except those of backends, which everybody wants.

A counter of the workers that has no row of its own appears in fourseven_events_total by its name,
so that nothing that is counted stays unseen.

How values are read stands in reading.py.
"""

from __future__ import annotations

from fourseven import __version__
from fourseven.observe import process
from fourseven.observe.reading import (
    Metric,
    accepted_by_worker,
    answers_of_backends,
    answers_of_listeners,
    answers_of_routes,
    answers_of_servers,
    backend_counters,
    both,
    descriptors,
    drops,
    durations_of_backends,
    durations_of_routes,
    events,
    failing,
    found,
    group,
    in_flight_of_backends,
    in_flight_of_routes,
    of_backend,
    of_listener,
    of_route,
    of_server,
    one,
    plane_drops,
    planes,
    reasons,
    servers_of_backends,
    states,
    total,
    totals,
    usable_of_backends,
    waiting_of_backends,
    word_of,
)

ROUTE = ("listener", "route")
LISTENER, SERVER, BACKEND = ("listener",), ("backend", "server"), ("backend",)
BOTH_WAYS = (*LISTENER, "direction")
TO_SERVERS = (*SERVER, "direction")
C, G, H = "counter", "gauge", "histogram"

METRICS: tuple[Metric, ...] = (
    # the process
    Metric("fourseven_build_info", G, "The version that runs; always 1.", ("version",),
           lambda _: [((__version__,), 1)]),
    Metric("process_cpu_seconds_total", C, "User and system time.", (),
           one(lambda _: process.cpu_s())),
    Metric("process_resident_memory_bytes", G, "Resident memory.", (),
           one(lambda _: process.resident_bytes())),
    Metric("process_start_time_seconds", G, "When the engine started.", (),
           one(lambda _: process.started_at())),
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
    Metric("fourseven_backend_retries_of_status_total", C, "Tries again because of an answer's"
           " status.", BACKEND, of_backend("retries_of_status")),
    Metric("fourseven_backend_retries_refused_total", C, "Tries again that the budget did not"
           " allow.", BACKEND, of_backend("retries_refused")),
    Metric("fourseven_backend_hedges_total", C, "Second servers that were asked because the first"
           " was slow; and those whose answer was taken.", (*BACKEND, "event"),
           backend_counters(sent="hedges", won="hedges_won")),
    Metric("fourseven_backend_sessions_total", C, "Requests or connections of kept sessions: found,"
           " new, moved or refused because their server could not be had.", (*BACKEND, "event"),
           backend_counters(found="persisted", new="persisted_new", moved="persisted_moved",
                            refused="persisted_refused")),
    Metric("fourseven_backend_queue_total", C, "Requests that waited for a server; that found the"
           " queue full; that waited too long; and that met a limit without a queue.",
           (*BACKEND, "event"), backend_counters(waited="queued", full="queue_full",
                                                 timeout="queue_timeouts", limited="limited")),
    Metric("fourseven_backend_circuit_total", C, "Circuits that opened, and requests that an open"
           " one refused; whole: that of the backend itself.", (*BACKEND, "event"),
           backend_counters(opened="circuits_opened", refused="circuit_refused",
                            whole_opened="backend_circuit_opened",
                            whole_refused="backend_circuit_refused")),
    Metric("fourseven_backend_circuit_open", G, "1: the backend's own circuit is open, or half"
           " open.", BACKEND, of_backend("circuit_open")),
    Metric("fourseven_backend_fallbacks_total", C, "Requests that the route's fallback took.",
           BACKEND, of_backend("fallbacks")),
    Metric("fourseven_backend_load_reports_total", C, "What servers said of their load; bad: what"
           " could not be read.", (*BACKEND, "event"),
           backend_counters(read="load_reports", bad="load_reports_bad")),
    Metric("fourseven_backend_spilled_total", C, "Requests that went to a further tier.", BACKEND,
           of_backend("spilled")),
    Metric("fourseven_backend_source_servers", G, "Servers that a source has found.",
           (*BACKEND, "source"), found),
    Metric("fourseven_backend_source_failing", G, "1: a source does not answer; its last servers"
           " stay.", (*BACKEND, "source"), failing),
    Metric("fourseven_backend_response_seconds", H, "From a request's last byte to the answer's"
           " first.", BACKEND, durations_of_backends),
    Metric("fourseven_backend_in_flight", G, "Requests or connections at a backend now.", BACKEND,
           in_flight_of_backends),
    Metric("fourseven_backend_queue_waiting", G, "Requests that wait for a server now.", BACKEND,
           waiting_of_backends),
    Metric("fourseven_backend_servers", G, "Servers, those that were found too.", BACKEND,
           servers_of_backends),
    Metric("fourseven_backend_servers_usable", G, "Servers that may have new work.", BACKEND,
           usable_of_backends),
    # servers
    Metric("fourseven_server_usable", G, "1: it may have new work.", SERVER,
           word_of(lambda word: int(word.usable))),
    Metric("fourseven_server_state", G, "Its state; always 1.", (*SERVER, "state"), states),
    Metric("fourseven_server_weight", G, "Its weight now.", SERVER,
           word_of(lambda word: word.weight)),
    Metric("fourseven_server_circuit_open", G, "1: its circuit is open, or half open.", SERVER,
           of_server("circuit_open")),
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
    Metric("fourseven_server_tries_total", C, "Answers and connections by which a server is"
           " judged.", SERVER, of_server("tries")),
    Metric("fourseven_server_errors_total", C, "Those of them that count against it.", SERVER,
           of_server("errors")),
    Metric("fourseven_server_response_seconds_total", C, "Time that its answers took to begin.",
           SERVER, of_server("latency_ns", scale=1e-9)),
    Metric("fourseven_server_ejections_total", C, "Times that it was taken out because it did"
           " badly.", SERVER, word_of(lambda word: word.ejections)),
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
    Metric("fourseven_compressed_answers_total", C, "Answers that were compressed.", (),
           total("compressed")),
    Metric("fourseven_compressed_bytes_total", C, "Bytes of their bodies, as they came and as they"
           " went.", ("when",), totals(before="compressed_in", after="compressed_out")),
    Metric("fourseven_uncompressed_answers_total", C, "Answers of routes with compression that"
           " stayed as they came.", ("reason",), group("uncompressed")),
    Metric("fourseven_compressors", G, "Compressors at work.", (), total("compressors")),
    Metric("fourseven_bandwidth_waits_total", C, "Times that a body was held back by its limit.",
           (), total("bandwidth_waits")),
    Metric("fourseven_accept_errors_total", C, "Connections that could not be taken.", (),
           total("accept_errors")),
    Metric("fourseven_memory_refused_total", C, "Times that a limit of memory said no.", (),
           total("memory_refused")),
    Metric("fourseven_buffers", G, "Buffers in use.", ("kind",),
           totals(large="buffers_large", small="buffers_small", pipe="pipes")),
    Metric("fourseven_pool_connections", G, "Idle connections to servers.", (),
           total("upstream_idle")),
    Metric("fourseven_filters_held", G, "Requests that concurrency limits and the like count now.",
           (), total("filters_held")),
    Metric("fourseven_mirror_total", C, "Copies of requests that were sent, that failed, that were"
           " skipped because too many were under way, and that could not be made.", ("event",),
           totals(sent="mirror_copies", failed="mirror_failed", skipped="mirror_skipped",
                  given_up="mirror_given_up")),
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
