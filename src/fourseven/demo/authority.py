"""A certificate authority for as long as the demo runs: its own file, and one for each name."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

HOURS = 24  # nobody plays longer
BACKDATED = datetime.timedelta(hours=1)


def issue(folder: Path, hosts: Iterable[str]) -> None:
    """Writes ca.pem, and for each host HOST.pem: its certificate and its key."""
    from cryptography import x509  # slow to load, and only the demo needs it here
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    authority, ours = named("fourseven demo"), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)

    def signed(
        name: x509.Name, key: ec.EllipticCurvePrivateKey, more: x509.ExtensionType, critical: bool
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + datetime.timedelta(hours=HOURS))
            .add_extension(more, critical)
            .sign(ours, hashes.SHA256())
        )

    root = signed(authority, ours, x509.BasicConstraints(ca=True, path_length=0), True)
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    for host in hosts:
        key = ec.generate_private_key(ec.SECP256R1())
        alone = x509.SubjectAlternativeName([x509.DNSName(host)])
        certificate = signed(named(host), key, alone, False)
        both = certificate.public_bytes(pem) + key.private_bytes(pem, *plain)
        (folder / f"{host}.pem").write_bytes(both)
