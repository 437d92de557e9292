"""The usual check, asked of servers that speak HTTP/2: where requests do, the check does."""

from __future__ import annotations

import ssl

import pytest
import trustme

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.health.connect import Target
from fourseven.health.http import Http
from fourseven.health.inward import Ways, context_of
from fourseven.plan import OutwardPlan
from health.test_grpc import Served, ask

ANSWERS = {  # check, headers, body, trailers -> what is wrong
    "200": (Http(), {":status": "200"}, b"fine", {}, ""),
    "204": (Http(), {":status": "204"}, b"", {}, ""),
    "503": (Http(), {":status": "503"}, b"", {}, "status 503"),
    "another": (Http(status=["204"]), {":status": "200"}, b"", {}, "status 200"),
    "text": (Http(body="fine"), {":status": "200"}, b"all is fine here", {}, ""),
    "trailers": (Http(body="fine"), {":status": "200"}, b"fine", {"x-sum": "1"}, ""),
    "no text": (
        Http(body="fine"),
        {":status": "200"},
        b"bad",
        {},
        "200, but its body does not contain the wanted text",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name):
    check, *answer, wanted = ANSWERS[name]
    with Served(*answer) as served:
        assert ask(check, served.address, http2=True) == wanted


def test_the_question():
    check = Http(path="/ready?x=1", method="HEAD", host="shop.test", headers={"X-Probe": "lb"})
    with Served({":status": "200"}, b"", {}) as served:
        assert ask(check, served.address, http2=True) == ""
    assert served.asked == {
        ":method": "HEAD",
        ":scheme": "http",
        ":path": "/ready?x=1",
        ":authority": "shop.test",
        "user-agent": "fourseven",
        "accept": "*/*",
        "x-probe": "lb",
    }


def test_inside_tls():
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.set_alpn_protocols(["h2"])
    authority.issue_cert("shop.test").configure_cert(theirs)
    ours = context_of(OutwardPlan((), authority.cert_pem.bytes(), ciphers=b"HIGH"), "h2")
    with Served({":status": "200"}, b"", {}) as served:
        served.tls = theirs
        more = {"tls": ours, "sni": "shop.test", "verified": "shop.test"}
        assert ask(Http(), served.address, http2=True, **more) == ""
    assert served.asked[":scheme"] == "https"


FILE = """
listeners: {{web: {{bind: 127.0.0.1:80, backend: web}}}}
backends: {{web: {{servers: [127.0.0.1:81], {more}, health: {{http: /ok{port}}}}}}}
"""


@pytest.mark.parametrize(
    ("more", "port", "wanted"),
    [
        ("protocol: h2", "", True),
        ("protocol: h2, tls: true", "", True),
        ("protocol: http/1.1", "", False),
        ("protocol: h2", ", port: 82", False),
    ],
)
def test_who_is_asked_how(more: str, port: str, wanted: bool):
    plan = compile_plan(loads(FILE.format(more=more, port=port).encode(), "f.yaml"))
    (target,) = Ways().targets(plan).values()
    assert isinstance(target, Target)
    assert target.http2 == wanted
