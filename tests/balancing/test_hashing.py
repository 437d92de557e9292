"""The hashing algorithms: one key one server, what moves, prefixes, bounded load, the fields."""

from __future__ import annotations

import ipaddress

import pytest

from fourseven.balancing.hash import Hash
from fourseven.balancing.maglev import Maglev
from fourseven.balancing.probe import Probe, key_of_address, key_of_text
from fourseven.balancing.source_hash import SourceHash
from fourseven.features import Need
from fourseven.matching.table import Field


def probe(algorithm, *weights):
    servers = [(f"10.0.0.{at + 1}:80", weight) for at, weight in enumerate(weights)]
    return Probe(algorithm.lower(servers), weights)


# ---- keys ----


def address(text: str) -> bytes:
    ip = ipaddress.ip_address(text)
    return (b"\0" * 10 + b"\xff\xff" + ip.packed) if ip.version == 4 else ip.packed


@pytest.mark.parametrize(
    ("one", "other", "prefix_v4", "prefix_v6", "same"),
    [
        ("192.0.2.1", "192.0.2.1", 32, 64, True),
        ("192.0.2.1", "192.0.2.2", 32, 64, False),
        ("192.0.2.1", "192.0.2.254", 24, 64, True),
        ("192.0.2.1", "192.0.3.1", 24, 64, False),
        ("192.0.2.1", "192.0.3.1", 23, 64, True),
        ("192.0.2.1", "192.0.4.1", 23, 64, False),
        ("192.0.2.1", "198.51.100.9", 0, 64, True),
        ("2001:db8::1", "2001:db8::ffff:1", 32, 64, True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", 32, 64, False),
        ("2001:db8:0:1::1", "2001:db8:0:0::1", 32, 63, True),
        ("2001:db8::1", "2001:db8::2", 32, 128, False),
        ("2001:db8::1", "2001:db8::1", 32, 128, True),
        ("::ffff:192.0.2.1", "192.0.2.1", 32, 0, True),  # the mapped form is IPv4
        ("::fffe:192.0.2.1", "::fffe:192.0.2.9", 0, 128, False),
        ("192.0.2.1", "2001:db8::1", 0, 0, False),
    ],
)
def test_address_prefixes(one, other, prefix_v4, prefix_v6, same):
    keys = {key_of_address(address(text), prefix_v4, prefix_v6) for text in (one, other)}
    assert len(keys) == (1 if same else 2)


@pytest.mark.parametrize(
    "algorithm", [SourceHash(), Hash(path=True), Maglev()], ids=lambda a: a.key
)
def test_one_key_one_server(algorithm):
    backend = probe(algorithm, 1, 2, 3)
    for number in range(200):
        key = key_of_text(b"key %d" % number)
        assert len({backend.pick(hash=key, random=random << 60) for random in range(16)}) == 1


@pytest.mark.parametrize(
    "algorithm", [SourceHash(), Hash(path=True), Maglev()], ids=lambda a: a.key
)
def test_only_the_keys_of_the_dead_move(algorithm):
    backend = probe(algorithm, *[1] * 10)
    keys = [key_of_text(b"key %d" % number) for number in range(10_000)]
    before = [backend.pick(hash=key) for key in keys]
    backend.set(4, usable=0)
    after = [backend.pick(hash=key) for key in keys]
    moved = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert {a for a, _ in moved} == {4}
    heirs = [sum(b == at for _, b in moved) for at in range(10) if at != 4]
    assert min(heirs) > sum(heirs) / 9 * 0.6
    assert max(heirs) < sum(heirs) / 9 * 1.5
    backend.set(4, usable=1)
    assert [backend.pick(hash=key) for key in keys] == before


def test_similar_keys_spread():
    """Numbers that count up, as session numbers do, and one client's neighbours."""
    backend = probe(Hash(path=True), *[1] * 8)
    got = [0] * 8
    for number in range(20_000):
        got[backend.pick(hash=key_of_text(b"/video/%d" % number))] += 1
    assert max(got) < 2500 * 1.1
    got = [0] * 8
    for number in range(20_000):
        got[
            backend.pick(
                hash=key_of_address(address(str(ipaddress.ip_address(0x0A000000 + number))))
            )
        ] += 1
    assert max(got) < 2500 * 1.1


# ---- bounded load ----


@pytest.mark.parametrize("percent", [101, 125, 200])
@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (4, 2, 1, 1), (1,) * 7, (0, 1, 3)])
def test_bounded_load_holds_exactly(percent, weights):
    """One key for all: after each pick nobody holds more than its bound."""
    backend = probe(Hash(path=True, bounded_load=percent), *weights)
    key = key_of_text(b"the popular one")
    for load in range(1, 400):
        at = backend.pick(hash=key)
        backend.add(at, 1)
        for server, weight in enumerate(weights):
            bound = -(-percent * load * weight // (100 * sum(weights)))
            assert backend.in_flight(server) <= bound, (load, server)


def test_bounded_load_without_one():
    """The share is among those that take work, so the bound still leaves one free."""
    backend = probe(Hash(path=True, bounded_load=125), 1, 1, 1, 1)
    backend.set(0, usable=0)
    backend.set(1, usable=0)
    for load in range(1, 200):
        at = backend.pick(hash=load % 3)
        backend.add(at, 1)
        assert backend.in_flight(at) <= -(-125 * load // 200)
    assert backend.in_flight(0) == backend.in_flight(1) == 0


def test_bounded_load_leaves_an_idle_backend_alone():
    bounded, free = (
        probe(Hash(path=True, bounded_load=125), 1, 1, 1),
        probe(Hash(path=True), 1, 1, 1),
    )
    for key in range(0, 2**64, 2**57):
        assert bounded.pick(hash=key) == free.pick(hash=key)


def test_bounded_load_when_everybody_is_past_it():
    """The counts of others moved in between: work is placed all the same."""
    backend = probe(Hash(path=True, bounded_load=125), 1, 1)
    backend.add(0, 50)
    backend.add(1, 50)
    backend.set(0, usable=0)
    assert backend.pick(hash=1) == 1
    for _ in range(500):
        backend.add(1, 1)
    assert backend.pick(hash=1) == 1


# ---- what the file says ----


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({}, "exactly one of header"),
        ({"header": "A", "cookie": "b"}, "found header and cookie"),
        ({"header": ""}, "at least 1 character"),
        ({"header": "Ü"}, "not ASCII"),
        ({"path": True, "bounded_load": 100}, "greater than 100"),
        ({"path": True, "bounded_load": "125 percent"}, "the units are %"),
        ({"address": True}, "Extra inputs"),
    ],
)
def test_hash_refuses(fields, fault):
    with pytest.raises(ValueError, match=fault):
        Hash(**fields)


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("path", {"path": True}),
        ("host", {"host": True}),
        (None, {}),
        ({"header": "X"}, {"header": "X"}),
    ],
)
def test_hash_shorthand(value, fields):
    assert Hash.from_file(value) == fields


