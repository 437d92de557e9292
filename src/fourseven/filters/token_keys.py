"""Keys that verify tokens: from a JWK set (RFC 7517), PEM, or a shared secret.

Each becomes (its id, bits of the algorithms that it is for, DER or secret). What a set holds for
other uses (encryption, curves that we do not serve) is passed over, as RFC 7517 5 says; a set in
which nothing is left is an error, and so is a key that is too weak to mean anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import replace
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from fourseven.plan import GatePlan

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"),
)
KEYS_MAX = 64
RSA_BITS = (2048, 16384)
SECRET_MIN = 32  # bytes: RFC 7518 3.2 for HS256
ID_MAX = 1024  # bytes of a key's id; a token's header holds no longer one
PLACE_OF_COUNT = 6  # of the keys, among a gate's numbers (l7.gate_token)
CURVES: dict[str, tuple[type[ec.EllipticCurve], str]] = {
    "P-256": (ec.SECP256R1, "ES256"),
    "P-384": (ec.SECP384R1, "ES384"),
    "P-521": (ec.SECP521R1, "ES512"),
}
Row = tuple[bytes, int, bytes]  # id, bits of the algorithms, DER or secret


class PassedOverError(Exception):
    """A key of a set that is not for us."""


def bits(names: tuple[str, ...] | list[str]) -> int:
    return sum(1 << ALGORITHMS.index(name) for name in names)


def identity(rows: tuple[Row, ...]) -> bytes:
    """What a verdict on a signature is remembered under: other keys, other verdicts."""
    return hashlib.sha256(repr(rows).encode()).digest()


def with_rows(gate: GatePlan, rows: tuple[Row, ...]) -> GatePlan:
    """The gate of a filter `jwt` with other keys."""
    numbers = (*gate.numbers[:PLACE_OF_COUNT], len(rows), *gate.numbers[PLACE_OF_COUNT + 1 :])
    return replace(gate, numbers=numbers, texts=(identity(rows), *gate.texts[1:]), built=rows)


def keys_in(raw: bytes, name: str, public: bool = False) -> tuple[Row, ...]:
    """The keys of a file: a JWK set, one JWK, or public keys in PEM.

    public: everybody can read it, so a secret among them is none.
    """
    if raw.lstrip().startswith(b"-----BEGIN"):
        rows = [of_public_key(_pem(part, name), b"") for part in _blocks(raw)]
    else:
        rows = _set(raw, name, public)
    if not rows:
        raise ValueError(f"{name} holds no key that verifies tokens")
    if len(rows) > KEYS_MAX:
        raise ValueError(f"{name} holds {len(rows)} keys; {KEYS_MAX} are the most")
    return tuple(rows)


def of_secret(secret: bytes, name: bytes = b"") -> Row:
    if len(secret) < SECRET_MIN:
        raise ValueError(f"a secret of {len(secret)} bytes can be guessed; use 32 or more")
    kinds = [f"HS{size}" for size in (256, 384, 512) if len(secret) * 8 >= size or size == 256]
    return (name, bits(kinds), secret)


def of_public_key(key: Any, name: bytes) -> Row:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(key, rsa.RSAPublicKey):
        if not RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
            raise ValueError(f"an RSA key has {key.key_size} bits; 2048 are the least")
        return (name, bits(ALGORITHMS[:6]), der)
    if isinstance(key, ec.EllipticCurvePublicKey):
        for curve, algorithm in CURVES.values():
            if isinstance(key.curve, curve):
                return (name, bits([algorithm]), der)
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return (name, bits(["EdDSA"]), der)
    raise PassedOverError("a kind of key that no token is signed with")


def _blocks(raw: bytes) -> list[bytes]:
    return [b"-----BEGIN" + part for part in raw.split(b"-----BEGIN")[1:]]


def _pem(part: bytes, name: str) -> Any:
    try:
        return load_pem_public_key(part)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f"{name} holds something in PEM that is no public key; `openssl pkey -pubout` makes one"
        ) from None


def _set(raw: bytes, name: str, public: bool) -> list[Row]:
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is neither a JWK set in JSON nor a public key in PEM") from None
    members = said.get("keys", [said]) if isinstance(said, dict) else None
    if not isinstance(members, list):
        raise ValueError(f'{name} is no JWK set; it is {{"keys": [...]}}')
    if len(members) > 4 * KEYS_MAX:
        raise ValueError(f"{name} holds {len(members)} keys; {KEYS_MAX} are the most")
    rows = []
    for number, one in enumerate(members):
        try:
            if public and isinstance(one, dict) and one.get("kty") == "oct":
                raise ValueError("a shared secret that anybody can fetch is none")
            rows.append(_jwk(one))
        except PassedOverError:
            continue
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise ValueError(f"{name}: keys[{number}]: {error or 'it is malformed'}") from None
    return rows


def _jwk(one: Any) -> Row:
    if not isinstance(one, dict):
        raise ValueError("it is no object")
    operations = one.get("key_ops", ["verify"])
    if one.get("use", "sig") != "sig" or "verify" not in operations:
        raise PassedOverError
    name = _name(one.get("kid", ""))
    kind = one.get("kty")
    if kind == "oct":
        row = of_secret(_bytes(one["k"]), name)
    elif kind == "RSA":
        row = of_public_key(_rsa(_int(one["e"]), _int(one["n"])), name)
    elif kind == "EC" and one.get("crv") in CURVES:
        curve = CURVES[one["crv"]][0]()
        point = ec.EllipticCurvePublicNumbers(_int(one["x"]), _int(one["y"]), curve)
        row = of_public_key(point.public_key(), name)
    elif kind == "OKP" and one.get("crv") == "Ed25519":
        row = of_public_key(ed25519.Ed25519PublicKey.from_public_bytes(_bytes(one["x"])), name)
    elif kind == "OKP" and one.get("crv") == "Ed448":
        row = of_public_key(ed448.Ed448PublicKey.from_public_bytes(_bytes(one["x"])), name)
    else:
        raise PassedOverError
    if "alg" in one:
        if one["alg"] not in ALGORITHMS:
            raise PassedOverError
        if not row[1] & bits([one["alg"]]):
            raise ValueError(f"its alg {one['alg']} is not one of its kind")
        row = (row[0], bits([one["alg"]]), row[2])
    return row


def _name(kid: Any) -> bytes:
    name = str(kid).encode()
    if len(name) > ID_MAX:
        raise ValueError(f"its kid has {len(name)} bytes; {ID_MAX} are the most")
    return name


def _rsa(exponent: int, modulus: int) -> rsa.RSAPublicKey:
    large = max(exponent, modulus).bit_length()
    if large > RSA_BITS[1]:  # before OpenSSL computes with it
        raise ValueError(f"an RSA key has {large} bits; {RSA_BITS[1]} are the most")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError("a number of it is no text")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _int(text: Any) -> int:
    return int.from_bytes(_bytes(text), "big")
