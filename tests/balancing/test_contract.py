"""What every algorithm of the registry owes, whatever it is: a new line there is tested here.

The native pick is called on servers in memory (fourseven.balancing.probe), as a worker calls it.
"""

from __future__ import annotations

import pytest

from fourseven.balancing.probe import Probe
from fourseven.features import Algorithm, Need
from fourseven.registry import ALGORITHMS

pytestmark = pytest.mark.sanitize

FIELDS = {"hash": {"header": "X-Tenant"}}  # what an algorithm cannot do without
PICKS = 100_000
# The worst error of a server's share, of all picks. The exact ones owe exactness; a hash or a lot
# owes four standard deviations (0.6 %) and, for a table, its own 1 %.
TOLERANCE = {"round_robin": 0.0001, "least_requests": 0.001}
TOLERANCE_ELSE = 0.01


def make(cls: type[Algorithm], **fields: object) -> Algorithm:
    return cls(**{**FIELDS.get(cls.key, {}), **fields})


def servers(*weights: int) -> list[tuple[str, int]]:
    return [(f"10.0.0.{at + 1}:8080", weight) for at, weight in enumerate(weights)]


def probe(cls: type[Algorithm], *weights: int) -> Probe:
    return Probe(make(cls).lower(servers(*weights)), weights)


def want_shares(got: list[int], weights: dict[int, int], tolerance: float) -> None:
    picks, total = sum(got), sum(weights.values())
    for at, count in enumerate(got):
        share = weights.get(at, 0) / total
        assert abs(count / picks - share) <= (tolerance if share else 0), (at, got)


@pytest.fixture(params=ALGORITHMS, ids=lambda cls: cls.key)
def cls(request) -> type[Algorithm]:
    return request.param


def test_it_says_what_it_is(cls):
    assert cls.key.isidentifier()
    assert isinstance(make(cls).need, Need)
    assert cls.__doc__
    assert f"balance: {cls.key}" in cls.__doc__ or f"balance: {{{cls.key}:" in cls.__doc__


def test_lower_is_pure(cls):
    assert make(cls).lower(servers(3, 2, 1)) == make(cls).lower(servers(3, 2, 1))


@pytest.mark.parametrize(
    "weights",
    [(1,), (1, 1), (1, 1, 1), (5, 1, 1), (1, 2, 3, 4), (0, 3, 1), (100, 1), (1,) * 40, (9, 0, 0)],
)
def test_the_spread_follows_the_weights(cls, weights):
    got = probe(cls, *weights).spread(PICKS)
    want_shares(got, dict(enumerate(weights)), TOLERANCE.get(cls.key, TOLERANCE_ELSE))


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (4, 3, 2, 1)])
def test_the_others_inherit_in_proportion(cls, weights):
    """A neighbour that took all of a dead server's work would be the next to die."""
    backend = probe(cls, *weights)
    backend.set(1, usable=0)
    left = {at: weight for at, weight in enumerate(weights) if at != 1}
    want_shares(backend.spread(PICKS), left, TOLERANCE.get(cls.key, TOLERANCE_ELSE))


@pytest.mark.parametrize("weights", [(), (0,), (0, 0, 0)])
def test_nobody_takes_work(cls, weights):
    assert probe(cls, *weights).spread(100)[-1] == 100


@pytest.mark.parametrize("size", [1, 3, 300])
def test_all_down(cls, size):
    backend = probe(cls, *[1] * size)
    for at in range(size):
        backend.set(at, usable=0)
    assert backend.spread(100)[-1] == 100


@pytest.mark.parametrize("size", [2, 3, 300])
def test_the_only_one_up_gets_everything(cls, size):
    backend = probe(cls, *[2] * size)
    for at in range(size):
        backend.set(at, usable=int(at == size // 2))
    assert backend.spread(1000)[size // 2] == 1000


@pytest.mark.parametrize("tried", [(0,), (2,), (0, 1), (1, 2), (0, 0)])
def test_tried_servers_are_left_out(cls, tried):
    backend = probe(cls, 1, 1, 1)
    got = {
        backend.pick(hash=i * 0x9E3779B97F4A7C15 % 2**64, random=i << 58, tried=tried)
        for i in range(64)
    }
    assert got == {0, 1, 2} - set(tried)


def test_all_tried(cls):
    assert probe(cls, 1, 1, 1).pick(tried=(2, 0, 1)) == -1


def test_more_tried_than_are_kept(cls):
    """The count may run past the array: what is beyond it is not looked at."""
    backend = probe(cls, 1, 1, 1, 1, 1, 1)
    got = {backend.pick(hash=i << 56, random=i << 56, tried=range(6)) for i in range(256)}
    assert got == {4, 5}


def test_a_full_server_takes_nothing(cls):
    backend = probe(cls, 1, 1, 1)
    backend.set(0, max_in_flight=5)
    backend.set(1, max_in_flight=7)
    backend.set(2, max_in_flight=0)
    got = backend.spread(100, hold=True)
    assert got[0] <= 5
    assert got[1] <= 7
    assert got[2] == 100 - got[0] - got[1]
    if cls.key != "peak_ewma":  # nobody has answered, so it may prefer whoever is idle
        assert got[:2] == [5, 7]


def test_all_full(cls):
    backend = probe(cls, 1, 2, 3)
    for at in range(3):
        backend.set(at, max_in_flight=2)
    assert backend.spread(100, hold=True) == [2, 2, 2, 94]
    backend.add(1, -1)
    assert backend.spread(10) == [0, 10, 0, 0]


def test_a_server_comes_back(cls):
    backend = probe(cls, 1, 1)
    backend.set(0, usable=0)
    assert backend.spread(100)[0] == 0
    backend.set(0, usable=1)
    assert backend.spread(100)[0] > 20


@pytest.mark.parametrize("number", [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1])
def test_any_hash_and_any_random_number(cls, number):
    assert 0 <= probe(cls, 3, 2, 1).pick(hash=number, random=number, now_ns=number) < 3


def test_a_count_below_zero_is_none(cls):
    """A miscount elsewhere must not draw all work to one server, nor shut it out."""
    backend = probe(cls, 1, 1)
    backend.add(0, -5)
    assert min(backend.spread(100)[:2]) > 20


@pytest.mark.parametrize("weights", [(1000003, 7), (2**31, 1), (2**32 - 1, 2**32 - 1, 1)])
def test_huge_weights(cls, weights):
    picker = make(cls).lower(servers(*weights))
    if picker.table is not None:
        assert len(picker.table) <= 65_537
        assert set(picker.table) == set(range(len(weights)))
    got = probe(cls, *weights).spread(PICKS)
    want_shares(got, dict(enumerate(weights)), TOLERANCE_ELSE)


def test_a_thousand_servers(cls):
    got = probe(cls, *[1] * 1000).spread(PICKS)
    assert got[-1] == 0
    assert min(got[:-1]) > 50
    assert max(got[:-1]) < 150
