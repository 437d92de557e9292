"""What a client's certificate says of it, as matches and as headers; HSTS."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from support.front import Front, Stage
from support.service import Service, answering, settled
from support.tls import Authority, TlsWire
from support.wire import EndedError

ASK = b"GET /x HTTP/1.1\r\nHost: a.example\r\n%s\r\n"
FACTS = ("verified", "subject", "issuer", "fingerprint", "serial", "san")


def front(stage: Stage, authority: Authority, routes: list, mode: str = "optional") -> Front:
    tls = {
        "certificates": [authority.issue("a.pem", "a.example")],
        "client_certificates": {"ca": str(authority.pem), "mode": mode},
    }
    return stage.front(tls=tls, routes=routes)


def told(front: Front, context: ssl.SSLContext, headers: bytes = b"") -> dict[bytes, bytes]:
    """What the server got of the headers X-*, by lower-case name."""
    front.server.forget()
    with TlsWire(front.balancer.address, context) as wire:
        assert wire.send(ASK % headers).read().status == 200
    request = front.server.requests[0]
    headers_ = [(name.lower(), value) for name, value in request.headers]
    return {name: value for name, value in headers_ if name.startswith(b"x-c-")}


@pytest.fixture
def alice(authority: Authority) -> str:
    more = {"common_name": "alice", "organization_name": "Acme"}
    return authority.issue("alice.pem", "alice@example.com", "pc.example.com", "10.1.2.3", **more)


def test_the_facts_as_headers(stage: Stage, authority: Authority, alice: str):
    named = {f"X-C-{fact}": f"{{client_certificate.{fact}}}" for fact in FACTS}
    routes = [{"filters": [{"request_headers": {"set": named}}], "backend": "all"}]
    balancer = front(stage, authority, routes)
    got = told(balancer, authority.context(certificate=alice))
    with open(alice, "rb") as file:
        own = x509.load_pem_x509_certificates(file.read())[0]
    assert got[b"x-c-verified"] == b"true"
    assert got[b"x-c-subject"] == own.subject.rfc4514_string().encode()
    assert b"CN=alice" in got[b"x-c-subject"]
    assert got[b"x-c-issuer"] == own.issuer.rfc4514_string().encode()
    assert got[b"x-c-fingerprint"] == own.fingerprint(hashes.SHA256()).hex().encode()
    assert int(got[b"x-c-serial"], 16) == own.serial_number
    names = sorted(got[b"x-c-san"].split(b", "))
    assert names == [b"10.1.2.3", b"alice@example.com", b"pc.example.com"]
    assert told(balancer, authority.context()) == {b"x-c-verified": b"false"}


def test_a_client_cannot_say_it_itself(stage: Stage, authority: Authority, alice: str):
    """In no route: a server that believes the header gets it from nobody else."""
    add = {"add": {"X-C-Subject": "{client_certificate.subject}"}}
    routes = [
        {"match": {"header": {"X-Way": "plain"}}, "backend": "all"},
        {"filters": [{"request_headers": add}], "backend": "all"},
    ]
    balancer = front(stage, authority, routes)
    lie = b"X-C-Subject: CN=root\r\nx-c-subject: CN=root\r\n"
    lie += b"X_C_Subject: CN=root\r\nx-c_subject: CN=root\r\n"  # CGI and WSGI read these as that
    for way in (b"", b"X-Way: plain\r\n"):
        assert told(balancer, authority.context(), lie + way) == {}
    got = told(balancer, authority.context(certificate=alice), lie)
    assert b"CN=alice" in got[b"x-c-subject"]
    assert b"root" not in got[b"x-c-subject"]


def test_the_facts_as_matches(stage: Stage, authority: Authority, alice: str):
    with open(alice, "rb") as file:
        own = x509.load_pem_x509_certificates(file.read())[0]
    print_ = own.fingerprint(hashes.SHA256()).hex(":").upper()
    bob = authority.issue("bob.pem", "bob@example.com", common_name="bob")
    table = [
        ({"fingerprint": print_}, "print"),
        ({"subject": {"contains": "CN=bob"}, "issuer": {"present": True}}, "bob"),
        ({"verified": False}, "nobody"),
    ]
    routes = [
        {"match": {"client_certificate": match}, "filters": {"respond": {"body": body}}}
        for match, body in table
    ]
    routes.insert(0, {
        "match": {"client_certificate": {"san": "10.1.2.3"}, "header": {"X-Ask": "san"}},
        "filters": {"respond": {"body": "san"}},
    })  # fmt: skip
    balancer = front(stage, authority, routes)
    asked = [
        (alice, b"X-Ask: san\r\n", b"san"),
        (alice, b"", b"print"),
        (bob, b"X-Ask: san\r\n", b"bob"),
        (None, b"", b"nobody"),
    ]
    for certificate, headers, wanted in asked:
        context = authority.context(certificate=certificate)
        with TlsWire(balancer.balancer.address, context) as wire:
            for _ in range(2):
                assert wire.send(ASK % headers).read().body == wanted


def test_who_is_revoked(tmp_path: Path):
    """In both versions, at every name; and a new list comes into force by itself."""
    own = Authority(tmp_path)
    alice, bob = (own.issue(f"{name}.pem", f"{name}@example.com") for name in ("alice", "bob"))
    asked = {"ca": "ca.pem", "crl": "r.crl", "mode": "optional"}
    shown = [own.issue("a.pem", "a.example"), own.issue("b.pem", "b.example")]
    tls = {"certificates": shown, "client_certificates": asked}
    own.revoke("r.crl", bob)

    def refused(certificate: str | None, version: str, name: str = "a.example") -> bool:
        try:
            context = own.context(version, certificate=certificate)
            with TlsWire(running.address(), context, name) as wire:
                return (
                    wire.send(ASK.replace(b"a.example", name.encode()) % b"").read().body != b"in"
                )
        except (OSError, EndedError):
            return True

    with Service(answering("in", tls=tls), folder=tmp_path) as running:
        for version in ("1.2", "1.3"):
            for name in ("a.example", "b.example"):
                who = {one: refused(one, version, name) for one in (alice, bob, None)}
                assert who == {alice: False, bob: True, None: False}
        own.revoke("r.crl", alice, bob)
        assert settled(lambda: refused(alice, "1.3"), 20), running.words()
        assert not refused(None, "1.3")
        own.revoke("r.crl", days=-1)  # it is over: nobody knows who else is revoked by now
        assert settled(lambda: "a list in it ended on" in running.words(), 20), running.words()
        assert refused(alice, "1.3")
        assert not refused(None, "1.3")


def test_hsts(stage: Stage, authority: Authority):
    steps = [{"hsts": {"max_age": "365d", "subdomains": True}}]
    routes = [
        {"match": {"path": "/own"}, "filters": [*steps, {"respond": {"body": "x"}}]},
        {"filters": steps, "backend": "all"},
    ]
    secure = stage.front(
        tls={"certificates": [authority.issue("a.pem", "a.example")]}, routes=routes
    )
    secure.server.on(
        b"/x", lambda c, r: c.answer(b"x", headers=b"Strict-Transport-Security: no\r\n")
    )
    for path in (b"/x", b"/own"):
        with TlsWire(secure.balancer.address, authority.context()) as wire:
            answer = wire.send(b"GET %s HTTP/1.1\r\nHost: a.example\r\n\r\n" % path).read()
            said = answer.all("strict-transport-security")
            assert said == [b"max-age=31536000; includeSubDomains"]
    plain = stage.front(routes=routes)
    assert plain.balancer.get("/x").all("strict-transport-security") == []
