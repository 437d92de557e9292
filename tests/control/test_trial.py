"""A request on trial: who takes it, why the others do not, and which server it meets."""

from __future__ import annotations

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.control.question import asked
from fourseven.control.trial import judge
from fourseven.matching.records import Field, Test
from fourseven.matching.rows import pack_list
from fourseven.model import Config
from fourseven.plan import All, Any_, Condition, ListenerPlan, Not, Plan, RoutePlan
from fourseven.snapshot.layout import ListenerMode


def condition(field: int, test: int, operand: bytes = b"", name: bytes = b"", number: int = 0):
    return Condition(field, test, name, operand, number)


PATH = condition(Field.FIELD_PATH, Test.TEST_SEGMENTS, b"/videos")
TENANT = condition(Field.FIELD_HEADER, Test.TEST_EXACT, b"acme", b"x-tenant")
METHODS = condition(Field.FIELD_METHOD, Test.TEST_ANY_OF, pack_list([b"GET", b"HEAD"]))
NETWORK = condition(
    Field.FIELD_CLIENT,
    Test.TEST_RANGES,
    bytes(10) + b"\xff\xff\x0a\x00\x00\x00" + bytes(10) + b"\xff\xff\x0a\xff\xff\xff",
)


def trial(
    *matches,
    url="http://example.com/x",
    method="GET",
    headers=(),
    client="192.0.2.7",
    body=None,
    **listener,
):
    routes = tuple(RoutePlan(f"r{i}", match, source=f"f:{i}") for i, match in enumerate(matches))
    plan = ListenerPlan("web", (), ListenerMode.MODE_HTTP, routes, **listener)
    content = body.encode() if body is not None else None
    return judge(Plan((plan,), ()), plan, asked(method, url, headers, client, content))


def misses(*matches, **said):
    """What is said of the first route."""
    return [(m.field, m.wanted, m.got) for m in trial(*matches, **said).attempts[0].misses]


MISSES = [
    (PATH, {}, [("path", "/videos/ or below", "/x")]),
    (PATH, {"url": "http://h//videos/../videos/a"}, []),
    (TENANT, {}, [("header x-tenant", "acme", "nothing")]),
    (TENANT, {"headers": ["X-Tenant: zeta"]}, [("header x-tenant", "acme", "zeta")]),
    (TENANT, {"headers": ["X-Tenant: acme"]}, []),
    (METHODS, {"method": "PUT"}, [("method", "one of GET, HEAD", "PUT")]),
    (NETWORK, {}, [("the client's address", "one of 10.0.0.0/8", "192.0.2.7")]),
    (NETWORK, {"client": "10.1.2.3"}, []),
    (NETWORK, {"client": "::ffff:10.1.2.3"}, []),
    (All((PATH, TENANT)), {"url": "http://h/videos/"}, [("header x-tenant", "acme", "nothing")]),
    (
        Any_((PATH, TENANT)),
        {},
        [("path", "/videos/ or below", "/x"), ("header x-tenant", "acme", "nothing")],
    ),
    (Any_((PATH, TENANT)), {"headers": ["x-tenant: acme"]}, []),
    (Not(PATH), {"url": "http://h/videos/a"}, [("path", "not /videos/ or below", "/videos/a")]),
    (Not(Any_((PATH, TENANT))), {"headers": ["x-tenant: acme"]}, [("header x-tenant", "not acme", "acme")]),
    (Not(All((PATH, TENANT))), {"headers": ["x-tenant: acme"]}, []),
    (Not(Not(PATH)), {}, [("path", "/videos/ or below", "/x")]),
    (Any_(()), {}, [("any", "one of none", "")]),
]  # fmt: skip


@pytest.mark.parametrize("match,said,expected", MISSES)
def test_why_a_route_is_missed(match, said, expected):
    assert misses(match, **said) == expected


def test_routes_are_tried_up_to_the_one_that_takes_it():
    verdict = trial(TENANT, All(), PATH)
    assert [(a.name, a.taken) for a in verdict.attempts] == [("r0", False), ("r1", True)]
    assert verdict.route == "r1"


