"""What a file may say of TLS: certificates arranged by name, and every mistake with its place."""

from __future__ import annotations

import json
import weakref
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from fourseven.cli.cert import make
from fourseven.cli.main import main
from fourseven.compiler.compile import compile_plan
from fourseven.compiler.tls import arrange
from fourseven.config.load import load
from fourseven.config.warnings import warnings_of
from fourseven.errors import ConfigErrors
from fourseven.model import Config
from fourseven.plan import CertificatePlan
from fourseven.tls.certificates import pair
from support.tls import Authority

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tls.md"


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("tls"))
    made.issue("a.pem", "a.example")
    made.issue("b.pem", "*.b.example")
    made.expired("late.pem", "late.example")
    made.issue("small.pem", "a.example")
    made.revoke("good.crl")
    made.revoke("old.crl", days=-1)
    made.revoke("early.crl", since=2, days=3)
    renewed = [(made.folder / f"{name}.crl").read_text() for name in ("old", "good")]
    (made.folder / "both.crl").write_text("-----BEGIN ???\n" + "what a tool left\n".join(renewed))
    (made.folder / "bad.crl").write_text("-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n")
    (made.folder / "other").mkdir()
    other = Authority(made.folder / "other").revoke("other.crl")
    Path(other).rename(made.folder / "other.crl")
    return made


def clients(**more: str) -> dict[str, object]:
    return {"certificates": ["a.pem"], "client_certificates": {"ca": "ca.pem", **more}}


def said(authority: Authority, tls: object, **listener: object) -> list[str]:
    """Every error of a file with this tls, or its warnings."""
    routes = [{"filters": {"respond": {"body": "x"}}}]
    web = {"bind": "127.0.0.1:443", "routes": routes, "tls": tls, **listener}
    path = authority.folder / "f.yaml"
    path.write_text(yaml.safe_dump({"listeners": {"web": web}}, sort_keys=False))
    try:
        config = load(path)
        plan = compile_plan(config)
    except ConfigErrors as errors:
        return [str(problem) for problem in errors.problems]
    return [str(problem) for problem in warnings_of(config, plan)]


def test_what_is_right(authority: Authority):
    assert said(authority, {"certificates": ["a.pem", {"certificate": "b.pem"}]}) == []
    assert said(authority, clients(crl="good.crl")) == []
    assert said(authority, clients(crl="both.crl")) == []  # the newer list counts


@pytest.mark.parametrize(
    "tls,words",
    [
        ({}, "the key 'certificates' is missing"),
        ({"certificates": []}, "the list is empty"),
        ({"certificates": ["gone.pem"]}, "cannot be read: No such file"),
        ({"certificates": ["f.yaml"]}, "holds no certificate in PEM"),
        ({"certificates": ["ca.pem"]}, "holds no private key"),
        ({"certificates": [{"certificate": "a.pem", "key": "b.pem"}]}, "is not the key of"),
        ({"certificates": ["a.pem"], "alpn": ["h2"]}, "http_versions says what is spoken"),
        ({"certificates": ["a.pem"], "ciphers": "NONSENSE"}, "OpenSSL knows no cipher"),
        ({"certificates": ["a.pem"], "curves": ["X25520"]}, "does not know the curve"),
        ({"certificates": ["a.pem"], "min_version": 1.1}, "is not known here"),
        ({"certificates": ["a.pem"], "profile": "old"}, "is not known here"),
        (
            {"certificates": ["a.pem"], "profile": "modern", "min_version": 1.2},
            "modern is TLS 1.3 alone",
        ),
        (
            {"certificates": ["a.pem"], "min_version": 1.3, "ciphers": "ALL"},
            "these are ciphers of TLS 1.2",
        ),
        ({"certificates": ["a.pem"], "client_certificates": {"ca": "f.yaml"}}, "no certificate"),
        (clients(crl="gone.pem"), "cannot be read: No such file"),
        (clients(crl="ca.pem"), "holds no list in PEM"),
        (clients(crl="bad.crl"), "cannot be read"),
        (clients(crl="other.crl"), "so all its clients would be refused"),
        (clients(crl="early.crl"), "a list in it begins on"),
        (clients(crl="old.crl"), "so clients of that authority are refused; renew it"),
        ({"certificates": ["late.pem"]}, "expired on 2020-01-10"),
        ({"certificates": ["a.pem", "small.pem"]}, "stands for a.example with a key of ECDSA too"),
    ],
)
def test_what_is_wrong(authority: Authority, tls, words):
    found = said(authority, tls)
    assert len(found) == 1
    assert words in found[0]


