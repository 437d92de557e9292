"""Tiers: by number, by zone, and those that discovery finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fourseven.compiler.compile import compile_plan
from fourseven.compiler.layer import decide
from fourseven.config.load import loads
from fourseven.errors import ConfigErrors
from fourseven.l4.kernel_plan import kernel_plan
from fourseven.plan import Plan


def plan_of(backend: dict[str, Any], **more: Any) -> Plan:
    config = {
        "listeners": {"l": {"bind": "10.0.0.9:80", "backend": "b"}},
        "backends": {"b": backend},
        **more,
    }
    return compile_plan(loads(yaml.safe_dump(config).encode(), "f.yaml"))


SERVERS = [
    {"address": "10.0.0.1:80", "zone": "eu-1a"},
    {"address": "10.0.0.2:80", "zone": "eu-1b"},
    {"address": "10.0.0.3:80"},
    {"address": "10.0.0.4:80", "zone": "eu-1a", "tier": 1},
]


def tiers(plan: Plan) -> list[tuple[tuple[int, ...], int]]:
    return [(tier.members, tier.spill_percent) for tier in plan.backends[0].tiers]


def test_a_zone_goes_before_the_others_of_its_tier():
    plan = plan_of({"servers": SERVERS, "locality": True}, zone="eu-1a")
    assert tiers(plan) == [((0,), 70), ((1, 2), 0), ((3,), 0)]
    plan = plan_of({"servers": SERVERS, "locality": {"spill": "50%"}}, zone="eu-1b")
    assert tiers(plan) == [((1,), 50), ((0, 2), 0), ((3,), 0)]
    plan = plan_of({"servers": SERVERS, "locality": True}, zone="elsewhere")
    assert tiers(plan) == [((0, 1, 2), 0), ((3,), 0)]
    plan = plan_of({"servers": SERVERS}, zone="eu-1a")
    assert tiers(plan) == [((0, 1, 2), 0), ((3,), 0)]
    plan = plan_of({"servers": SERVERS, "locality": True, "balance": "maglev"}, zone="eu-1a")
    assert plan.backends[0].tiers[0].spill_by_hash


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ({"servers": SERVERS, "locality": True}, "where are we"),
        ({"servers": SERVERS, "locality": {"spill": "0%"}}, "never spills"),
        ({"servers": [{"address": "a:1", "zone": "a b"}]}, "zone"),
        ({"servers": ["10.0.0.1:80"], "protocol": "h2", "limits": {"connections": 3}}, "HTTP/1.1"),
        ({"servers": [{"address": "10.0.0.1:80", "health": {"rise": 3}}]}, "has no health"),
    ],
)
def test_what_cannot_be(backend: dict[str, Any], words: str):
    with pytest.raises(ConfigErrors, match=words):
        plan_of(backend)


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        ({"persistence": "source"}, "source_hash"),
        ({"limits": {"connections": 3}}, "limits"),
        ({"breaker": True}, "health and ejection"),
        ({"servers": SERVERS}, "another tier"),
    ],
)
def test_what_is_the_relay_s_is_said(backend: dict[str, Any], why: str):
    """`check` and `explain` show it: the lowest plane that can, and why no lower one."""
    plan = plan_of({"servers": ["10.0.0.1:80"], **backend})
    listener = plan.listeners[0]
    assert (listener.layer, listener.plane) == ("L4", "relay")
    assert any(why in line for line in listener.refused)


def test_a_fallback_is_the_relay_s():
    route = {"routes": [{"backend": "b", "fallback": "c"}], "bind": "10.0.0.9:80"}
    servers = {"servers": ["10.0.0.1:80"]}
    config = {"listeners": {"l": route}, "backends": {"b": servers, "c": servers}}
    plan = compile_plan(loads(yaml.safe_dump(config).encode(), "f.yaml"))
    assert plan.listeners[0].plane == "relay"
    assert "fallback" in plan.listeners[0].refused[0]


def test_a_name_needs_the_hello():
    plan = plan_of({"servers": ["10.0.0.1:443"], "persistence": "sni"})
    assert (plan.listeners[0].layer, plan.listeners[0].hello) == ("L4 + peek", True)


@pytest.mark.parametrize(
    ("route", "listener", "holds"),
    [
        ({}, {}, True),
        ({"tls": "passthrough"}, {"tls": True}, True),
        ({}, {"tls": True}, False),
        ({"match": {"path": "/a/"}}, {"proxy_protocol": {"from": ["10.0.0.0/8"]}}, False),
    ],
)
def test_a_session_needs_tls_that_is_passed_through(route, listener, holds):
    config = {
        "listeners": {"l": {"bind": "10.0.0.9:443", "routes": [{**route, "backend": "b"}]}},
        "backends": {"b": {"servers": ["10.0.0.1:443"], "persistence": "tls_session"}},
    }
    if listener.pop("tls", False):
        config["listeners"]["l"]["tls"] = {"certificates": "a.pem"}
    config["listeners"]["l"] |= listener
    raw = yaml.safe_dump(config).encode()
    if holds:
        assert decide(loads(raw, "f.yaml"), "l").conflicts == ()
        return
    with pytest.raises(ConfigErrors, match="tls_session is for TLS that is passed through"):
        loads(raw, "f.yaml")


def test_tiers_that_were_found_serve_in_a_kernel_plane():
    """One after the other: of the first that has any server the plane picks."""
    from dataclasses import replace

    from fourseven.compiler.anew import with_servers

    plan = plan_of({"servers": ["10.0.0.1:80"]})
    backend = plan.backends[0]
    first, spare = backend.servers[0], replace(backend.servers[0], address="10.0.0.2:80", tier=1)
    plan = replace(
        plan,
        backends=(with_servers(backend, (first, spare)),),
        listeners=(replace(plan.listeners[0], plane="tcx"),),
    )
    assert set(kernel_plan(plan, "tcx").services[0].table) == {0}
    down = {("b", "10.0.0.1:80")}
    assert set(kernel_plan(plan, "tcx", down=down).services[0].table) == {1}


def test_checks_of_one_server(tmp_path: Path):
    own = {"interval": "5s", "rise": 4, "port": 81, "jitter": "0%"}
    servers = [
        "10.0.0.1:80",
        {"address": "10.0.0.2:80", "health": own},
        {"address": "10.0.0.3:80", "health": False},
    ]
    health = {"tcp": {}, "interval": "1s", "fall": 7, "jitter": "25%"}
    backend = plan_of({"servers": servers, "health": health}).backends[0]
    plain, special, never = backend.servers
    assert (plain.health, plain.unchecked) == (None, False)
    assert special.health is not None
    assert (special.health.interval_ms, special.health.rise, special.health.fall) == (5000, 4, 7)
    assert (special.health.port, special.health.jitter_percent) == (81, 0)
    assert special.health.check == backend.health.check
    assert never.unchecked
    assert backend.health.jitter_percent == 25
