"""Packs a plan into a snapshot: the same decisions, in the memory that workers read.

All of it comes from one arena, so it is freed at one instant. Nothing is decided here; a value that
does not fit its field is a ValueError before any worker could see it (Cython checks the range of
each number it stores).
"""

import ipaddress
from dataclasses import replace

import cython
from cython.cimports.fourseven.compiler.pack import Backend, Cidr, Listener, Route, Snapshot
from cython.cimports.fourseven.compiler.pack_resilience import pack_resilience
from cython.cimports.fourseven.matching.records import FIELD_HOST, FIELD_SNI
from cython.cimports.fourseven.matching.regex import regex_compile
from cython.cimports.fourseven.matching.table import table_build
from cython.cimports.fourseven.native.arena import (
    Arena,
    arena_drop,
    arena_new,
    arena_take,
    arena_text,
)
from cython.cimports.fourseven.protocols.grammar import Name, known_name
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import (
    ARRIVAL_HELLO,
    ARRIVAL_PROXY,
    NO_BACKEND,
    Action,
    Choice,
    Gate,
    Key,
    Part,
    Template,
    pick_fn,
)
from cython.cimports.fourseven.tls.contexts import Contexts
from cython.cimports.fourseven.tls.outward import outward_build
from cython.cimports.fourseven.tls.site import site_build
from cython.cimports.fourseven.tls.token_keys import token_keys_build
from cython.cimports.libc.stdint import int32_t, uint32_t

from fourseven.plan import Any_, Condition, Not


def pack(plan, numbers, fds, generation, shared):
    arena: cython.pointer[Arena] = arena_new()
    contexts: Contexts = numbers.contexts
    snapshot: cython.pointer[Snapshot]
    contexts.begin()
    try:
        snapshot = fill(arena, plan, numbers, fds, generation, shared)
    except BaseException:
        arena_drop(arena)
        raise
    contexts.turn()
    return snapshot


def fill(arena, plan, numbers, fds, generation, shared):
    at: cython.int
    snapshot: cython.pointer[Snapshot] = cython.cast(
        cython.pointer[Snapshot], arena_take(arena, cython.sizeof(Snapshot))
    )
    snapshot.arena = arena
    snapshot.generation = generation
    snapshot.backend_count = len(plan.backends)
    snapshot.backends = cython.cast(
        cython.pointer[Backend],
        arena_take(arena, cython.sizeof(Backend) * (len(plan.backends) or 1)),
    )
    backends = {}
    for at, backend in enumerate(plan.backends):
        backends[backend.name] = at
        pack_backend(arena, cython.address(snapshot.backends[at]), backend, numbers, shared)
    fill_listeners(arena, snapshot, plan, numbers, fds, backends, shared.tickets)
    return snapshot


def fill_listeners(arena, snapshot, plan, numbers, fds, backends, tickets):
    """One record for each address that a listener is bound to; they share its routes."""
    count: cython.int = sum([len(one.bind) for one in plan.listeners])
    at: cython.int = 0
    listener: cython.pointer[Listener]
    shared = cython.declare(Listener)
    snapshot.listeners = cython.cast(
        cython.pointer[Listener], arena_take(arena, cython.sizeof(Listener) * (count or 1))
    )
    for said in plan.listeners:
        pack_listener(arena, cython.address(shared), said, numbers, backends)
        shared.tls = cython.NULL
        if said.tls is not None:
            shared.tls = site_build(arena, said.tls, tickets, numbers.contexts)
        shared.traced = 0 if plan.tracing is None else 2 if plan.tracing.export else 1
        shared.trace_sample = plan.tracing.sample if plan.tracing is not None else 0
        shared.state = numbers.listener_state(said.name)
        for bind, sockets in zip(said.bind, fds[said.name], strict=True):
            listener = cython.address(snapshot.listeners[at])
            listener[0] = shared
            listener.number = numbers.listener(said.name, bind, said.mode)
            listener.fd_count = len(sockets)
            listener.fds = cython.cast(cython.pointer[int32_t], pack_words(arena, sockets))
            at += 1
    snapshot.listener_count = at


def pack_backend(arena, backend, plan, numbers, shared):
    backend.pick = cython.cast(pick_fn, cython.cast(cython.size_t, plan.pick))
    backend.name = arena_text(arena, plan.name.encode())
    backend.number = numbers.backend(plan.name)
    backend.state = cython.address(shared.backends[backend.number])
    backend.server_count = len(plan.servers)
    backend.slots = pack_words(arena, [numbers.slot(plan.name, one) for one in plan.servers])
    backend.weights = pack_words(arena, [one.weight for one in plan.servers])
    backend.weight_total = sum([one.weight for one in plan.servers])
    if plan.table is not None:
        backend.table = pack_words(arena, plan.table)
        backend.table_size = len(plan.table)
    backend.bounded_load_percent = plan.bounded_load_percent
    backend.hash_field = plan.hash_field
    backend.hash_prefix_v4 = plan.hash_prefix_v4
    backend.hash_prefix_v6 = plan.hash_prefix_v6
    backend.hash_name = arena_text(arena, plan.hash_name)
    backend.connect_timeout_ms = plan.connect_timeout_ms
    backend.response_timeout_ms = plan.response_timeout_ms
    backend.read_timeout_ms = plan.read_timeout_ms
    backend.idle_timeout_ms = plan.idle_timeout_ms
    backend.idle_max = plan.idle_max
    backend.proxy_protocol = plan.proxy_protocol
    backend.retries = plan.retries
    backend.http2 = plan.http2
    backend.tls = cython.NULL
    if plan.tls is not None:
        slots = [numbers.slot(plan.name, one) for one in plan.servers]
        backend.tls = outward_build(arena, plan.tls, slots)
    return pack_resilience(arena, backend, plan, numbers)