def test_no_route():
    verdict = trial(TENANT, PATH)
    assert (verdict.route, len(verdict.attempts)) == ("", 2)


def test_what_the_reader_refuses_is_not_tried():
    verdict = trial(All(), url="http://h/a%2fb")
    assert verdict.refused == "400: path slash"
    assert verdict.attempts == ()
    assert trial(All(), url="http://h/" + "a" * 9000).refused == "414: target long"
    assert trial(All(), headers=["A:b\r\nHost: x"]).refused == "400: host twice"


def test_the_limits_are_the_listeners():
    assert trial(All(), url="http://h/" + "a" * 90, target_max=64).refused == "414: target long"


def test_a_trusted_peer_speaks_for_a_client():
    header = ["X-Forwarded-For: 10.9.9.9"]
    assert trial(NETWORK, headers=header).client == "192.0.2.7"
    verdict = trial(NETWORK, headers=header, trusted=("192.0.2.0/24",))
    assert (verdict.peer, verdict.client, verdict.route) == ("192.0.2.7", "10.9.9.9", "r0")


def test_a_payload_is_looked_at():
    gold = condition(Field.FIELD_BODY_JSON, Test.TEST_EXACT, b"gold", b"/user/plan")
    body = '{"user": {"plan": "gold"}}'
    said = {"method": "POST", "body_prefix_max": 1024}
    assert trial(gold, body=body, **said).route == "r0"
    assert misses(gold, body='{"user": {"plan": "tin"}}', **said) == [
        ("body at /user/plan", "gold", "tin")
    ]


def test_what_comes_from_a_client_is_shown_without_control_characters():
    assert misses(TENANT, headers=["X-Tenant: \u00e9\u009b1m"])[0][
        2
    ] == "\u00c3\\xa9\u00c2\\x9b1m".replace("\u00c3\\xa9", "Ã©")


BACKEND = {"servers": ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]}
SERVERS = [
    ("round_robin", "the servers take turns, and all are idle here: this one has the first"),
    ("least_requests", "the servers take turns, and all are idle here: this one has the first"),
    ("random", "chance decides, and all servers are idle here: this is one draw"),
    ("source_hash", "the client's address (192.0.2.7) decides: the same goes there while that server takes work"),
    ({"hash": {"header": "X-Key"}}, "header x-key (k1) decides: the same goes there while that server takes work"),
    ({"maglev": {"cookie": "none"}}, "the client's address (192.0.2.7) decides: the same goes there while that server takes work"),
]  # fmt: skip


@pytest.mark.parametrize("balance,why", SERVERS)
def test_the_server_and_why_that_one(balance, why):
    verdict = served({**BACKEND, "balance": balance})
    assert verdict.server in BACKEND["servers"]
    assert verdict.why.lower() == why
    assert verdict == served({**BACKEND, "balance": balance})


def served(backend):
    listener = {"bind": "127.0.0.1:80", "protocol": "http", "routes": [{"backend": "web"}]}
    config = Config.model_validate({"listeners": {"in": listener}, "backends": {"web": backend}})
    plan = compile_plan(config)
    request = asked("GET", "http://h/", ("X-Key: k1",), "192.0.2.7", None)
    return judge(plan, plan.listeners[0], request)


def test_one_server_and_none():
    assert served({"servers": ["10.0.0.1:80"]}).why == "it is the only one"
    none = served({"servers": [{"address": "10.0.0.1:80", "weight": 0}]})
    assert (none.server, none.why) == ("", "no server takes work")


def test_a_server_that_is_hashed_is_the_one_the_engine_picks():
    """The same client always meets the same server, and clients spread over all."""
    found = {}
    for client in range(40):
        listener = {"bind": "127.0.0.1:80", "backend": "web"}
        backend = {**BACKEND, "balance": "source_hash"}
        config = Config.model_validate(
            {"listeners": {"in": listener}, "backends": {"web": backend}}
        )
        plan = compile_plan(config)
        request = asked("GET", "http://h/", (), f"192.0.2.{client}", None)
        found[client] = judge(plan, plan.listeners[0], request).server
    assert set(found.values()) == set(BACKEND["servers"])
