"""What is decided at the ClientHello: the layer, the routes that are asked there, contradictions."""

from __future__ import annotations

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.compiler.layer import decide
from fourseven.model import Config
from fourseven.snapshot.layout import ListenerMode
from support.tls import Authority

HTTP, TCP = ListenerMode.MODE_HTTP, ListenerMode.MODE_RELAY_TCP
SNI = {"match": {"sni": "db.example"}, "backend": "web"}
ALPN = {"match": {"alpn": "h2"}, "backend": "web"}
ADDRESS = {"match": {"address": "10.0.0.0/8"}, "backend": "web"}
PATH = {"match": {"path": "/x"}, "backend": "web"}
REST = {"backend": "web"}
RESPOND = {"match": {"sni": "db.example"}, "filters": {"respond": 404}}
THROUGH = {"tls": "passthrough"}


@pytest.fixture(scope="module")
def leaf(tmp_path_factory) -> str:
    return Authority(tmp_path_factory.mktemp("hello")).issue("a.pem", "a.example")


def config(*routes: dict, **listener: object) -> Config:
    said = {"bind": "127.0.0.1:443", "routes": list(routes), **listener}
    backends = {"web": {"servers": ["127.0.0.1:81"]}}
    return Config.model_validate({"listeners": {"in": said}, "backends": backends})


DECISIONS = [
    ([SNI], "L4 + peek", "routes[0].match.sni needs to see the TLS ClientHello"),
    ([ADDRESS, ALPN], "L4 + peek", "routes[1].match.alpn needs to see the TLS ClientHello"),
    ([{"match": {"not": {"sni": "a"}}, "backend": "web"}], "L4 + peek", "routes[0].match.not.sni"),
    ([REST | THROUGH], "L4 + peek", "routes[0].tls needs to see the TLS ClientHello"),
]


@pytest.mark.parametrize("routes,layer,because", DECISIONS)
def test_routes_by_hello_alone_are_relayed(routes, layer, because):
    found = decide(config(*routes), "in")
    assert (found.layer, found.plane, found.mode, found.conflicts) == (layer, "relay", TCP, ())
    assert found.because.startswith(because)
    (listener,) = compile_plan(config(*routes)).listeners
    assert (listener.hello, listener.hello_routes) == (True, 0)


def test_addresses_alone_need_no_hello():
    (listener,) = compile_plan(config(ADDRESS, REST)).listeners
    assert not listener.hello


MIXED = [
    ([SNI | THROUGH, PATH, REST], 1),
    ([ADDRESS, SNI, ALPN | THROUGH, PATH], 3),
    ([SNI, PATH], 0),
    ([REST | THROUGH], 1),
]


@pytest.mark.parametrize("routes,asked", MIXED)
def test_with_tls_the_first_routes_are_asked_at_the_hello(routes, asked, leaf):
    said = config(*routes, tls={"certificates": [leaf]})
    assert decide(said, "in").mode == HTTP
    (listener,) = compile_plan(said).listeners
    assert (listener.hello, listener.hello_routes) == (True, asked)
    assert [r.passthrough for r in listener.routes] == ["tls" in r for r in routes]


CONFLICTS = [
    ([SNI, PATH], False, "routes.0.match", "seen in TLS alone"),
    ([REST | THROUGH, PATH], False, "routes.0.tls", "hides the requests"),
    ([PATH | THROUGH, REST], True, "routes.0.match", "match sni, alpn or address alone"),
    ([PATH, SNI | THROUGH], True, "routes.0.match", "put this route behind it"),
    ([RESPOND | THROUGH, REST], True, "routes.0.filters", "a filter works on requests"),
    ([SNI], {"protocol": "tcp"}, "routes.0.match.sni", "protocol: tcp never does"),
    ([SNI], {"bind": "udp://127.0.0.1:53"}, "routes.0.match.sni", "a UDP listener never does"),
]


@pytest.mark.parametrize("routes,listener,path,words", CONFLICTS)
def test_contradictions(routes, listener, path, words, leaf):
    tls = {"tls": {"certificates": [leaf]}} if listener is True else {}
    said = config(*routes, **(listener if isinstance(listener, dict) else tls))
    (found, *_) = decide(said, "in").conflicts
    assert ".".join(map(str, found.path)) == path
    assert words in found.text