def pack_listener(arena, listener, plan, numbers, backends):
    at: cython.int
    listener.name = arena_text(arena, plan.name.encode())
    listener.mode = plan.mode
    listener.table = table_build(arena, served(plan))
    listener.arrival = ARRIVAL_HELLO if plan.hello else 0
    listener.proxies_count = len(plan.proxies)
    listener.proxies = pack_cidrs(arena, plan.proxies)
    if plan.proxies:
        listener.arrival |= ARRIVAL_PROXY
    listener.hello_timeout_ms = plan.hello_timeout_ms
    listener.hello_table = cython.NULL
    if plan.hello_routes:
        at_hello = [by_name(route) for route in plan.routes[: plan.hello_routes]]
        listener.hello_table = table_build(arena, at_hello)
    listener.route_count = len(plan.routes)
    listener.routes = cython.cast(
        cython.pointer[Route],
        arena_take(arena, cython.sizeof(Route) * (len(plan.routes) or 1)),
    )
    for at, route in enumerate(plan.routes):
        pack_route(arena, cython.address(listener.routes[at]), route, at, backends)
        listener.routes[at].stable = numbers.route(plan.name, route.name)
        pack_gates(
            arena, cython.address(listener.routes[at]), route, plan.name, numbers.kept, backends
        )
    listener.trusted_count = len(plan.trusted)
    listener.trusted = pack_cidrs(arena, plan.trusted)
    listener.forwarded = plan.forwarded
    listener.request_id = Span(at=cython.NULL, size=0)
    if plan.request_id:
        listener.request_id = arena_text(arena, plan.request_id)
    return pack_limits(listener, plan)


def served(plan):
    """The routes as the plane asks them, once it is clear whether TLS ends.

    Where it ends, one that passes it through has had its turn. Where it goes on, a route is found
    by its name (`by_name`).
    """
    if plan.tls is not None:
        return [replace(one, match=Any_()) if one.passthrough else one for one in plan.routes]
    return [by_name(one) for one in plan.routes] if plan.hello else plan.routes


def by_name(route):
    """SNI stands for the host at a ClientHello: so the index of hosts finds it among thousands."""
    return replace(route, match=named(route.match))


def named(match):
    if isinstance(match, Condition):
        return replace(match, field=int(FIELD_HOST)) if match.field == FIELD_SNI else match
    if isinstance(match, Not):
        return Not(named(match.part))
    return type(match)(tuple([named(part) for part in match.parts]))


def pack_limits(listener, plan):
    listener.body_prefix_max = plan.body_prefix_max
    listener.connections_max = plan.connections_max
    listener.head_max = plan.head_max
    listener.headers_max = plan.headers_max
    listener.target_max = plan.target_max
    listener.body_max = plan.body_max
    listener.requests_max = plan.requests_max
    listener.flows_max = plan.flows_max
    listener.head_timeout_ms = plan.head_timeout_ms
    listener.body_timeout_ms = plan.body_timeout_ms
    listener.body_rate_min = plan.body_rate_min
    listener.idle_timeout_ms = plan.idle_timeout_ms
    listener.send_timeout_ms = plan.send_timeout_ms
    listener.tunnel_timeout_ms = plan.tunnel_timeout_ms
    listener.relax = plan.relax
    listener.protocols = plan.protocols
    listener.logged = plan.logged
    listener.streams_max = plan.streams_max
    return 0


def pack_route(arena, route, plan, number, backends):
    at: cython.int
    total: uint32_t = 0
    choices: cython.pointer[Choice]
    route.number = number
    route.name = arena_text(arena, plan.name.encode())
    route.passthrough = plan.passthrough
    choices = cython.cast(
        cython.pointer[Choice],
        arena_take(arena, cython.sizeof(Choice) * (len(plan.backends) or 1)),
    )
    for at, (name, weight) in enumerate(plan.backends):
        total += weight
        choices[at].backend = backends[name]
        choices[at].up_to = total
    route.choices = choices
    route.choice_count = len(plan.backends)
    route.choice_total = total
    route.fallback = backends[plan.fallback] if plan.fallback else NO_BACKEND
    route.sticky = plan.sticky if plan.sticky_key is not None else 0
    if route.sticky:
        route.sticky_key = pack_keys(arena, (plan.sticky_key,))[0]
    route.request_action_count = len(plan.request_actions)
    route.request_actions = pack_actions(arena, plan.request_actions)
    route.response_action_count = len(plan.response_actions)
    route.response_actions = pack_actions(arena, plan.response_actions)
    return 0


