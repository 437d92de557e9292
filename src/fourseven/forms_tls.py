"""`tls:` of a listener, which ends TLS, and of a backend, whose servers speak it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fourseven.forms import Form, NotEmpty
from fourseven.scalars import Suite, Text, listed

RelaxedTls = Literal["verification"]


class BackendTls(Form):
    """TLS to the servers, which must prove who they are. `true` is enough where the servers have
    host names and certificates of a public authority. Paths are relative to the file's folder."""

    ca: Text | None = Field(
        None, description="PEM: whose certificates are believed; left out: the system's."
    )
    name: Text | None = Field(
        None,
        description="The name (or the address) that every server's certificate must stand for;"
        " left out: the server's own, as it stands under servers.",
    )
    sni: Text | None = Field(None, description="The name that we ask for; left out: that name.")
    certificate: Text | None = Field(
        None, description="PEM: our certificate with its chain, for servers that ask who we are."
    )
    key: Text | None = Field(None, description="PEM, without a pass phrase; else in the same file.")
    min_version: Annotated[
        Literal["1.2", "1.3"],
        BeforeValidator(lambda value: str(value) if isinstance(value, float) else value),
    ] = Field("1.2", description="The lowest version.")
    alpn: Annotated[tuple[Text, ...], BeforeValidator(listed)] = Field(
        (), description="Protocols that are offered; left out: http/1.1 for HTTP, none for TCP."
    )
    relax: Annotated[tuple[RelaxedTls, ...], BeforeValidator(listed)] = Field(
        (), description="verification: believe anybody; check warns of it."
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"const": True}, handler(schema)]}


class CertificateFiles(Form):
    """A certificate and its key. A plain value is a file that holds both."""

    certificate: Text = Field(description="PEM: the certificate, and behind it its chain.")
    key: Text | None = Field(None, description="PEM, without a pass phrase; else in the same file.")
    ocsp: Text | None = Field(
        None,
        description="A file: its OCSP response (DER), stapled to handshakes. fetch: asked of its"
        " authority. Left out: the certificate's file name with .ocsp behind, if there is one.",
    )

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        return {"certificate": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class ClientCertificates(Form):
    """Clients are asked who they are (mutual TLS)."""

    ca: Text = Field(description="PEM: the authorities whose certificates are taken.")
    mode: Literal["required", "optional"] = Field(
        "required",
        description="optional: a client may show none; one that does not verify is refused.",
    )
    crl: Text | None = Field(
        None,
        description="PEM: the lists of what these authorities have revoked (CRL), one of each."
        " Left out: nobody asks.",
    )


class Tls(Form):
    """TLS ends here. Inside is HTTP, in the versions that http_versions allows, or with
    protocol: tcp whatever the servers speak. Paths are relative to the file's folder."""

    certificates: Annotated[tuple[CertificateFiles, ...], NotEmpty(), BeforeValidator(listed)] = (
        Field(
            description="Chosen by the name that the client asks for; the first where none fits.",
        )
    )
    profile: Literal["intermediate", "modern"] = Field(
        "intermediate", description="Mozilla's: modern is TLS 1.3 alone, intermediate 1.2 too."
    )
    min_version: Annotated[
        Literal["1.2", "1.3"] | None,
        BeforeValidator(lambda value: str(value) if isinstance(value, float) else value),
    ] = Field(None, description="The lowest version; left out: the profile's.")
    ciphers: Text | None = Field(
        None, description="OpenSSL's cipher list for TLS 1.2; left out: the profile's."
    )
    suites: Annotated[tuple[Suite, ...] | None, NotEmpty(), BeforeValidator(listed)] = Field(
        None, description="The ciphers of TLS 1.3; the client chooses. Left out: all three."
    )
    curves: Annotated[tuple[Text, ...] | None, BeforeValidator(listed)] = Field(
        None, description="For the key exchange, in this order; left out: the profile's."
    )
    alpn: Annotated[tuple[Text, ...], BeforeValidator(listed)] = Field(
        (),
        description="With protocol: tcp, what the servers speak, the best first: a client that"
        " offers protocols gets the first of these, or is refused. Left out: none is chosen.",
    )
    client_certificates: ClientCertificates | None = Field(
        None, description="Left out: clients are not asked for one."
    )
