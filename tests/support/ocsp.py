"""An authority that says by OCSP whether its certificates are good, and its responder."""

from __future__ import annotations

import datetime
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ocsp
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
)

DAY = datetime.timedelta(days=1)
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PLAIN = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
GOOD, REVOKED = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED


class OcspAuthority:
    """Certificates with their issuer behind them, and words about them."""

    def __init__(self, folder: Path, name: str = "An authority") -> None:
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.sign(self.key, self.name, (x509.BasicConstraints(True, None), True))
        self.pem = folder / "ca.pem"
        self.pem.write_bytes(self.certificate.public_bytes(PEM))

    def sign(self, key: Any, name: x509.Name, *extensions: tuple[Any, bool]) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(self.name)
        made = made.public_key(key.public_key()).serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - DAY).not_valid_after(now + DAY)
        for extension, critical in extensions:
            made = made.add_extension(extension, critical)
        return made.sign(self.key, hashes.SHA256())

    def issue(self, file: str, host: str, responder: str = "") -> Path:
        """A file with certificate, issuer and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[tuple[Any, bool]] = [
            (x509.SubjectAlternativeName([x509.DNSName(host)]), False)
        ]
        if responder:
            place = x509.UniformResourceIdentifier(responder)
            access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)
            extensions.append((x509.AuthorityInformationAccess([access]), False))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self.sign(key, name, *extensions)
        path = self.folder / file
        chain = certificate.public_bytes(PEM) + self.certificate.public_bytes(PEM)
        path.write_bytes(chain + key.private_bytes(PEM, *PLAIN))
        return path

    def delegate(self, *usages: x509.ObjectIdentifier) -> tuple[Any, x509.Certificate]:
        """Another key that signs in this authority's name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A delegate")])
        return key, self.sign(key, name, (x509.ExtendedKeyUsage(list(usages)), False))

    def word(
        self,
        certificate: x509.Certificate,
        status: Any = GOOD,
        since: datetime.timedelta = -DAY / 2,
        until: datetime.timedelta = DAY,
        delegate: tuple[Any, x509.Certificate] | None = None,
    ) -> bytes:
        """A response; the times count from now."""
        now = datetime.datetime.now(datetime.UTC)
        key, signer = delegate or (self.key, self.certificate)
        made = ocsp.OCSPResponseBuilder().add_response(
            certificate,
            self.certificate,
            hashes.SHA1(),
            status,
            now + since,
            now + until,
            now - DAY if status == REVOKED else None,
            None,
        )
        made = made.responder_id(ocsp.OCSPResponderEncoding.HASH, signer)
        if delegate:
            made = made.certificates([signer])
        return made.sign(key, hashes.SHA256()).public_bytes(DER)


SIGNING = ExtendedKeyUsageOID.OCSP_SIGNING
OTHER_USE = ExtendedKeyUsageOID.SERVER_AUTH


class Responder:
    """Answers questions by HTTP with `said`, or with 503 while it is empty. Use it as a context."""

    def __init__(self) -> None:
        self.said = b""
        self.asked: list[bytes] = []
        responder = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = self.rfile.read(int(self.headers["Content-Length"]))
                responder.asked.append(question)
                self.send_response(200 if responder.said else 503)
                self.send_header("Content-Length", str(len(responder.said)))
                self.end_headers()
                self.wfile.write(responder.said)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/ocsp"

    def __enter__(self) -> Responder:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