def pack_gates(arena, route, plan, listener, states, backends):
    at: cython.int
    gate: cython.pointer[Gate]
    route.gate_count = len(plan.gates)
    route.gates = cython.cast(
        cython.pointer[Gate], arena_take(arena, cython.sizeof(Gate) * (len(plan.gates) or 1))
    )
    for at, (key, said) in enumerate(states_of(listener, plan)):
        gate = cython.address(route.gates[at])
        pack_gate(arena, gate, said, backends)
        gate.state = cython.NULL
        if said.state_size:
            gate.state = states.take(key, said.state_size)
    return 0


def states_of(listener, route):
    """(key, gate) of each gate: which state it finds again after a reload."""
    found = []
    seen: dict = {}
    for gate in route.gates:
        nth = seen.get(gate.kind, 0)
        seen[gate.kind] = nth + 1
        found.append(((listener, route.name, gate.kind, nth), gate))
    return found


def pack_gate(arena, gate, plan, backends):
    at: cython.int
    gate.kind = plan.kind
    gate.backend = backends[plan.backend] if plan.backend else NO_BACKEND
    gate.state_size = plan.state_size
    if len(plan.numbers) > 8:
        raise ValueError(f"a gate has {len(plan.numbers)} numbers; 8 are the most")
    for at in range(8):
        gate.numbers[at] = plan.numbers[at] if at < len(plan.numbers) else 0
    gate.key_count = len(plan.keys)
    gate.keys = pack_keys(arena, plan.keys)
    gate.text_count = len(plan.texts)
    gate.texts = pack_texts(arena, plan.texts)
    gate.network_count = len(plan.networks)
    gate.networks = pack_cidrs(arena, plan.networks)
    gate.value = pack_template(arena, plan.value)
    gate.own = cython.NULL
    if plan.built:
        gate.own = token_keys_build(arena, plan.built)
    return 0


def pack_keys(arena, keys):
    at: cython.int
    packed: cython.pointer[Key] = cython.NULL
    if keys:
        packed = cython.cast(cython.pointer[Key], arena_take(arena, cython.sizeof(Key) * len(keys)))
    for at, key in enumerate(keys):
        packed[at].field = key.field
        packed[at].prefix_v4 = key.prefix_v4
        packed[at].prefix_v6 = key.prefix_v6
        packed[at].name = arena_text(arena, key.name)
    return packed


def pack_texts(arena, texts):
    at: cython.int
    packed: cython.pointer[Span] = cython.NULL
    if texts:
        packed = cython.cast(
            cython.pointer[Span], arena_take(arena, cython.sizeof(Span) * len(texts))
        )
    for at, text in enumerate(texts):
        packed[at] = arena_text(arena, text)
    return packed


def pack_actions(arena, actions):
    at: cython.int
    packed: cython.pointer[Action] = cython.NULL
    row: cython.pointer[cython.const[Name]]
    if actions:
        packed = cython.cast(
            cython.pointer[Action], arena_take(arena, cython.sizeof(Action) * len(actions))
        )
    for at, action in enumerate(actions):
        packed[at].kind = action.kind
        packed[at].status = action.status
        packed[at].name = arena_text(arena, action.name)
        row = known_name(packed[at].name.at, packed[at].name.size)
        packed[at].known = 0 if row is cython.NULL else row.known
        packed[at].value = pack_template(arena, action.value)
        if action.regex:
            packed[at].regex = regex_compile(arena, action.regex)
    return packed


def pack_template(arena, parts):
    at: cython.int
    template = cython.declare(Template)
    template.count = len(parts)
    template.parts = cython.cast(
        cython.pointer[Part], arena_take(arena, cython.sizeof(Part) * (len(parts) or 1))
    )
    for at, part in enumerate(parts):
        template.parts[at].kind = part.kind
        template.parts[at].text = arena_text(arena, part.text)
    return template


def pack_cidrs(arena, networks):
    at: cython.int
    byte: cython.int
    packed: cython.pointer[Cidr] = cython.NULL
    if networks:
        packed = cython.cast(
            cython.pointer[Cidr], arena_take(arena, cython.sizeof(Cidr) * len(networks))
        )
    for at, text in enumerate(networks):
        network = ipaddress.ip_network(text, strict=False)
        raw = network.network_address.packed
        mapped = network.version == 4
        whole = b"\0" * 10 + b"\xff\xff" + raw if mapped else raw
        for byte in range(16):
            packed[at].bytes[byte] = whole[byte]
        packed[at].prefix = network.prefixlen + (96 if mapped else 0)
    return packed


def pack_words(arena, words):
    at: cython.int
    packed: cython.pointer[uint32_t] = cython.NULL
    if len(words):
        packed = cython.cast(cython.pointer[uint32_t], arena_take(arena, 4 * len(words)))
    for at in range(len(words)):
        packed[at] = words[at]
    return packed
