"""Warnings: each with its place and its mend; and none where nothing is wrong."""

from __future__ import annotations

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.config.warnings import warnings_of

BACKENDS = "backends: {web: {servers: [127.0.0.1:9000]}, api: {servers: [127.0.0.1:9001]}}\n"


def warnings(text: str) -> list[str]:
    config = loads(text.encode(), "f.yaml")
    return [str(problem) for problem in warnings_of(config, compile_plan(config))]


WARNINGS = {
    "nothing": ("listeners: {a: {bind: ':80', backend: web}, b: {bind: ':81', backend: api}}\n", []),
    "a backend that nobody uses": (
        "listeners: {a: {bind: ':80', backend: web}}\n",
        ["f.yaml:2:51: warning: backends.api: no route leads to the backend 'api'; name it in a route, or remove it"],
    ),
    "routes in each other's shadow": (
        "listeners:\n"
        "  a:\n"
        "    bind: ':80'\n"
        "    routes:\n"
        "      - {name: all-of-a, match: {path: /a/}, backend: web}\n"
        "      - {match: {path: /a/b}, backend: api}\n"
        "      - {match: {path: /a, method: GET}, backend: api}\n"
        "      - {match: {path: /ab}, backend: api}\n",
        [
            "f.yaml:6:9: warning: listeners.a.routes[1]: this route never matches: all-of-a (line 5) takes all that it would; move this one above it",
            "f.yaml:7:9: warning: listeners.a.routes[2]: this route never matches: all-of-a (line 5) takes all that it would; move this one above it",
        ],
    ),
    "a relaxed defence": (
        "listeners: {a: {bind: ':80', routes: [{backends: {web: 1, api: 1}}], relax: [trace]}}\n",
        ["f.yaml:1:78: warning: listeners.a.relax[0]: the defence 'trace' is off: TRACE echoes cookies and credentials to whoever can send it; remove it unless you must have it"],
    ),
    "trust in everybody": (
        "listeners: {a: {bind: ':80', routes: [{backends: {web: 1, api: 1}}], trusted: 0.0.0.0/0}}\n",
        ["f.yaml:1:79: warning: listeners.a.trusted: 0.0.0.0/0 trusts everybody, so any client can claim any address; name the networks of your own proxies"],
    ),
    "routes that look at nothing": (
        "listeners: {a: {bind: ':80', routes: [{backends: {web: 1, api: 1}}]}}\n",
        ["f.yaml:1:38: warning: listeners.a.routes: no rule here looks at a request, so connections are relayed at Layer 4; write protocol: http for Layer 7, or protocol: tcp to say that it is meant"],
    ),
    "a step behind the answer": (
        "listeners: {a: {bind: ':80', routes: [{match: {path: /x}, filters: [{respond: 404}, {host: x}]}, {backends: {web: 1, api: 1}}]}}\n",
        ["f.yaml:1:85: warning: listeners.a.routes[0].filters[1]: respond has answered before this step; put it last"],
    ),
    "calls of gRPC in HTTP/1.1": (
        "listeners:\n"
        "  a:\n"
        "    bind: ':80'\n"
        "    routes:\n"
        "      - {match: {grpc: shop.Orders}, backend: web}\n"
        "      - {match: {not: {grpc: shop.Stock}}, backend: api}\n"
        "  b: {bind: ':81', http_versions: [1.1, 2], routes: [{match: {all: [{grpc: shop.Orders}, {method: POST}]}, backend: api}]}\n",
        [
            "f.yaml:5:9: warning: listeners.a.routes[0]: the servers of 'web' are spoken to in HTTP/1.1, and servers of gRPC speak HTTP/2; give the backend protocol: h2",
            "f.yaml:5:17: warning: listeners.a.routes[0].match: no client of gRPC can come in here, for it speaks HTTP/2; give the listener tls, or http_versions: [1.1, 2]",
            "f.yaml:7:54: warning: listeners.b.routes[0]: the servers of 'api' are spoken to in HTTP/1.1, and servers of gRPC speak HTTP/2; give the backend protocol: h2",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNINGS)
def test_warnings(case: str):
    text, expected = WARNINGS[case]
    assert warnings(text + BACKENDS) == expected


def test_a_backend_whose_servers_are_all_taken_out():
    text = (
        "listeners: {a: {bind: ':80', backend: web}}\n"
        "backends:\n"
        "  web: {servers: [{address: 127.0.0.1:1, drain: 5m}, {address: 127.0.0.1:2, maintenance: true}]}\n"
    )
    assert warnings(text) == [
        "f.yaml:3:18: warning: backends.web.servers: every server is taken out by drain or maintenance, so nothing new is served"
    ]


def test_warnings_of_servers():
    text = (
        "listeners: {a: {bind: ':80', backend: web}}\n"
        "backends:\n"
        "  web: {servers: [{address: 127.0.0.1:1, weight: 0}, {address: 127.0.0.1:1, weight: 0}]}\n"
    )
    assert warnings(text) == [
        "f.yaml:3:18: warning: backends.web.servers: every server has weight 0, so nothing is served; give one a weight above 0",
        "f.yaml:3:54: warning: backends.web.servers[1]: 127.0.0.1:1 stands here twice; use its weight for a larger share",
    ]
