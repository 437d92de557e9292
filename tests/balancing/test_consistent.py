"""The consistent table: shares, what moves, and that it is the same everywhere."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from array import array
from pathlib import Path

import pytest

import fourseven
from fourseven.balancing.consistent import LENGTH, consistent, is_prime

SOURCE = Path(fourseven.__file__).parent


def servers(count: int, weight: int = 1) -> list[tuple[str, int]]:
    return [(f"10.0.{at // 250}.{at % 250}:80", weight) for at in range(count)]


def held(table, names) -> list[str]:
    return [names[at][0] for at in table]


@pytest.mark.parametrize(
    "count,spread", [(1, 0), (2, 0.01), (3, 0.01), (10, 0.01), (100, 0.01), (1000, 0.02)]
)
def test_even_shares(count, spread):
    table = consistent(servers(count))
    mean = LENGTH / count
    counts = [table.count(at) for at in range(count)]
    assert sum(counts) == LENGTH
    assert max(counts) <= mean * (1 + spread) + 1
    assert min(counts) >= mean * (1 - spread) - 1


@pytest.mark.parametrize("weights", [(3, 2, 1), (10, 1), (0, 5, 5), (1000003, 7, 500000)])
def test_weighted_shares(weights):
    table = consistent([(f"s{at}:80", weight) for at, weight in enumerate(weights)])
    for at, weight in enumerate(weights):
        assert abs(table.count(at) / LENGTH - weight / sum(weights)) < 0.001


@pytest.mark.parametrize("count", [3, 10, 100])
def test_what_moves_when_one_leaves(count):
    """Its own share, and at most 2 % of the rest."""
    before, names = consistent(servers(count)), servers(count)
    gone = count // 2
    left = names[:gone] + names[gone + 1 :]
    after = consistent(left)
    was, now = held(before, names), held(after, left)
    rest = [at for at in range(LENGTH) if was[at] != names[gone][0]]
    moved = sum(was[at] != now[at] for at in rest)
    assert moved <= 0.02 * LENGTH
    heirs = [now[at] for at in range(LENGTH) if was[at] == names[gone][0]]
    expected = len(heirs) / (count - 1)
    for name, _ in left:
        assert heirs.count(name) < 3 * expected + 20


def test_the_order_of_the_file_does_not_matter():
    names = servers(9)
    other = names[::-1]
    assert held(consistent(names), names) == held(consistent(other), other)


def test_it_is_the_same_in_every_build():
    """A changed table would send every client elsewhere after an upgrade."""
    table = consistent([("10.0.0.1:80", 3), ("10.0.0.2:80", 1), ("[::1]:80", 2)])
    digest = hashlib.sha256(b"".join(at.to_bytes(4, "big") for at in table)).hexdigest()
    assert digest[:16] == GOLDEN


GOLDEN = "436402d847cda2fd"


def test_too_many_servers_for_the_table():
    with pytest.raises(ValueError, match="252 servers do not fit a table of 251"):
        consistent(servers(252), 251)
    assert sorted(consistent(servers(251), 251)) == list(range(251))


def test_primes():
    assert [n for n in range(30) if is_prime(n)] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
    assert is_prime(65_537)
    assert is_prime(5_000_011)
    assert not is_prime(65_537 * 3)


@pytest.fixture(params=["interpreted", "compiled"])
def fill(request):
    if request.param == "compiled":
        module = importlib.import_module("fourseven.balancing.maglev_table")
        assert module.__file__.endswith(".so")
        return module.fill
    path = SOURCE / "balancing" / "maglev_table.py"
    spec = importlib.util.spec_from_file_location("maglev_table_interpreted", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fill


@pytest.mark.parametrize(
    ("places", "skips", "weights", "table"),
    [
        # the example of the paper, figure 4: permutations 3 0 4 1 5 2 6, 0 2 4 6 1 3 5, 3 4 5 6 0 1 2
        ([3, 0, 3], [4, 2, 1], [1, 1, 1], [1, 0, 1, 0, 2, 2, 0]),
        # and without the middle one
        ([3, 3], [4, 1], [1, 1], [0, 0, 0, 0, 1, 1, 1]),
        ([3, 0], [4, 2], [2, 1], [1, 0, 1, 0, 0, 0, 0]),
        ([6], [6], [9], [0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_fill(fill, places, skips, weights, table):
    got = array("I", [0xFFFFFFFF] * 7)
    assert (
        fill(
            got,
            array("I", places),
            array("I", skips),
            array("Q", [max(weights) - w for w in weights]),
            array("Q", weights),
        )
        == 0
    )
    assert list(got) == table
