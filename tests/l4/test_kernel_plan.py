"""Which listeners the kernel takes, and the one line that says why it leaves the others."""

from __future__ import annotations

import ipaddress

import pytest

from fourseven.balancing.probe import key_of_address
from fourseven.compiler.compile import compile_plan
from fourseven.l4.abilities import Ability
from fourseven.l4.facts import UNASKED, Facts
from fourseven.l4.kernel_plan import (
    AT_RANDOM,
    BY_HASH,
    DIRECT,
    IN_TURN,
    ROUTED,
    TCP,
    UDP,
    address_bits,
    end,
    kernel_plan,
    unfit,
)
from fourseven.model import Config
from support.reference_l4 import hash_of

SERVERS = ["10.0.0.1:80", "10.0.0.2:80"]


def compiled(backend=None, facts=UNASKED, **listener):
    said = {
        "bind": "10.9.0.1:80",
        **({} if "routes" in listener else {"backend": "web"}),
        **listener,
    }
    web = {"servers": SERVERS, "return_path": "routed", **(backend or {})}
    file = {
        "listeners": {"in": said},
        "backends": {"web": web, "other": {"servers": SERVERS}},
        "kernel": {"plane": "tcx"},
    }
    return compile_plan(Config.model_validate(file), facts)


def planned(backend=None, **listener):
    return kernel_plan(compiled(backend, **listener), "tcx")


def reason_of(backend=None, facts=UNASKED, **listener):
    plan = compiled(backend, facts, **listener)
    backends = {backend.name: backend for backend in plan.backends}
    return unfit(plan.listeners[0], backends, ABLE, facts)


def fact(*own: str, local=(), still=()) -> Facts:
    mine = tuple(address_bits(address) for address in own)
    every = (1 << 128) - 1
    return Facts(
        own=mine, local=tuple((address_bits(one), every) for one in (*own, *local)), still=still
    )


ABLE = Ability(frozenset({IN_TURN, AT_RANDOM, BY_HASH}), frozenset({ROUTED, DIRECT}))


REFUSED = [
    ({"bind": "127.0.0.1:80"}, {}, "only this host itself comes to tcp://127.0.0.1:80"),
    ({"bind": "10.9.0.1:0"}, {}, "tcp://10.9.0.1:0 gets a port of the relay's"),
    ({"bind": ":80"}, {"servers": ["10.0.0.1:80", "[fd00::1]:80"]}, "the servers of tcp://[::]:80"),
    ({}, {"servers": ["127.0.0.1:81"]}, "the server 127.0.0.1:81 is on this host, and none but"),
    ({}, {"return_path": "masquerade"}, "it has no return_path masquerade; it has routed, direct"),
    ({"bind": "10.9.0.1:81"}, {"return_path": "direct"}, "return_path direct changes no port"),
    ({"bind": "unix:/run/x.sock"}, {}, "unix:/run/x.sock is no address of a network"),
    ({"protocol": "http"}, {}, "L7: protocol: http asks for it"),
    ({"connections_max": 5}, {}, "connections_max is the relay's"),
    ({"routes": [{"backends": {"web": 1, "other": 1}}]}, {}, "routes by address and backends"),
    (
        {"routes": [{"match": {"address": "10.0.0.0/8"}, "backend": "web"}]},
        {},
        "a match by address is the relay's",
    ),
    ({}, {"balance": "least_requests"}, "it cannot balance by least_requests; it can by round_rob"),
    ({}, {"balance": {"maglev": {"bounded_load": 120}}}, "bounded_load needs counters of its own"),
    ({}, {"servers": ["db.example.com:80"]}, "the server db.example.com:80 is no IP address"),
    ({}, {"servers": ["unix:/run/x.sock"]}, "the server unix:/run/x.sock is no IP address"),
    ({}, {"servers": ["[fd00::1]:80"]}, "tcp://10.9.0.1:80 and its servers are of different"),
    ({"bind": "[fd00::9]:80"}, {}, "tcp://[fd00::9]:80 and its servers are of different"),
    ({}, {"servers": [{"address": SERVERS[0], "max_in_flight": 3}]}, "max_in_flight is counted"),
]


@pytest.mark.parametrize("listener,backend,said", REFUSED)
def test_what_the_kernel_leaves_to_others(listener, backend, said):
    assert reason_of(backend, **listener).startswith(said)


