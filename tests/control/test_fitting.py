"""Servers that are found, and a plane of the kernel: which it gets, and which listener it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fourseven.balancing.round_robin import RoundRobin
from fourseven.compiler.compile import compile_plan
from fourseven.control.fitting import eased, fitted
from fourseven.l4.abilities import ABILITIES
from fourseven.l4.kernel_plan import address_bits, kernel_plan, unfit
from fourseven.model import Config
from fourseven.plan import BackendPlan, Plan, ServerPlan

OWN = (address_bits("10.9.0.1"),)


def compiled(bind="10.9.0.1:80", **backend) -> Plan:
    servers = backend.pop("servers", [{"dns": "web.test:80"}])
    return compile_plan(
        Config.model_validate(
            {
                "listeners": {"in": {"bind": bind, "backend": "web"}},
                "backends": {"web": {"servers": servers, **backend}},
                "kernel": {"plane": "tcx"},
            }
        )
    )


def with_found(plan: Plan, *servers: ServerPlan) -> Plan:
    [backend] = plan.backends
    table = RoundRobin().lower([(one.address, one.weight) for one in servers]).table
    return replace(plan, backends=(replace(backend, servers=servers, table=table),))


@pytest.mark.parametrize(
    ("bind", "backend", "why"),
    [
        ("10.9.0.1:80", {}, ""),
        ("[2001:db8::1]:80", {}, ""),
        (["10.9.0.1:80", "[2001:db8::1]:80"], {}, "are of different families"),
        ("0.0.0.0:80", {}, "its servers are found while it runs"),
        ("10.9.0.1:80", {"return_path": "direct"}, "return_path direct changes no port"),
        (
            "10.9.0.1:80",
            {"servers": [{"dns": "web.test:80", "max_in_flight": 3}]},
            "max_in_flight is counted by the relay",
        ),
        ("10.9.0.1:80", {"servers": ["web.test:80"]}, "is no IP address"),
    ],
)
def test_which_listeners_a_plane_takes(bind, backend, why):
    plan = compiled(bind, **backend)
    backends: dict[str, BackendPlan] = {one.name: one for one in plan.backends}
    found = unfit(plan.listeners[0], backends, ABILITIES["tcx"])
    assert why in found
    assert bool(found) == bool(why)


def test_which_servers_it_gets():
    plan = with_found(
        compiled(),
        ServerPlan("10.0.0.1:80", 2),
        ServerPlan("[2001:db8::1]:80"),
        ServerPlan("127.0.0.1:80"),
        ServerPlan("10.0.0.2:80", max_in_flight=5),
        ServerPlan("10.0.0.3:80"),
    )
    fit, left = fitted(plan, "tcx", OWN)
    assert [one.address for one in fit.backends[0].servers] == ["10.0.0.1:80", "10.0.0.3:80"]
    assert sorted(fit.backends[0].table) == [0, 0, 1]
    assert [line.rpartition(": ")[2] for line in left] == [
        "of another family than its listener",
        "it is on this host, and none but it gets there",
        "max_in_flight is counted by the relay",
    ]
    [service] = kernel_plan(fit, "tcx", OWN).services
    assert [str(one) for one in service.servers] == ["10.0.0.1:80", "10.0.0.3:80"]


def test_until_one_is_found_the_relay_answers():
    assert kernel_plan(fitted(compiled(), "tcx", OWN)[0], "tcx", OWN).services == ()


def test_a_slow_start_is_a_smaller_weight():
    plan = compiled(servers=[{"address": "10.0.0.1:80", "weight": 2}, "10.0.0.2:80"])
    table = eased(plan, {("web", "10.0.0.2:80"): 4}).backends[0].table
    assert sorted(table) == [0] * 5 + [1]  # 20 and 4
    assert eased(plan, {}) is plan
    assert eased(plan, {("db", "10.0.0.2:80"): 4}).backends[0] is plan.backends[0]


def test_what_the_file_names_is_left_alone():
    plan = compiled(servers=["10.0.0.1:80"])
    assert fitted(plan, "tcx", OWN) == (plan, [])
    assert fitted(plan, "tcx", OWN)[0] is plan
