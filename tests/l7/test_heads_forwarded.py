"""Who the client is: the walk over what proxies say, from the right, past those that are ours."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.control.trial import Asked, client_of
from fourseven.l7.preview import Preview
from fourseven.plan import ListenerPlan
from fourseven.snapshot.layout import ForwardedMode, ListenerMode

X, RFC7239 = int(ForwardedMode.FORWARDED_X), int(ForwardedMode.FORWARDED_RFC7239)
TRUSTED = ("10.0.0.0/8", "192.0.2.7/32", "2001:db8:1::/48", "fe80::/10")
PEER = "10.0.0.1"
NOBODY = (PEER, 40000)  # the walk found nothing: the peer stays


def walk(*lines: str, peer: str = PEER, mode: int = X, trusted: tuple[str, ...] = TRUSTED):
    at = Preview(
        ListenerPlan("web", (), ListenerMode.MODE_HTTP, (), forwarded=mode, trusted=trusted)
    )
    head = "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: a", *lines, ""))
    at.read(head.encode("latin-1"), peer=peer)
    return at.client()


@pytest.mark.parametrize(
    "value, client",
    [
        ("198.51.100.1", ("198.51.100.1", 0)),
        ("198.51.100.1:8080", ("198.51.100.1", 8080)),
        ("  198.51.100.1\t", ("198.51.100.1", 0)),
        ("2001:db8::5", ("2001:db8::5", 0)),
        ("[2001:db8::5]", ("2001:db8::5", 0)),
        ("[2001:db8::5]:443", ("2001:db8::5", 443)),
        ("::ffff:198.51.100.1", ("198.51.100.1", 0)),
        ("::ffff:c633:6401", ("198.51.100.1", 0)),
        ("[::ffff:198.51.100.1]:9", ("198.51.100.1", 9)),
        # the chain: ours are passed, the first stranger is the client
        ("198.51.100.1, 10.0.0.2, 10.0.0.3", ("198.51.100.1", 0)),
        ("1.1.1.1, 198.51.100.1, 10.0.0.3", ("198.51.100.1", 0)),
        ("10.9.9.9, 198.51.100.1", ("198.51.100.1", 0)),  # spoofed: left of a stranger
        (
            "::ffff:10.9.9.9, 2001:db8:1::7, ::ffff:10.0.0.3",
            ("10.9.9.9", 0),
        ),  # all ours: the leftmost
        ("10.0.0.2", ("10.0.0.2", 0)),
        # empty elements are no hops
        (",, 198.51.100.1 ,,10.0.0.2, ,", ("198.51.100.1", 0)),
        ("", NOBODY),
        (" , ,", NOBODY),
        # garbage ends the walk at the last hop that was read
        ("198.51.100.1, unknown", NOBODY),
        ("198.51.100.1, _hidden, 10.0.0.2", ("10.0.0.2", 0)),
        ("198.51.100.1, , nonsense, 10.0.0.2", ("10.0.0.2", 0)),
        ("1.1.1.1 2.2.2.2", NOBODY),
        ('"198.51.100.1"', NOBODY),
        # strict: what two programs could read differently is garbage
        ("198.51.100.01", NOBODY),
        ("0xc6336401", NOBODY),
        ("198.51.100", NOBODY),
        ("198.51.100.1.", NOBODY),
        ("198.51.100.256", NOBODY),
        ("198.51.100.1/32", NOBODY),
        ("198.51.100.1:", NOBODY),
        ("198.51.100.1:65536", NOBODY),
        ("198.51.100.1:000080", NOBODY),
        ("198.51.100.1:8o", NOBODY),
        ("198.51.100.1:+80", NOBODY),
        ("2001:db8::5%eth0", NOBODY),
        ("2001:db8:::5", NOBODY),
        ("[198.51.100.1]", NOBODY),
        ("[2001:db8::5", NOBODY),
        ("[2001:db8::5]80", NOBODY),
        ("[]", NOBODY),
        ("[", NOBODY),
        (":", NOBODY),
        ("::", ("::", 0)),
        ("1:2:3:4:5:6:7:8:9", NOBODY),
        ("1" * 5000, NOBODY),
        ("\xb9\xb2.1.1.1", NOBODY),
    ],
)
def test_the_walk(value, client):
    assert walk(f"X-Forwarded-For: {value}") == client


def test_several_lines_are_one_list():
    assert walk("X-Forwarded-For: 1.1.1.1, 2.2.2.2", "x-forwarded-for: 10.0.0.9") == ("2.2.2.2", 0)


def test_nobody_is_believed_unless_the_peer_is_trusted():
    for peer in ("198.51.100.9", "2001:db8:2::1", "11.0.0.1"):
        assert walk("X-Forwarded-For: 1.1.1.1", peer=peer) == (peer, 40000)
    assert walk("X-Forwarded-For: 1.1.1.1", trusted=()) == NOBODY


def test_a_peer_of_ipv4_is_the_same_in_its_ipv6_form():
    assert walk("X-Forwarded-For: 1.1.1.1", peer="::ffff:10.0.0.1") == ("1.1.1.1", 0)


def test_a_huge_list_ends_after_64_trusted_hops():
    hops = ", ".join(f"10.1.{n // 256}.{n % 256}" for n in range(2000))
    assert walk(f"X-Forwarded-For: 1.1.1.1, {hops}") == (
        "10.1.7.144",
        0,
    )  # number 1936 of 0 to 1999
    hops = ", ".join(f"10.1.0.{n}" for n in range(63))
    assert walk(f"X-Forwarded-For: 1.1.1.1, {hops}") == ("1.1.1.1", 0)


@pytest.mark.parametrize(
    "value, client",
    [
        ("for=198.51.100.1", ("198.51.100.1", 0)),
        ('For="198.51.100.1:80"', ("198.51.100.1", 80)),
        ('for="[2001:db8::5]:443"; proto=https;by=10.0.0.1', ("2001:db8::5", 443)),
        ('proto=http ;for="[2001:db8::5]"', ("2001:db8::5", 0)),
        ("for=1.1.1.1, for=198.51.100.1;host=x, for=10.0.0.2", ("198.51.100.1", 0)),
        ("for=1.1.1.1, proto=http", NOBODY),
        ("for=1.1.1.1, for=unknown", NOBODY),
        ("for=1.1.1.1, for=_x, for=10.0.0.2", ("10.0.0.2", 0)),
        ('for="1.1.1.1, for=198.51.100.1', NOBODY),  # a quote left open hides what follows
        ('host="a,for=1.1.1.1";for=198.51.100.1', ("198.51.100.1", 0)),
        ('host="a\\", for=1.1.1.1', NOBODY),
        ("for", NOBODY),
        ("=", NOBODY),
        (";;,;", NOBODY),
        ("", NOBODY),
    ],
)
def test_the_walk_over_rfc_7239(value, client):
    assert walk(f"Forwarded: {value}", "X-Forwarded-For: 6.6.6.6", mode=RFC7239) == client


def test_only_one_kind_of_header_is_believed():
    both = ("Forwarded: for=6.6.6.6", "X-Forwarded-For: 1.1.1.1")
    for mode in (0, X, X | RFC7239):
        assert walk(*both, mode=mode) == ("1.1.1.1", 0)
        assert walk(both[0], mode=mode) == NOBODY


def told(peer: str) -> str:
    at = Preview(ListenerPlan("web", (), ListenerMode.MODE_HTTP, (), forwarded=X))
    at.ask({}, [], peer=peer)
    lines = at.request_head().decode().split("\r\n")
    return next(line.partition(": ")[2] for line in lines if line.startswith("X-Forwarded-For"))


@given(st.ip_addresses(v=4))
def test_ipv4_is_written_canonically(address):
    assert told(str(address)) == str(address)


GROUP = st.sampled_from([0, 0, 0, 1, 0xF, 0x10, 0x100, 0x1000, 0xFFFF]) | st.integers(0, 0xFFFF)


@given(st.lists(GROUP, min_size=8, max_size=8))
def test_ipv6_is_written_as_rfc_5952_says(groups):
    address = ipaddress.IPv6Address(b"".join(group.to_bytes(2, "big") for group in groups))
    want = str(address.ipv4_mapped or address.compressed)
    assert told(str(address)) == want
    assert walk(f"X-Forwarded-For: {want}", trusted=("::/0",))[0] == want


@given(st.ip_addresses(), st.ip_addresses(), st.data())
def test_a_network_holds_what_ipaddress_says(client, other, data):
    prefix = data.draw(st.integers(0, other.max_prefixlen))
    network = ipaddress.ip_network((other, prefix), strict=False)
    inside = client.version == network.version and client in network
    got = walk("X-Forwarded-For: 198.51.100.1", peer=str(client), trusted=(str(network),))
    mapped = getattr(client, "ipv4_mapped", None)
    if mapped is None and not (
        network.version == 6 and network.prefixlen < 96 and client.version == 4
    ):
        assert (got[1] == 0) == inside


def test_explain_walks_the_same_way():
    listener = ListenerPlan("web", (), ListenerMode.MODE_HTTP, (), trusted=TRUSTED)
    head = b"GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"
    assert client_of(listener, Asked(head, b"", PEER)) == "198.51.100.1"
    assert client_of(listener, Asked(head, b"", "198.51.100.9")) == "198.51.100.9"
