"""Packs what a backend has for when servers fail: persistence, retries and queues, tiers.

A server's name for clients is an HMAC of its backend and address. It is made here, once for each
server and secret, so no worker ever computes one: a cookie that comes in is looked up.

Laws: as in `pack`. A name under an old secret is accepted; only the first secret's are given out.
"""

import hmac

import cython
from cython.cimports.fourseven.native.arena import Arena, arena_take, arena_text
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import (
    Backend,
    Persistence,
    Resilience,
    ServerName,
)
from cython.cimports.fourseven.snapshot.states import States
from cython.cimports.libc.stdint import uint32_t

from fourseven.persistence.table import ROWS

ROW_SIZE = 24
HEAD_SIZE = 64  # of the GateState before the rows


def pack_resilience(arena, backend, plan, numbers):
    backend.resilience = resilience_new(arena, plan.resilience)
    backend.persistence = persistence_new(arena, plan, numbers)
    return pack_tiers(arena, backend, plan)


def resilience_new(arena, plan):
    at: cython.int
    made: cython.pointer[Resilience] = cython.NULL
    if plan is None:
        return made
    made = cython.cast(cython.pointer[Resilience], arena_take(arena, cython.sizeof(Resilience)))
    made.retry_on = plan.retry_on
    made.retry_any_method = plan.retry_any_method
    made.retry_same = plan.retry_same
    made.try_timeout_ms = plan.try_timeout_ms
    made.budget_percent = plan.budget_percent
    made.budget_min = plan.budget_min
    made.hedge_ms = plan.hedge_ms
    made.hedge_percent = plan.hedge_percent
    if len(plan.statuses) > 8:
        raise ValueError(f"{len(plan.statuses)} statuses to retry on; 8 are the most")
    made.status_count = len(plan.statuses)
    for at, status in enumerate(plan.statuses):
        made.statuses[at] = status
    made.requests_max = plan.requests_max
    made.connections_max = plan.connections_max
    made.load_words = plan.load_words
    made.load_passes = plan.load_passes
    made.queue_max = plan.queue_max
    made.queue_wait_ms = plan.queue_wait_ms
    made.queue_header = Span(at=cython.NULL, size=0)
    if plan.queue_header:
        made.queue_header = arena_text(arena, plan.queue_header)
    made.breaker_of = plan.breaker_of
    made.breaker_percent = plan.breaker_percent
    made.breaker_requests = plan.breaker_requests
    made.breaker_window_ms = plan.breaker_window_ms
    made.breaker_open_ms = plan.breaker_open_ms
    made.tier_percent = plan.tier_percent
    return made


def persistence_new(arena, plan, numbers):
    made: cython.pointer[Persistence] = cython.NULL
    said: object = plan.persistence
    if said is None:
        return made
    made = cython.cast(cython.pointer[Persistence], arena_take(arena, cython.sizeof(Persistence)))
    made.kind = said.kind
    made.fallback = said.fallback
    made.wait_ms = said.wait_ms
    made.secure = said.secure
    made.ttl_ms = said.ttl_ms
    made.field = said.key.field
    made.prefix_v4 = said.key.prefix_v4
    made.prefix_v6 = said.key.prefix_v6
    made.name = arena_text(arena, said.key.name)
    made.attributes = arena_text(arena, said.attributes)
    kept: States = numbers.kept
    for key, size in tables_of(plan):
        made.set_count = (size - HEAD_SIZE) // (ROW_SIZE * ROWS)
        made.table = kept.take(key, size)
    pack_names(arena, made, plan, said.secrets or numbers.secrets)
    return made


def tables_of(plan):
    """(key, size) of the state that a backend keeps over snapshots; nothing where it has none."""
    said = plan.persistence
    if said is None or not said.rows:
        return []
    sets = max(1, (said.rows + ROWS - 1) // ROWS)
    return [(("persistence", plan.name), HEAD_SIZE + sets * ROW_SIZE * ROWS)]


def pack_names(arena, persistence, plan, secrets):
    """Open addressing with at most half of the places taken: a search ends soon."""
    at: cython.int
    place: uint32_t
    mask: uint32_t = 1
    old: cython.int
    while mask < 2 * len(plan.servers) * len(secrets):
        mask = 2 * mask + 1
    persistence.names_mask = mask
    persistence.names = cython.cast(
        cython.pointer[ServerName], arena_take(arena, cython.sizeof(ServerName) * (mask + 1))
    )
    persistence.given = cython.cast(
        cython.pointer[ServerName],
        arena_take(arena, cython.sizeof(ServerName) * (len(plan.servers) or 1)),
    )
    for old, secret in enumerate(secrets):
        for at, server in enumerate(plan.servers):
            name = name_of(secret, plan.name, server.address)
            one: ServerName = ServerName(
                first=int.from_bytes(name[:8], "big"),
                second=int.from_bytes(name[8:], "big"),
                at=at,
                old=old > 0,
            )
            if old == 0:
                persistence.given[at] = one
            place = cython.cast(uint32_t, one.first) & mask
            while persistence.names[place].first or persistence.names[place].second:
                place = (place + 1) & mask
            persistence.names[place] = one
    return 0


def name_of(secret: bytes, backend: str, address: str) -> bytes:
    """16 bytes."""
    said = b"server\0" + backend.encode() + b"\0" + address.encode()
    return hmac.digest(secret, said, "sha256")[:16]


def pack_tiers(arena, backend, plan):
    at: cython.int
    i: cython.int
    tier: cython.pointer[Backend]
    backend.tier_count = len(plan.tiers)
    backend.tiers = cython.NULL
    backend.spill_percent = 0
    backend.spill_by_hash = 0
    if not plan.tiers:
        return 0
    backend.tiers = cython.cast(
        cython.pointer[Backend], arena_take(arena, cython.sizeof(Backend) * len(plan.tiers))
    )
    for at, said in enumerate(plan.tiers):
        tier = cython.address(backend.tiers[at])
        tier[0] = backend[0]
        tier.tier_count = 0
        tier.spill_percent = said.spill_percent
        tier.spill_by_hash = said.spill_by_hash
        tier.tiers = cython.NULL
        tier.server_count = len(said.members)
        tier.slots = words(arena, [backend.slots[i] for i in said.members])
        tier.weights = words(arena, [backend.weights[i] for i in said.members])
        tier.weight_total = sum([backend.weights[i] for i in said.members])
        tier.table = cython.NULL
        tier.table_size = 0
        if said.table is not None:
            tier.table = words(arena, said.table)
            tier.table_size = len(said.table)
    return 0


@cython.cfunc
def words(arena: cython.pointer[Arena], numbers) -> cython.pointer[uint32_t]:
    at: cython.int
    packed: cython.pointer[uint32_t] = cython.cast(
        cython.pointer[uint32_t], arena_take(arena, 4 * (len(numbers) or 1))
    )
    for at, number in enumerate(numbers):
        packed[at] = number
    return packed
