"""What `explain` prints, word for word: for a file, and for a request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fourseven.cli.main import main

FILE = """\
listeners:
  web:
    bind: 0.0.0.0:8080
    trusted: [10.0.0.0/8]
    routes:
      - {name: videos, match: {path: /videos/, not: {method: DELETE}}, backend: videos}
      - name: beta
        match: {any: [{header: {X-Beta: {present: true}}}, {cookie: {beta: "1"}}]}
        backends: {web: 75, videos: 25}
      - {match: {path: {exact: /healthz}}, filters: [{respond: 204}]}
      - {match: {host: "*.example.com"}, backend: web}
  postgres: {bind: 0.0.0.0:5432, plane: tcx, backend: pg}
  dns: {bind: "udp://0.0.0.0:53", backend: pg}
backends:
  web: {servers: [10.0.0.1:80]}
  videos: {servers: [10.0.1.1:80, {address: 10.0.1.2:80, weight: 2}], balance: source_hash}
  pg: {servers: [10.0.2.1:5432, 10.0.2.2:5432], return_path: routed}
"""

LISTENERS = """\
web  tcp://0.0.0.0:8080
  layer     L7, plane http
  because   trusted needs to see the HTTP request
  sees      the HTTP request
  costs     each request's head is parsed, routed and rewritten; bodies are forwarded, not kept
  costs     servers see this host's address; the client's is told in headers
  backend   videos: source_hash over 10.0.1.1:80, 10.0.1.2:80 (weight 2)
  backend   web: round_robin over 10.0.0.1:80
  videos     path: /videos/, not: {method: DELETE}                         → videos
  beta       any: [{header: {X-Beta: {present: true}}}, {cookie: {beta: '1'}}]  → web:75 videos:25
  routes[2]  path: {exact: /healthz}                                       → respond
  routes[3]  host: '*.example.com'                                         → web

postgres  tcp://0.0.0.0:5432
  layer     L4, plane tcx
  because   no rule looks further than addresses and ports
  sees      addresses and ports
  costs     packets are rewritten in the kernel and reach no process; about what routing costs
  costs     servers see the client's address; they must have this host as their gateway
  costs     clients on this host, and what the kernel passes on, are served by the relay beside it
  backend   pg: round_robin over 10.0.2.1:5432, 10.0.2.2:5432
  backend  everything  → pg

dns  udp://0.0.0.0:53
  layer     L4, plane relay
  because   no rule looks further than addresses and ports
  sees      addresses and ports
  costs     each flow's datagrams are taken and sent on in user space
  costs     servers see this host's address and not the client's
  refused   tcx: this host was not asked
  refused   nftables: this host was not asked
  refused   xdp: only where plane: xdp asks for it; it pays on a physical interface, with small packets
  backend   pg: round_robin over 10.0.2.1:5432, 10.0.2.2:5432
  backend  everything  → pg

"""

REQUESTS = {
    "the second route takes it": (
        ("GET", "http://www.example.com:8080//x?a=1", "-H", "Cookie: beta=1"),
        """\
GET http://www.example.com:8080//x?a=1  from 127.0.0.1
  listener  web, L7
  method    GET
  host      www.example.com
  path      /x
  query     a=1
  ✗ videos  path: /videos/, not: {method: DELETE}  f.yaml:6:9
      path: wanted /videos/ or below; got /x
  ✓ beta  any: [{header: {X-Beta: {present: true}}}, {cookie: {beta: '1'}}]  f.yaml:7:9
  backends  web 75 %, videos 25 %; here the one with the largest share
  backend   web, round_robin
  server    10.0.0.1:80: it is the only one
""",
    ),
    "a client behind a trusted proxy": (
        ("GET", "http://h:8080/videos/1", "--from", "10.9.9.9", "-H", "X-Forwarded-For: 192.0.2.7"),
        """\
GET http://h:8080/videos/1  from 10.9.9.9
  listener  web, L7
  method    GET
  host      h
  path      /videos/1
  client    192.0.2.7, as the trusted 10.9.9.9 says
  ✓ videos  path: /videos/, not: {method: DELETE}  f.yaml:6:9
  backend   videos, source_hash
  server    10.0.1.2:80: the client's address (192.0.2.7) decides: the same goes there while that server takes work
""",
    ),
    "no route takes it": (
        ("DELETE", "http://other.org:8080/videos/1"),
        """\
DELETE http://other.org:8080/videos/1  from 127.0.0.1
  listener  web, L7
  method    DELETE
  host      other.org
  path      /videos/1
  ✗ videos  path: /videos/, not: {method: DELETE}  f.yaml:6:9
      method: wanted not DELETE; got DELETE
  ✗ beta  any: [{header: {X-Beta: {present: true}}}, {cookie: {beta: '1'}}]  f.yaml:7:9
      header x-beta: wanted to be there; got nothing
      cookie beta: wanted 1; got nothing
  ✗ routes[2]  path: {exact: /healthz}  f.yaml:10:9
      path: wanted /healthz; got /videos/1
  ✗ routes[3]  host: '*.example.com'  f.yaml:11:9
      host: wanted *.example.com; got other.org
  answer    404, no route takes it
