"""Which server gets which request, and what it is told: matches, filters, trust, many routes."""

from __future__ import annotations

from typing import Any

import pytest

from support.balancer import Balancer, Config
from support.front import Stage
from support.recorder import Recorder
from support.wire import chunked

NAMES = ["videos", "billing", "mobile", "gold", "inner", "web"]


def many(stage: Stage, routes: list[dict[str, Any]], **listener: Any) -> tuple[Balancer, Config]:
    """A balancer with these routes, and one server for each backend of NAMES."""
    servers = {name: stage.server(name) for name in NAMES}
    config = {
        "listeners": {"web": {"protocol": "http", "routes": routes, **listener}},
        "backends": {name: {"servers": [server.address]} for name, server in servers.items()},
    }
    return stage.balancer(config), config


def route(match: dict[str, Any] | None, backend: str, *filters: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"backend": backend}
    if match is not None:
        made["match"] = match
    if filters:
        made["filters"] = list(filters)
    return made


def server(stage: Stage, name: str) -> Recorder:
    return next(each for each in stage.servers if each.name == name)


PHONE = "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148"


def test_first_match_wins(stage: Stage):
    """The routes of the mission, with combinations."""
    routes = [
        route({"path": "/videos/"}, "videos"),
        route({"path": "/billing/", "method": ["GET", "POST"]}, "billing"),
        route({"device": "mobile"}, "mobile"),
        route({"any": [{"cookie": {"plan": "gold"}}, {"query": {"plan": "gold"}}]}, "gold"),
        route(
            {"host": "*.inner.example", "not": {"header": {"X-Out": {"present": True}}}}, "inner"
        ),
        route(None, "web"),
    ]
    balancer, _ = many(stage, routes)
    table = [
        ("/videos/1", [], "videos"),
        ("/videos", [], "videos"),
        ("/videosX", [], "web"),
        ("/x/../videos/1", [], "videos"),
        ("/videos/", [PHONE], "videos"),
        ("/billing/1", [], "billing"),
        ("/", [PHONE], "mobile"),
        ("/", ["Cookie: a=b; plan=gold"], "gold"),
        ("/?x=y&plan=gold", [], "gold"),
        ("/?plan=golden", [], "web"),
        ("/", [], "web"),
    ]
    for target, lines, wanted in table:
        assert balancer.get(target, *lines).body.decode() == wanted, (target, lines)
    delete = b"DELETE /billing/1 HTTP/1.1\r\nHost: a\r\n\r\n"
    assert balancer.ask(delete).body == b"web"
    for host, lines, wanted in [
        ("a.inner.example", "", b"inner"),
        ("A.INNER.example:80", "", b"inner"),
        ("inner.example", "", b"web"),
        ("a.inner.example", "X-Out: 1\r\n", b"web"),
    ]:
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode()
        assert balancer.ask(request).body == wanted, host


def test_thousands_of_routes_in_their_order(stage: Stage):
    routes = [
        route({"path": f"/tenant{number}/"}, NAMES[number % len(NAMES)]) for number in range(5000)
    ]
    routes += [route({"host": f"h{number}.example"}, NAMES[number % 6]) for number in range(2000)]
    balancer, _ = many(stage, [*routes, route(None, "web")])
    with balancer.wire() as wire:
        for number in (0, 1, 2, 777, 2500, 4998, 4999):
            wire.send(f"GET /tenant{number}/a HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert wire.read().body.decode() == NAMES[number % 6]
        for number in (0, 3, 1999):
            wire.send(f"GET /a HTTP/1.1\r\nHost: h{number}.example\r\n\r\n".encode())
            assert wire.read().body.decode() == NAMES[number % 6]


PAYLOADS = [
    (b'{"user": {"plan": "gold"}}', "application/json", "gold"),
    (b'{"user": {"plan": "g\\u006fld"}}', "application/json; charset=utf-8", "gold"),
    (b'{"user": {"plan": "silver"}}', "application/json", "web"),
    (b'{"user": "gold"}', "application/json", "web"),
    (b"not json at all, gold", "application/json", "web"),
    (b"", "application/json", "web"),
    (b"<soap:Envelope>" + b" " * 3000, "text/xml", "inner"),
    (b" " * 100_000, "application/octet-stream", "web"),
]


@pytest.mark.parametrize("framing", ["length", "chunked", "bytes", "late"])
def test_the_payload_decides(stage: Stage, framing: str):
    """Whatever the framing and the pieces; and the whole body arrives, the looked-at part too."""
    routes = [
        route({"body": {"json": {"/user/plan": "gold"}}}, "gold"),
        route({"body": {"contains": "<soap:Envelope"}}, "inner"),
        route(None, "web"),
    ]
    balancer, _ = many(stage, routes)
    for body, kind, wanted in PAYLOADS:
        head = f"POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n".encode()
        if framing == "chunked":
            parts = [body[at : at + 7] for at in range(0, min(len(body), 700), 7)] + [body[700:]]
            rest = b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*filter(None, parts))
        else:
            rest = b"Content-Length: %d\r\n\r\n" % len(body) + body
        pieces = [head + rest]
        if framing == "bytes":
            pieces = [(head + rest)[at : at + 1] for at in range(min(len(head + rest), 400))]
            pieces.append((head + rest)[400:])
        if framing == "late":
            pieces = [head + rest[: len(rest) - len(body)], body]
        with balancer.wire() as wire:
            wire.send_each(pieces)
            assert wire.read().body.decode() == wanted, (body[:50], framing)
        server(stage, wanted).settle()
        assert server(stage, wanted).requests[-1].body == body


