"""Backends by weight that stay with the client."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fourseven.model import Route
from support.front import Stage


def canary(stage: Stage, sticky, weights=(3, 1)):
    names = ("stable", "canary")
    servers = {name: {"servers": [stage.server(name).address]} for name in names}
    route = {"backends": dict(zip(names, weights, strict=True)), "sticky": sticky}
    config = {"listeners": {"web": {"routes": [route]}}, "backends": servers}
    return stage.balancer(config)


def test_a_header_chooses_and_a_larger_share_moves_few(stage: Stage):
    balancer = canary(stage, {"header": "X-User"})

    def drawn() -> list[bytes]:
        return [balancer.get("/", f"X-User: {n}").body for n in range(60)]

    first = drawn()
    assert drawn() == first
    assert 4 < first.count(b"canary") < 30
    balancer.config["listeners"]["web"]["routes"][0]["backends"] = {"stable": 1, "canary": 1}
    balancer.reload(balancer.config)
    for before, after in zip(first, drawn(), strict=True):
        assert after == b"canary" or before == after


def test_a_cookie_of_ours(stage: Stage):
    balancer = canary(stage, "cookie", (1, 1))
    for _ in range(8):
        first = balancer.get("/")
        cookie = first.all("Set-Cookie")[0].split(b";")[0].decode()
        assert cookie.startswith("fourseven_choice=")
        again = [balancer.get("/", f"Cookie: a=b; {cookie}") for _ in range(4)]
        assert {one.body for one in again} == {first.body}
        assert not any(one.all("Set-Cookie") for one in again)


def test_sticky_needs_something_to_choose_among():
    with pytest.raises(ValidationError, match="by weight"):
        Route.model_validate({"backend": "a", "sticky": "client"})
