"""Access by address and CORS: who gets in, and what a browser is told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fourseven.forms import RouteFilter
from support.balancer import site
from support.front import Stage
from support.gates import asked, guarded

APP = b"https://app.example"


ACCESS = [
    ({"allow": "10.0.0.0/8"}, {"10.1.2.3": 200, "11.0.0.0": 403, "2001:db8::1": 403}),
    ({"deny": "10.0.0.0/8"}, {"10.1.2.3": 403, "11.0.0.0": 200, "2001:db8::1": 200}),
    (
        {"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.9.0.0/16", "10.1.2.3"]},
        {"10.1.2.3": 403, "10.1.2.4": 200, "10.9.0.1": 403, "2001:db8::1": 200, "9.9.9.9": 403},
    ),
    ({"deny": ["0.0.0.0/0"]}, {"10.1.2.3": 403, "::ffff:10.1.2.3": 403, "2001:db8::1": 200}),
]


def test_who_gets_in(stage: Stage):
    """One route for each rule, by path; the address is told by a trusted proxy."""
    server = stage.server()
    config = site(
        server.address,
        trusted=["127.0.0.0/8"],
        routes=[
            {"match": {"path": f"/{n}"}, "backend": "all", "filters": [{"access": said}]}
            for n, (said, _) in enumerate(ACCESS)
        ],
    )
    with stage.balancer(config).wire() as wire:
        for n, (_, clients) in enumerate(ACCESS):
            for client, status in clients.items():
                wire.send(asked(b"GET /%d" % n, X_Forwarded_For=client.encode()))
                assert wire.read().status == status, (n, client)
    server.settle()
    assert len(server.requests) == 6


def test_cors_answers(stage: Stage):
    server = stage.server()
    cors = {
        "origins": [APP.decode(), "https://*.example.com", "http://localhost:5173"],
        "methods": ["GET", "PUT"],
        "headers": ["X-Tenant"],
        "expose": "X-Total",
        "credentials": True,
        "max_age": "1m",
    }
    server.scripts[b"/own"] = lambda c, _: c.answer(
        headers=b"Access-Control-Allow-Origin: *\r\nVary: Accept\r\n"
    )
    with stage.balancer(guarded(server.address, {"cors": cors})).wire() as wire:
        ask = asked(
            b"OPTIONS /x",
            Origin=APP,
            Access_Control_Request_Method=b"PUT",
            Access_Control_Request_Headers=b"x-tenant",
        )
        answer = wire.send(ask).read()
        assert answer.status == 204
        assert answer.get("access-control-allow-origin") == APP
        assert answer.get("access-control-allow-credentials") == b"true"
        assert answer.get("access-control-allow-methods") == b"GET, PUT"
        assert answer.get("access-control-allow-headers") == b"X-Tenant"
        assert answer.get("access-control-max-age") == b"60"
        assert answer.all("vary")[0] == b"Origin"
        answer = wire.send(ask.replace(APP, b"https://evil.example")).read()
        assert (answer.status, answer.all("access-control-allow-origin")) == (403, [])
        for origin, good in ORIGINS.items():
            answer = wire.send(asked(b"GET /own", Origin=origin)).read()
            assert answer.status == 200
            assert answer.all("access-control-allow-origin") == [origin] * good, origin
            assert answer.all("access-control-expose-headers") == [b"X-Total"] * good
            assert sorted(answer.all("vary")) == [b"Accept", b"Origin"]
        # an OPTIONS that is no preflight is the server's
        assert wire.send(asked(b"OPTIONS /x", Origin=APP)).read().status == 200
        assert wire.send(asked(b"GET /x")).read().get("vary") == b"Origin"
    server.settle()


ORIGINS = {
    APP: True,
    b"https://a.example.com": True,
    b"https://a.b-c.example.com": True,
    b"http://localhost:5173": True,
    b"null": False,
    b"https://example.com": False,
    b"https://.example.com": False,
    b"https://aexample.com": False,
    b"https://evil.example/.example.com": False,
    b"https://evil.example:1.example.com": False,
    b"https://evil@a.example.com": False,
    b"http://a.example.com": False,
    b"https://a.example.com:8443": False,
    b"https://app.example.evil": False,
    b"https://app.exampl": False,
    b"http://localhost": False,
}


def test_cors_for_all(stage: Stage):
    server = stage.server()
    with stage.balancer(guarded(server.address, {"cors": "*"})).wire() as wire:
        answer = wire.send(asked(b"GET /x", Origin=b"https://any.example")).read()
        assert answer.get("access-control-allow-origin") == b"*"
        assert answer.get("vary") is None
        for list_, back in [(b"a, X-b", [b"a, X-b"]), (b"a(b", []), (b"a" * 1025, [])]:
            ask = asked(
                b"OPTIONS /x",
                Origin=b"https://any.example",
                Access_Control_Request_Method=b"GET",
                Access_Control_Request_Headers=list_,
            )
            assert wire.send(ask).read().all("access-control-allow-headers") == back


@pytest.mark.parametrize(
    "said, word",
    [
        ({"access": {}}, "says nothing"),
        ({"access": {"allow": "10.0.0.1/8"}}, "10.0.0.0/8"),
        ({"cors": {"origins": "*", "credentials": True}}, "name the origins"),
        ({"cors": "app.example"}, "no origin"),
        ({"cors": "https://app.example/"}, "no origin"),
        ({"cors": "https://app.example:443"}, "leave :443"),
        ({"cors": ["*", "https://app.example"]}, "every origin"),
        ({"cors": {"origins": "*", "methods": "GET,PUT"}}, "no name"),
    ],
)
def test_what_the_file_may_not_say(said, word):
    with pytest.raises(ValidationError) as error:
        RouteFilter.model_validate(said)
    assert word in str(error.value)


def test_an_expression_that_runs_into_its_limit_lets_nobody_pass(stage: Stage):
    """Nobody knows whether the route that refuses would have matched: so nothing is forwarded."""
    server = stage.server()
    careless = {"match": {"path": {"regex": "(a+)+$"}}, "filters": [{"respond": 403}]}
    balancer = stage.balancer(site(server.address, routes=[careless, {"backend": "all"}]))
    with balancer.wire() as wire:
        for path, status in ((b"/aa", 403), (b"/b", 200), (b"/" + b"a" * 99 + b"!", 500)):
            wire.send(asked(b"GET " + path))
            assert wire.read().status == status
    server.settle()
    assert [one.target for one in server.requests] == [b"/b"]
