"""The table: rows of (match, request, does it hold), and the index against reading in order."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourseven.matching.probe import Probe, packed_address
from fourseven.matching.records import ROUTE_NONE, Field
from fourseven.matching.records import Test as Asked
from fourseven.matching.rows import pack_list
from fourseven.plan import All, Any_, Condition, Expression, Not, RoutePlan

HOST, PATH, METHOD, HEADER, CLIENT = (
    Field.FIELD_HOST,
    Field.FIELD_PATH,
    Field.FIELD_METHOD,
    Field.FIELD_HEADER,
    Field.FIELD_CLIENT,
)
PRESENT, EXACT, PREFIX, SUFFIX, CONTAINS, ANY_OF, REGEX, GLOB, RANGES = (
    Asked.TEST_PRESENT,
    Asked.TEST_EXACT,
    Asked.TEST_PREFIX,
    Asked.TEST_SUFFIX,
    Asked.TEST_CONTAINS,
    Asked.TEST_ANY_OF,
    Asked.TEST_REGEX,
    Asked.TEST_GLOB,
    Asked.TEST_RANGES,
)


def host(name: bytes) -> Condition:
    if name.startswith(b"*"):
        return Condition(HOST, Asked.TEST_WILDCARD, operand=name[1:])
    return Condition(HOST, EXACT, operand=name)


def path(prefix: bytes) -> Condition:
    return Condition(PATH, Asked.TEST_SEGMENTS, operand=prefix.rstrip(b"/"))


def path_is(test: int, operand: bytes) -> Condition:
    return Condition(PATH, test, operand=operand)


def header(name: bytes, test: int, operand: bytes = b"") -> Condition:
    return Condition(HEADER, test, name, operand)


def client(*networks: str) -> Condition:
    pairs = []
    for text in networks:
        network = ipaddress.ip_network(text)
        first, last = network.network_address, network.broadcast_address
        pairs.append(packed_address(str(first)) + packed_address(str(last)))
    return Condition(CLIENT, RANGES, operand=b"".join(sorted(pairs)))


def routes(*matches: Expression) -> list[RoutePlan]:
    return [RoutePlan(name=f"routes[{n}]", match=match) for n, match in enumerate(matches)]


X = {
    "headers": [(b"X-Tenant", b"acme"), (b"Accept", b"a"), (b"x-tenant", b"zeta"), (b"Empty", b"")]
}
TEN = client("10.0.0.0/8")
THREE = client("2001:db8::/32", "10.0.0.0/8", "192.0.2.7/32")
NESTED = All((Not(path(b"/admin")), Any_((host(b"x"), host(b"h")))))

HOLDS = [
    # host
    (host(b"a.example"), {"host": b"a.example"}, True),
    (host(b"a.example"), {"host": b"aa.example"}, False),
    (host(b"a.example"), {"host": None}, False),
    (host(b"*.example.com"), {"host": b"a.example.com"}, True),
    (host(b"*.example.com"), {"host": b"a.b.example.com"}, True),
    (host(b"*.example.com"), {"host": b"example.com"}, False),
    (host(b"*.example.com"), {"host": b".example.com"}, False),
    (host(b"*.example.com"), {"host": b"badexample.com"}, False),
    # path by segments
    (path(b"/videos/"), {"path": b"/videos"}, True),
    (path(b"/videos/"), {"path": b"/videos/"}, True),
    (path(b"/videos/"), {"path": b"/videos/x"}, True),
    (path(b"/videos/"), {"path": b"/videosX"}, False),
    (path(b"/videos"), {"path": b"/videos/x"}, True),
    (path(b"/videos"), {"path": b"/video"}, False),
    (path(b"/"), {"path": b"/anything"}, True),
    (path(b"/"), {"path": b"*"}, False),
    # path, other tests
    (path_is(EXACT, b"/a/"), {"path": b"/a/"}, True),
    (path_is(EXACT, b"/a/"), {"path": b"/a"}, False),
    (path_is(PREFIX, b"/vid"), {"path": b"/videos"}, True),
    (path_is(PREFIX, b"/videos"), {"path": b"/vid"}, False),
    (path_is(SUFFIX, b".mp4"), {"path": b"/x.mp4"}, True),
    (path_is(SUFFIX, b".mp4"), {"path": b"mp4"}, False),
    (path_is(CONTAINS, b"x"), {"path": b"/axb"}, True),
    (path_is(CONTAINS, b"xx"), {"path": b"/x"}, False),
    (path_is(ANY_OF, pack_list([b"/b", b"/a", b"/cc"])), {"path": b"/a"}, True),
    (path_is(ANY_OF, pack_list([b"/b", b"/a", b"/cc"])), {"path": b"/c"}, False),
    (path_is(ANY_OF, b""), {"path": b"/"}, False),
    (path_is(REGEX, rb"^/v\d+/"), {"path": b"/v12/x"}, True),
    (path_is(REGEX, rb"^/v\d+/"), {"path": b"/vx/x"}, False),
    (path_is(REGEX, rb"a$"), {"path": b"/a\n"}, False),
    (path_is(REGEX, b"^/" + b"(.)" * 12 + b"$"), {"path": b"/123456789012"}, True),
    # method
    (Condition(METHOD, EXACT, operand=b"GET"), {"method": b"GET"}, True),
    (Condition(METHOD, EXACT, operand=b"GET"), {"method": b"get"}, False),
    # headers: any line may hold; names ignore case, values do not
    (header(b"x-tenant", EXACT, b"acme"), X, True),
    (header(b"X-TENANT", EXACT, b"zeta"), X, True),
    (header(b"x-tenant", EXACT, b"ACME"), X, False),
    (header(b"x-tenant", EXACT, b"acme, zeta"), X, False),
    (header(b"x-tenan", PRESENT), X, False),
    (header(b"empty", PRESENT), X, True),
    (header(b"empty", EXACT, b""), X, True),
    (header(b"x-tenant", CONTAINS, b"et"), X, True),
    (header(b"x^tenant", PRESENT), {"headers": [(b"x~tenant", b"1")]}, False),
    (header(b"x@", PRESENT), {"headers": [(b"x`", b"1")]}, False),
    (Not(header(b"x-tenant", EXACT, b"acme")), X, False),
    (Not(header(b"absent", EXACT, b"acme")), X, True),
    # addresses; IPv4 and its mapped form are one
    (TEN, {"client": "10.1.2.3"}, True),
    (TEN, {"client": "11.0.0.0"}, False),
    (TEN, {"client": "9.255.255.255"}, False),
    (TEN, {"client": "::ffff:10.1.2.3"}, True),
    (TEN, {"client": "a01:203::"}, False),
    (THREE, {"client": "192.0.2.7"}, True),
    (THREE, {"client": "192.0.2.8"}, False),
    (THREE, {"client": "2001:db8:ffff::1"}, True),
    (client("::/0"), {"client": "192.0.2.7"}, True),
    (client(), {"client": "192.0.2.7"}, False),
    # nesting
    (All(), {}, True),
    (Any_(), {}, False),
    (Not(All()), {}, False),
    (Not(Any_()), {}, True),
    (All((path(b"/a"), host(b"h"))), {"path": b"/a", "host": b"h"}, True),
    (All((path(b"/a"), host(b"h"))), {"path": b"/a", "host": b"i"}, False),
    (Any_((path(b"/a"), host(b"h"))), {"path": b"/b", "host": b"h"}, True),
    (Any_((path(b"/a"), host(b"h"))), {"path": b"/b", "host": b"i"}, False),
    (Not(Any_((path(b"/a"), Not(host(b"h"))))), {"path": b"/b", "host": b"h"}, True),
    (NESTED, {"path": b"/b", "host": b"h"}, True),
    (NESTED, {"path": b"/admin/b", "host": b"h"}, False),
    (NESTED, {"path": b"/b", "host": b"i"}, False),
    (Any_((Any_(), All((Any_(), path(b"/"))), path(b"/x"))), {"path": b"/x"}, True),
]


@pytest.mark.parametrize(("match", "given_request", "holds"), HOLDS)
def test_one_route(match, given_request, holds):
    probe = Probe(routes(match)).request(**given_request)
    assert probe.find() == (0 if holds else ROUTE_NONE)
    assert probe.scan() == probe.find()
    turned = Probe(routes(Not(match))).request(**given_request)
    assert turned.find() == (ROUTE_NONE if holds else 0)


def test_first_match_wins_over_the_more_exact():
    narrow = All((host(b"h"), path_is(EXACT, b"/a/b")))
    probe = Probe(routes(path(b"/a"), narrow, host(b"h"), All()))
    trace = [
        (b"h", b"/a/b", 0),
        (b"h", b"/b", 2),
        (b"i", b"/b", 3),
        (None, b"/a", 0),
        (b"h", b"/a", 0),
    ]
    for name, where, want in trace:
        assert probe.request(host=name, path=where).find() == want


def test_no_routes_match_nothing():
    assert Probe([]).request().find() == ROUTE_NONE


def test_values_for_hash_keys():
    probe = Probe([]).request(method=b"PUT", host=b"h", path=b"/p", client="10.0.0.1", **X)
    assert probe.value(Field.FIELD_HEADER, b"X-Tenant") == b"acme"
    assert probe.value(Field.FIELD_HEADER, b"none") is None
    assert probe.value(Field.FIELD_HOST) == b"h"
    assert probe.value(Field.FIELD_PATH) == b"/p"
    assert probe.value(Field.FIELD_METHOD) == b"PUT"
    assert probe.value(Field.FIELD_CLIENT) == packed_address("10.0.0.1")
    assert probe.value(Field.FIELD_SNI) is None
    assert probe.value(9999) is None


BAD = [
    (Condition(99, EXACT), "can see"),
    (Condition(PATH, 99), "unknown"),
    (path_is(REGEX, b"a(b"), r"at character 4.*'a\(b'"),
    (path_is(REGEX, b""), "empty"),
    (path_is(REGEX, b"(*UTF)a"), "UTF"),
    (path_is(GLOB, b"/[a"), "has no ]"),
    (path_is(GLOB, b"?" * 256), "255 pieces"),
    (path_is(ANY_OF, b"\x05\0\0\0a"), "within a value"),
    (path_is(ANY_OF, b"\x05\0"), "within a size"),
    (Condition(CLIENT, RANGES, operand=b"x"), "pairs"),
    (Condition(CLIENT, RANGES, operand=b"b" * 16 + b"a" * 16), "ends before"),
    (Condition(CLIENT, RANGES, operand=b"b" * 32 + b"a" * 32), "ascend"),
    (Condition(PATH, EXACT, number=1 << 64), "64 bits"),
    (Any_((path(b"/"),) * 4097), "4096"),
]


@pytest.mark.parametrize(("match", "says"), BAD)
def test_what_cannot_be_packed(match, says):
    with pytest.raises(ValueError, match=r"routes\[1\]: .*" + says):
        Probe(routes(All(), match))


def test_nesting_is_bounded():
    deep: Expression = path(b"/")
    for _ in range(31):
        deep = Not(deep)
    assert Probe(routes(deep)).request().find() == ROUTE_NONE
    with pytest.raises(ValueError, match="deeper than 32"):
        Probe(routes(Not(deep)))


# ---- the index changes the cost, never the answer ----

HOSTS = st.lists(st.sampled_from([b"a", b"b", b"example"]), min_size=1, max_size=4).map(b".".join)
PATHS = st.lists(st.sampled_from([b"a", b"b", b"ab", b"", b"a;x", b"a;b;"]), max_size=5).map(
    lambda parts: b"/" + b"/".join(parts)
)
WILD = st.lists(st.sampled_from([b"a", b"b", b"*", b"**", b"?", b"/", b"[ab]"]), max_size=6).map(
    lambda parts: b"/" + b"".join(parts)
)
LEAVES = st.one_of(
    HOSTS.map(host),
    HOSTS.map(lambda name: host(b"*." + name)),
    st.lists(HOSTS, max_size=3).map(lambda x: Condition(HOST, ANY_OF, operand=pack_list(x))),
    PATHS.map(path),
    PATHS.map(lambda text: path_is(EXACT, text)),
    PATHS.map(lambda text: path_is(PREFIX, text)),
    st.lists(PATHS, max_size=3).map(lambda x: path_is(ANY_OF, pack_list(x))),
    WILD.map(lambda text: path_is(GLOB, text)),
    st.sampled_from([b"GET", b"PUT"]).map(lambda text: Condition(METHOD, EXACT, operand=text)),
)
MATCHES = st.recursive(
    LEAVES,
    lambda part: st.one_of(
        st.lists(part, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(part, max_size=3).map(lambda parts: Any_(tuple(parts))),
        part.map(Not),
    ),
    max_leaves=6,
)
REQUESTS = st.fixed_dictionaries(
    {
        "host": st.one_of(st.none(), HOSTS),
        "path": st.one_of(PATHS, st.just(b"*")),
        "method": st.sampled_from([b"GET", b"PUT"]),
    }
)


@settings(max_examples=300, deadline=None)
@given(matches=st.lists(MATCHES, max_size=12), asked=st.lists(REQUESTS, min_size=1, max_size=12))
def test_the_index_agrees_with_reading_in_order(matches, asked):
    probe = Probe(routes(*matches))
    for one in asked:
        probe.request(**one)
        assert probe.find() == probe.scan()


def test_more_wildcards_than_the_index_holds():
    names = [b"*" + b".a" * n for n in range(1, 12)]
    probe = Probe(routes(*(All((host(name), path(b"/x"))) for name in reversed(names))))
    for labels in range(1, 14):
        probe.request(host=b"b" + b".a" * labels, path=b"/x/y")
        assert probe.find() == probe.scan() == max(0, 11 - labels)


def test_deep_paths_share_the_last_bit():
    deep = [b"/a" * n for n in range(1, 150)]
    probe = Probe(routes(*(path(text) for text in reversed(deep))))
    for depth in range(1, 170):
        probe.request(path=b"/a" * depth)
        assert probe.find() == probe.scan() == max(0, 149 - depth)


def test_a_long_list_of_hosts():
    names = [b"h%d.example" % n for n in range(1000)]
    listed = Condition(HOST, ANY_OF, operand=pack_list(names))
    probe = Probe(routes(listed, path(b"/x")))
    assert probe.request(host=b"h999.example", path=b"/x").find() == 0
    assert probe.request(host=b"h1000.example", path=b"/x").find() == 1


def holds(match: Expression, truth: dict[Condition, bool]) -> bool:
    """The same by recursion: what the rows must agree with."""
    match match:
        case All(parts):
            return all(holds(part, truth) for part in parts)
        case Any_(parts):
            return any(holds(part, truth) for part in parts)
        case Not(part):
            return not holds(part, truth)
    return truth[match]


def leaves(match: Expression) -> list[Condition]:
    match match:
        case All(parts) | Any_(parts):
            return [leaf for part in parts for leaf in leaves(part)]
        case Not(part):
            return leaves(part)
    return [match]


@given(matches=st.lists(MATCHES, min_size=1, max_size=4), asked=REQUESTS)
def test_rows_agree_with_recursion_and_steps_with_both(matches, asked):
    probe = Probe(routes(*matches)).request(**asked)
    truths = []
    for number, match in enumerate(matches):
        conditions = leaves(match)
        truth = {leaf: Probe(routes(leaf)).request(**asked).scan() == 0 for leaf in conditions}
        truths.append(holds(match, truth))
        steps = probe.steps(number)
        assert [at for at, _, _ in steps] == sorted({at for at, _, _ in steps})
        assert all(held == truth[conditions[at]] for at, held, _ in steps)
    assert probe.find() == (truths.index(True) if True in truths else ROUTE_NONE)


def test_steps_tell_what_was_seen():
    match = All((path(b"/a"), Any_((header(b"x-n", EXACT, b"1"), host(b"h"))), host(b"i")))
    probe = Probe(routes(All(), match)).request(path=b"/a/b", host=b"h", headers=[(b"X-N", b"2")])
    assert probe.steps(0) == []
    assert probe.steps(1) == [
        (0, True, b"/a/b"),
        (1, False, b"2"),
        (2, True, b"h"),
        (3, False, b"h"),
    ]
    body = Condition(Field.FIELD_BODY, CONTAINS, operand=b"x")
    waiting = Probe(routes(All((path(b"/"), body)))).request(framing=2)
    assert waiting.steps(0) == [(0, True, b"/"), (1, None, None)]
    with pytest.raises(IndexError):
        probe.steps(2)
