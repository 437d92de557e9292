"""Rates and tables out of two states, as plain data: Layer 7, the kernel's flows, and an engine anew."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
from rich.console import Console

from fourseven.cli.rates import Window
from fourseven.cli.tables import page, rate, safe, seconds

COUNTS = [0] * 40
SERVER = {
    "address": "10.0.0.1:80", "state": "up", "why": "", "since": 0.0, "usable": True, "word": "enable", "until": None,
    "share": 1.0, "weight": 1, "weight_in_file": 1, "max_in_flight": 0, "in_flight": 2, "latency_s": 0.0,
    "checked_at": None, "check_s": None, "check": "", "ejections": 0, "circuit_open": False,
    "answers": {"2xx": 100},
    "counters": {"requests": 100, "connect_errors": 0, "latency_ns": 0},
}  # fmt: skip
STATE: dict[str, Any] = {
    "at_s": 100.0,
    "process": {
        "version": "1", "pid": 7, "file": "f.yaml", "now": 1000.0, "started_at": 900.0, "loaded_at": 950.0, "workers": 2,
        "draining": False, "cpu_s": 1.0, "memory_bytes": 1 << 20,
    },
    "warnings": ["f.yaml:1:1: warning: look\x1b[2J"],
    "changes": [{"backend": "b", "server": "10.0.0.1:80", "word": "drain", "weight": 3, "until": None, "keep": False}],
    "kernel": {"tcx": {"malformed": 2}},
    "listeners": [
        {"name": "web", "addresses": ["tcp://0.0.0.0:80"], "layer": "L7", "plane": "http", "drops": {},
         "counters": {"requests": 200, "accepted": 20, "bytes_in": 0, "bytes_out": 0, "sessions": 4},
         "answers": {"2xx": 190, "5xx": 10, "none": 0}, "latency": {"counts": COUNTS}},
        {"name": "pg", "addresses": ["tcp://10.0.0.9:5432"], "layer": "L4", "plane": "tcx", "drops": {"no_server": 5},
         "counters": {"requests": 0, "accepted": 0, "flows_new": 50, "flows_active": 9, "bytes_in": 0, "bytes_out": 0},
         "answers": {}, "latency": {"counts": []}},
    ],
    "backends": [
        {"name": "b", "algorithm": "round_robin", "usable": 1, "in_flight": 2, "circuit_open": False, "answers": {"2xx": 100},
         "counters": {"requests": 100}, "latency": {"counts": COUNTS}, "servers": [SERVER]},
    ],
}  # fmt: skip


def later(**process: Any) -> dict[str, Any]:
    """Two seconds after, with 400 requests, 30 flows and a second answered in 20 ms each."""
    state = copy.deepcopy(STATE)
    state["at_s"] += 2
    state["process"] |= process
    web, pg = state["listeners"]
    web["counters"]["requests"] += 400
    web["answers"]["2xx"] += 392
    web["answers"]["none"] += 8
    web["latency"]["counts"] = [0] * 14 + [400] + [0] * 25
    pg["counters"] |= {"flows_new": 80, "bytes_in": 2000, "bytes_out": 4_000_000}
    server = state["backends"][0]["servers"][0]
    server["counters"] |= {"requests": 150, "connect_errors": 4, "latency_ns": 1_000_000_000}
    server["answers"] = {"2xx": 150}
    return state


def test_rates_are_what_happened_between_two_looks():
    window = Window(later(), STATE)
    web, pg = window.listeners()
    assert (web.work, web.unit, web.failures, web.open) == (200, "req", 4, 4)
    assert 1.5e-3 < web.p50_s < web.p99_s < 2.1e-3
    assert (pg.work, pg.unit, pg.open, pg.bytes_out) == (15, "flow", 9, 2_000_000)
    (server,) = window.servers("b")
    assert (server.work, server.failures, server.open) == (25, 2, 2)
    assert server.mean_s == pytest.approx(0.02)


@pytest.mark.parametrize("before", [None, STATE | {"process": STATE["process"] | {"pid": 6}}])
def test_without_an_earlier_look_at_this_engine_rates_are_since_its_start(before):
    web, pg = Window(STATE, before).listeners()
    assert (web.work, pg.work) == (2, 0.5)


def test_a_server_that_is_new_began_at_nothing():
    after = later()
    after["backends"][0]["servers"].append({**SERVER, "address": "10.0.0.2:80"})
    _, new = Window(after, STATE).servers("b")
    assert new.work == 50


def printed(state: dict[str, Any], rows_max: int | None = None) -> str:
    out = io.StringIO()
    Console(file=out, width=180, markup=False).print(page(Window(state, STATE), rows_max))
    return out.getvalue()


def test_the_page_tells_what_matters_and_sends_nothing_to_the_terminal():
    text = printed(later())
    assert "200 req/s" in text
    assert "15 flow/s" in text
    assert "L4 tcx" in text
    assert "unserved  pg  no_server 5\n" in text.replace(" \n", "\n")
    assert "unserved  no listener's (tcx)  malformed 2" in text
    assert "changed  b 10.0.0.1:80: drain, weight 3, until the next reload" in text
    assert "\x1b" not in text
    assert r"look\x1b[2J" in text


def test_a_short_screen_has_those_in_trouble_first():
    after = later()
    servers = after["backends"][0]["servers"]
    servers += [{**SERVER, "address": f"10.0.1.{n}:80"} for n in range(20)]
    servers.append({**SERVER, "address": "10.0.2.1:80", "state": "down", "why": "refused [red]"})
    text = printed(after, rows_max=2)
    assert "10.0.2.1:80" in text
    assert "down  refused [red]" in text
    assert "and 20 more" in text


def test_units():
    assert [rate(value) for value in (0.25, 12.4, 9999, 12_345)] == ["0.2", "12", "9999", "12.3k"]
    assert [seconds(value) for value in (None, 5e-5, 0.0123, 2)] == ["-", "50us", "12.3ms", "2.00s"]
    assert safe("a\r\nb\u202e") == r"a\x0d\x0ab\x202e"
