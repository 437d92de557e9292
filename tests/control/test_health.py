"""`fourseven run` with health checks: who gets requests while servers die and come back."""

from __future__ import annotations

import pytest

from support.recorder import Conversation, Recorder
from support.service import Service, settled
from support.wire import Message

FAST = {"http": "/healthz", "interval": "200ms", "fast_interval": "50ms", "timeout": "20s"}


class Moody:
    """A server whose health can be changed."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder, self.well = recorder, True
        recorder.scripts[b"/healthz"] = self.health

    def health(self, conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        status = b"200 OK" if self.well else b"503 Service Unavailable"
        conversation.send(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)

    def count(self, path: bytes) -> int:
        return sum(request.target == path for request in self.recorder.requests)


@pytest.fixture
def servers():
    with Recorder("one") as one, Recorder("two") as two:
        yield Moody(one), Moody(two)


def config(servers, **health) -> dict:
    addresses = [one.recorder.address for one in servers]
    return {
        "listeners": {"web": {"protocol": "http", "backend": "all"}},
        "backends": {"all": {"servers": addresses, "health": {**FAST, **health}}},
    }


def shares(service: Service, servers, requests: int = 10) -> list[int]:
    """Which of the servers answer, and how often. (The workers are told just after the log.)"""
    before = [one.count(b"/") for one in servers]
    for _ in range(requests):
        assert service.get(service.address()).status == 200
    return [one.count(b"/") - was for one, was in zip(servers, before, strict=True)]


def test_a_server_that_is_not_well_gets_nothing_until_it_is_again(servers):
    one, two = servers
    with Service(config(servers)) as service:
        assert settled(lambda: one.count(b"/healthz") > 0 < two.count(b"/healthz"))
        assert shares(service, servers) == [5, 5]
        one.well = False
        assert settled(lambda: shares(service, servers) == [0, 10])
        assert "state=down" in service.words()
        service.reload()
        assert shares(service, servers) == [0, 10]  # a reload does not forget it
        one.well = True
        assert settled(lambda: shares(service, servers) == [5, 5])
        assert service.words().count("state=up") > 2


def test_what_is_down_at_the_start_is_out_after_one_check(servers):
    servers[0].well = False
    with Service(config(servers, fall=100, interval="1h", fast_interval="1h")) as service:
        assert settled(lambda: shares(service, servers) == [0, 10])
        assert "state=down" in service.words()


def test_nobody_left_is_503_and_panic_uses_them_all(servers):
    for one in servers:
        one.well = False
    with Service(config(servers)) as service:
        assert settled(lambda: service.get(service.address()).status == 503)
        assert service.words().count("state=down") == 2
        assert service.reload(config(servers, panic="50%"))["code"] == 0
        assert settled(lambda: service.get(service.address()).status == 200)
        assert shares(service, servers) == [5, 5]


def test_one_that_left_while_down_is_used_when_it_comes_back_unchecked(servers):
    servers[0].well = False
    with Service(config(servers)) as service:
        assert settled(lambda: shares(service, servers) == [0, 10])
        unchecked = config(servers)
        del unchecked["backends"]["all"]["health"]
        assert service.reload(unchecked)["code"] == 0
        assert shares(service, servers) == [5, 5]


def test_a_relay_goes_by_it_too(servers):
    servers[0].well = False
    told = config(servers)
    told["listeners"]["web"]["protocol"] = "tcp"
    with Service(told) as service:
        assert settled(lambda: shares(service, servers) == [0, 10])
