"""An authority with certificates as files, and a raw client behind TLS.

`TlsWire` is a Wire whose bytes go through Python's own ssl, so each raw vector can be sent over TLS.
An end without close_notify is a RESET here, never a CLOSED: a client must not take it for an end.
"""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.recorder import Conversation, Recorder
from support.wire import RESET, Wire

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Authority:
    """Issues certificates into a folder: a file with key and chain for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.pem = self.folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.pem))

    def issue(self, file: str, *names: str, kind: str = "ECDSA", **more: Any) -> str:
        """The path of a new certificate."""
        made = self.ca.issue_cert(*names, key_type=trustme.KeyType[kind], **more)
        path = self.folder / file
        path.unlink(missing_ok=True)
        made.private_key_and_cert_chain_pem.write_to_path(str(path))
        return str(path)

    def server_context(self, certificate: str, *version: str) -> ssl.SSLContext:
        """A server's; version as in `context`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        for one in version:
            context.minimum_version = context.maximum_version = VERSIONS[one]
        return context

    def expired(self, file: str, name: str) -> str:
        day = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        return self.issue(file, name, not_before=day, not_after=day + datetime.timedelta(days=9))

    def revoke(self, file: str, *certificates: str, days: int = 1, since: int = -30) -> str:
        """The path of a list of these as revoked, from one day on until another, both from now."""
        now = datetime.datetime.now(datetime.UTC)
        own = x509.load_pem_x509_certificate(self.pem.read_bytes())
        day = datetime.timedelta(days=1)
        made = x509.CertificateRevocationListBuilder().issuer_name(own.subject)
        made = made.last_update(now + since * day).next_update(now + days * day)
        for path in certificates:
            one = x509.load_pem_x509_certificate(Path(path).read_bytes())
            entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number)
            made = made.add_revoked_certificate(entry.revocation_date(now - day).build())
        key = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        signed = made.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        path = self.folder / file
        path.with_suffix(".new").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        path.with_suffix(".new").rename(path)  # whole, as a renewal should write it
        return str(path)

    def context(self, *version: str, certificate: str | None = None) -> ssl.SSLContext:
        """A client's; version is "1.2" or "1.3"."""
        context = ssl.create_default_context(cafile=str(self.pem))
        for one in version:
            context.minimum_version = context.maximum_version = VERSIONS[one]
        if certificate:
            context.load_cert_chain(certificate)
        return context


def self_made(folder: Path) -> str:
    """A certificate of nobody's authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stranger")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "stranger.pem"
    form = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(made.public_bytes(form) + key.private_bytes(form, *plain))
    return str(path)


class TlsWire(Wire):
    """One connection to the balancer, behind TLS."""

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        name: str | None = "a.example",
        session: ssl.SSLSession | None = None,
        **more: Any,
    ) -> None:
        super().__init__(address, **more)
        if name is None:
            context.check_hostname = False
        try:
            self.socket: ssl.SSLSocket = context.wrap_socket(
                self.socket, server_hostname=name, session=session, suppress_ragged_eofs=False
            )
        except BaseException:
            self.socket.close()
            raise

    def fill(self) -> bool:
        try:
            return super().fill()
        except ssl.SSLEOFError:
            self.end = RESET
            return False


class TlsConversation(Conversation):
    """A connection of the balancer to a server that speaks TLS."""

    recorder: TlsRecorder
    resumed: bool | None = None

    def greet(self) -> None:
        self.socket = self.recorder.context.wrap_socket(
            self.socket, server_side=True, suppress_ragged_eofs=False
        )
        self.resumed = self.secure.session_reused  # a closed socket forgets it
        self.recorder.greeted.append(self)

    def receive(self) -> bytes:
        if not self.secure.pending():
            return super().receive()
        data = self.socket.recv(262_144)  # poll knows nothing of what OpenSSL holds
        self.received += data
        return data

    @property
    def secure(self) -> ssl.SSLSocket:
        assert isinstance(self.socket, ssl.SSLSocket)
        return self.socket

    def hang_up(self) -> None:
        """An orderly end: close_notify, then FIN."""
        try:
            self.secure.unwrap()
        except OSError:
            return  # the other side has hung up without a word


class TlsRecorder(Recorder):
    """A recording server behind TLS; `greeted` are the connections whose handshake was done."""

    kind = TlsConversation

    def __init__(self, context: ssl.SSLContext, name: str = "server") -> None:
        self.context = context
        self.greeted: list[TlsConversation] = []
        super().__init__(name)
