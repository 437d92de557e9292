"""Which tier of a backend takes a request or a connection.

The first tier with enough of its weight usable takes the work; if none has so much, the first with
any server; if there is nobody at all, the first.

A tier of servers near us spills instead: as long as `spill_percent` of its weight is usable it
takes everything, with less it takes as much less, and the rest goes to the tier behind it. So a
zone that loses servers loses load in step, and the few that are left are not crushed. It is what
others call an overprovisioning factor: 70 % is a factor of 1.4.

Law: where servers are picked by a hash the draw is made by that hash too, so a key spills each time
or never.

Source: Envoy, "Locality weighted load balancing", "Priority levels".
"""

import cython
from cython.cimports.fourseven.native.atomics import count, load_relaxed, load_relaxed_u32
from cython.cimports.fourseven.snapshot.hashing import hash_number
from cython.cimports.fourseven.snapshot.layout import BREAKER_SERVER, Backend, Slot
from cython.cimports.libc.stdint import uint32_t, uint64_t


def tier_of(backend, worker, pick, failed):
    at: uint32_t
    usable: uint64_t
    tier: cython.pointer[cython.const[Backend]]
    some: cython.pointer[cython.const[Backend]] = cython.NULL
    wanted: uint32_t = 0
    if backend.resilience is not cython.NULL:
        wanted = backend.resilience.tier_percent
    for at in range(backend.tier_count):
        tier = cython.address(backend.tiers[at])
        usable = usable_weight(worker, tier, pick, failed)
        if usable == 0:
            continue
        if tier.spill_percent:
            if not takes(tier, usable, pick):
                some = tier if some is cython.NULL else some
                continue
        elif usable * 100 < tier.weight_total * wanted:
            some = tier if some is cython.NULL else some
            continue
        if at:
            count(cython.address(worker.backend_counters[backend.number].spilled), 1)
        return tier
    return some if some is not cython.NULL else cython.address(backend.tiers[0])


def usable_weight(worker, tier, pick, failed):
    """Without those that have failed this stream: another tier may still have it."""
    i: uint32_t
    at: uint32_t
    weight: uint64_t
    usable: uint64_t = 0
    failed = min(failed, pick.tried_count)
    for i in range(tier.server_count):
        if not is_used(worker, tier, tier.slots[i]):
            continue
        weight = tier.weights[i]
        for at in range(failed):
            if pick.tried[at] == tier.slots[i]:
                weight = 0
        usable += weight
    return usable


def is_used(worker, tier, number):
    """May it have work? One whose circuit is open may not, until that time is over."""
    slot: cython.pointer[Slot] = cython.address(worker.shared.slots[number])
    if not load_relaxed_u32(cython.address(slot.usable)):
        return False
    if tier.resilience is cython.NULL or not tier.resilience.breaker_of & BREAKER_SERVER:
        return True
    return load_relaxed(cython.address(slot.circuit.open_until_ms)) <= worker.now_ms


def takes(tier, usable, pick):
    """By chance, or by the hash: usable / (spill_percent of all)."""
    enough: uint64_t = tier.weight_total * tier.spill_percent
    drawn: uint64_t
    if usable * 100 >= enough:
        return True
    drawn = hash_number(pick.hash if tier.spill_by_hash else pick.random)
    return drawn % enough < usable * 100
