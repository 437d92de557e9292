"""OCSP responses: which are shown, to whom, and where they come from. The judge is openssl."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load
from fourseven.config.warnings import warnings_of
from fourseven.control.stapling import Stapling
from fourseven.tls.certificates import Refused
from fourseven.tls.staples import judge
from support.front import Stage
from support.ocsp import DAY, OTHER_USE, REVOKED, SIGNING, OcspAuthority, Responder
from support.service import Service, answering, settled

SHOWN = "OCSP Response Status: successful"
NOT_SHOWN = "OCSP response: no response sent"
RESPOND = [{"filters": {"respond": {"body": "x"}}}]


@pytest.fixture
def own(tmp_path) -> OcspAuthority:
    return OcspAuthority(tmp_path)


def chain_of(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def asked(address: tuple[str, int], own: OcspAuthority, *more: str, name: str = "a.example") -> str:
    """What openssl's client says of a handshake in which it asks for the response."""
    program = shutil.which("openssl")
    assert program, "openssl is missing: apt install openssl"
    command = [program, "s_client", "-connect", "{}:{}".format(*address), "-status", *more]
    command += ["-CAfile", str(own.pem), "-servername", name, "-verify_return_error"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=20)
    return done.stdout.decode(errors="replace")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_response_beside_the_certificate_is_shown(stage: Stage, own: OcspAuthority, version: str):
    path = own.issue("a.pem", "a.example")
    Path(f"{path}.ocsp").write_bytes(own.word(chain_of(path)[0]))
    front = stage.front(tls={"certificates": [str(path)]})
    said = asked(front.balancer.address, own, version)
    assert SHOWN in said
    assert "Cert Status: good" in said
    assert "Verify return code: 0 (ok)" in said


def test_each_certificate_has_its_own(stage: Stage, own: OcspAuthority):
    """And one without a response shows none."""
    first, second = own.issue("a.pem", "b.example"), own.issue("b.pem", "a.example")
    word = first.with_name("word.der")
    word.write_bytes(own.word(chain_of(first)[0]))
    said = [{"certificate": str(first), "ocsp": str(word)}, str(second)]
    front = stage.front(tls={"certificates": said})
    assert NOT_SHOWN in asked(front.balancer.address, own)
    assert SHOWN in asked(front.balancer.address, own, name="b.example")


def test_none_is_shown_past_its_end(stage: Stage, own: OcspAuthority):
    path = own.issue("a.pem", "a.example")
    soon = datetime.timedelta(seconds=2.2)  # dates of OCSP are whole seconds
    Path(f"{path}.ocsp").write_bytes(own.word(chain_of(path)[0], until=soon))
    front = stage.front(tls={"certificates": [str(path)]})
    assert settled(lambda: NOT_SHOWN in asked(front.balancer.address, own))


STRANGER = "it is not signed by the certificate's issuer"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"status": REVOKED}, "the certificate is revoked"),
        ({"until": -DAY / 4}, "it ended on"),
        ({"since": DAY / 2}, "it holds only from"),
        ({"by": SIGNING}, ""),
        ({"by": OTHER_USE}, STRANGER),
        ({"of": "another"}, "it speaks of another certificate"),
        ({"from": "stranger"}, "it speaks of another certificate"),
        ({"cut": 40}, "it is no OCSP response"),
        ({"flip": -1}, STRANGER),
        ({"flip": 100}, None),  # anything but good
    ],
)
def test_what_is_good_enough(own: OcspAuthority, tmp_path, change: dict, words: str | None):
    path = own.issue("a.pem", "a.example")
    chain = chain_of(path)
    subject, authority = chain[0], own
    if change.pop("of", None):
        subject = chain_of(own.issue("b.pem", "a.example"))[0]
    if change.pop("from", None):
        (tmp_path / "other").mkdir()
        authority = OcspAuthority(tmp_path / "other", "Another authority")
    cut, flip, by = change.pop("cut", None), change.pop("flip", None), change.pop("by", None)
    if by is not None:
        change["delegate"] = own.delegate(by)
    der = bytearray(authority.word(subject, **change)[:cut])
    if flip is not None:
        der[flip] ^= 1
    if words == "":
        assert judge(bytes(der), chain, time.time()).until > time.time()
        return
    with pytest.raises(Refused, match=words):
        judge(bytes(der), chain, time.time())


@pytest.mark.parametrize(
    ("ocsp", "words"),
    [
        ("missing.der", "cannot be read"),
        ("a.pem", "no OCSP response"),
        ("fetch", "names no responder"),
    ],
)
def test_check_warns_of_what_is_not_shown(own: OcspAuthority, ocsp: str, words: str):
    own.issue("a.pem", "a.example")
    file = own.folder / "f.yaml"
    tls = {"certificates": [{"certificate": "a.pem", "ocsp": ocsp}]}
    web = {"bind": "127.0.0.1:443", "routes": RESPOND, "tls": tls}
    file.write_text(yaml.safe_dump({"listeners": {"web": web}}))
    config = load(file)
    plan = compile_plan(config)
    assert plan.listeners[0].tls.certificates[0].staple == b""
    found = [str(one) for one in warnings_of(config, plan)]
    assert len(found) == 1
    assert "shown without an OCSP response" in found[0]
    assert words in found[0]


def test_it_is_fetched_from_the_responder(own: OcspAuthority):
    with Responder() as responder:
        path = own.issue("a.pem", "a.example", responder.url)
        responder.said = own.word(chain_of(path)[0])
        tls = {"certificates": [{"certificate": str(path), "ocsp": "fetch"}]}
        with Service(answering("hello", tls=tls)) as running:
            assert settled(lambda: "ocsp.fetched" in running.log.read_text())
            assert settled(lambda: "Cert Status: good" in asked(running.address(), own))
        assert len(responder.asked) == 1


def test_a_responder_that_fails_is_asked_again(own: OcspAuthority, monkeypatch):
    """And the response in hand stays in force."""
    monkeypatch.setattr("fourseven.control.stapling.AGAIN_S", 0.0)
    monkeypatch.setattr("fourseven.control.stapling.ASK_MIN_S", 0.0)
    path = own.issue("a.pem", "a.example", "http://responder.invalid/")
    word = own.word(chain_of(path)[0], since=-DAY / 2, until=DAY / 4)  # past its half at once
    file = own.folder / "f.yaml"
    tls = {"certificates": [{"certificate": "a.pem", "ocsp": "fetch"}]}
    web = {"bind": "127.0.0.1:443", "routes": RESPOND, "tls": tls}
    file.write_text(yaml.safe_dump({"listeners": {"web": web}}))
    plan = compile_plan(load(file))
    answers = [OSError("no way there"), b"nonsense", word, OSError("gone")]

    async def run() -> list[bytes]:
        ended = asyncio.Event()

        async def ask(url: str, said: bytes) -> bytes:
            assert url == "http://responder.invalid/"
            if not answers:
                ended.set()
                await asyncio.Event().wait()
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        shown: list[bytes] = []
        stapling = Stapling(lambda: shown.append(stapled()), ask)

        def stapled() -> bytes:
            return stapling.stapled(plan).listeners[0].tls.certificates[0].staple

        stapling.use(plan)
        await asyncio.wait_for(ended.wait(), 30)
        shown.append(stapled())
        stapling.close()
        return shown

    assert asyncio.run(run()) == [word, word]
