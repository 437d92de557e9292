"""The lab itself: each topology carries what the other tests believe that it carries."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from support.lab import (
    BALANCER,
    CLIENTS,
    DIRECT,
    FAMILIES,
    MASQUERADE,
    ROUTED,
    VIPS,
    Lab,
    address,
    many,
    server_address,
)
from support.network import needs_lab
from support.opened import left, opened

pytestmark = needs_lab(plane="relay")

TCP, CLOSED = socket.SOCK_STREAM, 9
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2


def reaches(lab: Lab, name: str, target: str, patience: float = 20) -> bool:
    """A refusal from there is as good as an answer."""
    made = lab.socket(name, socket.AF_INET6 if ":" in target else socket.AF_INET, TCP)
    made.settimeout(patience)
    try:
        made.connect((target, CLOSED))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    raise AssertionError(f"somebody listens on {CLOSED}")


def fits(lab: Lab, name: str, target: str, size: int) -> bool:
    """A whole packet of `size` bytes comes there, and is refused there."""
    made = lab.socket(name, socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    made.connect((target, CLOSED))
    try:
        made.send(bytes(size - 28))
        made.recv(1)
    except ConnectionRefusedError:
        return True
    except OSError as refused:
        if refused.errno == errno.EMSGSIZE:
            return False
        raise
    raise AssertionError("an answer where nobody listens")


@pytest.fixture(params=FAMILIES, ids=["v4", "v6"])
def family(request):
    return FAMILIES[request.param]


def test_routed_servers_answer_clients_by_name(family):
    with Lab(clients=2, servers=3) as lab:
        for name in lab.clients:
            for number in (1, 2, 3):
                assert reaches(lab, name, server_address(number, family))
        assert reaches(lab, "client", VIPS[family])
        assert lab.interfaces() == [f"to-{n}" for n in (*lab.clients, *lab.servers)]


def test_masquerade_servers_know_only_their_link(family):
    with Lab(back=MASQUERADE) as lab:
        assert reaches(lab, BALANCER, server_address(1, family))
        assert not reaches(lab, "client", server_address(1, family), patience=1)


def test_direct_servers_hold_the_vip_and_answer_straight(family):
    with Lab(back=DIRECT) as lab:
        assert reaches(lab, "client", server_address(1, family))
        assert reaches(lab, "server1", CLIENTS[family])
        assert reaches(lab, "client", VIPS[family])  # the balancer's: servers hold it silently


def test_every_node_answers_for_many(family):
    for back in (ROUTED, DIRECT):
        with Lab(back=back) as lab:
            for name in ("server1", "server2", BALANCER):
                for host in (1, 1000, 65_000):
                    assert reaches(lab, "client", str(many(name, family)[host])), (back, name)
            assert reaches(lab, "server1", str(many("client", family)[7]))


def test_a_low_mtu_shows_on_its_link_alone():
    with Lab(mtu={"server1": 1400, "client": 9000, "server2": 9000}) as lab:
        low, high = (server_address(number, socket.AF_INET) for number in (1, 2))
        assert fits(lab, "client", low, 1400)
        assert not fits(lab, "client", low, 1401)
        assert fits(lab, "client", high, 9000)


def test_routers_stand_between(family):
    with Lab(routers=True, mtu={"server1": 1300}) as lab:
        assert reaches(lab, "client", server_address(1, family))
        assert reaches(lab, "client", VIPS[family])
        assert reaches(lab, "client", str(many("server2", family)[9]))
        assert lab.interfaces() == ["to-edge", "to-core"]
        assert reaches(lab, BALANCER, address("core", family))


def test_what_is_started_inside_ends_with_the_lab():
    with Lab(vip=False) as lab:
        child = lab.start("server1", "sleep", "600")
        inode = os.readlink(f"/proc/{child.process.pid}/ns/net")
        assert inode != os.readlink("/proc/self/ns/net")
        assert not reaches(lab, "client", VIPS[socket.AF_INET], patience=1)
    assert child.process.returncode is not None


def test_a_failure_while_building_leaves_nothing(monkeypatch):
    before = opened()
    monkeypatch.setattr(Lab, "hold_vips", lambda self, name: self.ip(name, "link add nonsense"))
    with pytest.raises(OSError, match="nonsense"), Lab():
        pass
    assert not left(before)


def test_a_command_that_fails_says_what_it_said():
    with Lab() as lab, pytest.raises(AssertionError, match="nosuch"):
        lab.run("client", "ip", "link", "show", "nosuch")


def test_threads_of_the_test_stay_outside():
    with Lab() as lab:
        outside = os.readlink("/proc/thread-self/ns/net")
        with lab.inside("client"):
            assert os.readlink("/proc/thread-self/ns/net") != outside
        assert os.readlink("/proc/thread-self/ns/net") == outside
