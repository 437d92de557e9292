"""`fourseven cert self-signed HOST…`: a certificate and its key, to begin with.

A browser warns of it, since nobody vouches for it; it is for a first start and for tests. Clients
that are given the certificate as their authority take it without a warning (`curl --cacert`).

Laws: the key is made here, readable by its owner alone, and never overwrites another.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

import click

from fourseven.addresses import is_host_name
from fourseven.errors import FoursevenError

DAYS = 397  # what browsers take at most
BACKDATED = datetime.timedelta(hours=1)  # for clients whose clock is late


@click.group()
def cert() -> None:
    """Certificates for a first start."""


@cert.command("self-signed")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST…")
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Where the two files are written; here if left out.",
)
def self_signed(hosts: tuple[str, ...], folder: Path) -> None:
    """Writes HOST.pem and HOST.key for these names (*.example and addresses, too)."""
    for host in hosts:
        if not _address(host) and not is_host_name(host.removeprefix("*.")):
            raise FoursevenError(
                f"{host!r} is no host name; write e.g. www.example.com or 10.0.0.1"
            )
    stem = hosts[0].replace("*", "_").replace(":", "_").replace("/", "_")
    certificate, key = make(hosts)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{stem}.key", key, 0o600)
    _write(folder / f"{stem}.pem", certificate, 0o644)
    paths = f"{{certificate: {folder / stem}.pem, key: {folder / stem}.key}}"
    print(f"{folder / stem}.pem and {folder / stem}.key are written. In the listener:")
    print(f"  tls: {{certificates: [{paths}]}}")


def make(hosts: tuple[str, ...]) -> tuple[bytes, bytes]:
    """(certificate, key), both PEM: ECDSA on P-256, which every client knows."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    now = datetime.datetime.now(datetime.UTC)
    try:
        names = [
            x509.IPAddress(ipaddress.ip_address(host)) if _address(host) else x509.DNSName(host)
            for host in hosts
        ]
    except ValueError as error:
        raise FoursevenError(f"that is no host name: {error}") from None
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _write(path: Path, content: bytes, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise FoursevenError(f"{path} is there already; name another folder with --out") from None
    except OSError as error:
        raise FoursevenError(f"{path} cannot be written: {error.strerror}") from None
    with open(fd, "wb") as stream:
        stream.write(content)
