"""`support.again`: a test is run anew where the machine stood still, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace

import pytest

from support.again import STEP_S, TRIES, Measured, Standstill, again

SHORTEST_S = 0.3
ENOUGH_S, LESS_S = 0.15, 0.14


def stood(*longest_s: float) -> Callable[[float], AbstractContextManager[Measured]]:
    """A machine that stands still for so long in the first try, for so long in the second..."""
    left = iter(longest_s)

    @contextmanager
    def measure(span_s: float) -> Iterator[Measured]:
        assert span_s == SHORTEST_S
        yield SimpleNamespace(longest_s=next(left))

    return measure


FAILURES = {
    "an assertion": AssertionError("no"),
    "a peer's reset": ConnectionResetError(),
    "a wait without an end": TimeoutError(),
    "pytest.fail": pytest.fail.Exception("no"),
}


def failing(tries: list[int], times: int, how: BaseException) -> Callable[[int], None]:
    def test(number: int) -> None:
        tries.append(number)
        if len(tries) <= times:
            raise how

    return test


@pytest.mark.parametrize("how", FAILURES.values(), ids=FAILURES)
def test_who_fails_on_a_machine_that_did_not_stand_has_failed_at_once(how: BaseException):
    tries: list[int] = []
    with pytest.raises(type(how)):
        again(SHORTEST_S, stood(LESS_S))(failing(tries, 1, how))(7)
    assert tries == [7]


@pytest.mark.parametrize("how", FAILURES.values(), ids=FAILURES)
def test_who_fails_while_it_stood_is_run_anew(how: BaseException):
    tries: list[int] = []
    again(SHORTEST_S, stood(ENOUGH_S, 0))(failing(tries, 1, how))(7)
    assert tries == [7, 7]


def test_each_try_needs_a_standstill_of_its_own():
    tries: list[int] = []
    with pytest.raises(AssertionError):
        again(SHORTEST_S, stood(ENOUGH_S, LESS_S))(failing(tries, 2, AssertionError()))(7)
    assert tries == [7, 7]


def test_there_are_no_more_tries_than_a_few():
    tries: list[int] = []
    with pytest.raises(AssertionError):
        again(SHORTEST_S, stood(*[9.0] * 99))(failing(tries, 99, AssertionError()))(7)
    assert tries == [7] * TRIES


def test_what_is_no_failure_of_a_wait_is_told_at_once():
    tries: list[int] = []
    with pytest.raises(KeyError):
        again(SHORTEST_S, stood(ENOUGH_S))(failing(tries, 1, KeyError()))(7)
    assert tries == [7]


def test_who_succeeds_is_run_once():
    tries: list[int] = []
    again(SHORTEST_S, stood(9.0))(failing(tries, 0, AssertionError()))(7)
    assert tries == [7]


# ---- the measuring itself ----


class Told:
    """Kin that say by a table how long they have waited at each look."""

    def __init__(self, *waits: dict[str, float]) -> None:
        self.waits = iter(waits)

    def waited(self) -> dict[str, float]:
        return next(self.waits)


def measured(span_s: float, *looks: tuple[float, dict[str, float]]) -> float:
    """The longest standstill within a span, of looks at these moments."""
    seen = Standstill(span_s)
    seen.kin = Told(*(waits for _, waits in looks))  # type: ignore[assignment]
    for now, _ in looks:
        seen.look(now)
    return seen.longest_s


@pytest.mark.parametrize(
    ("looks", "longest_s"),
    [
        ([(0.0, {"a": 5.0})], 0.0),
        ([(0.0, {"a": 5.0}), (0.1, {"a": 5.0})], 0.0),
        ([(0.0, {"a": 5.0}), (0.1, {"a": 5.25})], 0.25),
        ([(0.0, {"a": 5.0, "b": 1.0}), (0.1, {"a": 5.125, "b": 1.125})], 0.125),
        ([(0.0, {}), (0.1, {"new": 0.25})], 0.25),
        ([(0.0, {"gone": 9.0}), (0.1, {})], 0.0),
        # twice within one span, and twice in different ones
        ([(0.0, {"a": 0.0}), (0.1, {"a": 0.25}), (0.2, {"a": 0.5})], 0.5),
        ([(0.0, {"a": 0.0}), (0.5, {"a": 0.25}), (1.5, {"a": 0.25}), (2.0, {"a": 0.5})], 0.25),
    ],
)
def test_the_longest_within_a_span(looks: list[tuple[float, dict[str, float]]], longest_s: float):
    assert measured(1.0, *looks) == longest_s


def test_one_who_waits_for_a_processor_is_seen():
    """Two that would have the same one at the same time."""
    allowed = os.sched_getaffinity(0)
    with Standstill(60.0) as seen:
        os.sched_setaffinity(0, {min(allowed)})
        try:
            with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
                until = time.monotonic() + 20
                while seen.longest_s < 2 * STEP_S and time.monotonic() < until:
                    pass
                child.kill()
        finally:
            os.sched_setaffinity(0, allowed)
    assert seen.longest_s >= 2 * STEP_S
