"""The load tool over socket pairs: what it counts, and from when it counts time."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from fourseven.demo.load import offer
from fourseven.demo.traffic import percentile, summary

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def play(answer, rate=200.0, seconds=0.05, connections=1):
    """Offers 10 requests, if nothing else is said, to `connections` threads that each run answer(socket, number)."""
    pairs = [socket.socketpair() for _ in range(connections)]
    threads = [threading.Thread(target=serve, args=(far, answer)) for _, far in pairs]
    for near, _ in pairs:
        near.setblocking(False)
    for thread in threads:
        thread.start()
    try:
        return offer([near.fileno() for near, _ in pairs], REQUEST, rate, seconds)
    finally:
        for near, _ in pairs:
            near.close()
        for thread in threads:
            thread.join()


def play_well(*arguments, **more):
    """The same where no request is to fail: a machine that stands still for a second lets one."""
    for _ in range(5):
        found = play(*arguments, **more)
        if found[1] == 0:
            break
    return found


def serve(far, answer):
    number = 0
    with far, contextlib.suppress(OSError):
        while far.recv(65_536) and answer(far, number) is not False:
            number += 1


def in_parts(*cuts):
    def answer(far, _):
        for start, end in zip((0, *cuts), (*cuts, len(ANSWER)), strict=True):
            far.sendall(ANSWER[start:end])

    return answer


def whole(text):
    return lambda far, _: far.sendall(text)


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_an_answer_may_come_in_two_parts(cut):
    answered, failed, received, _, latencies = play_well(in_parts(cut), 400.0, 0.01)
    assert (answered, failed, received) == (4, 0, 4 * len(ANSWER))
    assert len(latencies) == 4


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",  # no length
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"SSH-2.0-x\r\nContent-Length: 5\r\n\r\nhello",
        ANSWER + b"!",  # more than was announced
        b"x" * 5000,  # a head without an end
        b"HTTP/1.1 \r\n\r\n",
    ],
)
def test_a_wrong_answer_fails_and_ends_its_connection(text):
    answered, failed, _, _, latencies = play(whole(text))
    assert (answered, failed, latencies) == (0, 10, [])


@pytest.mark.parametrize("status", [b"301", b"404", b"502"])
def test_another_status_fails_and_keeps_its_connection(status):
    answered, failed, *_ = play(whole(ANSWER.replace(b"200", status)), 200.0, 0.05)
    assert (answered, failed) == (0, 10)


def test_a_lost_connection_is_one_failure():
    for _ in range(5):  # as in play_well
        answered, failed, *_ = play(lambda far, number: number < 3 and far.sendall(ANSWER))
        if answered == 3:
            break
    assert (answered, failed) == (3, 7)


def test_an_answer_that_never_comes_fails():
    answered, failed, *_ = play(lambda far, number: number and far.sendall(ANSWER), connections=2)
    assert (answered, failed) == (0, 10)


def test_a_stall_is_charged_to_every_request_that_it_delayed():
    """100 requests were due within the first half of a stall; each waited for half of it or more."""
    stall, rate = 0.2, 1000.0

    def answer(far, number):
        if number == 0:
            threading.Event().wait(stall)
        far.sendall(ANSWER)

    answered, failed, _, _, latencies = play_well(answer, rate, 2 * stall)
    assert (answered, failed) == (400, 0)
    delayed = [latency for latency in latencies if latency > 1e9 * stall / 2]
    assert len(delayed) >= rate * stall / 2


def test_a_rate_is_held():
    begun = time.perf_counter()
    answered, failed, _, took, _ = play_well(whole(ANSWER), 2000.0, 0.25, connections=4)
    assert (answered, failed) == (500, 0)
    assert took == 250_000_000
    assert time.perf_counter() - begun >= 0.25


def test_without_a_rate_every_connection_is_kept_busy():
    for seconds in (0.1, 1.0, 10.0):  # as much as the machine lets us
        found = play_well(whole(ANSWER), 0.0, seconds, connections=3)
        answered, failed, received, _, latencies = found
        assert failed == 0
        assert answered == len(latencies)
        assert received == answered * len(ANSWER)
        if answered > 100:
            break
    assert answered > 100


@pytest.mark.parametrize(
    ("values", "percent", "wanted"),
    [([], 50, 0), ([7], 99, 7), ([1, 2, 3, 4], 50, 2), (range(1, 101), 99, 99), ([1, 2], 100, 2)],
)
def test_percentile(values, percent, wanted):
    assert percentile(list(values), percent) == wanted


def test_the_summary_speaks_in_microseconds():
    assert summary(3, 1, 99, 2_000_000, [3000, 1000, 2000]) == {
        "requests": 3,
        "errors": 1,
        "bytes": 99,
        "duration_us": 2000.0,
        "p50_us": 2.0,
        "p99_us": 3.0,
    }


@pytest.mark.parametrize("size", [128, 1 << 20])
def test_the_origin_answers_and_ends_with_its_input(size):
    command = [sys.executable, "-m", "fourseven.demo.traffic", "origin", "--size", str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as origin:
        port = int(origin.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(REQUEST * 3 + REQUEST[:9])
            client.sendall(REQUEST[9:])
            got = read(client, 4 * (size + len(head(size))))
            assert got == (head(size) + b"x" * size) * 4
        command[-3:] = ["load", "127.0.0.1", str(port), "--connections", "8", "--seconds", "0.1"]
        for _ in range(5):  # as in play_well
            found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            if found["errors"] == 0:
                break
        assert found["errors"] == 0
        assert found["bytes"] == found["requests"] * (size + len(head(size)))
        origin.stdin.close()
        assert origin.wait(30) == 0


def head(size):
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n".encode()


def read(client, size):
    parts = []
    while size:
        parts.append(client.recv(min(size, 1 << 16)))
        assert parts[-1]
        size -= len(parts[-1])
    return b"".join(parts)
