"""A reload of TLS: contexts of OpenSSL go from one snapshot to the next where nothing of theirs has
changed, and never where something has."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load
from fourseven.control.dataplane import DataPlane
from fourseven.plan import Plan
from support.ocsp import OcspAuthority
from support.tls import Authority, TlsWire
from support.turns import caught_up


class Running:
    """A data plane in this process, so that it can be asked which contexts it keeps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plane = DataPlane(1)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.setblocking(False)
        self.plane.start()

    def plan(self, *certificates: object, **tls: object) -> Plan:
        where = "{}:{}".format(*self.listening.getsockname())
        web = {
            "bind": where,
            "routes": [{"filters": {"respond": {"body": "x"}}}],
            "tls": {"certificates": list(certificates), **tls},
        }
        file = self.folder / "f.yaml"
        file.write_text(yaml.safe_dump({"listeners": {"web": web}}))
        return compile_plan(load(file))

    def publish(self, plan: Plan) -> tuple[int, int]:
        """How many contexts there are now, and how many of them were there before."""
        before = set(self.contexts.made_of())
        self.plane.publish(plan, {"web": [self.listening.fileno()]})
        caught_up(self.plane)
        assert self.plane.reclaim() == 0
        now = set(self.contexts.made_of())
        return len(now), len(now & before)

    @property
    def contexts(self):
        return self.plane.numbers.contexts

    def shown(self, context: ssl.SSLContext, name: str) -> str:
        with TlsWire(self.listening.getsockname(), context, name=name) as wire:
            wire.send(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            assert wire.read().status == 200
            return str(wire.socket.getpeercert()["serialNumber"])


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.plane.stop()
    made.listening.close()


def test_what_is_as_it_was_is_taken_over(running: Running, own: Authority):
    names = ("a.example", "b.example", "c.example")
    files = [own.issue(f"{name}.pem", name) for name in names]
    assert running.publish(running.plan(*files)) == (3, 0)
    first = {name: running.shown(own.context(), name) for name in names}
    assert running.publish(running.plan(*files)) == (3, 3)
    own.issue("b.example.pem", "b.example")
    assert running.publish(running.plan(*files)) == (3, 2)
    second = {name: running.shown(own.context(), name) for name in names}
    assert [first[name] == second[name] for name in names] == [True, False, True]
    assert running.publish(running.plan(files[0])) == (1, 1), "what is not shown is let go"
    assert running.publish(running.plan(*files)) == (3, 1)
    assert {name: running.shown(own.context(), name) for name in names} == second


@pytest.mark.parametrize(
    "tls",
    [
        {"min_version": "1.3"},
        {"ciphers": "ECDHE-ECDSA-CHACHA20-POLY1305"},
        {"suites": ["TLS_CHACHA20_POLY1305_SHA256"]},
        {"curves": ["secp384r1"]},
        {"client_certificates": {"ca": "ca.pem"}},
        {"client_certificates": {"ca": "ca.pem", "mode": "optional"}},
    ],
)
def test_other_settings_are_other_contexts(running: Running, own: Authority, tls: dict):
    file = own.issue("a.pem", "a.example")
    assert running.publish(running.plan(file)) == (1, 0)
    assert running.publish(running.plan(file, **tls)) == (1, 0)
    assert running.publish(running.plan(file, **tls)) == (1, 1)
    assert running.publish(running.plan(file)) == (1, 0)


def test_a_connection_outlives_the_contexts(running: Running, own: Authority):
    file = own.issue("a.pem", "a.example")
    running.publish(running.plan(file))
    with TlsWire(running.listening.getsockname(), own.context()) as wire:
        for _ in range(3):
            own.issue("a.pem", "a.example")
            assert running.publish(running.plan(file)) == (1, 0)
            wire.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert wire.read().status == 200


def test_one_with_an_ocsp_response_is_made_anew(running: Running, tmp_path: Path):
    """For the response stands in the memory of its snapshot."""
    (tmp_path / "ocsp").mkdir()
    authority = OcspAuthority(tmp_path / "ocsp")
    plan = running.plan(str(authority.issue("a.pem", "a.example")))
    tls = plan.listeners[0].tls
    assert tls is not None
    stapled = replace(tls.certificates[0], staple=b"a word", staple_until=1e11)
    shown = replace(plan.listeners[0], tls=replace(tls, certificates=(stapled,)))
    assert running.publish(plan) == (1, 0)
    assert running.publish(replace(plan, listeners=(shown,))) == (0, 0)
    assert running.publish(plan) == (1, 0)


def test_what_openssl_does_not_take_changes_nothing(running: Running, own: Authority):
    files = [own.issue(f"{name}.pem", f"{name}.example") for name in "ab"]
    plan = running.plan(*files)
    assert running.publish(plan) == (2, 0)
    tls = plan.listeners[0].tls
    assert tls is not None
    broken = replace(tls.certificates[1], key=b"no key")
    bad = replace(plan.listeners[0], tls=replace(tls, certificates=(tls.certificates[0], broken)))
    for _ in range(2):
        with pytest.raises(ValueError, match="OpenSSL does not take the key"):
            running.plane.publish(
                replace(plan, listeners=(bad,)), {"web": [running.listening.fileno()]}
            )
        assert running.shown(own.context(), "b.example")
    assert running.publish(plan) == (2, 2)
