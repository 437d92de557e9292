"""Which listeners the kernel takes, and the one line that says why it leaves the others."""

from __future__ import annotations

import ipaddress

import pytest

from fourseven.balancing.probe import key_of_address
from fourseven.compiler.compile import compile_plan
from fourseven.l4.kernel_plan import BY_HASH, IN_TURN, TCP, UDP, address_bits, end, kernel_plan
from fourseven.model import Config
from support.reference_l4 import hash_of

SERVERS = ["10.0.0.1:80", "10.0.0.2:80"]


def planned(backend=None, **listener):
    said = {
        "bind": "10.9.0.1:80",
        **({} if "routes" in listener else {"backend": "web"}),
        **listener,
    }
    backends = {"web": {"servers": SERVERS, **(backend or {})}, "other": {"servers": SERVERS}}
    return kernel_plan(
        compile_plan(Config.model_validate({"listeners": {"in": said}, "backends": backends}))
    )


REFUSED = [
    ({"bind": "0.0.0.0:80"}, {}, "tcp://0.0.0.0:80 is every address"),
    ({"bind": ":80"}, {}, "tcp://[::]:80 is every address"),
    ({"bind": "unix:/run/x.sock"}, {}, "unix:/run/x.sock is no address of a network"),
    ({"protocol": "http"}, {}, "L7: protocol: http asks for it"),
    ({"connections_max": 5}, {}, "connections_max is the relay's"),
    ({"routes": [{"backends": {"web": 1, "other": 1}}]}, {}, "routes by address and backends"),
    (
        {"routes": [{"match": {"address": "10.0.0.0/8"}, "backend": "web"}]},
        {},
        "a match by address is the relay's",
    ),
    ({}, {"balance": "least_requests"}, "least_requests needs counters of its own"),
    ({}, {"servers": ["db.example.com:80"]}, "the server db.example.com:80 is no IP address"),
    ({}, {"servers": ["unix:/run/x.sock"]}, "the server unix:/run/x.sock is no IP address"),
    ({}, {"servers": ["[fd00::1]:80"]}, "tcp://10.9.0.1:80 and its servers are of different"),
    ({"bind": "[fd00::9]:80"}, {}, "tcp://[fd00::9]:80 and its servers are of different"),
    ({}, {"servers": [{"address": SERVERS[0], "max_in_flight": 3}]}, "max_in_flight is counted"),
]


@pytest.mark.parametrize("listener,backend,said", REFUSED)
def test_what_the_kernel_leaves_to_others(listener, backend, said):
    found = planned(backend, **listener)
    assert found.services == ()
    [(name, reason)] = found.refused
    assert name == "in"
    assert reason.startswith(said)


def test_what_the_kernel_takes():
    found = planned({"balance": "maglev"}, bind=["10.9.0.1:80", "10.9.0.2:81"], idle_timeout="5s")
    assert found.refused == ()
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
