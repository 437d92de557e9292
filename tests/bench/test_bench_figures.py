"""The arithmetic of the benchmark, on numbers small enough to check by hand."""

import pytest
from bench.figures import (
    Sample,
    neighbours,
    parse_h2load,
    parse_s_time,
    parse_wrk,
    ratio_to_better,
    rotated,
    summarise,
    wrk_errors,
)
from bench.works import ROUTES_MANY, WORKS, route_target

from fourseven.demo.processes import stat, tree

REPORT = (
    "Running 1s test @ http://127.0.0.1:1/128\n  1 threads and 64 connections\n"
    '{{"wrk": {{"requests": {requests}, "bytes": 1, "duration_us": 1000000, "connect": 0, '
    '"read": {read}, "write": 0, "status": {status}, "timeout": 0, "p50_us": 5.0, "p99_us": 9.5}}}}\n'
)


def sample(cpu_us, rate=1.0, errors=""):
    return Sample(rate, 2 * cpu_us, 3 * cpu_us, cpu_us, errors)


def test_medians_leave_out_rounds_with_errors():
    found = summarise(
        [sample(10.0, 5.0), sample(99.0, 9.0, "status 1"), sample(12.0, 7.0), sample(11.0, 6.0)]
    )
    assert found.rounds == 3
    assert (found.cpu_us, found.requests_per_second) == (11.0, 6.0)
    assert (found.p50_us, found.p99_us) == (22.0, 33.0)
    assert found.spread_percent == pytest.approx(100 * 2 / 11)


def test_no_valid_round_has_no_figure():
    assert summarise([sample(1.0, errors="timeout 3")]) is None


@pytest.mark.parametrize(
    ("ours", "others", "wanted"),
    [
        (8.0, [12.0, 16.0], 1.5),
        (8.0, [None, 16.0], 2.0),
        (10.0, [5.0, 20.0], 0.5),
        (8.0, [], None),
        (None, [12.0], None),
    ],
)
def test_ratio_is_against_the_better(ours, others, wanted):
    assert ratio_to_better(ours, others) == wanted


def test_neighbours_are_counted():
    shares = [Sample(1, 1, 1, 1, others_percent=share) for share in (1.0, 40.0, 3.0)]
    assert neighbours(shares) == (3.0, 40.0)
    assert neighbours([]) == (0.0, 0.0)


def test_each_peer_is_first_equally_often():
    names = ["a", "b", "c"]
    assert [rotated(names, turn)[0] for turn in range(6)] == ["a", "b", "c", "a", "b", "c"]
    assert all(sorted(rotated(names, turn)) == names for turn in range(6))


@pytest.mark.parametrize(
    ("requests", "read", "status", "wanted"),
    [
        (1000, 0, 0, ""),
        (1000, 3, 0, "read 3"),
        (1000, 2, 7, "read 2, status 7"),
        (0, 0, 0, "no request was answered"),
    ],
)
def test_wrk_report(requests, read, status, wanted):
    found = parse_wrk(REPORT.format(requests=requests, read=read, status=status))
    assert (found["p50_us"], found["p99_us"]) == (5.0, 9.5)
    assert wrk_errors(found) == wanted


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_wrk_without_result_is_an_error(text):
    with pytest.raises(ValueError, match="wrk printed no result"):
        parse_wrk(text)


def test_each_route_has_a_request_of_its_own():
    assert len({route_target(number) for number in range(ROUTES_MANY)}) == ROUTES_MANY


def test_every_bar_of_the_issue_stands_in_the_table():
    bars = {work.name: (work.floor, work.aim) for work in WORKS if work.floor}
    assert bars == {
        "tls-128B": (1.15, 1.3),
        "tls-64KiB": (1.0, 1.2),
        "tls-new": (1.0, 1.2),
        "tls-return": (1.0, 0.0),
        "tls-resumed": (1.0, 0.0),
        "h2": (1.2, 1.5),
        "128B": (1.3, 1.5),
        "512": (1.8, 2.0),
        "64KiB": (1.5, 2.0),
        "1MiB": (2.0, 4.0),
        "new": (1.4, 1.6),
        "relay": (1.0, 1.3),
        "everything": (1.2, 0.0),
    }


def test_a_process_that_is_gone_has_no_tree():
    beyond = 2**22 + 1  # above the kernel's largest process id
    assert stat(beyond) == []
    assert tree(beyond) == []


S_TIME = (
    "Collecting connection statistics for 1 seconds\n{marks}\n\n"
    "3 connections in 0.02s; 150.00 connections/user sec, bytes read {all}\n"
    "3 connections in 2 real seconds, {each} bytes read per connection\n"
)


@pytest.mark.parametrize(
    ("marks", "wanted", "each", "errors"),
    [
        ("***", "*", 213, ""),
        ("rrr", "r", 0, ""),
        ("*r*", "*", 213, "1 handshakes were of the other kind"),
        ("***", "r", 0, "3 handshakes were of the other kind"),
        ("***", "*", 128, "answers had 128 bytes"),  # without a head, it is none
    ],
)
def test_s_time_is_read(marks, wanted, each, errors):
    text = S_TIME.format(marks=marks, all=3 * each, each=each)
    assert parse_s_time(text, wanted, 128) == {"requests": 3, "errors": errors}


def test_s_time_without_connections_is_an_error():
    with pytest.raises(ValueError, match="openssl s_time said"):
        parse_s_time("Collecting connection statistics for 1 seconds\nERROR\n", "*", 128)


H2LOAD = (
    "Application protocol: {protocol}\nfinished in 500.00ms, 8.00 req/s, 2.3MB/s\n"
    "requests: 4 total, 4 started, 4 done, 4 succeeded, {failed} failed, 0 errored, 0 timeout\n"
)


@pytest.mark.parametrize(
    ("protocol", "failed", "status", "errors"),
    [
        ("h2", 0, "200", ""),
        ("http/1.1", 0, "200", "it was not HTTP/2"),
        ("h2", 3, "200", "3 failed"),
        ("h2", 0, "502", "an answer was not 200"),
    ],
)
def test_h2load_is_read(protocol, failed, status, errors):
    log = [f"17954321\t{status}\t{time}" for time in (30, 10, 40, 20)]
    found = parse_h2load(H2LOAD.format(protocol=protocol, failed=failed), log)
    assert found["errors"] == errors
    assert (found["requests"], found["duration_us"]) == (4, 5e5)
    assert (found["p50_us"], found["p99_us"]) == (30, 40)
