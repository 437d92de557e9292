"""Certificates in files: read, and judged before any client could meet them.

A file holds the certificate and behind it those that lead to its authority (the chain), in PEM; its
key stands in a file of its own or in the same one. What would fail at the first handshake fails
here: no certificate in the file, a key that is not of this certificate, a pass phrase.

Law: a Refused says which file and what would be right. Dates are not judged here: an expired
certificate is a warning, since no balancer should refuse to start for the date.

The files are read each time, and judged again only where a byte of them is another: of ten thousand
certificates a reload judges those that are new. A pair is remembered as long as a plan holds it.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from weakref import WeakValueDictionary

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from fourseven.plan import CertificatePlan

FILE_MAX = 1024 * 1024  # Far more than any chain: a wrong file is named before it is all read.
LISTS_MAX = 32 * FILE_MAX  # Half a million revoked certificates: an authority splits larger ones.
LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----\n?", re.DOTALL)
RSA_BITS_MIN = 2048  # OpenSSL's own security level refuses less in a handshake.
# What was judged, by file, chain and key: bytes that the plan holds anyway.
_PAIRS: WeakValueDictionary[tuple[str, bytes, bytes], CertificatePlan] = WeakValueDictionary()


class Refused(ValueError):
    """A file that cannot serve; the text says why."""


def read(path: Path, most: int = FILE_MAX) -> bytes:
    """The whole file."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(most + 1)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > most:
        raise Refused(f"{path} is larger than {most} bytes; is it the right file?")
    return raw


def certificates_in(raw: bytes, path: Path) -> list[x509.Certificate]:
    """Every certificate in a PEM file, in its order."""
    try:
        return x509.load_pem_x509_certificates(raw)
    except ValueError:
        text = f"{path} holds no certificate in PEM; it begins with -----BEGIN CERTIFICATE-----"
        raise Refused(text) from None


def lists_in(raw: bytes, path: Path, authority: bytes) -> tuple[bytes, float, float]:
    """The lists of revoked certificates alone, in PEM, since when all of them hold, and when the
    first of them is out of date (0: none ever is). Each authority must have one. Of two lists of
    one authority the better one counts.
    """
    try:
        lists = [x509.load_pem_x509_crl(found) for found in LIST.findall(raw)]
        times = [(one.issuer, one.last_update_utc, one.next_update_utc) for one in lists]
    except ValueError:
        raise Refused(f"{path} holds a list of revoked certificates that cannot be read") from None
    if not lists:
        raise Refused(f"{path} holds no list in PEM; it begins with -----BEGIN X509 CRL-----")
    for one in x509.load_pem_x509_certificates(authority):
        if not any(_is_list_of(each, one) for each in lists):
            name = one.subject.rfc4514_string()
            raise Refused(f"{path} holds no list of {name}, so all its clients would be refused")
    begins: dict[x509.Name, float] = {}
    last: dict[x509.Name, float] = {}
    for issuer, begin, end in times:
        begins[issuer] = min(begins.get(issuer, math.inf), begin.timestamp())
        last[issuer] = max(last.get(issuer, 0.0), end.timestamp() if end else math.inf)
    first = min(last.values())
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in lists)
    return pem, max(begins.values()), 0.0 if first == math.inf else first


def _is_list_of(one: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if one.issuer != authority.subject:
        return False
    try:
        return one.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def pair(certificate: Path, key: Path) -> CertificatePlan:
    """A certificate with its chain and its key."""
    chain = read(certificate)
    try:
        secret = chain if key == certificate else read(key)
    except Refused:
        certificates_in(chain, certificate)  # what is wrong with the certificate is said first
        raise
    place = (str(certificate), chain, secret)
    known = _PAIRS.get(place)
    if known is None:
        known = _PAIRS[place] = _judged(certificate, chain, key, secret)
    return known


def _judged(certificate: Path, chain: bytes, key: Path, secret: bytes) -> CertificatePlan:
    first = certificates_in(chain, certificate)[0]
    try:
        private = load_pem_private_key(secret, None)
    except TypeError:
        raise Refused(f"{key} is locked with a pass phrase; nobody is there to type it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Refused(f"{key} holds no private key in PEM") from None
    public = first.public_key()
    if _plain(private.public_key()) != _plain(public):
        raise Refused(f"the key in {key} is not the key of the certificate in {certificate}")
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < RSA_BITS_MIN:
        bits = f"{public.key_size} bits; use {RSA_BITS_MIN} or more"
        raise Refused(f"the RSA key of {certificate} has {bits}")
    return CertificatePlan(
        file=str(certificate),
        names=names_of(first),
        kind=_kind(public, certificate),
        not_after=first.not_valid_after_utc.timestamp(),
        chain=chain,
        key=secret,
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The host names of a certificate, in lower case. Its common name counts no more (RFC 9525)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(dict.fromkeys(n.lower() for n in names.get_values_for_type(x509.DNSName)))


def _plain(key: object) -> bytes:
    plain: bytes = key.public_bytes(  # type: ignore[attr-defined]
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return plain


def _kind(key: object, path: Path) -> str:
    for form, kind in KINDS.items():
        if isinstance(key, form):
            return kind
    raise Refused(f"the certificate in {path} has a key of a kind that TLS does not serve")


KINDS: dict[type, str] = {
    ec.EllipticCurvePublicKey: "ECDSA",
    rsa.RSAPublicKey: "RSA",
    ed25519.Ed25519PublicKey: "Ed25519",
    ed448.Ed448PublicKey: "Ed448",
}