@pytest.mark.parametrize(
    "value,percent", [(True, 125), (False, 0), ("150%", 150), (150, 150), (None, 0)]
)
def test_bounded_load_forms(value, percent):
    picker = Hash(path=True, bounded_load=value).lower([("a:1", 1)])
    assert picker.bounded_load_percent == percent


def test_hash_names_its_field():
    picker = Hash(cookie="session").lower([("a:1", 1)])
    assert (picker.hash_field, picker.hash_name) == (Field.FIELD_COOKIE, b"session")
    picker = Hash(path=True).lower([("a:1", 1)])
    assert (picker.hash_field, picker.hash_name) == (Field.FIELD_PATH, b"")


def test_maglev_needs_what_its_key_needs():
    assert Maglev.need == Maglev().need == Need.ADDRESS
    assert Maglev(cookie="session").need == Need.REQUEST
    assert Maglev(prefix_v4=24).lower([("a:1", 1)]).hash_prefix_v4 == 24
    assert len(Maglev(table_size=251).lower([("a:1", 1)]).table) == 251


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"table_size": 65_536}, "not a prime"),
        ({"table_size": 7}, "251"),
        ({"path": True, "host": True}, "one key"),
    ],
)
def test_maglev_refuses(fields, fault):
    with pytest.raises(ValueError, match=fault):
        Maglev(**fields)


@pytest.mark.parametrize("fields", [{"prefix_v4": 33}, {"prefix_v6": 129}, {"prefix_v4": -1}])
def test_source_hash_refuses(fields):
    with pytest.raises(ValueError, match=r"less than|greater than"):
        SourceHash(**fields)
