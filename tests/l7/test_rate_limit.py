"""Rate limits: the bucket in virtual time, its table under threads, and the gate on the wire."""

from __future__ import annotations

import threading
import time

import pytest
from pydantic import ValidationError

from fourseven.forms import RouteFilter
from fourseven.l7.probe import RateProbe, sip
from support.balancer import site
from support.front import Front, Stage

MS = 1_000_000
S = 1000 * MS


@pytest.mark.parametrize(
    "text, value",
    [  # of CPython 3.11 with PYTHONHASHSEED=0, whose keys are 0 and 0; of Rust's DefaultHasher
        (b"a", 0x407448D2B89B1813),
        (b"abcdefgh", 0x3F7B849C0B8E35EA),
        (b"x" * 100, 0x12DE6D6E12E5750C),
    ],
)
def test_siphash(text, value):
    assert sip(0, 0, text) == value


def test_a_bucket_gives_its_burst_and_then_its_rate():
    probe = RateProbe(100 * MS, burst=3)
    now = 50 * S
    assert [probe.take(now)[0] for _ in range(5)] == [0, 0, 0, 100 * MS, 100 * MS]
    assert probe.take(now + 99 * MS)[0] == 1 * MS
    assert probe.take(now + 100 * MS) == (0, 300 * MS)
    assert probe.take(now + 100 * MS)[0] == 100 * MS
    assert [probe.take(now + 10 * S)[0] for _ in range(4)] == [0, 0, 0, 100 * MS]


