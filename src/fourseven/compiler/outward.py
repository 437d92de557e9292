"""TLS to a backend's servers: whom each server must prove to be, and by whose word.

The name is a matter of `peers`, which is also asked for servers that are found later. The
authorities are those of `ca`, else the system's.

The system's authorities are read here as one file, like every other certificate: OpenSSL would look
for them during a handshake, in a worker.

Laws: never silently unverified: nothing here but `relax: [verification]` turns it off. A server's
identity is a hash of all that its connections are made under.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from fourseven.addresses import is_host_name
from fourseven.compiler.peers import is_address, peer_of
from fourseven.compiler.tls import CURVES, INTERMEDIATE_CIPHERS, VERSIONS, Tell, alpn
from fourseven.errors import Problem
from fourseven.forms_tls import BackendTls
from fourseven.model import Config, Server
from fourseven.plan import CertificatePlan, OutwardPlan, PeerPlan, PeerRule, ServerPlan

# Where distributions keep them, if OpenSSL's own path is not there.
SYSTEM_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)


def compile_outward(config: Config, name: str, problems: list[Problem]) -> OutwardPlan | None:
    """The plan of a backend's `tls`; None without one, or when something is wrong with it."""
    backend = config.backends[name]
    said = backend.tls
    if said is None:
        return None
    before = len(problems)

    def tell(path: tuple[str | int, ...], text: str) -> None:
        problems.append(config.problem(("backends", name, "tls", *path), text))

    folder = Path(config._source.file if config._source is not None else "").parent
    verified = "verification" not in said.relax
    authority, files = _authority(said, folder, tell) if verified else (b"", [])
    certificate = _certificate(said, folder, tell)
    files += [str(folder / one) for one in (said.certificate, said.key) if one]
    protocols = alpn(said.alpn, tell)
    version = VERSIONS[said.min_version]
    common = repr((authority, verified, certificate, version, protocols)).encode()
    rule = PeerRule(said.name or "", said.sni or "", common)
    peers = _peers(rule, said, backend.servers, tell)
    if len(problems) > before:
        return None
    return OutwardPlan(
        peers=tuple(peers),
        rule=rule,
        authority=authority,
        verified=verified,
        certificate=certificate,
        protocols=protocols,
        files=tuple(dict.fromkeys(files)),
        min_version=version,
        ciphers=INTERMEDIATE_CIPHERS.encode(),
        curves=":".join(CURVES).encode(),
    )


def system_authorities() -> Path | None:
    """The file with the certificates that this host trusts."""
    paths = ssl.get_default_verify_paths()
    known = [paths.cafile, *SYSTEM_AUTHORITIES]
    return next((Path(one) for one in known if one and Path(one).is_file()), None)


def _peers(
    rule: PeerRule, said: BackendTls, servers: tuple[Server, ...], tell: Tell
) -> list[PeerPlan]:
    if said.name is not None and not is_address(said.name) and not is_host_name(said.name):
        tell(("name",), f"{said.name!r} is no host name and no address; write e.g. a.example.com")
        return []
    if said.sni is not None and not is_host_name(said.sni):
        tell(("sni",), f"{said.sni!r} is no host name; write e.g. a.example.com")
        return []
    try:
        return [peer_of(rule, ServerPlan(one.address)) for one in servers if one.address]
    except ValueError as error:
        tell((), str(error))
        return []


def _authority(said: BackendTls, folder: Path, tell: Tell) -> tuple[bytes, list[str]]:
    from fourseven.tls import certificates as files  # slow to load, and few need it

    path = folder / said.ca if said.ca is not None else system_authorities()
    if path is None:
        tell((), "this host has no file of trusted authorities; name one with ca: file.pem")
        return b"", []
    try:
        raw = files.read(path)
        files.certificates_in(raw, path)
    except files.Refused as refused:
        tell(("ca",) if said.ca is not None else (), str(refused))
        return b"", []
    return raw, [str(path)]


def _certificate(said: BackendTls, folder: Path, tell: Tell) -> CertificatePlan | None:
    from fourseven.tls import certificates as files

    if said.certificate is None:
        if said.key is not None:
            tell(("key",), "a key without its certificate; name that too, or remove the key")
        return None
    try:
        return files.pair(folder / said.certificate, folder / (said.key or said.certificate))
    except files.Refused as refused:
        tell(("certificate",), str(refused))
        return None
