"""Files, and what is said about them: the text and the place of each error."""

from __future__ import annotations

import pytest

from fourseven.config.load import load, loads
from fourseven.errors import ConfigErrors

BACKENDS = "backends: {web: {servers: [127.0.0.1:9000]}, api: {servers: [127.0.0.1:9001]}}\n"
WEB = "listeners: {web: {bind: ':80', backend: web}}\n"


def problems(text: str, file: str = "f.yaml") -> list[str]:
    """The errors of a file, as they are printed."""
    try:
        loads(text.encode(), file)
    except ConfigErrors as errors:
        return [str(problem) for problem in errors.problems]
    return []


def test_a_small_file_is_read_whole():
    config = loads((WEB + BACKENDS).encode(), "f.yaml")
    assert config.listeners["web"].bind == ("tcp://[::]:80",)
    assert config.backends["web"].servers[0].address == "127.0.0.1:9000"
    assert config.at("backends", "web", "servers", 0) == "f.yaml:2:28"


def test_yaml_and_toml_say_the_same():
    toml = """
        workers = 2
        [listeners.web]
        bind = [":80", "unix:/run/web.sock"]
        idle_timeout = "30s"
        backend = "web"
        [backends.web]
        servers = ["127.0.0.1:9000", {address = "127.0.0.1:9001", weight = 2}]
    """
    yaml = """
        workers: 2
        listeners:
          web: {bind: [':80', 'unix:/run/web.sock'], idle_timeout: 30s, backend: web}
        backends:
          web: {servers: [127.0.0.1:9000, {address: 127.0.0.1:9001, weight: 2}]}
    """
    assert (
        loads(toml.encode(), "f.toml").model_dump() == loads(yaml.encode(), "f.yaml").model_dump()
    )


def test_anchors_merges_and_a_place_for_them():
    text = """
x-defaults: &defaults {idle_timeout: 5s, connections_max: 10}
listeners:
  a: {<<: *defaults, bind: ':81', backend: web}
  b: {<<: [*defaults], bind: ':82', backend: web, connections_max: 20}
"""
    config = loads((text + BACKENDS).encode(), "f.yaml")
    assert config.listeners["a"].idle_timeout_ms == 5000
    assert config.listeners["b"].connections_max == 20


