"""Metrics in Prometheus' text format, read back by the client library's parser."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fourseven.observe.exposition import exposition
from fourseven.observe.latency import BOUNDS_S, quantile_s
from fourseven.observe.metrics import METRICS
from fourseven.observe.reading import NAMED, Reading
from fourseven.plan import BackendPlan, ListenerPlan, Plan

HOSTILE = 'a"b\\c\nd{e="f"} 9\n# TYPE x counter'


@dataclass
class Word:
    state: str = "up"
    usable: bool = True
    weight: int = 1
    ejections: int = 0


def counted(**more) -> dict:
    return {"workers": {}, "listeners": {}, "servers": {}, **more}


def read(reading: Reading) -> dict[tuple[str, tuple], float]:
    """(name, labels) -> value."""
    text = "".join(exposition(reading))
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, key
            samples[key] = sample.value
    return samples


def reading(**more) -> Reading:
    return Reading(Plan((), ()), 1.5e9, 2, counted(**more))


def test_names_follow_the_conventions():
    names = [one.name for one in METRICS]
    assert sorted(set(names)) == sorted(names)
    for one in METRICS:
        assert re.fullmatch("(fourseven|process)(_[a-z0-9]+)+", one.name)
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert not re.search("_(ms|us|ns|kb|kib|percent)(_|$)", one.name), one.name
        assert one.help.endswith(".")
        assert all(re.fullmatch("[a-z_]+", label) for label in one.labels)
        assert "le" not in one.labels


def test_a_name_from_a_file_is_one_label_whatever_is_in_it():
    row = {
        "begun": 3,
        "ended": 2,
        "status": [0, 0, 2, 0, 0, 0],
        "latencies": [0] * 40,
        "latency_ns": 0,
    }
    samples = read(reading(routes={(HOSTILE, HOSTILE): row}))
    labels = (("code", "2xx"), ("listener", HOSTILE), ("route", HOSTILE))
    assert samples["fourseven_route_requests_total", labels] == 2
    assert samples["fourseven_route_in_flight", labels[1:]] == 1


def test_a_histogram_holds_together():
    counts = [0] * 40
    counts[0], counts[1], counts[2], counts[39] = 1, 2, 4, 8
    row = {"begun": 15, "ended": 15, "latencies": counts, "latency_ns": 3_000_000_000}
    samples = read(reading(routes={("l", "r"): row}))
    own = (("listener", "l"), ("route", "r"))
    name = "fourseven_request_duration_seconds"
    buckets = {
        dict(labels)["le"]: value
        for (said, labels), value in samples.items()
        if said == f"{name}_bucket"
    }
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets["0.000016384"] == 1
    assert buckets["0.000032768"] == 7  # two classes of ours in one
    assert buckets["+Inf"] == samples[f"{name}_count", own] == 15
    assert samples[f"{name}_sum", own] == 3


def test_backends_and_servers_are_counted_over_the_words_that_are_known():
    plan = Plan(
        (ListenerPlan("l", (), 0, ()),),
        (BackendPlan("b", (), "random", 0), BackendPlan("c", (), "random", 0)),
    )
    words = {("b", "x:1"): Word(), ("b", "y:1"): Word("down", usable=False, weight=3, ejections=2)}
    rows = {
        key: {"status": [1, 0, 5, 0, 0, 2], "in_flight": 4, "ewma_ns": 2_000_000} for key in words
    }
    samples = read(Reading(plan, 0, 1, counted(servers=rows), words))
    b, y = (("backend", "b"),), (("backend", "b"), ("server", "y:1"))
    assert samples["fourseven_backend_servers", b] == 2
    assert samples["fourseven_backend_servers", (("backend", "c"),)] == 0
    assert samples["fourseven_backend_servers_usable", b] == 1
    assert samples["fourseven_backend_in_flight", b] == 8
    assert samples["fourseven_backend_requests_total", (*b, ("code", "5xx"))] == 4
    assert samples["fourseven_server_state", (*y, ("state", "down"))] == 1
    assert samples["fourseven_server_ejections_total", y] == 2
    assert samples["fourseven_server_latency_ewma_seconds", y] == pytest.approx(0.002)


def test_a_counter_without_a_row_of_its_own_is_seen():
    samples = read(reading(workers={"something_new": 7, "requests": 9}))
    assert samples["fourseven_events_total", (("event", "something_new"),)] == 7
    assert ("fourseven_events_total", (("event", "requests"),)) not in samples
    assert "requests" in NAMED


QUANTILES = [
    ([], 0.5, None),
    ([0] * 40, 0.5, None),
    ([10] + [0] * 39, 0.5, BOUNDS_S[0] / 2),
    ([0, 0, 100] + [0] * 37, 1.0, BOUNDS_S[2]),
    ([50] + [0] * 38 + [50], 0.99, BOUNDS_S[-1]),
]


@pytest.mark.parametrize("counts, share, seconds", QUANTILES)
def test_quantiles(counts, share, seconds):
    assert quantile_s(counts, share) == (seconds if seconds is None else pytest.approx(seconds))


def test_the_bounds_are_those_of_the_workers():
    """Two classes for each doubling from 16 us, as worker/latency.pxd has them."""
    assert len(BOUNDS_S) == 39
    assert BOUNDS_S[:3] == pytest.approx((16.384e-6, 24.576e-6, 32.768e-6))
    assert BOUNDS_S[38] == pytest.approx(2**33 / 1e9)