def test_a_locked_key(authority: Authority):
    key = serialization.load_pem_private_key(make(("a.example",))[1], None)
    form = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    locked = key.private_bytes(serialization.Encoding.PEM, *form)
    (authority.folder / "locked.key").write_bytes(locked)
    found = said(authority, {"certificates": [{"certificate": "a.pem", "key": "locked.key"}]})
    assert "locked with a pass phrase" in found[0]


def test_protocols_of_what_is_relayed(authority: Authority):
    def listener(*protocols: str) -> Config:
        tls = {"certificates": ["a.pem"], "alpn": protocols}
        web = {"bind": "127.0.0.1:1", "protocol": "tcp", "backend": "all", "tls": tls}
        backends = {"all": {"servers": ["127.0.0.1:1"]}}
        path = authority.folder / "f.yaml"
        path.write_text(json.dumps({"listeners": {"web": web}, "backends": backends}))
        return load(path)

    tls = compile_plan(listener("h2", "imap")).listeners[0].tls
    assert tls is not None
    assert tls.protocols == b"\x02h2\x04imap"
    with pytest.raises(ConfigErrors, match="a protocol has 1 to 255"):
        compile_plan(listener("h2", "x" * 256))


@pytest.mark.parametrize(
    "listener,words",
    [
        ({"protocol": "tcp"}, "and protocol: tcp never does"),
        ({"bind": "udp://127.0.0.1:443"}, "a UDP listener never does"),
        ({"plane": "relay"}, "the plane relay cannot look at requests"),
    ],
)
def test_what_cannot_be_served(authority: Authority, listener, words):
    found = said(authority, {"certificates": ["a.pem"]}, **listener)
    assert any(words in one for one in found), found


def certificate(kind: str, *names: str) -> CertificatePlan:
    return CertificatePlan("f", names, kind, 0.0, b"", b"")


def test_sets_of_certificates():
    names, sets = arrange(
        [
            certificate("RSA", "a.example"),
            certificate("ECDSA", "*.example"),
            certificate("ECDSA", "a.example", "c.test"),
            certificate("RSA", "*.example"),
        ]
    )
    found = {name: sets[number] for name, number in names}
    assert found == {b"a.example": (0, 2), b".example": (1, 3), b"c.test": (2,)}
    assert sets[0] == (0, 2)
    assert arrange([certificate("RSA")]) == ((), ((0,),))


def test_what_is_as_it_was_is_not_judged_again(authority: Authority):
    """The same object: so a reload of ten thousand certificates judges those that are new."""
    path = Path(authority.issue("kept.pem", "one.example"))
    first = pair(path, path)
    assert pair(path, path) is first
    authority.issue("kept.pem", "two.example")
    second = pair(path, path)
    assert (first.names, second.names) == (("one.example",), ("two.example",))
    gone = weakref.ref(second)
    del second
    assert gone() is None, "what no plan holds is forgotten"


def test_self_signed(authority: Authority, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(authority.folder)
    arguments = ["cert", "self-signed", "*.own.example", "127.0.0.1", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code
    tls = yaml.safe_load(capsys.readouterr().out.splitlines()[1])["tls"]
    assert said(authority, tls) == []
    assert (tmp_path / "_.own.example.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 1
    assert "is there already" in capsys.readouterr().err
    for host in ("no host", "../up", "a..b", "*", "https://a.example"):
        with pytest.raises(SystemExit) as end:
            main([*arguments[:2], host, "--out", str(tmp_path / "none")])
        assert end.value.code == 1
        assert f"{host!r} is no host name" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_page_is_right(authority: Authority, tmp_path):
    text = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    pairs = make(("a.example",)), make(("b.example",))
    (tmp_path / "a.pem").write_bytes(b"".join(pairs[0]))
    (tmp_path / "b.pem").write_bytes(pairs[1][0])
    (tmp_path / "b.key").write_bytes(pairs[1][1])
    path = tmp_path / "f.yaml"
    path.write_text(text)
    config = load(path)
    assert warnings_of(config, compile_plan(config)) == []
