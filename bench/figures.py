"""The arithmetic: medians over rounds, ratios between peers, and what a load tool printed.

Ratios are taken between medians, never as medians of ratios: a round in which a neighbour took
the core then moves neither. The robust figure is the proxy's CPU time per request, since the rate
also depends on the load tool and the origin, which share the other core.

Laws: pure; bad input raises ValueError. A peer's figure is None when no round of it was valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one peer."""

    requests_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float  # of the proxy, user and system, per request served
    errors: str = ""  # why this round does not count; empty: it does
    others_percent: float = 0.0  # of the measured cores' time that went to neither side of ours


@dataclass(frozen=True, slots=True)
class Memory:
    """What idle connections cost a proxy's processes; the kernel's part is alike for all."""

    grown_bytes: float  # per connection, from 100 connections on
    total_bytes: int  # with all of them: what was taken in advance shows here


@dataclass(frozen=True, slots=True)
class Summary:
    """The medians over the valid rounds of one peer."""

    rounds: int
    requests_per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    spread_percent: float  # (largest - smallest) / median of cpu_us: how far to trust it


def summarise(samples: Iterable[Sample]) -> Summary | None:
    """Medians over the rounds that count, or None when none does."""
    valid = [sample for sample in samples if not sample.errors]
    if not valid:
        return None
    cpu = [sample.cpu_us for sample in valid]
    middle = median(cpu)
    return Summary(
        rounds=len(valid),
        requests_per_second=median(sample.requests_per_second for sample in valid),
        p50_us=median(sample.p50_us for sample in valid),
        p99_us=median(sample.p99_us for sample in valid),
        cpu_us=middle,
        spread_percent=100 * (max(cpu) - min(cpu)) / middle if middle else 0.0,
    )


def neighbours(samples: Iterable[Sample]) -> tuple[float, float]:
    """What others took of the measured cores: median and worst, in percent."""
    shares = [sample.others_percent for sample in samples]
    return (median(shares), max(shares)) if shares else (0.0, 0.0)


def ratio_to_better(ours: float | None, others: Iterable[float | None]) -> float | None:
    """The better (smaller) of the others over ours: 1.5 says that ours takes two thirds."""
    known = [other for other in others if other]
    if not ours or not known:
        return None
    return min(known) / ours


def rotated(names: list[str], turn: int) -> list[str]:
    """The order of round `turn`: each peer is first, second, ... equally often."""
    at = turn % len(names)
    return names[at:] + names[:at]


def parse_wrk(text: str) -> dict[str, float]:
    """The line that bench/wrk.lua prints at the end of wrk's report."""
    lines = [line for line in text.splitlines() if line.startswith('{"wrk"')]
    if len(lines) != 1:
        raise ValueError(f"wrk printed no result: {text[-200:]!r}")
    found: dict[str, float] = json.loads(lines[0])["wrk"]
    return found


def parse_s_time(text: str, mark: str, size: int) -> dict:
    """Of openssl s_time, which prints a mark for each connection: * for a full handshake, r for a
    resumed one. With a request each has read an answer of so many bytes, and its head."""
    found = re.search(
        r"^([*r]+)\s+(\d+) connections in .*\s+\2 connections in .*, (\d+) bytes read",
        text,
        re.MULTILINE,
    )
    if found is None:
        raise ValueError(f"openssl s_time said {text[-300:]!r}")
    count, read = int(found[2]), int(found[3])
    other = count - found[1].count(mark)
    errors = f"{other} handshakes were of the other kind" if other else ""
    if mark == "*" and read <= size:
        errors = errors or f"answers had {read} bytes"
    return {"requests": count, "errors": errors}


def parse_h2load(text: str, log: Iterable[str]) -> dict:
    """h2load's report, and its log for the times of the requests: a line has start, status, µs."""
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, .*", text)
    seconds = re.search(r"finished in ([\d.]+)(m?s),", text)
    if counts is None or seconds is None:
        raise ValueError(f"h2load printed no result: {text[-200:]!r}")
    done = int(counts[1])
    wrong = re.findall(r"[1-9]\d* (?:failed|errored|timeout)", counts[0])
    rows = [line.split("\t") for line in log]
    if any(status != "200" for _, status, _ in rows):
        wrong.append("an answer was not 200")
    if "Application protocol: h2\n" not in text:
        wrong.append("it was not HTTP/2")
    times = sorted(int(time) for _, _, time in rows)
    if not done or not times:
        wrong.append("no request was answered")
    return {
        "requests": done,
        "bytes": 0,
        "duration_us": float(seconds[1]) * (1e6 if seconds[2] == "s" else 1e3),
        "p50_us": float(times[len(times) // 2]) if times else 0.0,
        "p99_us": float(times[len(times) * 99 // 100]) if times else 0.0,
        "errors": ", ".join(wrong),
    }


def wrk_errors(found: Mapping[str, float]) -> str:
    """What went wrong in a run of wrk, in words; empty when nothing did."""
    kinds = ("connect", "read", "write", "status", "timeout")
    wrong = [f"{kind} {found[kind]:.0f}" for kind in kinds if found[kind]]
    if not found["requests"]:
        wrong.append("no request was answered")
    return ", ".join(wrong)
