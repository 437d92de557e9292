"""Shadowed routes: what is certain is said, what is not is left alone; and the matcher agrees."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.compiler.shadow import shadowed
from fourseven.matching.probe import Probe
from fourseven.matching.records import Field, Test
from fourseven.matching.rows import pack_list
from fourseven.plan import All, Any_, Condition, Not, RoutePlan


def path(text: str, test: int = Test.TEST_SEGMENTS) -> Condition:
    return Condition(Field.FIELD_PATH, test, b"", text.encode())


def host(text: str) -> Condition:
    if text.startswith("*"):
        return Condition(Field.FIELD_HOST, Test.TEST_WILDCARD, b"", text[1:].encode())
    return Condition(Field.FIELD_HOST, Test.TEST_EXACT, b"", text.encode())


def methods(*names: str) -> Condition:
    return Condition(
        Field.FIELD_METHOD, Test.TEST_ANY_OF, b"", pack_list(n.encode() for n in names)
    )


def method(name: str) -> Condition:
    return Condition(Field.FIELD_METHOD, Test.TEST_EXACT, b"", name.encode())


def header(name: str, value: str = "", test: int = Test.TEST_EXACT) -> Condition:
    return Condition(Field.FIELD_HEADER, test, name.encode(), value.encode())


def everything() -> All:
    return All()


CASES = [
    ([path("/a"), path("/a/b")], [(1, 0)]),
    ([path("/a/b"), path("/a")], []),
    ([path("/a"), path("/ab")], []),
    ([path("/a"), path("/a/b", Test.TEST_EXACT)], [(1, 0)]),
    ([path("/a", Test.TEST_EXACT), path("/a")], []),
    ([path(""), path("/a"), method("GET")], [(1, 0)]),
    ([everything(), path("/a"), everything()], [(1, 0), (2, 0)]),
    ([host("*.example.com"), host("www.example.com")], [(1, 0)]),
    ([host("*.example.com"), host("*.www.example.com")], [(1, 0)]),
    ([host("*.example.com"), host("example.com")], []),
    ([host("a"), All((host("a"), path("/x")))], [(1, 0)]),
    ([All((host("a"), path("/x"))), host("a")], []),
    ([All((path("/x"), host("a"))), All((host("a"), path("/x/y"), method("GET")))], [(1, 0)]),
    ([methods("GET", "POST"), method("GET")], [(1, 0)]),
    ([methods("GET", "POST"), method("PUT")], []),
    ([method("GET"), methods("GET", "POST")], []),
    ([Any_((path("/a"), host("b"))), path("/a/c")], [(1, 0)]),
    ([path("/a"), Any_((path("/a"), host("b")))], []),
    ([Not(path("/a")), Not(path("/a"))], [(1, 0)]),
    ([Not(path("/a/b")), Not(path("/a"))], []),
    ([header("x", test=Test.TEST_PRESENT), header("x", "1")], [(1, 0)]),
    ([header("x", test=Test.TEST_PRESENT), header("y", "1")], []),
    ([path("/a", Test.TEST_REGEX), path("/a", Test.TEST_REGEX)], [(1, 0)]),
]


@pytest.mark.parametrize("matches,expected", CASES)
def test_shadowed(matches, expected):
    routes = [RoutePlan(f"r{i}", match) for i, match in enumerate(matches)]
    assert list(shadowed(routes)) == expected


PATHS = [path(""), path("/a"), path("/a/b"), *(path(p, Test.TEST_EXACT) for p in ("/a", "/a/b"))]
HOSTS = [host("a.com"), host("*.a.com"), host("www.a.com"), host("*.www.a.com")]
OTHERS = [
    method("GET"),
    methods("GET", "PUT"),
    header("x", "1"),
    header("x", test=Test.TEST_PRESENT),
]
LEAVES = st.sampled_from([*PATHS, *HOSTS, *OTHERS])
MATCHES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Any_(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=5,
)
REQUESTS = [
    {"method": m, "host": h, "path": p, "headers": x}
    for m in (b"GET", b"PUT", b"DELETE")
    for h in (b"a.com", b"www.a.com", b"x.www.a.com", b"b.com")
    for p in (b"/", b"/a", b"/a/b", b"/a/b/c", b"/ab")
    for x in ((), ((b"x", b"1"),), ((b"x", b"2"),))
]


@given(st.lists(MATCHES, min_size=2, max_size=4))
def test_no_request_ever_reaches_a_route_that_is_said_to_be_shadowed(matches):
    routes = [RoutePlan(f"r{i}", match) for i, match in enumerate(matches)]
    found = {later for later, _ in shadowed(routes)}
    if found:
        probe = Probe(routes)
        for request in REQUESTS:
            assert probe.request(**request).scan() not in found


def test_thousands_of_routes_are_compared_through_an_index():
    matches = [All((host(f"h{i % 50}.com"), path(f"/p{i}"))) for i in range(10_000)]
    start = time.perf_counter()
    assert list(shadowed([RoutePlan(f"r{i}", m) for i, m in enumerate(matches)])) == []
    print(f"10,000 routes: {time.perf_counter() - start:.2f} s")