@pytest.mark.parametrize("rate, seconds", [(500, 4), (7, 100), (1_000_000, 1), (1, 600)])
def test_over_any_time_it_is_burst_plus_rate_times_time(rate, seconds):
    """Asked more often than it gives."""
    probe = RateProbe(S // rate, burst=rate)
    step = max(S // rate // 2, seconds * S // 20_000)
    now, asked = S, 0
    passed = 0
    while now < S + seconds * S:
        for _ in range(3):
            passed += probe.take(now)[0] == 0
            asked += 1
        now += step
    wanted = rate + min(rate * seconds, asked)
    assert passed <= wanted + 1
    if rate <= 1000:
        assert passed >= wanted * 0.99 - 1


def test_keys_do_not_touch_each_other():
    probe = RateProbe(S, burst=2, keys=512)
    for key in range(1, 100):
        assert [probe.take(S, key * 0x9E3779B97F4A7C15 % 2**64)[0] for _ in range(3)] == [0, 0, S]
    assert probe.replaced() == 0


def test_a_full_bucket_of_the_table_gives_up_who_would_be_full_soonest():
    probe = RateProbe(S, burst=4, keys=8)
    for key in range(1, 9):
        for _ in range(1 + (key != 5)):
            probe.take(S, key)
    assert probe.replaced() == 0
    assert probe.take(S, 99)[0] == 0
    assert probe.replaced() == 1
    assert [probe.take(S, 7)[0] for _ in range(3)] == [0, 0, S]  # not forgotten
    assert [probe.take(S, 99)[0] for _ in range(4)] == [0, 0, 0, S]


def test_idle_keys_make_room_without_being_counted():
    probe = RateProbe(S, burst=1, keys=8)
    for now in range(1, 50):
        for key in range(8):
            assert probe.take(now * 2 * S, now * 8 + key + 1)[0] == 0
    assert probe.replaced() == 0


@pytest.mark.parametrize("keys", [1, 400])
def test_threads_together_get_exactly_the_burst(keys):
    """At one instant of virtual time each key gives its burst, whoever asks, and not one more."""
    probe = RateProbe(S, burst=500 if keys == 1 else 25, keys=4096)
    got: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: got.append(probe.hammer(S, 20_000 // keys, keys)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(of) for of in zip(*got, strict=True)] == [500 if keys == 1 else 25] * keys
    assert probe.replaced() == 0
    assert not probe.locked()


def test_threads_in_a_table_that_is_too_small_leave_it_sound():
    """Keys come and go under the takers; every lock is given back, and no thread hangs."""
    probe = RateProbe(S, burst=3, keys=16)
    threads = [
        threading.Thread(target=probe.hammer, args=(S, 300, 200, 1000 * at)) for at in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert not probe.locked()
    assert probe.replaced() > 100


# ---- on the wire ----


def limited(stage: Stage, workers: int = 1, **said) -> Front:
    server = stage.server()
    routes = [{"backend": "all", "filters": [{"rate_limit": said}]}]
    return Front(server, stage.balancer(site(server.address, routes=routes), workers=workers))


def statuses(front: Front, count: int, *lines: str, target: str = "/") -> list[int]:
    return [front.balancer.get(target, *lines).status for _ in range(count)]


def test_the_answer_says_when_to_come_again(stage: Stage):
    front = limited(stage, rate="2/h", headers=True, name="hourly")
    first = front.balancer.get("/")
    assert first.all("RateLimit-Policy") == [b'"hourly";q=2;w=3600']
    assert first.all("RateLimit") == [b'"hourly";r=1;t=1800']
    second = front.balancer.get("/").get("RateLimit")
    assert second in [b'"hourly";r=0;t=%d' % left for left in range(1780, 1801)]
    refused = front.balancer.get("/")
    assert refused.status == 429
    assert 1780 <= int(refused.all("Retry-After")[0]) <= 1800
    assert refused.all("RateLimit")[0].startswith(b'"hourly";r=0;t=1')
    assert len(front.server.heads) == 2
    counted = front.balancer.counters()["routes"]["web routes[0]"]
    assert counted["reasons"] == {"rate": 1}
    assert counted["status"][4] == 1


@pytest.mark.parametrize(
    "by, lines",
    [
        ({"header": "X-Key"}, ["X-Key: one", "x-key: two"]),
        ({"header": "X-Key"}, ["X-Key: " + "a" * 8000, "X-Key: " + "a" * 7999 + "b"]),
        ({"cookie": "who"}, ["Cookie: a=b; who=one", "Cookie: who=two"]),
        ([{"header": "X-A"}, {"header": "X-B"}], ["X-A: 1\r\nX-B: 2", "X-A: 2\r\nX-B: 1"]),
    ],
)
def test_each_key_has_its_own(stage: Stage, by, lines):
    front = limited(stage, rate="1/h", by=by)
    assert [front.balancer.get("/", line).status for line in lines * 2] == [200, 200, 429, 429]


@pytest.mark.parametrize(
    "by, targets",
    [("path", ["/a?x=1", "/b"]), ({"query": "k"}, ["/?k=1", "/?z=0&k=2"])],
)
def test_targets_as_keys(stage: Stage, by, targets):
    front = limited(stage, rate="1/h", by=by)
    got = [front.balancer.get(target).status for target in targets * 2]
    assert got == [200, 200, 429, 429]


def test_who_leaves_the_key_out_is_counted_by_address(stage: Stage):
    front = limited(stage, rate="1/h", by={"header": "X-Key"})
    assert statuses(front, 1) + statuses(front, 1, "X-Key:") == [200, 429]
    assert statuses(front, 1, "X-Key: 127.0.0.1") == [200]


def test_a_dry_run_only_counts(stage: Stage):
    front = limited(stage, rate="1/h", dry_run=True)
    assert statuses(front, 3) == [200] * 3
    assert front.balancer.counters()["workers"]["rate_dry_run"] == 2


def test_a_reload_keeps_what_was_used(stage: Stage):
    front = limited(stage, rate="2/h", by="client")
    assert statuses(front, 3) == [200, 200, 429]
    config = front.balancer.config
    config["listeners"]["web"]["routes"][0]["filters"][0]["rate_limit"]["headers"] = True
    front.balancer.reload(config)
    assert statuses(front, 1) == [429]


@pytest.mark.parametrize("workers", [2, 4])
def test_it_is_exact_over_all_workers(stage: Stage, workers: int):
    """As many connections as it takes to reach every worker, for a second at least.

    Where an answer is a refusal the bucket is empty: all that it has given until then has passed. It
    never is full again, for nothing stands still for as long as its burst takes to come back.
    """
    rate, burst = 200, 1000
    limit = {"rate": f"{rate}/s", "burst": burst}
    route = {"filters": [{"rate_limit": limit}, {"respond": 204}]}
    balancer = stage.balancer(site("127.0.0.1:9", routes=[route]), workers=workers)
    passed: list[int] = []
    first: list[float] = []  # when each thread had its first answers
    empty: list[float] = []  # when each asked for the last time, and was refused
    begun = time.monotonic()

    def load() -> None:
        with balancer.wire() as wire:
            count, statuses, asked = 0, [204], begun
            while 429 not in statuses or asked < begun + 1.0:
                asked = time.monotonic()
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 20)
                statuses = [wire.read().status for _ in range(20)]
                if not count:
                    first.append(time.monotonic())
                count += statuses.count(204)
            passed.append(count)
            empty.append(asked)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    counted = balancer.counters()["routes"]["web routes[0]"]
    assert counted["status"][2] == sum(passed)
    assert sum(passed) <= burst + rate * took
    assert sum(passed) >= burst + rate * (max(empty) - min(first)) - 1


@pytest.mark.parametrize(
    "said, words",
    [
        ({}, "rate"),
        ("5", "is no rate; write e.g. 500/s"),
        ("0/s", "lets nothing pass"),
        ("5/0s", "lets nothing pass"),
        ("9999999/s", "is no limit"),
        ({"rate": "1/s", "by": "clint"}, "is no key; write one of client"),
        ({"rate": "1/s", "by": {"header": "A", "path": True}}, "one thing, and here stand 2"),
        ({"rate": "1/s", "by": ["client"] * 5}, "at most 4"),
        ({"rate": "1/s", "keys_max": 10}, "512"),
        ({"rate": "1/365d", "burst": 100}, "more than ten years"),
    ],
)
def test_faults_of_the_file(said, words):
    with pytest.raises(ValidationError, match=words):
        RouteFilter.model_validate({"rate_limit": said if said else {}})
