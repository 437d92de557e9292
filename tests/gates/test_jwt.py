"""Signed tokens: each algorithm, each claim, and what strangers write instead."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from fourseven.filters.token_keys import ALGORITHMS, bits, keys_in
from fourseven.forms import RouteFilter
from support.front import Stage
from support.gates import asked, guarded

SECRET = b"0123456789abcdef" * 4
RSA = rsa.generate_private_key(65537, 2048)
CURVES = {
    "ES256": (ec.SECP256R1(), "P-256", 32),
    "ES384": (ec.SECP384R1(), "P-384", 48),
    "ES512": (ec.SECP521R1(), "P-521", 66),
}
EC = {name: ec.generate_private_key(curve) for name, (curve, _, _) in CURVES.items()}
ED = ed25519.Ed25519PrivateKey.generate()
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def sign(algorithm: str, text: bytes) -> bytes:
    digest = HASHES.get(algorithm[2:])
    if algorithm.startswith("HS"):
        return hmac.digest(SECRET, text, f"sha{algorithm[2:]}")
    if algorithm.startswith("RS"):
        return RSA.sign(text, padding.PKCS1v15(), digest)
    if algorithm.startswith("PS"):
        pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        return RSA.sign(text, pss, digest)
    if algorithm.startswith("ES"):
        r, s = decode_dss_signature(EC[algorithm].sign(text, ec.ECDSA(digest)))
        size = CURVES[algorithm][2]
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    return ED.sign(text)


def token(algorithm: str = "HS256", head: dict | str = "", body: dict | str = "", **claims) -> str:
    made = {"alg": algorithm, "typ": "JWT", **(head if isinstance(head, dict) else {})}
    said = {"exp": 9_999_999_999, "sub": "alice", **claims}
    parts = [
        head if isinstance(head, str) and head else json.dumps(made),
        body if isinstance(body, str) and body else json.dumps(said),
    ]
    text = ".".join(b64(part.encode()) for part in parts)
    return f"{text}.{b64(sign(algorithm, text.encode()))}"


def jwks() -> dict:
    numbers = RSA.public_key().public_numbers()
    keys = [
        {"kty": "RSA", "kid": "rsa", "n": number(numbers.n), "e": number(numbers.e)},
        {"kty": "oct", "kid": "shared", "k": b64(SECRET)},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(ED.public_key().public_bytes_raw())},
        {"kty": "RSA", "use": "enc", "n": "x", "e": "x"},
        {"kty": "EC", "crv": "secp256k1", "x": "", "y": ""},
    ]
    for name, (_, curve, size) in CURVES.items():
        point = EC[name].public_key().public_numbers()
        x, y = number(point.x, size), number(point.y, size)
        keys.append({"kty": "EC", "crv": curve, "kid": name, "x": x, "y": y})
    return {"keys": keys}


@pytest.fixture
def keys(tmp_path: Path) -> str:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(jwks()))
    return str(file)


def bearer(text: str, **more: bytes) -> bytes:
    return asked(b"GET /x", Authorization=b"Bearer " + text.encode(), **more)


def test_each_algorithm_and_what_the_server_is_told(stage: Stage, keys: str):
    server = stage.server()
    said = {"keys": keys, "claims": {"X-User": "sub", "X-Roles": "/realm/roles"}, "forward": False}
    with stage.balancer(guarded(server.address, {"jwt": said})).wire() as wire:
        for algorithm in ALGORITHMS:
            good = token(algorithm, realm={"roles": ["a", "b"]})
            for _ in range(2):  # the second time its signature is remembered
                answer = wire.send(bearer(good, X_User=b"root", X_Roles=b"[]")).read()
                assert answer.status == 200, algorithm
            head, body, signature = good.split(".")
            wrong = base64.urlsafe_b64decode(signature + "==")
            wrong = bytes([wrong[0] ^ 1]) + wrong[1:]
            for bad in (
                f"{head}.{body}.{b64(wrong)}",
                f"{head}.{body}.{b64(wrong[:-1])}",
                f"{head}.{b64(b'{}')}.{signature}",
            ):
                assert wire.send(bearer(bad)).read().status == 401, algorithm
        assert wire.send(bearer(token(sub="a\r\nb"))).read().status == 200
    server.settle()
    told = server.requests[0]
    assert told.all("x-user") == [b"alice"]
    assert told.all("x-roles") == [b'["a", "b"]']
    assert told.all("authorization") == []
    assert server.requests[-1].all("x-user") == []  # what fits no header is not told


def public_pem() -> bytes:
    return RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


LATER = b64(b'{"exp":9999999999}')
NONE = b64(b'{"alg":"none"}')


def confused() -> str:
    """HMAC with the public key as its secret: what a verifier that lets tokens choose would take."""
    text = b64(b'{"alg":"HS256","kid":"rsa"}') + "." + LATER
    return f"{text}.{b64(hmac.digest(public_pem(), text.encode(), 'sha256'))}"


HEAD = '{"alg":"HS256"}'
HOSTILE = [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    token().rsplit(".", 1)[0],
    token().rsplit(".", 1)[0] + ".",
    token() + ".",
    token() + "=",
    "." + token(),
    token()[:-1] + "!",
    token().replace(".", ".."),
    f"{NONE}.{LATER}.",
    f"{NONE}.{LATER}.AA",
    confused(),
    token(head='{"alg":"none"}'),
    token(head='{"alg":"hs256"}'),
    token(head='{"alg":["HS256"]}'),
    token(head='{"alg":"HS256","alg":"none"}'),
    token(head='{"al\\u0067":"HS256"}'),
    token(head='{"alg":"HS256","crit":["exp"],"exp":1}'),
    token(head='{"alg":"HS256","kid":"rsa"}'),
    token(head='{"alg":"HS256","kid":"../../dev/null"}'),
    token(head='{"alg":"RS256"}'),
    token(head="[]"),
    token(head='"alg"'),
    token(head=HEAD + "x"),
    token(head="{" * 2000),
    token(head='{"alg":"HS256","x":' + "[" * 100 + "]" * 100 + "}"),
    token(head='{"alg":"HS256","x":"' + "x" * 3000 + '"}'),
    token(body="{}"),
    token(body="null"),
    token(body='{"exp":9999999999'),
    token(body='{"exp":9999999999}}'),
    token(body='{"exp":1,"exp":9999999999}'),
    token(body='{"exp":"soon"}'),
    token(body='{"exp":"9999999999"}'),
    token(body='{"exp":"99\\u00399999999"}'),
    token(body='{"exp":""}'),
    token(body='{"exp":[9999999999]}'),
    token(body='{"exp":-1}'),
    token(body='{"exp":null}'),
    token(body='{"exp":1e99}'),
    token(body='{"exp":99999999999999999999}'),
    token(body="{" + ",".join(f'"a{n}":1' for n in range(70)) + ',"exp":9999999999}'),
    token(exp=1_700_000_000),
    token(nbf=9_999_999_000),
    token(nbf="never"),
    token(nbf="1"),
    token(iat="1"),
    token(iat=None),
    token(x="x" * 9000),
]


def test_hostile_tokens(stage: Stage, keys: str):
    server = stage.server()
    with stage.balancer(guarded(server.address, {"jwt": keys})).wire() as wire:
        for text in HOSTILE:
            answer = wire.send(bearer(text)).read()
            assert answer.status == 401, text[:200]
            said = answer.get("www-authenticate")
            assert said is not None
            assert said.startswith(b'Bearer realm="api"')
        assert wire.send(asked(b"GET /x")).read().get("www-authenticate") == b'Bearer realm="api"'
        twice = b"Bearer " + token().encode()
        assert wire.send(asked(b"GET /x", Authorization=twice + b"\r\nAuthorization: " + twice))
        assert wire.read().status == 401
        assert (
            wire.send(bearer(token(exp=int(time.time()) - 5))).read().status == 200
        )  # within the leeway
        assert wire.send(bearer(token(exp=time.time() + 60.5))).read().status == 200
    server.settle()
    assert len(server.requests) == 2


CLAIMS = [
    ({"iss": "me", "aud": "api"}, 200),
    ({"iss": "me", "aud": ["x", "api"]}, 200),
    ({"iss": "me", "aud": ["api" + str(n) for n in range(40)]}, 401),
    ({"iss": "me", "aud": []}, 401),
    ({"iss": "me", "aud": "other"}, 401),
    ({"iss": "me"}, 401),
    ({"iss": "other", "aud": "api"}, 401),
    ({"aud": "api"}, 401),
    ({"iss": "me", "aud": "api", "scope": "write read"}, 200),
    ({"iss": "me", "aud": "api", "scope": "reader writer"}, 403),
    ({"iss": "me", "aud": "api", "realm": {"roles": ["user"]}}, 403),
    ({"iss": "me", "aud": "api", "tenant": None}, 200),
]


def test_claims(stage: Stage):
    server = stage.server()
    require = {"scope": ["read", "all"], "/realm/roles": "admin", "sub": []}
    said = {"secret": SECRET.decode(), "issuer": "me", "audience": ["api", "web"]}
    config = guarded(server.address, {"jwt": {**said, "require": require, "cookie": "token"}})
    with stage.balancer(config).wire() as wire:
        for claims, status in CLAIMS:
            filled = {"scope": "read", "realm": {"roles": ["user", "admin"]}, **claims}
            cookie = b"a=b; token=" + token(**filled).encode()
            answer = wire.send(asked(b"GET /x", Cookie=cookie)).read()
            assert answer.status == status, claims
            if status == 403:
                assert b'error="insufficient_scope"' in (answer.get("www-authenticate") or b"")
        assert wire.send(bearer(token(iss="me", aud="api"))).read().status == 401


def test_a_claim_with_a_long_name(stage: Stage):
    """Where a pointer to an entry of its list has no room, no other claim is taken for it."""
    name = "\U0001d4b3" * 150
    server = stage.server()
    said = {"secret": SECRET.decode(), "require": {name: "admin"}}
    claims = {"exp": 9_999_999_999, "0": "admin"}
    with stage.balancer(guarded(server.address, {"jwt": said})).wire() as wire:
        for value, status in (("admin", 200), (["user"], 403)):
            body = json.dumps({**claims, name: value}, ensure_ascii=False)
            assert wire.send(bearer(token(body=body))).read().status == status


def test_before_the_first_set_of_a_url(stage: Stage):
    """Nobody passes, and nobody is told that his token is bad."""
    server = stage.server()
    balancer = stage.balancer(guarded(server.address, {"jwt": "https://127.0.0.1:1/keys"}))
    assert balancer.ask(bearer(token())).status == 503
    assert balancer.at_rest()["routes"]["web routes[0]"]["reasons"] == {"ask_failed": 1}
    assert server.received == b""


def test_keys(tmp_path: Path):
    rows = keys_in(json.dumps(jwks()).encode(), "f")
    assert [row[0] for row in rows] == [b"rsa", b"shared", b"ed", b"ES256", b"ES384", b"ES512"]
    assert rows[0][1] == bits(list(ALGORITHMS[:6]))
    (row,) = keys_in(public_pem(), "f")
    assert row[2] == rows[0][2]
    weak = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    pinned = {**jwks()["keys"][0], "alg": "PS512"}
    assert keys_in(json.dumps(pinned).encode(), "f")[0][1] == bits(["PS512"])
    for raw, word in [
        (b"", "neither"),
        (b"[" * 100_000, "neither"),
        (b"[]", "no JWK set"),
        (b'{"keys":{}}', "no JWK set"),
        (b'{"keys":[]}', "holds no key"),
        (b'{"keys":[1]}', r"keys\[0\]"),
        (b'{"kty":"RSA","n":"AA","e":"AQAB"}', r"keys\[0\]"),
        (b'{"kty":"oct","k":"c2hvcnQ"}', "can be guessed"),
        (b'{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}', r"keys\[0\]"),
        (json.dumps({**pinned, "alg": "HS256"}).encode(), "not one of its kind"),
        (b'{"kty":"RSA","n":"%s","e":"AQAB"}' % number(weak.n).encode(), "2048"),
        (b"-----BEGIN X-----", "no public key"),
    ]:
        with pytest.raises(ValueError, match=word):
            keys_in(raw, "f")


@pytest.mark.parametrize(
    "said, word",
    [
        ({"jwt": {}}, "name one"),
        ({"jwt": {"secret": "short"}}, "guessed"),
        ({"jwt": {"keys": "a", "secret": "b" * 32}}, "name one"),
        ({"jwt": {"keys": "a", "algorithms": "none"}}, "algorithms"),
        ({"jwt": {"keys": "a", "claims": {"Host": "sub"}}}, "Host"),
        ({"jwt": {"keys": "http://id.example/keys"}}, "https://"),
        ({"jwt": {"keys": "https://id.example/keys", "refresh": "1s"}}, "5s"),
        ({"jwt": {"keys": "a", "refresh": "1h"}}, "watched"),
        ({"jwt": {"keys": "a", "ca": "b"}}, "watched"),
    ],
)
def test_what_the_file_may_not_say(said, word):
    with pytest.raises(ValidationError) as error:
        RouteFilter.model_validate(said)
    assert word in str(error.value)
