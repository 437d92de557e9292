"""Names and passwords: who gets in, what the server is told, and what a wrong file says."""

from __future__ import annotations

import os
import signal
from base64 import b64encode

import pytest
from pydantic import ValidationError

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load
from fourseven.errors import ConfigErrors
from fourseven.filters.basic_auth import users_in
from fourseven.forms import RouteFilter
from support.front import Stage
from support.gates import asked, guarded

# The password is "secret", at the lowest cost of each kind.
USERS = {
    "bcrypt": "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    "sha256": "$5$rounds=1000$salt$CCvcOM6b7TEJDPb37Aec/9UpOg4QhPNAxPpL9ZzjTB7",
    "sha512": "$6$rounds=1000$salt$HNxBeBnDfSfUrTj6KiLnmd7tGCvHEmcExh8kl/S0cZ5WrCciNZgfhbpkeFQ4JfkHX"
    ".8vPq45lY0iINnCx1Lkm.",
    "yes": "$y$j75$saltsalt$0gBD67sgmJgRX3RZ6wHHO7sHimQEWGCWN85o4Twogh2",
}


def basic(text: bytes, scheme: bytes = b"Basic") -> bytes:
    return scheme + b" " + b64encode(text)


WRONG = [
    basic(b"bcrypt:wrong"),
    basic(b"bcrypt:"),
    basic(b"bcrypt:secret\0"),
    basic(b"bcrypt:secret" + b"x" * 300),
    basic(b"nobody:secret"),
    basic(b"bcryp:secret"),
    basic(b"bcrypt2:secret"),
    basic(b":secret"),
    basic(b"bcrypt"),
    basic(b""),
    b"Basic",
    b"Basic !!!!",
    basic(b"bcrypt:secret")[:-2],
    basic(b"bcrypt:secret") + b"=",
    basic(b"bcrypt:secret", b"Bearer"),
    b"Basic " + b"A" * 4096,
]


def test_who_gets_in(stage: Stage):
    server = stage.server()
    config = guarded(server.address, {"basic_auth": {"users": USERS, "realm": "here"}})
    config["listeners"]["web"]["routes"].append({"backend": "all"})
    config["listeners"]["web"]["routes"][0]["match"] = {"path": "/in"}
    balancer = stage.balancer(config)
    with balancer.wire() as wire:
        for wrong in WRONG:
            answer = wire.send(asked(b"GET /in", Authorization=wrong)).read()
            assert answer.status == 401, wrong
            assert answer.get("www-authenticate") == b'Basic realm="here", charset="UTF-8"'
        two = b"\r\nAuthorization: " + basic(b"bcrypt:secret")
        twice = asked(b"GET /in", Authorization=basic(b"yes:secret") + two)
        assert wire.send(twice).read().status == 401
        assert wire.send(asked(b"GET /in")).read().status == 401
        for name in (*USERS, *USERS):  # the second time nothing is computed
            good = basic(name.encode() + b":secret", b"bASIC ")
            head = asked(b"POST /in", Authorization=good, X_Auth_User=b"root", Content_Length=b"2")
            head = head[:-2] + b"x_auth_user: root\r\n\r\n"
            assert wire.send(head, b"hi").read().status == 200, name
        # beside the route too, nobody says who he is
        assert wire.send(asked(b"GET /out", X_Auth_User=b"root")).read().status == 200
    server.settle()
    told = [one.all("x-auth-user") + one.all("x_auth_user") for one in server.requests]
    assert told == [[name.encode()] for name in (*USERS, *USERS)] + [[]]
    assert all(one.all("authorization") == [] for one in server.requests)
    assert all(one.body == b"hi" for one in server.requests[:-1])


def test_a_client_that_leaves_and_many_at_once(stage: Stage):
    server = stage.server()
    slow = {"a": USERS["bcrypt"].replace("$04$", "$07$")}
    balancer = stage.balancer(guarded(server.address, {"basic_auth": {"users": slow}}))
    request = asked(b"GET /in", Authorization=basic(b"a:x"))
    wires = [balancer.wire() for _ in range(200)]
    os.kill(balancer.pid, signal.SIGSTOP)  # so that it finds all at once
    for wire in wires:
        wire.send(request)
    os.kill(balancer.pid, signal.SIGCONT)
    statuses = []
    for n, wire in enumerate(wires):
        if n % 2:
            statuses.append(wire.read().status)
        wire.close()
    assert set(statuses) == {401, 503}  # 64 may wait
    assert statuses.count(401) >= 30


@pytest.mark.parametrize(
    "said, word",
    [
        ({"basic_auth": {}}, "nobody could come in"),
        ({"basic_auth": {"users": {"a": "secret"}}}, "htpasswd -nB"),
        ({"basic_auth": {"users": {"a": "$apr1$x$abcdefghijkl"}}}, "$apr1$"),
        ({"basic_auth": {"users": {"a:b": USERS["yes"]}}}, "no colon"),
        ({"basic_auth": {"users": USERS, "realm": 'a"b'}}, "quotes"),
    ],
)
def test_what_the_file_may_not_say(said, word):
    with pytest.raises(ValidationError) as error:
        RouteFilter.model_validate(said)
    assert word in str(error.value)


def test_a_file_of_users():
    text = f"# people\n\nalice:{USERS['yes']}\nbob:{USERS['bcrypt']}:more\n".encode()
    assert users_in(text, "f") == {"alice": USERS["yes"], "bob": USERS["bcrypt"]}
    for raw, word in [
        (b"a:{SHA}x", "f:1: .*htpasswd"),
        (b"\n", "f has 0 users"),
        (b"x\n", "f:1:"),
        (b"\xff:x", "f:1:"),
    ]:
        with pytest.raises(ValueError, match=word):
            users_in(raw, "f")


def test_a_changed_file_is_another_plan(tmp_path):
    """What the engine compares when the file has changed; names are relative to the configuration."""
    file = tmp_path / "fourseven.yaml"
    file.write_text(
        "listeners: {web: {bind: ':0', protocol: http, routes: [{backend: b, filters: "
        "[{basic_auth: users}]}]}}\nbackends: {b: {servers: ['127.0.0.1:1']}}\n"
    )
    gates = []
    for name in ("alice", "bob"):
        (tmp_path / "users").write_text(f"{name}:{USERS['yes']}\n")
        plan = compile_plan(load(file))
        gates.append(plan.listeners[0].routes[0].gates[0])
        assert name.encode() in gates[-1].texts
        assert gates[-1].files == (str(tmp_path / "users"),)
    assert gates[0] != gates[1]
    (tmp_path / "users").unlink()
    with pytest.raises(ConfigErrors, match="users cannot be read"):
        compile_plan(load(file))