def test_a_payload_that_must_be_asked_for(stage: Stage):
    """The client waits for 100 before it sends what decides the route."""
    routes = [route({"body": {"json": {"/user/plan": "gold"}}}, "gold"), route(None, "web")]
    balancer, _ = many(stage, routes)
    body = b'{"user": {"plan": "gold"}}'
    with balancer.wire() as wire:
        wire.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
        wire.send(b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert wire.read_head().status == 100
        wire.send(body)
        answer = wire.read()
        assert answer.body == b"gold"
        assert answer.interim == []
    assert server(stage, "gold").requests[0].body == body


def test_filters(stage: Stage):
    routes = [
        route({"path": "/api/"}, "web", {"rewrite": "/v2/"}),
        route(
            {"path": "/headers/"},
            "web",
            {"request_headers": {"set": {"X-Set": "{client.address}"}, "remove": ["X-Gone"]}},
            {"response_headers": {"set": {"X-From": "us"}, "remove": ["X-Secret"]}},
        ),
        route({"path": "/host/"}, "web", {"host": "app.internal"}),
        {
            "match": {"path": "/moved/"},
            "filters": [{"redirect": {"prefix": "/new/", "status": 301}}],
        },
        {"match": {"path": "/gone/"}, "filters": [{"respond": {"status": 410, "body": "gone"}}]},
        route(None, "web"),
    ]
    balancer, _ = many(stage, routes)
    web = server(stage, "web")
    web.on(b"/headers/a", lambda c, _: c.answer(b"", headers=b"X-Secret: 1\r\nX-Kept: 2\r\n"))
    assert balancer.get("/api/a?b=c").status == 200
    answer = balancer.get("/headers/a", "X-Gone: 1", "x-set: spoofed", "X-Kept: 3")
    assert answer.get("x-from") == b"us"
    assert answer.get("x-secret") is None
    assert answer.get("x-kept") == b"2"
    assert balancer.get("/host/a").status == 200
    moved = balancer.get("/moved/a?b=c")
    assert moved.status == 301
    assert moved.get("location") == b"/new/a?b=c"
    gone = balancer.get("/gone/a")
    assert (gone.status, gone.body) == (410, b"gone")
    web.settle()
    seen = {each.target: each for each in web.requests}
    assert set(seen) == {b"/v2/a?b=c", b"/headers/a", b"/host/a"}
    assert seen[b"/headers/a"].all("x-set") == [b"127.0.0.1"]
    assert seen[b"/headers/a"].all("x-gone") == []
    assert seen[b"/headers/a"].all("x-kept") == [b"3"]
    assert seen[b"/host/a"].get("host") == b"app.internal"


def test_nothing_can_be_injected_by_a_filters_variable(stage: Stage):
    """A value from the request never becomes a second header line, in either direction."""
    routes = [
        {"match": {"path": "/moved/"}, "filters": [{"redirect": "http://b{path}{query}"}]},
        route(
            None,
            "web",
            {"request_headers": {"set": {"X-Q": "{query}", "X-P": "{path}"}}},
            {"response_headers": {"set": {"X-H": "{header.X-A}"}}},
        ),
    ]
    balancer, _ = many(stage, routes)
    for target in ("/a%0d%0aX-Evil:%201", "/a?%0d%0aX-Evil:1", "/moved/%0d%0aX-Evil:%201?%0d%0a"):
        answer = balancer.get(target, "X-A: b\tc")
        assert answer.get("x-evil") is None
    server(stage, "web").settle()
    assert not any(each.all("x-evil") for each in server(stage, "web").requests)


@pytest.mark.parametrize(
    ("sent", "seen", "matches"),
    [
        ([], b"127.0.0.1", "web"),
        (["X-Forwarded-For: 10.1.2.3"], b"10.1.2.3, 127.0.0.1", "inner"),
        (["X-Forwarded-For: 6.6.6.6, 10.1.2.3"], b"6.6.6.6, 10.1.2.3, 127.0.0.1", "inner"),
        (["X-Forwarded-For: 10.1.2.3, 6.6.6.6"], b"10.1.2.3, 6.6.6.6, 127.0.0.1", "web"),
        (["X-Forwarded-For: 10.1.2.3, 127.0.0.9"], b"10.1.2.3, 127.0.0.9, 127.0.0.1", "inner"),
        (["X-Forwarded-For: ::ffff:10.1.2.3"], b"::ffff:10.1.2.3, 127.0.0.1", "inner"),
    ],
)
def test_a_trusted_proxy_is_believed_from_the_right(
    stage: Stage, sent: list[str], seen: bytes, matches: str
):
    routes = [route({"address": "10.0.0.0/8"}, "inner"), route(None, "web")]
    balancer, _ = many(stage, routes, trusted=["127.0.0.0/8"])
    assert balancer.get("/", *sent).body.decode() == matches
    got = server(stage, matches)
    got.settle()
    assert b", ".join(got.requests[0].all("x-forwarded-for")) == seen


def test_an_untrusted_address_cannot_pretend(stage: Stage):
    routes = [route({"address": "10.0.0.0/8"}, "inner"), route(None, "web")]
    balancer, _ = many(stage, routes, trusted=["127.0.0.2/32"])
    lines = ("X-Forwarded-For: 10.1.2.3", "X_Forwarded_For: 10.1.2.3", "Forwarded: for=10.1.2.3")
    for line in (*lines, "X-Real-IP: 10.1.2.3", "Connection: X-Forwarded-For"):
        assert balancer.get("/", line).body == b"web"
    assert balancer.get("/", lines[0], source="127.0.0.2").body == b"inner"
