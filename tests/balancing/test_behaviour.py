"""What the algorithms that count, take turns or draw lots promise for themselves."""

from __future__ import annotations

import itertools

import pytest

from fourseven.balancing.least_requests import LeastRequests
from fourseven.balancing.peak_ewma import PeakEwma
from fourseven.balancing.power_of_two import PowerOfTwo
from fourseven.balancing.probe import Probe
from fourseven.balancing.random import Random
from fourseven.balancing.round_robin import RoundRobin
from fourseven.balancing.source_hash import SourceHash
from fourseven.registry import ALGORITHMS

MS = 1_000_000
SECOND = 1000 * MS


def probe(algorithm, *weights):
    servers = [(f"10.0.0.{at + 1}:80", weight) for at, weight in enumerate(weights)]
    return Probe(algorithm.lower(servers), weights)


def turns(backend, count):
    return [backend.pick() for _ in range(count)]


# ---- round robin ----


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((1, 1, 1), [0, 1, 2, 0, 1, 2]),
        ((2, 0, 1), [0, 2, 0, 0, 2, 0]),
    ],
)
def test_round_robin_goes_round(weights, order):
    got = turns(probe(RoundRobin(), *weights), len(order))
    assert sorted(got) == sorted(order)
    if len(set(weights)) == 1:
        assert got == order


def test_round_robin_without_one_keeps_turns_apart():
    backend = probe(RoundRobin(), 1, 1, 1, 1)
    backend.set(2, usable=0)
    got = turns(backend, 300)
    assert [got.count(at) for at in range(4)] == [100, 100, 0, 100]
    assert all(a != b for a, b in itertools.pairwise(got))


def test_a_further_try_takes_no_turn():
    """It took the next one: of two servers the first was asked first every time, and failed."""
    backend = probe(RoundRobin(), 1, 1)
    first = []
    for at in range(100):
        first.append(backend.pick())
        assert backend.pick(random=at << 50, tried=(first[-1],)) == 1 - first[-1]
    assert first == [0, 1] * 50


# ---- least requests ----


def test_least_requests_is_exact():
    backend = probe(LeastRequests(), 1, 1, 1)
    for at, load in enumerate((4, 2, 3)):
        backend.add(at, load)
    held = []
    for _ in range(6):
        held.append(backend.pick())
        backend.add(held[-1], 1)
    assert held[0] == 1
    assert [backend.in_flight(at) for at in range(3)] == [5, 5, 5]


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 2, 3), (5, 5, 10)])
def test_least_requests_fills_by_weight(weights):
    backend = probe(LeastRequests(), *weights)
    backend.spread(100 * sum(weights), hold=True)
    assert [backend.in_flight(at) for at in range(len(weights))] == [100 * w for w in weights]


def test_least_requests_shares_a_tie():
    """An idle backend must not send all to its first server, and not twice running to one of two."""
    assert abs(turns(probe(LeastRequests(), 1, 1), 400).count(0) - 200) <= 2
    got = probe(LeastRequests(), 1, 1, 1, 1, 1).spread(1000)
    assert max(got[:5]) - min(got[:5]) <= 5


def test_least_requests_tie_of_some():
    backend = probe(LeastRequests(), 1, 1, 1, 1)
    backend.add(0, 9)
    backend.add(2, 9)
    got = backend.spread(1000)
    assert abs(got[1] - got[3]) <= 5
    assert got[1] + got[3] == 1000


# ---- power of two ----


def test_power_of_two_is_never_the_worst():
    backend = probe(PowerOfTwo(), 1, 1, 1)
    for at, load in enumerate((9, 1, 5)):
        backend.add(at, load)
    got = backend.spread(30_000)
    assert got[0] == 0  # of two different ones, the most loaded always loses
    assert got[1] > 19_000


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (4, 2, 1, 1)])
def test_power_of_two_stays_close(weights):
    """Held work differs by a few from its share; drawn at random it would differ by hundreds."""
    backend = probe(PowerOfTwo(), *weights)
    got = backend.spread(100_000, hold=True)
    for at, weight in enumerate(weights):
        assert abs(got[at] - 100_000 * weight / sum(weights)) < 50


# ---- peak ewma ----


