"""The demo's own network: what it joins, what it leaves, and why there may be none."""

import gc
import os
import socket

import pytest

from fourseven.demo import network
from fourseven.demo.network import BACK, FRONT, LOOPBACK, ORIGIN, place
from fourseven.l4.facts import Facts
from support.network import needs_lab


def own():
    return os.stat("/proc/thread-self/ns/net").st_ino


@pytest.mark.parametrize(
    "name,value,reason",
    [
        ("os.geteuid", lambda: 1000, "only root may have network namespaces"),
        ("shutil.which", lambda _: None, "ip (iproute2) is not installed"),
    ],
)
def test_where_it_is_not_permitted_all_is_on_loopback_and_one_line_says_why(
    monkeypatch, name, value, reason
):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(name, value)
    before = own()
    with place() as found:
        assert (found.front, found.origin, found.planes) == (LOOPBACK, LOOPBACK, ())
        assert found.notes == (f"The kernel planes are not in the table: {reason}.",)
        assert not found.apart
        with found.client(), found.balancer(), found.server():
            assert own() == before


@pytest.mark.parametrize("call", ["unshare", "setns"])
def test_a_refused_system_call_is_one_line_too(monkeypatch, call):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: "/bin/true")
    calls = {"unshare": lambda _: 0, "setns": lambda *_: 0} | {call: lambda *_: -1}
    monkeypatch.setattr(
        network, "libc", type("Libc", (), {n: staticmethod(c) for n, c in calls.items()})
    )
    with place() as found:
        assert not found.apart
        (note,) = found.notes
        assert f"not permitted here ({call})" in note
        assert "\n" not in note


@needs_lab()
def test_client_balancer_and_origin_are_apart_and_packets_are_routed():
    gc.collect()  # what other tests have left to it is closed now, not amid this one
    before, open_before = own(), len(os.listdir("/proc/self/fd"))
    with place() as found:
        assert found.apart
        assert found.planes == ("tcx", "nftables")
        assert found.notes == ()
        spaces = set()
        for one in (found.client, found.balancer, found.server):
            with one():
                spaces.add(own())
            assert own() == before
        assert len(spaces | {before}) == 4
        for inside, address in (
            (found.balancer, FRONT),
            (found.balancer, BACK),
            (found.server, ORIGIN),
        ):
            with inside():
                listening = socket.create_server((address, 8080))
            with listening, found.client(), socket.create_connection((address, 8080), timeout=20):
                assert listening.accept()[1][0].startswith("10.47.1.")
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert own() == before


@needs_lab()
def test_a_plane_that_the_host_refuses_is_a_line_and_the_other_is_measured(monkeypatch):
    refused = (("tcx", "it needs Linux 6.6"), ("xdp", "it needs tcx"))
    monkeypatch.setattr(network, "facts", lambda: Facts(refused=refused))
    with place() as found:
        assert found.planes == ("nftables",)
        assert found.notes == ("No tcx: it needs Linux 6.6.",)
