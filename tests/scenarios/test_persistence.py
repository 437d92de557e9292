"""Who comes back to which server: by our cookie, the application's, a header, an address.

Each way is asked the same: a client that is known goes to its server, one that is not is balanced;
and what happens when the server drains, is down, is at its limit, or has left the file.
"""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from support.balancer import Balancer, Config, site
from support.front import Stage
from support.recorder import Conversation, Recorder
from support.service import settled
from support.wire import Message

COOKIE = re.compile(rb"(fourseven_[0-9a-f]{6})=([0-9a-f]{32}); Path=/; HttpOnly; SameSite=Lax")


def pair(stage: Stage) -> tuple[Recorder, Recorder]:
    return stage.server("first"), stage.server("second")


def persisting(servers: tuple[Recorder, ...], how: Any, **backend: Any) -> Config:
    config = site(*(server.address for server in servers))
    config["backends"]["all"] |= {"persistence": how, **backend}
    return config


def cookie_of(answer: Message) -> str:
    """Our cookie, as a browser sends it back."""
    found = COOKIE.fullmatch(answer.get("set-cookie") or b"")
    assert found, answer.headers
    return (found[1] + b"=" + found[2]).decode()


def bodies(balancer: Balancer, *lines: str, times: int = 6) -> set[bytes]:
    """Who answers that often."""
    return {balancer.get("/", *lines).body for _ in range(times)}


def test_a_cookie_leads_back(stage: Stage):
    """Over reloads too; nothing can be read from it, and who has one is given no other."""
    servers = pair(stage)
    config = persisting(servers, "cookie")
    balancer = stage.balancer(config, workers=2)
    for _ in range(2):
        answer = balancer.get("/")
        line = f"Cookie: {cookie_of(answer)}"
        assert bodies(balancer, line) == {answer.body}
        assert balancer.get("/", line).get("set-cookie") is None
        balancer.reload(config)
        assert bodies(balancer, line) == {answer.body}
    assert len(bodies(balancer)) == 2
    assert balancer.counters()["backends"]["all"]["persisted"] >= 14


@pytest.mark.parametrize("value", ["", "a" * 32, "g" * 32, "0" * 31, "127.0.0.1:80", "A" * 32])
def test_a_cookie_that_nobody_made(stage: Stage, value: str):
    balancer = stage.balancer(persisting(pair(stage), {"cookie": {"name": "s"}}))
    assert len(bodies(balancer, f"Cookie: s={value}")) == 2
    assert b"s=" in balancer.get("/", f"Cookie: s={value}").get("set-cookie")


def test_a_secret_is_rotated(stage: Stage, tmp_path):
    """The old one is still accepted, and answered with a cookie under the new one."""
    file = tmp_path / "secrets"
    file.write_text("an old secret of some length\n")
    file.chmod(0o600)
    how = {"cookie": {"secret_file": str(file), "max_age": "1h", "domain": "a.example"}}
    servers = pair(stage)
    config = persisting(servers, how)
    balancer, other = stage.balancer(config), stage.balancer(config)
    answer = balancer.get("/")
    said = answer.get("set-cookie")
    assert said.endswith(b"; Path=/; Domain=a.example; Max-Age=3600; HttpOnly; SameSite=Lax")
    line = f"Cookie: {said.split(b';')[0].decode()}"
    assert bodies(other, line) == {answer.body}, "machines with one secret agree"
    file.write_text("a new secret of some length\nan old secret of some length\n")
    balancer.reload(config)
    renewed = balancer.get("/", line)
    assert renewed.body == answer.body
    fresh = renewed.get("set-cookie").split(b";")[0].decode()
    assert fresh != line.removeprefix("Cookie: ")
    file.write_text("a new secret of some length\n")
    balancer.reload(config)
    assert bodies(balancer, f"Cookie: {fresh}") == {answer.body}
    assert len(bodies(balancer, line)) == 2


def setting(value: bytes) -> Any:
    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        name = conversation.recorder.name.encode()
        line = b"Set-Cookie: a=b\r\nSet-Cookie: sid=%s-%s; Path=/\r\n" % (name, value)
        conversation.answer(name, headers=line)

    return script


def test_the_application_s_own_cookie(stage: Stage):
    servers = pair(stage)
    for server in servers:
        server.on(b"/login", setting(b"47"))
    config = persisting(servers, {"learn": "sid"})
    balancer = stage.balancer(config, workers=2)
    assert len(bodies(balancer, "Cookie: sid=unknown")) == 2
    for _ in range(4):
        answer = balancer.get("/login")
        line = f"Cookie: sid={answer.body.decode()}-47"
        assert bodies(balancer, line) == {answer.body}
    balancer.reload(config)
    assert bodies(balancer, line) == {answer.body}


