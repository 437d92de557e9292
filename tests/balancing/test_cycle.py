"""The cycle: exact shares, in an order as smooth as can be."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.balancing.cycle import LENGTH_MAX, cycle, grouped, shares


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ([], []),
        ([0], []),
        ([0, 0], []),
        ([7], [0]),
        ([1, 1], [0, 1]),
        ([300, 100], [0, 0, 0, 1]),
        ([2, 2, 2], [0, 1, 2]),
        ([0, 2], [1]),
        ([2, 1], [0, 0, 1]),
        ([5, 1, 1], [0, 0, 0, 1, 0, 0, 2]),
        ([1, 0, 3], [2, 2, 0, 2]),
    ],
)
def test_order(weights, order):
    assert sorted(cycle(weights)) == sorted(order)
    assert grouped(weights) == array("I", sorted(order))
    assert burst(cycle(weights)) <= max(burst(array("I", order)), 1)


def burst(table) -> int:
    """The longest run of one server, round the end of the cycle too."""
    longest = run = 0
    twice = [*table, *table]
    for at, server in enumerate(twice):
        run = run + 1 if at and twice[at - 1] == server else 1
        longest = max(longest, min(run, len(table)))
    return longest


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12))
def test_nobody_is_a_turn_away_from_its_share(weights):
    table, total = cycle(weights), sum(shares(weights))
    assert len(table) == total
    had = [0] * len(weights)
    for turn, at in enumerate(table, 1):
        had[at] += 1
        for server, part in enumerate(shares(weights)):
            assert abs(had[server] * total - turn * part) < total, (turn, server)
    assert had == shares(weights)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_a_long_cycle_is_scaled(weights):
    parts, total = shares(weights), sum(weights)
    limit = max(LENGTH_MAX, 2 * len(weights))
    assert sum(parts) <= limit + len(weights)
    for weight, part in zip(weights, parts, strict=True):
        assert (part > 0) == (weight > 0)
        # one turn for the rounding, and what the servers below one turn were given
        assert abs(part - sum(parts) * weight / (total or 1)) <= 1 + len(weights)


def test_many_servers_have_room():
    weights = [1 + at % 2 * 999_999 for at in range(20_000)]
    assert min(shares(weights)) == 1
