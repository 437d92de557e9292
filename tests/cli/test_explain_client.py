"""`explain` knows client certificates: what the handshake makes of one, and what matches see of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fourseven.cli.main import main
from support.tls import Authority

FILE = """\
listeners:
  inside:
    bind: 0.0.0.0:443
    tls:
      certificates: [a.pem]
      client_certificates: {ca: clients.pem, mode: required}
    routes:
      - name: alice
        match: {client_certificate: {subject: {contains: CN=alice}, san: alice@example.com}}
        backend: web
      - {name: rest, backend: web}
  both:
    bind: 0.0.0.0:444
    tls:
      certificates: [a.pem]
      client_certificates: {ca: clients.pem, mode: optional}
    routes:
      - {name: known, match: {client_certificate: {verified: true}}, backend: web}
      - {name: rest, backend: web}
  open:
    bind: 0.0.0.0:445
    tls: {certificates: [a.pem]}
    backend: web
  listed:
    bind: 0.0.0.0:446
    tls:
      certificates: [a.pem]
      client_certificates: {ca: clients.pem, crl: clients.crl}
    backend: web
backends:
  web: {servers: [10.0.0.1:80]}
"""

ASKED = [
    ("443", "alice", ["certificate CN=alice", ", verified", "✓ alice"]),
    (
        "443",
        "bob",
        ["subject of the client's certificate: wanted …CN=alice…; got CN=bob", "✓ rest"],
    ),
    ("443", None, ["refused   TLS: a client must show a certificate, and shows none"]),
    ("443", "mallory", ["refused   TLS: the client's certificate does not verify: unable to get"]),
    ("444", "alice", ["✓ known"]),
    ("444", None, ["fingerprint of the client's certificate: wanted to be there; got nothing"]),
    ("444", "mallory", ["refused   TLS: the client's certificate does not verify"]),
    ("445", "alice", ["certificate is not asked for here", "✓"]),
    ("445", None, ["✓"]),
    ("446", "alice", ["certificate CN=alice", ", verified"]),
    (
        "446",
        "bob",
        ["refused   TLS: the client's certificate does not verify: certificate revoked"],
    ),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    authority = Authority(folder)
    authority.issue("a.pem", "a.example")
    (folder / "clients.pem").write_bytes(authority.pem.read_bytes())
    for name in ("alice", "bob"):
        authority.issue(f"{name}.pem", f"{name}@example.com", common_name=name)
    authority.revoke("clients.crl", str(folder / "bob.pem"))
    (folder / "other").mkdir()
    stranger = Authority(folder / "other").issue("m.pem", "alice@example.com", common_name="alice")
    (folder / "mallory.pem").write_bytes(Path(stranger).read_bytes())
    path = folder / "f.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("port,who,said", ASKED)
def test_a_request(file: Path, capsys, port: str, who: str | None, said: list[str]):
    shown = ["--client-cert", str(file.parent / f"{who}.pem")] if who else []
    with pytest.raises(SystemExit):
        main(["explain", str(file), "GET", f"https://a.example:{port}/", *shown])
    printed = capsys.readouterr().out
    for words in said:
        assert words in printed, printed


@pytest.mark.parametrize(
    "host,sni,said",
    [
        ("a.example", "a.example", "✓"),
        ("a.example", "b.example", "✓"),  # the first certificate is shown, and holds the host
        ("b.example", "b.example", "✓"),
        ("b.example", "a.example", "421: the certificate of a.example is not of this host"),
    ],
)
def test_a_host_of_another_connection(file: Path, capsys, host: str, sni: str, said: str):
    with pytest.raises(SystemExit):
        main(["explain", str(file), "GET", f"https://{host}:445/", "--sni", sni])
    assert said in capsys.readouterr().out


def test_a_file_that_is_no_certificate(file: Path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["explain", str(file), "GET", "https://a.example/", "--client-cert", str(file)])
    assert ended.value.code != 0
    assert "it holds no certificate in PEM" in capsys.readouterr().err