def test_ewma_follows_peaks_at_once_and_falls_slowly():
    backend = probe(PeakEwma(), 1)
    assert backend.answered(0, 10 * MS, 1 * SECOND) == 10 * MS
    assert backend.answered(0, 500 * MS, 2 * SECOND) == 500 * MS
    after = backend.answered(0, 10 * MS, 3 * SECOND)
    assert 440 * MS < after < 460 * MS  # 1 s of 10: exp(-0.1) of the way is kept
    assert backend.answered(0, 10 * MS, 3 * SECOND) == after  # no time has passed
    assert backend.answered(0, 10 * MS, 200 * SECOND) == pytest.approx(10 * MS, rel=0.001)


@pytest.mark.parametrize(
    "sample,now", [(0, 1), (0, 0), (1, 0), (2**63, 2**63), (2**64 - 1, 2**64 - 1)]
)
def test_ewma_takes_anything(sample, now):
    backend = probe(PeakEwma(), 1)
    backend.answered(0, 5, 5)
    assert backend.answered(0, sample, now) > 0
    assert backend.pick(now_ns=0) == 0


def test_ewma_with_a_clock_that_is_behind():
    backend = probe(PeakEwma(), 1)
    backend.answered(0, 100 * MS, 10 * SECOND)
    assert backend.answered(0, 1 * MS, 9 * SECOND) == 100 * MS


def test_peak_ewma_prefers_the_faster():
    backend = probe(PeakEwma(), 1, 1)
    backend.answered(0, 100 * MS, SECOND)
    backend.answered(1, 10 * MS, SECOND)
    assert backend.spread(1000, now_ns=SECOND) == [0, 1000, 0]
    backend.add(1, 11)  # 10 ms * 12 > 100 ms * 1
    assert backend.spread(1000, now_ns=SECOND) == [1000, 0, 0]


def test_peak_ewma_counts_weight():
    backend = probe(PeakEwma(), 30, 1)
    backend.answered(0, 100 * MS, SECOND)
    backend.answered(1, 10 * MS, SECOND)
    assert backend.spread(1000, now_ns=SECOND) == [1000, 0, 0]


def test_peak_ewma_forgives():
    """A slow server that is not asked decays until it is the cheaper one."""
    backend = probe(PeakEwma(), 1, 1)
    backend.answered(0, 100 * MS, 1 * SECOND)
    for second in range(1, 40):
        backend.answered(1, 10 * MS, second * SECOND)
    assert backend.spread(10, now_ns=5 * SECOND)[1] == 10
    assert backend.spread(10, now_ns=39 * SECOND)[0] == 10


def test_peak_ewma_tries_the_unknown_once():
    backend = probe(PeakEwma(), 1, 1)
    backend.answered(0, 10 * MS, SECOND)
    assert backend.spread(10, now_ns=SECOND)[1] == 10
    backend.add(1, 1)  # its first answer is awaited
    assert backend.spread(10, now_ns=SECOND)[0] == 10


# ---- random ----


def test_random_draws_by_weight():
    got = probe(Random(), 1, 3).spread(40_000)
    assert abs(got[1] - 30_000) < 400


# ---- slow start ----


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.key)
def test_who_is_spared_gets_a_part_of_its_share_and_nobody_gets_none(algorithm):
    key = {"path": True} if algorithm.key == "hash" else {}
    backend = probe(algorithm(**key), 1, 1, 1, 1)
    backend.set(1, share=768)  # of 1024
    got = backend.spread(20_000)
    # A quarter of its share of the whole (1/16), or of what the others get (1/13).
    assert 20_000 / 16 * 0.9 < got[1] < 20_000 / 13 * 1.1
    assert got[0] + got[2] + got[3] == 20_000 - got[1]
    for at in (0, 2, 3):
        backend.set(at, usable=0)
    assert backend.spread(2_000)[1] == 2_000  # better that one than none


def test_a_key_that_has_moved_to_a_server_that_starts_stays_there():
    backend = probe(SourceHash(), 1, 1, 1)
    before: set[int] = set()
    for share in (1000, 512, 100, 0):
        backend.set(1, share=share)
        now = {
            key for key in range(3_000) if backend.pick(hash=key * 0x9E3779B97F4A7C15 % 2**64) == 1
        }
        assert before <= now
        before = now
    assert len(before) == pytest.approx(1_000, rel=0.1)
