"""What a run found, and whether it is enough: medians over rounds, bars, verdicts.

A ratio is the median of the rounds' own ratios, each between two measurements that stood next to
each other in time. What slows the machine for some seconds slows both alike and falls out; taken
between medians it stays in, for those may come from different minutes. On a busy machine a ratio
of requests scattered by a third less so, on a quiet one it is the same.

Laws: pure. A round in which either side has an error does not count for a ratio; a bar of which no
round counts is not met, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median, quantiles

from bench.l4.works import BARS, WORKS, Bar, Work

MET, MISSED, UNKNOWN = "met", "**missed**", "not measured"


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of one way."""

    turn: int  # measurements of one turn stood next to each other in time
    value: float
    error: str = ""  # why it does not count; empty: it does


@dataclass(frozen=True, slots=True)
class Extra:
    """A figure that no rounds of all ways are made of: a line of its own."""

    title: str
    figure: str
    bar: str = ""
    verdict: str = ""


@dataclass
class Results:
    """Everything that one run found."""

    machine: dict[str, str]
    rounds: dict[str, dict[str, list[Round]]] = field(default_factory=dict)  # work → way
    absent: dict[str, str] = field(default_factory=dict)  # way → reason
    extras: list[Extra] = field(default_factory=list)

    def add(self, work: str, way: str, one: Round) -> None:
        self.rounds.setdefault(work, {}).setdefault(way, []).append(one)

    def counted(self, work: str, way: str) -> dict[int, float]:
        """The values that count, by their round."""
        rounds = self.rounds.get(work, {}).get(way, [])
        return {one.turn: one.value for one in rounds if not one.error and one.value}

    def values(self, work: str, way: str) -> list[float]:
        return list(self.counted(work, way).values())

    def middle(self, work: str, way: str) -> float | None:
        values = self.values(work, way)
        return median(values) if values else None

    def spread(self, work: str, way: str) -> float:
        """(largest - smallest) / median in percent: how far to trust it."""
        values = self.values(work, way)
        return 100 * (max(values) - min(values)) / median(values) if values else 0.0

    def ratios(self, bar: Bar) -> list[float]:
        """Of each round in which both count."""
        ours, other = (self.counted(bar.work, way) for way in (bar.ours, bar.other))
        return [ours[turn] / other[turn] for turn in sorted(ours.keys() & other.keys())]

    def ratio(self, bar: Bar) -> float | None:
        ratios = self.ratios(bar)
        return median(ratios) if ratios else None

    def range(self, bar: Bar) -> str:
        """The middle half of the rounds' ratios."""
        ratios = self.ratios(bar)
        if len(ratios) < 2:
            return ""
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        return f"{low:.2f} to {high:.2f}"

    def verdict(self, bar: Bar) -> str:
        ratio = self.ratio(bar)
        if ratio is None:
            return UNKNOWN
        enough = ratio >= bar.bound if works()[bar.work].more_is_better else ratio <= bar.bound
        return MET if enough else MISSED

    def invalid(self) -> list[tuple[str, str, int, str]]:
        return [
            (work, way, one.turn + 1, one.error)
            for work, ways in self.rounds.items()
            for way, rounds in ways.items()
            for one in rounds
            if one.error
        ]

    def said(self, work: Work, way: str) -> str:
        """One way's figure in a line for the terminal."""
        middle = self.middle(work.name, way)
        if middle is None:
            errors = {one.error for one in self.rounds[work.name][way]}
            return f"no valid round: {'; '.join(errors)}"
        ratios = " ".join(
            f"{ratio:.2f} of {bar.other} ({'≥' if work.more_is_better else '≤'} {bar.bound})"
            for bar in BARS
            if (bar.work, bar.ours) == (work.name, way) and (ratio := self.ratio(bar))
        )
        spread = self.spread(work.name, way)
        return f"{middle:12,.{work.digits}f} {work.unit:7} spread {spread:3.0f} %  {ratios}"


def works() -> dict[str, Work]:
    return {work.name: work for work in WORKS}
