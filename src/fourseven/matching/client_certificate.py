"""What the client's certificate says of it."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fourseven.features import Match, Need
from fourseven.matching.records import Field as Looks
from fourseven.matching.records import Test
from fourseven.matching.rows import pack_list
from fourseven.matching.text import Plain, TextTest, listed
from fourseven.plan import All, Condition, Expression, Not
from fourseven.protocols.message import CertificateFact


def _fingerprint(text: str) -> str:
    """As it is compared: 64 hexadecimal digits; tools write them with colons, in either case."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits, re.ASCII):
        raise ValueError(
            f"{text!r} is no SHA-256 fingerprint of 64 hexadecimal digits; "
            "`openssl x509 -noout -fingerprint -sha256 -in file.pem` prints it"
        )
    return digits


Fingerprint = Annotated[Plain, AfterValidator(_fingerprint)]


class ClientCertificate(Match):
    """What the certificate says that the client has shown (mutual TLS).

    The listener must ask for one: `tls: {client_certificates: …}`. One that is shown has been
    verified, so `verified: false` is a client that has shown none, where the listener's mode is
    optional. Names are written as RFC 2253 has it (`CN=alice,O=Acme`), the most specific part
    first. `san` is an alternative name: a host name, an address, an e-mail address or a URI; where
    there are several, one of them must hold.

        match: {client_certificate: {verified: true}}
        match: {client_certificate: {subject: {contains: O=Acme}}}
        match: {client_certificate: {san: [alice@example.com, "spiffe://example.com/alice"]}}
    """

    key: ClassVar[str] = "client_certificate"
    need: ClassVar[Need] = Need.REQUEST

    verified: bool | None = Field(None, strict=True, description="One was shown, and is good.")
    subject: TextTest | None = Field(None, description="Whose it is.")
    issuer: TextTest | None = Field(None, description="Who has signed it.")
    san: TextTest | None = Field(None, description="An alternative name.")
    serial: TextTest | None = Field(None, description="Its number, in lower hexadecimal digits.")
    fingerprint: (
        Annotated[tuple[Fingerprint, ...], BeforeValidator(listed), Field(min_length=1)] | None
    ) = Field(None, description="SHA-256 of the whole certificate; one of these.")

    @model_validator(mode="after")
    def at_least_one(self) -> ClientCertificate:
        if not self.model_fields_set:
            raise ValueError("nothing is asked; write e.g. client_certificate: {verified: true}")
        return self

    def lower(self) -> Expression:
        rows: list[Expression] = []
        if self.verified is not None:
            shown = _row(CertificateFact.FACT_FINGERPRINT, Test.TEST_PRESENT)
            rows.append(shown if self.verified else Not(shown))
        for key, fact in _FACTS.items():
            test: TextTest | None = getattr(self, key)
            if test is not None:
                rows.append(test.lower(Looks.FIELD_CERTIFICATE, key.encode(), fact))
        if self.fingerprint is not None:
            packed = pack_list(one.encode() for one in self.fingerprint)
            rows.append(_row(CertificateFact.FACT_FINGERPRINT, Test.TEST_ANY_OF, packed))
        return rows[0] if len(rows) == 1 else All(tuple(rows))


_FACTS = {
    "subject": CertificateFact.FACT_SUBJECT,
    "issuer": CertificateFact.FACT_ISSUER,
    "san": CertificateFact.FACT_NAMES,
    "serial": CertificateFact.FACT_SERIAL,
}


def _row(fact: int, test: int, operand: bytes = b"") -> Condition:
    return Condition(Looks.FIELD_CERTIFICATE, test, b"fingerprint", operand, fact)
