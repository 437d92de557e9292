"""Who is an outlier, by tables; and how ejections grow, end and are limited."""

from __future__ import annotations

import pytest

from fourseven.health.outlier import Outliers
from fourseven.plan import EjectionPlan

MS = 1e6


def outliers(*rows: tuple[float, float, float], **options) -> Outliers:
    """Each row: answers, errors, milliseconds of an answer."""
    made = Outliers(EjectionPlan(**options))
    made.use(made.plan, [f"s{at}" for at in range(len(rows))])
    fill(made, *rows)
    return made


def fill(made: Outliers, *rows) -> None:
    for at, (answers, errors, each_ms) in enumerate(rows):
        made.window[3 * at : 3 * at + 3] = type(made.window)(
            "d", [answers, errors, answers * each_ms * MS]
        )


def names(verdicts) -> list[str]:
    return [one.address for one in verdicts]


GOOD, BAD, SLOW = (1000, 0, 10), (1000, 400, 10), (1000, 0, 100)
COMPARED = {  # rows, options, who goes out
    "nobody": ([GOOD] * 5, {}, []),
    "one that errs": ([GOOD, BAD, GOOD], {}, ["s1"]),
    "two of five: median, not mean": ([GOOD, BAD, GOOD, BAD, GOOD], {}, ["s3", "s1"]),
    "all err alike": ([BAD] * 5, {}, []),
    "a little is noise": ([GOOD, (1000, 100, 10), GOOD], {}, []),
    "too few answers": ([GOOD, (99, 99, 10), GOOD, GOOD], {}, []),
    "too few servers": ([GOOD, BAD], {}, []),
    "switched off": ([GOOD, BAD, GOOD], {"rate_deviations": 0}, []),
    "slow is no fault unless asked": ([GOOD, SLOW, GOOD], {}, []),
    "slow": ([GOOD, SLOW, GOOD], {"slow_times": 3}, ["s1"]),
    "slow, but on a fast net": (
        [(1000, 0, 0.2), (1000, 0, 2), (1000, 0, 0.2)],
        {"slow_times": 3},
        [],
    ),
    "the worst first, where not all may go": (
        [GOOD, BAD, (1000, 900, 10), GOOD],
        {"share_max_percent": 25},
        ["s2"],
    ),
    "one always may": ([GOOD, BAD, GOOD], {"share_max_percent": 10}, ["s1"]),
}


@pytest.mark.parametrize("name", COMPARED)
def test_compared(name):
    rows, options, wanted = COMPARED[name]
    assert names(outliers(*rows, **options).compared(0.0)) == wanted


def test_never_all_of_them():
    made = outliers(*[GOOD] * 3, share_max_percent=100)
    assert names(made.failing([0, 1, 2], 0.0)) == ["s0", "s1"]
    assert names(outliers(GOOD).failing([0], 0.0)) == []


def test_an_ejection_ends_and_the_next_one_is_longer():
    made = outliers(GOOD, GOOD, GOOD, time_ms=10_000, time_max_ms=25_000)
    now = 0.0
    for length in (10, 20, 25, 25):
        assert names(made.failing([1], now)) == ["s1"]
        assert names(made.failing([1], now)) == []  # it is out already
        assert names(made.back(now + length - 0.1)) == []
        now += length
        [verdict] = made.back(now)
        assert verdict == ("s1", 1, "")
        assert list(made.window[3:6]) == [0, 0, 0]  # it begins anew
    for _ in range(4):  # as long again without one, and each is forgotten
        now += 10
        assert names(made.back(now)) == []
    assert made.past == {}
    assert names(made.failing([1], now)) == ["s1"]
    assert names(made.back(now + 10)) == ["s1"]


def test_other_servers():
    made = outliers(GOOD, BAD, GOOD)
    assert names(made.compared(0.0)) == ["s1"]
    made.use(made.plan, ["new", "s2", "s1"])
    assert list(made.window[0:3]) == [0, 0, 0]
    assert made.window[6] == 1000
    assert (made.out, made.past["s1"].at) == (1, 2)
    made.use(made.plan, ["new", "s2"])
    assert made.out == 0
