"""Every request ends once: counted at its route with its time, its bytes and, if we answered, why."""

from __future__ import annotations

import socket

from support.balancer import Balancer, site
from support.front import Stage

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def counted(balancer: Balancer, requests: int) -> dict:
    """The one route's row, once all of so many requests have ended."""
    (row,) = balancer.at_rest()["routes"].values()
    assert (row["begun"], row["ended"]) == (requests, requests)
    return row


def reasons(row: dict) -> dict:
    return {reason: n for reason, n in row["reasons"].items() if n}


def test_answers_of_a_server(stage: Stage):
    balancer = stage.balancer(site(stage.server().address))
    with balancer.wire() as wire:
        for _ in range(3):
            wire.send(GET).read()
    row = counted(balancer, 3)
    assert row["status"][2] == sum(row["latencies"]) == 3
    assert reasons(row) == {}
    assert row["bytes_in"] == 3 * len(GET)
    assert row["bytes_out"] > 0
    assert row["latency_ns"] > 0
    (backend,) = balancer.counters()["backends"].values()
    assert backend["requests"] == sum(backend["latencies"]) == 3
    assert backend["in_flight"] == 0


def test_an_answer_of_our_own_says_why(stage: Stage):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        balancer = stage.balancer(site(f"127.0.0.1:{held.getsockname()[1]}"))
        assert balancer.ask(GET).status == 502
        row = counted(balancer, 1)
    assert reasons(row) == {"connect": 1}
    assert row["status"][5] == 1


def test_a_client_that_leaves(stage: Stage):
    balancer = stage.balancer(site(stage.server().address))
    with balancer.wire() as wire:
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        balancer.get()  # by now the half has been read, too
    row = counted(balancer, 2)
    assert reasons(row) == {"client_left": 1}
    assert row["status"][0] == 1
