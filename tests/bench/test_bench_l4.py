"""The arithmetic of the Layer 4 benchmark, and the frames that it feeds."""

from __future__ import annotations

import pytest
from bench.l4 import report, works
from bench.l4.frames import TCP, UDP, base, feeder, folded
from bench.l4.results import MET, MISSED, UNKNOWN, Extra, Results, Round
from bench.l4.session import SHOWN_ROUNDS, order
from bench.l4.works import BARS, BY_HAND, HAPROXY, RELAY, ROUTING, TCX, WORKS, Bar

from fourseven.l4.bpf.kernel import XDP, Loaded, Table
from support.network import why_no_lab, why_not


def results(**figures: tuple[float, float]) -> Results:
    found = Results({"kernel": "Linux"})
    for work, (ours, other) in figures.items():
        for turn, factor in enumerate((0.9, 1.0, 1.2)):
            found.add(work, TCX, Round(turn, ours * factor))
            found.add(work, ROUTING, Round(turn, other * factor))
        found.add(work, TCX, Round(3, ours * 100, "it failed"))
        found.add(work, ROUTING, Round(3, other))
    return found


def test_a_ratio_is_of_measurements_that_stood_side_by_side():
    found = results(requests=(105.0, 100.0))
    bar = Bar("requests", TCX, ROUTING, 1.03)
    assert found.middle("requests", TCX) == 105.0
    assert found.ratio(bar) == 1.05
    assert found.invalid() == [("requests", TCX, 4, "it failed")]
    assert round(found.spread("requests", TCX)) == 30
    for turn, slow in ((4, 0.5), (5, 0.3)):  # a slow minute, for both
        found.add("requests", TCX, Round(turn, 105.0 * slow))
        found.add("requests", ROUTING, Round(turn, 100.0 * slow))
    assert found.ratio(bar) == 1.05
    assert found.range(bar) == "1.05 to 1.05"


def test_a_way_that_answers_no_bar_takes_part_in_the_first_rounds_only():
    names = [ROUTING, BY_HAND, HAPROXY, TCX, RELAY]
    ping = next(work for work in WORKS if work.name == "ping")
    assert order(ping, names, 0) == names
    assert order(ping, names, 1) == [ROUTING, RELAY, TCX, HAPROXY, BY_HAND]  # turned round
    assert set(names) - set(order(ping, names, SHOWN_ROUNDS)) == {RELAY}
    assert order(ping, [], 0) == []


@pytest.mark.parametrize(
    "work,ours,bound,wanted",
    [
        ("requests", 105.0, 1.03, MET),
        ("requests", 102.0, 1.03, MISSED),
        ("ping", 94.0, 0.95, MET),
        ("ping", 96.0, 0.95, MISSED),
        ("bulk-up", 96.0, 0.95, UNKNOWN),
    ],
)
def test_a_verdict_knows_which_way_is_better(work, ours, bound, wanted):
    found = results(**{work: (ours, 100.0)}) if wanted != UNKNOWN else results()
    assert found.verdict(Bar(work, TCX, ROUTING, bound)) == wanted


def test_every_bar_is_of_a_work_and_of_ways_that_it_has():
    known = {work.name: work for work in WORKS}
    for bar in BARS:
        work = known[bar.work]
        assert not work.ways or {bar.ours, bar.other} <= set(work.ways)
    assert all(not known[bar.work].more_is_better for bar in BARS if bar.work == "ping")


def test_the_report_says_bars_failures_and_what_is_left_out(tmp_path):
    found = results(requests=(102.0, 100.0), ping=(90.0, 100.0))
    found.absent["xdp"] = "not here"
    found.extras.append(Extra("a change", "9 ms", "≤ 50 ms", MET))
    said = report.write(found, tmp_path / "out").read_text()
    assert "| tcx | plain routing | 1.02 | 1.02 to 1.02 | ≥ 1.03 | **missed** |" in said
    assert "| tcx | plain routing | 0.90 | 0.90 to 0.90 | ≤ 0.95 | met |" in said
    assert "- xdp: not here" in said
    assert "| a change | 9 ms | ≤ 50 ms | met |" in said
    assert "- requests, tcx, round 4: it failed" in said
    assert (tmp_path / "out" / "results-l4.json").exists()


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")
@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("flows", [64, 1 << 14, 0])
def test_fed_frames_are_whole_and_of_so_many_flows(protocol, flows):
    made = base(protocol, "10.79.0.0", ("10.77.0.1", 8083), (bytes(6), bytes(6)))
    written = feeder(made, flows, 5)
    seen = set()
    with (
        Table(written.maps["fed"]) as fed,
        Loaded(written.assemble(), {"fed": fed}, XDP) as loaded,
    ):
        frame = made.frame
        for _ in range(300):
            code, frame = loaded.run(bytes(26) + b"changed!" + frame[34:])
            assert code == 2
            ends, end = frame[26:34], 14 + int.from_bytes(frame[16:18], "big")
            payload = frame[34:end]
            pseudo = ends + bytes([0, protocol]) + len(payload).to_bytes(2, "big")
            assert folded(frame[14:34]) == folded(pseudo + payload) == 0xFFFF
            assert (frame[30:34], frame[36:38]) == (made.frame[30:34], made.frame[36:38])
            seen.add(ends[:4] + frame[34:36])
    assert len(seen) == (64 if flows == 64 else 300)


@pytest.mark.skipif(bool(why_no_lab("wrk", "nginx")), reason=why_no_lab("wrk", "nginx") or "it can")
def test_a_way_can_be_set_up_and_measured(tmp_path):
    from bench.l4.stage import Stage
    from bench.l4.ways import WAYS

    with Stage(WAYS[works.ROUTING], "cubic") as stage:
        for work in ("requests", "bulk-up", "bulk-down", "ping", "datagrams", "pps-64"):
            for _ in range(5):  # a busy machine loses packets and lets requests wait
                value, error = stage.measure(work, 0.05 if work != "requests" else 1)
                if not error:
                    break
            assert not error
            assert value > 0