""",
    ),
    "a route answers by itself": (
        ("GET", "http://h:8080/healthz"),
        """\
GET http://h:8080/healthz  from 127.0.0.1
  listener  web, L7
  method    GET
  host      h
  path      /healthz
  ✗ videos  path: /videos/, not: {method: DELETE}  f.yaml:6:9
      path: wanted /videos/ or below; got /healthz
  ✗ beta  any: [{header: {X-Beta: {present: true}}}, {cookie: {beta: '1'}}]  f.yaml:7:9
      header x-beta: wanted to be there; got nothing
      cookie beta: wanted 1; got nothing
  ✓ routes[2]  path: {exact: /healthz}  f.yaml:10:9
  answer    routes[2] answers by itself; no server sees it
""",
    ),
    "the reader refuses it": (
        ("GET", "http://h:8080/a%2fb"),
        """\
GET http://h:8080/a%2fb  from 127.0.0.1
  listener  web, L7
  refused   400: path slash; no route is tried, no server sees it
""",
    ),
    "a relayed connection": (
        ("GET", "tcp://h:5432/"),
        """\
GET tcp://h:5432/  from 127.0.0.1
  listener  postgres, L4
  ✓ backend  everything  f.yaml:12:55
  backend   pg, round_robin
  server    10.0.2.1:5432: the servers take turns, and all are idle here: this one has the first
""",
    ),
}


@pytest.fixture
def explain(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(FILE, encoding="utf-8")

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["explain", "f.yaml", *arguments])
        assert not end.value.code
        return capsys.readouterr().out

    return call


def test_a_file(explain):
    assert explain("--no-host") == LISTENERS


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request(explain, case: str):
    arguments, expected = REQUESTS[case]
    assert explain(*arguments) == expected


def test_json_says_the_same(explain):
    web, postgres, _ = json.loads(explain("--no-host", "--format", "json"))
    assert (web["layer"], web["routes"][1]["backends"]) == ("L7", [["web", 75], ["videos", 25]])
    assert postgres["plane"] == "tcx"
    verdict = json.loads(explain("GET", "http://h:8080/x", "--format", "json"))
    assert verdict["attempts"][0]["misses"] == [
        {"field": "path", "wanted": "/videos/ or below", "got": "/x"}
    ]


SPARE = "{address: '1.1.1.1:80', backup: true}"
TURNS = "the servers take turns, and all are idle here: this one has the first"


@pytest.mark.parametrize(
    "servers, said",
    [
        ([SPARE, "'2.2.2.2:80'"], "2.2.2.2:80: it is the only one of its tier"),
        ([SPARE, "{address: '2.2.2.2:80', drain: true}"],
         "1.1.1.1:80: it is the only one of its tier"),
        ([SPARE, "'2.2.2.2:80'", "'3.3.3.3:80'"], f"2.2.2.2:80: {TURNS}"),
        (["{address: '1.1.1.1:80', maintenance: true}", "'2.2.2.2:80'", "'3.3.3.3:80'"],
         f"2.2.2.2:80: {TURNS}"),
        (["{address: '1.1.1.1:80', drain: 5m}", "'2.2.2.2:80'"],
         "2.2.2.2:80: it is the only one that takes work"),
        (["{address: '1.1.1.1:80', drain: 5m}"], "none: no server takes work"),
        (["{dns: 'web.internal:80'}"], "none: its servers are found while it runs"),
    ],
)  # fmt: skip
def test_who_takes_no_work_is_not_named(explain, servers, said):
    """Spare servers were, beside those of the first tier."""
    Path("f.yaml").write_text(
        "listeners: {web: {bind: ':80', protocol: http, backend: b}}\n"
        f"backends: {{b: {{servers: [{', '.join(servers)}]}}}}\n",
        encoding="utf-8",
    )
    assert explain("GET", "http://h/").splitlines()[-1] == f"  server    {said}"


def test_of_thousands_of_routes_the_closest_are_shown(explain):
    routes = "".join(
        f"      - {{match: {{host: h{i % 100}.org, path: /p{i}/}}, backend: b}}\n"
        for i in range(2000)
    )
    Path("f.yaml").write_text(
        "listeners:\n  web:\n    bind: ':80'\n    routes:\n"
        f"{routes}      - {{backend: b}}\nbackends: {{b: {{servers: ['1.2.3.4:80']}}}}\n",
        encoding="utf-8",
    )
    lines = explain("GET", "http://h7.org/p1234/").splitlines()
    assert lines[5] == "  1971 routes missed by more; these came closest (--all shows every one)"
    shown = [line for line in lines if line.startswith(("  ✗", "  ✓"))]
    assert len(shown) == 30
    assert sum("host: h7.org" in line for line in shown) == 20
    assert any("path: /p1234/" in line for line in shown)
    assert len(explain("GET", "http://h7.org/p1234/", "--all").splitlines()) > 4000