HOSTS = [
    ({"bind": ":80"}, {}, fact(), "tcp://[::]:80 is every address, and this host has none"),
    ({"bind": "0.0.0.0:80"}, {}, fact("fd00::9"), "tcp://0.0.0.0:80 is every address, and this"),
    ({}, {}, fact(local=["10.0.0.2"]), "the server 10.0.0.2:80 is on this host"),
    ({}, {}, fact(still=((4, "it stands still"),)), "it stands still"),
    ({}, {}, fact(still=((6, "it stands still"),)), ""),
    ({"bind": ":80"}, {}, fact("10.9.0.1"), ""),
]


@pytest.mark.parametrize("listener,backend,facts,said", HOSTS)
def test_what_a_host_keeps_from_the_kernel(listener, backend, facts, said):
    found = reason_of(backend, facts, **listener)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_wildcard_stands_for_the_addresses_of_the_host():
    own = [address_bits(one) for one in ("10.9.0.1", "10.9.0.2", "fd00::9")]
    for bind in (":80", "0.0.0.0:80"):
        services = kernel_plan(compiled(bind=bind), "tcx", own).services
        assert [str(one.vip) for one in services] == ["10.9.0.1:80", "10.9.0.2:80"]
    six = {"servers": ["[fd00::1]:80"]}
    services = kernel_plan(compiled(six, bind=":80"), "tcx", own).services
    assert [str(one.vip) for one in services] == ["[fd00::9]:80"]


def test_ranges_go_port_by_port_to_servers_with_ranges():
    ranged = {"servers": ["10.0.0.1:9000-9002", {"address": "10.0.0.2:9100-9102", "weight": 2}]}
    services = planned(ranged, bind="10.9.0.1:8000-8002").services
    assert [(one.listener, str(one.vip), *map(str, one.servers)) for one in services] == [
        (f"in:800{i}", f"10.9.0.1:800{i}", f"10.0.0.1:900{i}", f"10.0.0.2:910{i}") for i in range(3)
    ]
    services = planned(bind="10.9.0.1:8000-8002").services
    assert [(one.listener, str(one.vip), str(one.servers[0])) for one in services] == [
        ("in", f"10.9.0.1:800{i}", "10.0.0.1:80") for i in range(3)
    ]


def test_what_the_kernel_takes():
    found = planned({"balance": "maglev"}, bind=["10.9.0.1:80", "10.9.0.2:81"], idle_timeout="5s")
    assert [(str(s.vip), s.protocol, s.pick) for s in found.services] == [
        ("10.9.0.1:80", TCP, BY_HASH),
        ("10.9.0.2:81", TCP, BY_HASH),
    ]
    assert len(found.services[0].table) == 65_537
    assert [str(server) for server in found.services[0].servers] == SERVERS
    assert found.services[0].idle_ms == 5000
    assert (found.families(), found.protocols()) == ({4}, {TCP})


def test_weights_and_chance():
    weighted = [{"address": SERVERS[0], "weight": 3}, SERVERS[1]]
    [service] = planned({"servers": weighted, "balance": "random"}).services
    assert sorted(service.table) == [0, 0, 0, 1]
    [service] = planned({"servers": weighted}, bind="udp://10.9.0.1:53").services
    assert (service.protocol, service.pick, sorted(service.table)) == (UDP, IN_TURN, [0, 0, 0, 1])


@pytest.mark.parametrize("address,bits", [("10.1.2.3", 24), ("192.0.2.255", 32), ("fd00::1:2", 64)])
def test_a_client_meets_the_server_that_the_relay_would_choose(address, bits):
    v4 = "." in address
    prefix = {"prefix_v4": bits} if v4 else {"prefix_v6": bits}
    servers = SERVERS if v4 else ["[fd00::1]:80", "[fd00::2]:80"]
    bind = "10.9.0.1:80" if v4 else "[fd00::9]:80"
    [service] = planned(
        {"balance": {"source_hash": prefix}, "servers": servers}, bind=bind
    ).services
    packed = address_bits(address).to_bytes(16, "big")
    relays = key_of_address(packed, *((bits, 128) if v4 else (32, bits)))
    assert hash_of(address_bits(address) & service.mask) == relays


def test_ends_read_as_they_are_written():
    for text in ("10.0.0.1:80", "[fd00::1]:443"):
        assert str(end(text)) == text
    assert end("name:80") is None
    assert address_bits("0.0.0.1") == int(ipaddress.ip_address("::ffff:0.0.0.1"))