ERRORS = {
    "unknown keys and names, all at once": (
        "listeners:\n"
        "  web:\n"
        "    bind: 127.0.0.1:8080\n"
        "    routes:\n"
        "      - {backendd: web}\n"
        "      - {backend: wbe}\n",
        [
            "f.yaml:5:10: listeners.web.routes[0].backendd: the key 'backendd' is not known here; did you mean 'backend'?",
            "f.yaml:6:19: listeners.web.routes[1].backend: there is no backend 'wbe'; did you mean 'web'?",
        ],
    ),
    "a weighted name is found at its key": (
        "listeners: {web: {bind: ':80', routes: [{backends: {web: 1, wep: 2}}]}}\n",
        [
            "f.yaml:1:61: listeners.web.routes[0].backends.wep: there is no backend 'wep'; did you mean 'web'?"
        ],
    ),
    "nothing behind a key": (
        "listeners:\n  web:\n    bind: ':80'\n    backend:\n",
        [
            "f.yaml:4:13: listeners.web.backend: there is no value here; give one, or leave the key out"
        ],
    ),
    "a key twice": (
        "listeners:\n  web: {bind: ':80', backend: web}\n  web: {bind: ':81', backend: web}\n",
        ["f.yaml:3:3: listeners: 'web' stands here twice, first in line 2; keep one of them"],
    ),
    "units": (
        "listeners: {web: {bind: ':80', backend: web, idle_timeout: 10, head_max: 64KB}}\n",
        [
            "f.yaml:1:60: listeners.web.idle_timeout: 10 has no unit; write 10s or 10ms",
            "f.yaml:1:74: listeners.web.head_max: the unit 'KB' of 64KB is not known; write 64KiB",
        ],
    ),
    "bounds and kinds": (
        "workers: many\n"
        "listeners: {web: {bind: ':80', backend: web, headers_max: 1000, connections_max: 1.5}}\n",
        [
            "f.yaml:1:10: workers: 'many' is not a whole number; write a whole number, without quotes and unit",
            "f.yaml:2:59: listeners.web.headers_max: 1000 is out of bounds; write at most 256",
            "f.yaml:2:82: listeners.web.connections_max: 1.5 is not a whole number; write a whole number, without quotes and unit",
        ],
    ),
    "a word out of a fixed set": (
        "listeners: {web: {bind: ':80', backend: web, protocol: https, relax: [underscore]}}\n",
        [
            "f.yaml:1:56: listeners.web.protocol: 'https' is not known here; did you mean 'http'?",
            "f.yaml:1:71: listeners.web.relax[0]: 'underscore' is not known here; did you mean 'underscores'?",
        ],
    ),
    "a wait without an end": (
        "listeners: {web: {bind: ':80', backend: web, idle_timeout: 0}}\n",
        [
            "f.yaml:1:60: listeners.web.idle_timeout: 0 would wait for ever; every wait has an end, write e.g. 1h"
        ],
    ),
    "a key that belongs elsewhere": (
        "listeners: {web: {bind: ':80', backend: web, health: {path: /}}}\n",
        [
            "f.yaml:1:46: listeners.web.health: the key 'health' does not stand here; it belongs to a backend"
        ],
    ),
    "what other balancers call it": (
        "upstreams: {}\nlisteners: {web: {listen: ':80'}}\n",
        [
            "f.yaml:1:1: upstreams: the key 'upstreams' is not known here; here it is called 'backends'",
            "f.yaml:2:18: listeners.web: the key 'bind' is missing; write e.g. bind: 0.0.0.0:8080",
            "f.yaml:2:19: listeners.web.listen: the key 'listen' is not known here; here it is called 'bind'",
        ],
    ),
    "a name that would move a terminal": (
        "listeners: {\"a\\e[2J\\nb\": {bind: ':80', backend: web}}\n",
        [
            "f.yaml:1:13: listeners.a\\x1b[2J\\nb: 'a\\x1b[2J\\nb' is no name; use at most 63 letters, digits, _ . and -"
        ],
    ),
    "names": (
        "listeners: {'my web': {bind: ':80', backend: web}}\n",
        [
            "f.yaml:1:13: listeners.my web: 'my web' is no name; use at most 63 letters, digits, _ . and -"
        ],
    ),
    "a route without an end, and one with two": (
        "listeners: {web: {bind: ':80', routes: [{name: a}, {backend: web, backends: {api: 1}}, {backends: {web: 0}}]}}\n",
        [
            "f.yaml:1:41: listeners.web.routes[0]: the route goes nowhere; give it a backend: name",
            "f.yaml:1:52: listeners.web.routes[1]: backend and backends stand in one route; keep one of them",
            "f.yaml:1:88: listeners.web.routes[2]: the weights add up to 0; give one backend a weight above 0",
        ],
    ),
    "a listener without an end, and one with two": (
        "listeners: {a: {bind: ':80'}, b: {bind: ':81', backend: web, routes: [{backend: web}]}, c: {bind: [], backend: web}}\n",
        [
            "f.yaml:1:16: listeners.a: the listener leads nowhere; give it routes or a backend: name",
            "f.yaml:1:34: listeners.b: backend and routes stand in one listener; make the backend the last route",
            "f.yaml:1:99: listeners.c.bind: the list is empty; give it at least one",
        ],
    ),
    "one socket twice": (
        "listeners:\n"
        "  a: {bind: ':80', backend: web}\n"
        "  b: {bind: [127.0.0.1:80, 'udp://127.0.0.1:80'], backend: web}\n",
        [
            "f.yaml:3:13: listeners.b.bind: tcp and udp stand in one listener; make two, they may lead to one backend",
            "f.yaml:3:14: listeners.b.bind[0]: tcp://127.0.0.1:80 is taken by tcp://[::]:80 of listener 'a'; give one another port",
        ],
    ),
    "routes with one name": (
        "listeners: {web: {bind: ':80', routes: [{name: a, backend: web}, {name: a, backend: api}]}}\n",
        [
            "f.yaml:1:73: listeners.web.routes[1].name: routes[0] is called 'a' too; give one another name"
        ],
    ),
    "HTTP over UDP, and an option of HTTP in a TCP listener": (
        "listeners:\n"
        "  a: {bind: 'udp://:53', backend: web, protocol: http}\n"
        "  b: {bind: ':54', backend: web, protocol: tcp, request_id: true}\n"
        "  c: {bind: 'udp://:55', backend: web, trusted: 10.0.0.0/8}\n",
        [
            "f.yaml:2:50: listeners.a.protocol: HTTP does not come over udp://; bind to tcp, or remove protocol: http",
            "f.yaml:3:61: listeners.b.request_id: request_id needs to see the HTTP request, and protocol: tcp never does; remove it, or protocol: tcp",
            "f.yaml:4:49: listeners.c.trusted: trusted needs to see the HTTP request, and a UDP listener never does; remove it",
        ],
    ),
    "a plane that cannot serve": (
        "listeners: {a: {bind: ':80', backend: web, plane: http}, b: {bind: ':81', backend: web, protocol: http, plane: xdp}}\n",
        [
            "f.yaml:1:51: listeners.a.plane: no rule needs the HTTP plane; write protocol: http to have it, or leave plane out",
            "f.yaml:1:112: listeners.b.plane: the plane xdp cannot look at requests; leave plane out",
        ],
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_where_what_and_what_would_be_right(case: str):
    text, expected = ERRORS[case]
    assert problems(text + BACKENDS) == expected


BACKEND_ERRORS = {
    "no servers": (
        "backends: {web: {servers: []}}\n",
        ["f.yaml:2:27: backends.web.servers: the list is empty; give it at least one"],
    ),
    "servers missing": (
        "backends: {web: {}}\n",
        [
            "f.yaml:2:17: backends.web: the key 'servers' is missing; write e.g. servers: [127.0.0.1:9000]"
        ],
    ),
    "an address and a weight": (
        "backends: {web: {servers: [http://a, {address: '1.2.3.4:80', weight: -1}]}}\n",
        [
            "f.yaml:2:28: backends.web.servers[0]: 'http://a' has a scheme; write host:port, e.g. a:80",
            "f.yaml:2:70: backends.web.servers[1].weight: -1 is out of bounds; write at least 0",
        ],
    ),
    "what a server is to do": (
        "backends: {web: {servers: [{address: '1.2.3.4:80', drain: 0}, {address: '1.2.3.5:80', drain: true, maintenance: true}, {address: '1.2.3.6:80', drain: soon}]}}\n",
        [
            "f.yaml:2:59: backends.web.servers[0].drain: 0 ends kept sessions at once; write maintenance: true",
            "f.yaml:2:63: backends.web.servers[1]: drain and maintenance stand in one server; keep one of them",
            "f.yaml:2:151: backends.web.servers[2].drain: 'soon' is not a time; write 10s, 250ms or 1h",
        ],
    ),
    "an algorithm": (
        "backends: {web: {servers: ['1.2.3.4:80'], balance: round-robin}}\n",
        [
            "f.yaml:2:52: backends.web.balance: the key 'round-robin' is not known here; did you mean 'round_robin'?"
        ],
    ),
    "an algorithm by another balancer's name": (
        "backends: {web: {servers: ['1.2.3.4:80'], balance: leastconn}}\n",
        [
            "f.yaml:2:52: backends.web.balance: the key 'leastconn' is not known here; here it is called 'least_requests'"
        ],
    ),
    "a value that is missing is said once": (
        "backends:\n",
        ["f.yaml:2:10: backends: there is no value here; give one, or leave the key out"],
    ),
    "two algorithms": (
        "backends: {web: {servers: ['1.2.3.4:80'], balance: {random: {}, maglev: {}}}}\n",
        [
            "f.yaml:2:52: backends.web.balance: random and maglev stand in one place; keep one, e.g. balance: round_robin"
        ],
    ),
    "a list where a mapping stands": (
        "backends: [web]\n",
        ["f.yaml:2:11: backends: a list is not a mapping; write a mapping, with key: value in it"],
    ),
}


@pytest.mark.parametrize("case", BACKEND_ERRORS)
def test_errors_of_backends(case: str):
    text, expected = BACKEND_ERRORS[case]
    assert problems(WEB + text) == expected


def test_a_file_that_is_not_there():
    with pytest.raises(ConfigErrors) as error:
        load("/no/such/file.yaml")
    assert str(error.value) == "/no/such/file.yaml: it cannot be read: No such file or directory"


def test_a_file_that_is_not_utf8():
    with pytest.raises(ConfigErrors) as error:
        loads(b"listeners:\n  w\xff: {}\n", "f.yaml")
    assert str(error.value) == "f.yaml:2:4: the byte 0xff is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize("text", ["", "# nothing", "- a\n", "text\n", "[]"])
def test_a_file_that_is_no_mapping(text: str):
    assert problems(text)[-1].endswith(
        "the file is no mapping; begin with listeners: and backends: (see fourseven init)"
    ) or problems(text) == [
        "f.yaml:1:1: the key 'listeners' is missing; write e.g. listeners: {web: {bind: :8080, backend: web}}"
    ]


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("protocol: h2, proxy_protocol: v2", "clients share a connection"),
        ("protocol: h2, tls: {alpn: http/1.1}", "tls.alpn contradicts protocol: h2"),
        ("protocol: h3", "protocol"),
    ],
)
def test_what_servers_of_http_2_cannot_have(backend: str, says: str):
    text = WEB + f"backends: {{web: {{servers: [127.0.0.1:9000], {backend}}}}}\n"
    found = problems(text)
    assert len(found) == 1
    assert says in found[0]
