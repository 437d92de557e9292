"""The consistent table that all hashing algorithms share.

A server's order is made from its address alone, and the servers take turns in the order of their
addresses. So two balancers with the same servers have the same table, whatever the order of their
files, and an old table and a new one differ by little.

The length is the same for any number of servers: a length that followed it would move every key
at the moment it changed.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

from fourseven.balancing.maglev_table import EMPTY, fill

LENGTH = 65_537  # prime; the paper's: 256 KiB, and 1,000 servers are within 1 % of their share
LENGTH_MAX = 5_000_011  # prime; 20 MB a backend


def consistent(servers: Sequence[tuple[str, int]], length: int = LENGTH) -> array[int]:
    """A table of indexes into `servers` (address, weight); empty when no weight is above 0."""
    chosen = sorted((address, at) for at, (address, weight) in enumerate(servers) if weight > 0)
    if not chosen:
        return array("I")
    if len(chosen) > length:
        raise ValueError(f"{len(chosen)} servers do not fit a table of {length}; name a longer one")
    starts, steps = array("I"), array("I")
    for address, _ in chosen:
        start, step = order(address, length)
        starts.append(start)
        steps.append(step)
    weights = array("Q", [servers[at][1] for _, at in chosen])
    table = array("I", [EMPTY]) * length
    credits = array("Q", [max(weights) - weight for weight in weights])
    fill(table, starts, steps, credits, weights)
    places = [at for _, at in chosen]
    return array("I", [places[at] for at in table])


def order(address: str, length: int) -> tuple[int, int]:
    """Where a server's order of places starts, and its step: 0 <= start, 1 <= step < length."""
    digest = hashlib.blake2b(address.encode(), digest_size=16).digest()
    start = int.from_bytes(digest[:8], "big") % length
    return start, int.from_bytes(digest[8:], "big") % (length - 1) + 1


def is_prime(number: int) -> bool:
    """Trial division; for lengths of tables."""
    return number > 1 and all(number % i for i in range(2, int(number**0.5) + 1))