def test_a_header(stage: Stage):
    servers = pair(stage)
    config = persisting(servers, {"header": "X-Tenant"})
    balancer = stage.balancer(config, workers=2)
    owners = {tenant: bodies(balancer, f"X-Tenant: {tenant}") for tenant in range(8)}
    assert all(len(owner) == 1 for owner in owners.values())
    assert len(set().union(*owners.values())) == 2
    balancer.reload(config)
    assert owners == {tenant: bodies(balancer, f"X-Tenant: {tenant}") for tenant in range(8)}
    assert len(bodies(balancer)) == 2


def test_an_address(stage: Stage):
    servers = pair(stage)
    balancer = stage.balancer(persisting(servers, "source"), workers=2)
    owners = []
    for n in range(2, 6):
        who = set()
        for _ in range(4):
            with balancer.wire(source=f"127.0.0.{n}") as wire:
                who.add(wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").read().body)
        assert len(who) == 1
        owners.append(who)
    assert len(set().union(*owners)) == 2


def test_a_table_of_a_few_rows(stage: Stage):
    """A full table forgets whom it has not seen longest, and goes on."""
    how = {"header": {"name": "X-Tenant", "rows": 64, "ttl": "1h"}}
    balancer = stage.balancer(persisting(pair(stage), how))
    with balancer.wire() as wire:
        for n in range(2000):
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant: %d\r\n\r\n" % n)
            assert wire.read().status == 200
            if n % 50 == 0:
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Tenant: last\r\n\r\n").read()
    assert len(bodies(balancer, "X-Tenant: last")) == 1


def test_a_server_that_drains_keeps_its_clients(stage: Stage):
    servers = pair(stage)
    balancer = stage.balancer(persisting(servers, "cookie"))
    answer = balancer.get("/")
    mine = next(server for server in servers if server.name.encode() == answer.body)
    line = f"Cookie: {cookie_of(answer)}"
    balancer.order("order", "all", mine.address, False, True)
    assert bodies(balancer, line) == {answer.body}
    assert answer.body not in bodies(balancer)
    balancer.order("order", "all", mine.address, False, False)  # drained, or down
    moved = balancer.get("/", line)
    assert moved.body != answer.body
    assert bodies(balancer, f"Cookie: {cookie_of(moved)}") == {moved.body}


def test_a_server_that_is_gone_and_comes_back(stage: Stage):
    servers = pair(stage)
    config = persisting(servers, "cookie")
    balancer = stage.balancer(config)
    answer = balancer.get("/")
    line = f"Cookie: {cookie_of(answer)}"
    other = next(one for one in servers if one.name.encode() != answer.body)
    less = persisting((other,), "cookie")
    less["listeners"] = balancer.config["listeners"]
    balancer.reload(less)
    assert bodies(balancer, line) == {other.name.encode()}
    balancer.reload(balancer.config)
    assert bodies(balancer, line) == {answer.body}


def on_its_way(balancer: Balancer) -> int:
    row = balancer.counters()["routes"]["web routes[0]"]
    return int(row["begun"] - row["ended"])


@pytest.mark.parametrize("fallback", ["wait", "503"])
def test_no_other_server_will_do(stage: Stage, fallback: str):
    servers = pair(stage)
    how = {"cookie": {}, "fallback": fallback, "wait": "150ms"}
    balancer = stage.balancer(persisting(servers, how))
    said = {"listeners": balancer.config["listeners"]}
    answer = balancer.get("/")
    mine = next(server for server in servers if server.name.encode() == answer.body)
    line = f"Cookie: {cookie_of(answer)}"
    balancer.order("order", "all", mine.address, False, False)
    assert balancer.get("/", line).status == 503
    assert balancer.get("/").status == 200
    counted = balancer.at_rest()["routes"]["web routes[0]"]["reasons"]
    assert counted["persisted_down"] == 1
    if fallback == "wait":
        balancer.reload(persisting(servers, how | {"wait": "20s"}) | said)
        balancer.order("order", "all", mine.address, False, False)
        with balancer.wire() as wire:
            wire.send(f"GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n".encode())
            assert settled(lambda: on_its_way(balancer) == 1)
            balancer.order("order", "all", mine.address, True, True)
            assert wire.read().body == answer.body


def test_a_full_server_keeps_its_clients(stage: Stage):
    """One request goes elsewhere; the cookie stays."""
    go = threading.Event()
    servers = pair(stage)

    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.hold(go)
        conversation.answer(conversation.recorder.name.encode())

    for server in servers:
        server.on(b"/x", script)
    config = persisting(servers, "cookie")
    config["backends"]["all"]["servers"] = [
        {"address": server.address, "max_in_flight": 1} for server in servers
    ]
    balancer = stage.balancer(config)
    answer = balancer.get("/")
    mine = next(server for server in servers if server.name.encode() == answer.body)
    line = f"Cookie: {cookie_of(answer)}"
    with balancer.wire() as wire:
        wire.send(f"GET /x HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n".encode())
        mine.wait(lambda: len(mine.heads) == 2)
        once = balancer.get("/", line)
        assert once.body != answer.body
        assert once.get("set-cookie") is None
        go.set()
        assert wire.read().body == answer.body
    assert bodies(balancer, line) == {answer.body}
