"""`explain` knows SNI and ALPN: what is passed through, what ends here, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from fourseven.cli.main import main
from support.tls import Authority

FILE = """\
listeners:
  web:
    bind: 0.0.0.0:443
    tls: {certificates: [a.pem]}
    trusted: 127.0.0.1
    routes:
      - {name: site, match: {sni: a.example}, backend: web}
      - {name: db, match: {sni: "*.example"}, tls: passthrough, backend: db}
      - {name: inner, match: {address: 10.0.0.0/8}, tls: passthrough, backend: db}
      - {name: api, match: {path: /api}, backend: web}
  pass:
    bind: 0.0.0.0:444
    routes:
      - {match: {alpn: imap}, backend: db}
      - {match: {sni: b.example}, backend: web}
backends:
  web: {servers: [10.0.0.1:80]}
  db: {servers: [10.0.0.2:443]}
"""

ASKED = [
    (["https://a.example/api"], ["listener  web, L7", "✓ site", "server    10.0.0.1:80"]),
    (
        ["https://db.example/"],
        ["TLS is passed through", "✗ site", "✓ db", "server    10.0.0.2:443"],
    ),
    (["https://other.test/api"], ["listener  web, L7", "✗ inner", "✓ api"]),
    (["https://other.test/x", "--from", "10.1.2.3"], ["TLS is passed through", "✓ inner"]),
    (
        ["https://other.test/api", "-H", "X-Forwarded-For: 10.1.2.3"],
        ["client    10.1.2.3", "✗ inner", "✓ api"],
    ),
    (["https://127.0.0.1/api"], ["SNI: wanted *.example; got nothing", "✓ api"]),
    (["https://a.example/", "--sni", "db.example"], ["sni       db.example", "✓ db"]),
    (["https://b.example:444/"], ["listener  pass, L4 + peek", "✓ routes[1]"]),
    (["https://b.example:444/", "--alpn", "h2", "--alpn", "imap"], ["✓ routes[0]"]),
    (["https://c.example:444/", "--alpn", "h2"], ["ALPN: wanted imap; got h2", "closed"]),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    Authority(folder).issue("a.pem", "a.example")
    path = folder / "f.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("asked,said", ASKED)
def test_a_request(file: Path, capsys, asked: list[str], said: list[str]):
    with pytest.raises(SystemExit):
        main(["explain", str(file), "GET", *asked])
    printed = capsys.readouterr().out
    for words in said:
        assert words in printed, printed


def test_the_listeners(file: Path, capsys):
    with pytest.raises(SystemExit):
        main(["explain", str(file)])
    printed = capsys.readouterr().out
    assert "TLS as it is → db" in printed
    assert "layer     L4 + peek, plane relay" in printed
    assert "ClientHello is waited for" in printed
