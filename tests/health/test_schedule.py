"""When checks begin, in a time that the test makes pass."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

from fourseven.health.schedule import RUNNING_MAX, Pace, Schedule


class Clock:
    """A schedule with a check that takes no time, or one that never ends."""

    def __init__(self, ends: bool = True) -> None:
        self.now, self.ends = 0.0, ends
        self.began: list[tuple[float, object]] = []
        self.doubt: set[object] = set()
        self.schedule = Schedule(self.start, random.Random(1))

    def start(self, key: object) -> None:
        self.began.append((self.now, key))
        if self.ends:
            self.schedule.done(key, key in self.doubt, self.now)

    def play(self, until: float) -> None:
        while (wait := self.schedule.due(self.now)) is not None and self.now + wait <= until:
            self.now += wait
        self.now = until

    def times(self, key: object) -> list[float]:
        return [at for at, found in self.began if found == key]


def test_thousands_are_spread_over_their_interval():
    clock = Clock()
    clock.schedule.use(dict.fromkeys(range(10_000), Pace(2.0, 0.5)), 0.0)
    clock.play(20.0)
    counts = Counter(int(at * 10) for at, _ in clock.began)  # checks in each tenth of a second
    assert len(counts) == 200
    assert max(counts.values()) < 1.5 * 500
    assert min(counts.values()) > 0.5 * 500
    first: dict[object, float] = {}
    for at, key in clock.began:
        first.setdefault(key, at)
    assert len(first) == 10_000
    assert max(first.values()) <= 2.0


def test_a_few_have_their_first_check_at_once():
    clock = Clock()
    clock.schedule.use(dict.fromkeys("abc", Pace(60.0, 5.0)), 0.0)
    clock.play(0.05)
    assert {key for _, key in clock.began} == set("abc")


def test_the_interval_holds_give_or_take_a_tenth():
    clock = Clock()
    clock.schedule.use({"a": Pace(2.0, 0.5)}, 0.0)
    clock.play(100.0)
    times = clock.times("a")
    gaps = [b - a for a, b in pairwise(times)]
    assert all(1.8 <= gap <= 2.2 for gap in gaps)
    assert len(set(gaps)) > 10
    clock.doubt.add("a")
    before = len(times)
    clock.play(200.0)
    gaps = [b - a for a, b in pairwise(clock.times("a")[before + 1 :])]
    assert all(0.45 <= gap <= 0.55 for gap in gaps)


def test_a_slow_check_is_never_begun_twice_and_delays_no_other():
    clock = Clock(ends=False)
    clock.schedule.use(dict.fromkeys("ab", Pace(1.0, 1.0)), 0.0)
    clock.play(10.0)
    assert len(clock.began) == 2
    clock.schedule.done("a", False, 10.0)
    clock.play(12.0)
    assert len(clock.times("a")) == 2
    assert len(clock.times("b")) == 1


def test_no_more_than_so_many_at_once():
    clock = Clock(ends=False)
    clock.schedule.use(dict.fromkeys(range(2 * RUNNING_MAX), Pace(1.0, 1.0)), 0.0)
    clock.play(5.0)
    assert len(clock.began) == clock.schedule.running == RUNNING_MAX
    clock.schedule.done(clock.began[0][1], False, 5.0)
    clock.play(5.0)
    assert len(clock.began) == RUNNING_MAX + 1


def test_who_leaves_is_asked_no_more_and_who_stays_keeps_its_turn():
    clock = Clock()
    clock.schedule.use(dict.fromkeys("ab", Pace(2.0, 0.5)), 0.0)
    clock.play(10.0)
    asked = clock.times("a")[-1]
    clock.schedule.use(dict.fromkeys("ac", Pace(2.0, 0.5)), 10.0)
    clock.play(20.0)
    assert clock.times("b")[-1] <= 10.0
    assert clock.times("c")
    following = next(at for at in clock.times("a") if at > asked)
    assert following - asked <= 2.2


def test_one_that_leaves_in_the_middle_of_its_check():
    clock = Clock(ends=False)
    clock.schedule.use({"a": Pace(1.0, 1.0)}, 0.0)
    clock.play(1.0)
    clock.schedule.use({}, 1.0)
    assert clock.schedule.running == 0
    clock.schedule.use({"a": Pace(1.0, 1.0)}, 1.0)
    clock.play(3.0)
    assert len(clock.began) == 2
    clock.schedule.done("a", False, 3.0)
    assert clock.schedule.running == 0
