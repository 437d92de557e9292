"""Whoever is limited, persists or must prove himself lies about it.

Each asks for what an enemy would: a fresh bucket by a made-up address, a server by a made-up cookie,
a large answer to a large password, and times that overflow. None gets it, none is a fault, and the
next honest request is served.
"""

from __future__ import annotations

from base64 import b64encode

import pytest

from support.front import Stage
from support.gates import asked, guarded

HASHED = "$5$rounds=1000$salt$CCvcOM6b7TEJDPb37Aec/9UpOg4QhPNAxPpL9ZzjTB7"  # "secret"


def limited(address: str, **listener) -> dict:
    return guarded(address, {"rate_limit": {"rate": "3/h", "by": "client"}}, **listener)


@pytest.mark.parametrize(
    "lines",
    [
        {"X_Forwarded_For": b"10.0.0.%d"},
        {"X_Forwarded_For": b"10.0.0.%d, 127.0.0.1"},
        {"Forwarded": b"for=10.0.0.%d"},
        {"X_Real_IP": b"10.0.0.%d"},
        {"X_Forwarded_For": b"%d, " * 60 + b"::1"},
    ],
)
def test_a_stranger_s_address_is_the_one_he_comes_from(stage: Stage, lines: dict[str, bytes]):
    """Whatever he says that others said."""
    balancer = stage.balancer(limited(stage.server().address), workers=2)
    said = [
        {name: line.replace(b"%d", b"%d" % n) for name, line in lines.items()} for n in range(6)
    ]
    statuses = [balancer.ask(asked(b"GET /", **one)).status for one in said]
    assert statuses == [200] * 3 + [429] * 3


def test_behind_a_trusted_proxy_the_last_stranger_counts(stage: Stage):
    """What stands left of him is his own tale."""
    config = limited(stage.server().address, trusted=["127.0.0.0/8", "10.0.0.0/8"])
    balancer = stage.balancer(config)

    def status(line: bytes) -> int:
        return balancer.ask(asked(b"GET /", X_Forwarded_For=line)).status

    tales = [b"192.0.2.%d, 198.51.100.7, 10.1.1.%d" % (n, n) for n in range(6)]
    assert [status(tale) for tale in tales] == [200] * 3 + [429] * 3
    assert status(b"198.51.100.8") == 200
    assert status(b"junk, 198.51.100.7") == 429


def test_the_times_of_extreme_limits(stage: Stage):
    """Nothing overflows: the longest wait that a file can ask for, and the largest burst."""
    server = stage.server().address
    balancer = stage.balancer(guarded(server, {"rate_limit": {"rate": "1/3650d", "headers": True}}))
    assert [balancer.get().status for _ in range(2)] == [200, 429]
    refused = balancer.get()
    assert 315_359_000 < int(refused.get("retry-after")) <= 315_360_000
    balancer = stage.balancer(
        guarded(server, {"rate_limit": {"rate": "1000000/s", "burst": 1_000_000_000}})
    )
    assert [balancer.get().status for _ in range(3)] == [200] * 3


def test_cookies_that_are_made_up(stage: Stage):
    """Cut, turned, doubled, in another's name: each is as good as none, and leads nowhere."""
    first, second = stage.server("first"), stage.server("second")
    config = guarded(first.address)
    config["backends"]["all"] |= {
        "servers": [first.address, second.address],
        "persistence": "cookie",
    }
    balancer = stage.balancer(config)
    answer = balancer.get()
    cookie = answer.get("set-cookie").split(b";")[0]
    name, value = cookie.split(b"=")
    wrong = [
        value[:-1],
        value[:16],
        b"",
        value + b"0",
        value.upper() if value.upper() != value else value[::-1],
        value[:-1] + (b"0" if value[-1:] != b"0" else b"1"),
        b"0" * 32,
        b"f" * 32,
        b"\xff" * 32,
        b"%00" * 10,
        b"a" * 8000,
    ]
    for made_up in wrong:
        line = {"Cookie": name + b"=" + made_up}
        bodies = {balancer.ask(asked(b"GET /", **line)).body for _ in range(4)}
        assert bodies == {b"first", b"second"}, made_up
    doubled = {"Cookie": b"; ".join([name + b"=" + wrong[0], cookie])}
    assert balancer.ask(asked(b"GET /", **doubled)).status == 200
    bodies = {balancer.ask(asked(b"GET /", Cookie=cookie)).body for _ in range(4)}
    assert bodies == {answer.body}


def test_a_password_as_large_as_a_head(stage: Stage):
    config = guarded(stage.server().address, {"basic_auth": {"users": {"a": HASHED}}})
    balancer = stage.balancer(config)
    for size in (3_000, 12_000, 23_000):
        large = b"Basic " + b64encode(b"a:" + b"x" * size)
        assert balancer.ask(asked(b"GET /", Authorization=large)).status in (401, 431)
    good = b"Basic " + b64encode(b"a:secret")
    assert balancer.ask(asked(b"GET /", Authorization=good)).status == 200
