"""Each source, asked once: what it finds, and what it says when it finds nothing."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import dns.rcode
import pytest

from fourseven.discovery.dns import Dns
from fourseven.discovery.found import Look, Unfound
from fourseven.discovery.listed import File
from fourseven.discovery.name import Name
from support.names import NameServer


@pytest.fixture
def names():
    with NameServer() as server:
        yield server


def look(source, folder: Path = Path()) -> Look:
    return asyncio.run(source.look(folder))


def addresses(found: Look) -> list[str]:
    return [one.address for one in found.servers]


def source(names: NameServer, name: str = "web.test", **more) -> Dns:
    patience = {"timeout": "20s"}  # however long this process waits for its turn
    return Dns.model_validate({"name": name, "resolver": names.address, **patience, **more})


def test_every_address_of_a_name(names):
    names.say("web.test.", "A", "10.0.0.2", "10.0.0.1", ttl=30)
    names.say("web.test.", "AAAA", "2001:db8::1", ttl=20)
    found = look(source(names, port=8080))
    assert addresses(found) == ["10.0.0.1:8080", "10.0.0.2:8080", "[2001:db8::1]:8080"]
    assert found.again_s == 20
    assert {one.name for one in found.servers} == {"web.test"}
    assert addresses(look(source(names, port=80, family="ipv6"))) == ["[2001:db8::1]:80"]


@pytest.mark.parametrize(("ttl", "again_s"), [(0, 1), (30, 30), (86400, 60)])
def test_the_ttl_has_bounds(names, ttl, again_s):
    names.say("web.test.", "A", "10.0.0.1", ttl=ttl)
    assert look(source(names, port=80)).again_s == again_s


def test_many_addresses_come_by_tcp(names):
    many = [f"10.0.{high}.{low}" for high in range(4) for low in range(250)]
    names.say("web.test.", "A", *many)
    assert len(look(source(names, port=80)).servers) == 1000
    assert names.by_tcp == 1


@pytest.mark.parametrize("wrong", ["0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_an_address_that_serves_nobody(names, wrong):
    """What is said in place of a blocked name; a set that was whole stays."""
    names.say("web.test.", "A", wrong, "10.0.0.1")
    found = look(source(names, port=80))
    assert addresses(found) == ["10.0.0.1:80"]
    assert wrong in found.partly


def test_a_service_has_ports_weights_and_priorities(names):
    names.say(
        "_http._tcp.web.test.",
        "SRV",
        "10 5 8080 one.test.",
        "10 0 8081 two.test.",
        "20 9 8082 spare.test.",
    )
    names.say("one.test.", "A", "10.0.0.1", "10.0.0.2")
    names.say("two.test.", "A", "10.0.0.3")
    names.say("two.test.", "AAAA")
    names.say("spare.test.", "A", "10.0.0.4", "10.0.0.2")
    first = [
        ("10.0.0.1:8080", 5, "one.test", 0),
        ("10.0.0.2:8080", 5, "one.test", 0),
        ("10.0.0.3:8081", 1, "two.test", 0),
    ]
    spare = [("10.0.0.2:8082", 9, "spare.test", 1), ("10.0.0.4:8082", 9, "spare.test", 1)]
    for which, wanted in (("first", first), ("tiers", sorted(first + spare))):
        found = look(source(names, "_http._tcp.web.test", type="srv", priorities=which))
        assert [(one.address, one.weight, one.name, one.rank) for one in found.servers] == wanted


def test_no_answer_is_no_empty_set(names):
    names.say("web.test.", "A")
    asked = source(names, port=80)
    for rcode in (None, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED):
        names.rcode = rcode
        with pytest.raises(Unfound, match=r"web\.test"):
            look(asked)
    names.silent = True
    with pytest.raises(Unfound, match=r"no answer in time|web\.test"):
        look(source(names, port=80, timeout="300ms"))


def test_an_empty_answer_is_believed_where_the_file_says_so(names):
    names.say("web.test.", "A")
    asked = source(names, port=80, when_empty="empty")
    assert look(asked).servers == ()
    names.rcode = dns.rcode.SERVFAIL
    assert look(asked).partly  # which is no answer


def test_half_an_answer_says_so(names):
    names.say("_x._tcp.web.test.", "SRV", "1 1 80 one.test.", "1 1 80 two.test.")
    names.say("one.test.", "A", "10.0.0.1")
    found = look(source(names, "_x._tcp.web.test", type="srv"))
    assert (addresses(found), found.partly) == (["10.0.0.1:80"], "")  # two.test is not there
    names.failing = {"two.test."}
    found = look(source(names, "_x._tcp.web.test", type="srv"))
    assert addresses(found) == ["10.0.0.1:80"]
    assert "two.test" in found.partly


FILES = {  # what is in it, the servers, or what is wrong
    "yaml": ("- 10.0.0.1:80\n- {address: '[::1]:81', weight: 5}\n", ["10.0.0.1:80", "[::1]:81"]),
    "json": (json.dumps([{"address": "10.0.0.1:80", "max_in_flight": 3}]), ["10.0.0.1:80"]),
    "empty list": ("[]", []),
    "twice": ("[10.0.0.1:80, 10.0.0.1:80]", ["10.0.0.1:80"]),
    "empty": ("", "the file: Input should be a valid list"),
    "half": ("- 10.0.0.1:80\n- {addr", "servers.yaml: "),
    "no port": ("- 10.0.0.1", "0.address: Value error, '10.0.0.1' has no port"),
    "no date": ("- 2026-99-99", "month must be in 1..12"),
    "too many": ("- a:1\n" * 10_001, "10001 servers; 10000 is the most"),
    "too large": ("#" * (2 << 20) + "\n", "more than 2097152 bytes"),
    "deep": ("[" * 100_000, "nested deeper than a list of servers"),  # ended the process
    "bomb": ("[&a {address: 'a:1'}, *a]", "a reference"),
    "unknown": ("- {address: 'a:1', wait: 3}", "0.wait: Extra inputs are not permitted"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file(name, tmp_path):
    text, wanted = FILES[name]
    (tmp_path / "servers.yaml").write_text(text)
    source = File(path="servers.yaml")
    if isinstance(wanted, list):
        found = look(source, tmp_path)
        assert addresses(found) == wanted
        assert found.stamp == source.stamp(tmp_path)
    else:
        with pytest.raises(Unfound) as refused:
            look(source, tmp_path)
        assert wanted in str(refused.value)


def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(tmp_path):
    os.mkfifo(tmp_path / "servers.yaml")
    with pytest.raises(Unfound, match="no regular file"):
        look(File(path="servers.yaml"), tmp_path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(Unfound, match="No such file"):
        look(File(path="servers.yaml"), tmp_path)


def test_a_name_of_this_host():
    found = look(Name(host="localhost", port=80))
    assert set(addresses(found)) <= {"127.0.0.1:80", "[::1]:80"}
    assert {one.known_as for one in found.servers} == {"localhost:80"}
    with pytest.raises(Unfound):
        look(Name(host="no-such-name.invalid", port=80))
