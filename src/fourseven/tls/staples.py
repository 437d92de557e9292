"""OCSP responses: the authority's word that a certificate is still good, stapled to handshakes.

A client that asks for it gets the word in the handshake, and need not tell the authority whom it
visits. The word is a signed file with an end; it comes from a file beside the certificate, or from
the authority's responder (control/stapling.py).

Law: what is shown was judged here: it is of this certificate, good, in time, and signed by the
certificate's issuer or by whom the issuer has charged with it (RFC 6960 4.2.2.2). What fails is
not shown, for a client refuses a wrong staple where it would pass over none.

Source: RFC 6960 (OCSP), RFC 6066 8 and RFC 8446 4.4.2.1 (stapling).
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from fourseven.tls.certificates import Refused


@dataclass(frozen=True, slots=True)
class Staple:
    """A response that may be shown until a time (seconds since 1970)."""

    der: bytes
    since: float
    until: float


def judge(der: bytes, chain: list[x509.Certificate], now: float) -> Staple:
    """The response, if it may be shown with this chain; Refused says why not."""
    certificate, issuer = chain[0], issuer_in(chain)
    try:
        response = ocsp.load_der_ocsp_response(der)
    except ValueError:
        raise Refused("it is no OCSP response in DER") from None
    if response.response_status != ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise Refused(f"the responder answered {response.response_status.name}")
    found = [one for one in response.responses if _is_of(one, certificate, issuer)]
    if not found:
        raise Refused("it speaks of another certificate")
    _verify(response, issuer)
    one = found[0]
    if one.certificate_status != ocsp.OCSPCertStatus.GOOD:
        raise Refused(f"it says that the certificate is {one.certificate_status.name.lower()}")
    if one.next_update_utc is None:
        raise Refused("it does not say until when it holds")
    since, until = one.this_update_utc.timestamp(), one.next_update_utc.timestamp()
    if now >= until:
        raise Refused(f"it ended on {one.next_update_utc:%Y-%m-%d}")
    if now < since:
        raise Refused(f"it holds only from {one.this_update_utc:%Y-%m-%d} on")
    return Staple(der, since, until)


def question(chain: list[x509.Certificate]) -> bytes:
    """What a responder is asked, in DER."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(chain[0], issuer_in(chain), SHA1())
    return builder.build().public_bytes(Encoding.DER)  # SHA-1 names, it protects nothing (RFC 5019)


def responder(certificate: x509.Certificate) -> str:
    """Where its authority answers, as the certificate has it; empty: it does not say."""
    try:
        place = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return ""
    for one in place.value:
        known = isinstance(one.access_location, x509.UniformResourceIdentifier)
        if one.access_method == AuthorityInformationAccessOID.OCSP and known:
            return str(one.access_location.value)
    return ""


def issuer_in(chain: list[x509.Certificate]) -> x509.Certificate:
    """Of the first certificate of the chain."""
    for one in chain[1:]:
        if one.subject == chain[0].issuer:
            return one
    raise Refused("the certificate of its issuer does not stand behind it in the file")


def _is_of(
    one: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    if one.serial_number != certificate.serial_number:
        return False
    builder = ocsp.OCSPRequestBuilder()
    try:
        ours = builder.add_certificate(certificate, issuer, one.hash_algorithm).build()
    except (ValueError, UnsupportedAlgorithm):
        return False
    key, name = one.issuer_key_hash, one.issuer_name_hash
    return ours.issuer_key_hash == key and ours.issuer_name_hash == name


def _verify(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> None:
    """By the issuer, or by a certificate of the issuer's that may sign such responses."""
    signers = [issuer, *(one for one in response.certificates if _charged(one, issuer))]
    for signer in signers:
        key, digest = signer.public_key(), response.signature_hash_algorithm
        signature, text = response.signature, response.tbs_response_bytes
        try:
            if isinstance(key, rsa.RSAPublicKey) and digest is not None:
                key.verify(signature, text, padding.PKCS1v15(), digest)
            elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
                key.verify(signature, text, ec.ECDSA(digest))
            else:
                key.verify(signature, text)  # type: ignore[call-arg, union-attr]
        except (InvalidSignature, UnsupportedAlgorithm, TypeError, AttributeError):
            continue
        return
    raise Refused("it is not signed by the certificate's issuer")


def _charged(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        usage = one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        one.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    now = datetime.datetime.now(datetime.UTC)
    in_time = one.not_valid_before_utc <= now <= one.not_valid_after_utc
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage and in_time
