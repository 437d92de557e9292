"""Listeners: the decision about their layer, their routes, and their limits copied."""

from __future__ import annotations

from fourseven.compiler.hello import hello_routes, looks_at_hello
from fourseven.compiler.layer import backends_need_hello, decide
from fourseven.compiler.routes import body_prefix, compile_routes
from fourseven.compiler.tls import compile_tls
from fourseven.errors import Problem
from fourseven.model import Config, Listener
from fourseven.plan import ListenerPlan
from fourseven.snapshot.layout import ForwardedMode, ListenerMode, Protocols, Relax

FORWARDED = {"x-forwarded": ForwardedMode.FORWARDED_X, "forwarded": ForwardedMode.FORWARDED_RFC7239}
RELAX = {
    "underscores": Relax.RELAX_UNDERSCORES,
    "trace": Relax.RELAX_TRACE,
    "encoded_slash": Relax.RELAX_ENCODED_SLASH,
    "merge_slashes": Relax.RELAX_MERGE_SLASHES,
}
VERSIONS = {"1.1": Protocols.PROTOCOL_HTTP1, "2": Protocols.PROTOCOL_HTTP2}
# The same name and the same unit in the model and in the plan.
COPIED = [
    "trusted",
    "connections_max",
    "head_max",
    "headers_max",
    "target_max",
    "body_max",
    "requests_max",
    "streams_max",
    "flows_max",
    "hello_timeout_ms",
    "head_timeout_ms",
    "body_timeout_ms",
    "body_rate_min",
    "idle_timeout_ms",
    "send_timeout_ms",
    "tunnel_timeout_ms",
]


def compile_listener(config: Config, name: str, problems: list[Problem]) -> ListenerPlan:
    """How one listener is served; what cannot be built is added to `problems`."""
    listener = config.listeners[name]
    decision = decide(config, name)
    return ListenerPlan(
        name=name,
        bind=listener.bind,
        mode=decision.mode,
        routes=compile_routes(config, name, problems),
        layer=decision.layer,
        plane=decision.plane,
        because=decision.because,
        body_prefix_max=max(body_prefix(route.match) for route in listener.all_routes),
        forwarded=sum(FORWARDED[header] for header in set(listener.forwarded)),
        request_id=_request_id(listener),
        logged=config.access_log is not None and listener.access_log,
        protocols=_protocols(listener, decision.mode),
        tls=compile_tls(config, name, problems),
        hello=looks_at_hello(listener, decision.need, backends_need_hello(config, listener)),
        hello_routes=hello_routes(listener),
        proxies=listener.proxy_protocol.from_ if listener.proxy_protocol else (),
        relax=sum(RELAX[rule] for rule in set(listener.relax)),
        **{key: getattr(listener, key) for key in COPIED},
    )


def _protocols(listener: Listener, mode: int) -> int:
    if mode != ListenerMode.MODE_HTTP:  # the bytes inside TLS are not ours to read
        return Protocols.PROTOCOL_HTTP1
    return sum(VERSIONS[one] for one in listener.spoken)


def _request_id(listener: Listener) -> bytes:
    if isinstance(listener.request_id, str):
        return listener.request_id.encode()
    return b"X-Request-Id" if listener.request_id else b""
