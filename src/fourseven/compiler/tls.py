"""TLS of a listener: its files read, its certificates arranged by name, its settings spelt out.

Which certificates are shown together follows from their names: for each name, the first of each
kind of key that stands for it, an exact name before a wildcard. The first certificate of the
file, with its like of another key, is shown to those who ask for none of the names.

The profiles are Mozilla's (Server Side TLS 5.7): `modern` is TLS 1.3 alone, `intermediate` serves
every client of the last ten years. TLS 1.3 has only good ciphers; `suites` can leave some out.

Law: here, in `outward` and in `admin` alone the compiler reads files; the same files give the same
plan, but for an OCSP response, which has its time.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fourseven.errors import Problem
from fourseven.forms_tls import CertificateFiles, Tls
from fourseven.model import Config
from fourseven.plan import CertificatePlan, TlsPlan

INTERMEDIATE_CIPHERS = ":".join(
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ]
)
CURVES = ("X25519", "prime256v1", "secp384r1")
FETCH = "fetch"
PROTOCOL_MAX = 255  # bytes of its name: one byte says how many (RFC 7301 3.1)
VERSIONS = {"1.2": 0x0303, "1.3": 0x0304}
PROFILES = {"intermediate": "1.2", "modern": "1.3"}

Tell = Callable[[tuple[str | int, ...], str], None]


def compile_tls(config: Config, name: str, problems: list[Problem]) -> TlsPlan | None:
    """The plan of a listener's `tls`; None without one, or when something is wrong with it."""
    said = config.listeners[name].tls
    if said is None:
        return None
    before = len(problems)

    def tell(path: tuple[str | int, ...], text: str) -> None:
        problems.append(config.problem(("listeners", name, "tls", *path), text))

    folder = Path(config._source.file if config._source is not None else "").parent
    read = _certificates(said, folder, tell)
    authority = _authority(said, folder, tell)
    revoked, since, until = _revoked(said, folder, authority, tell)
    _settings(said, tell)
    if said.alpn and config.listeners[name].protocol != "tcp":
        tell(("alpn",), "with HTTP inside, http_versions says what is spoken; write that instead")
    protocols = alpn(said.alpn, tell)
    if len(problems) > before:
        return None
    names, sets = arrange(read)
    clients = said.client_certificates
    required = clients is not None and clients.mode == "required"
    return TlsPlan(
        certificates=tuple(read),
        sets=sets,
        names=names,
        files=tuple(str(path) for path in _files(said, folder)),
        identity=hashlib.sha256(b"\0".join([name.encode(), authority, b"%d" % required])).digest(),
        min_version=VERSIONS[said.min_version or PROFILES[said.profile]],
        ciphers=(said.ciphers or INTERMEDIATE_CIPHERS).encode(),
        suites=":".join(said.suites or ()).encode(),
        curves=":".join(said.curves or CURVES).encode(),
        protocols=protocols,
        client_authority=authority,
        client_required=required,
        client_crl=revoked,
        client_crl_since=since,
        client_crl_until=until,
    )


def arrange(
    read: list[CertificatePlan],
) -> tuple[tuple[tuple[bytes, int], ...], tuple[tuple[int, ...], ...]]:
    """(name, its set) for each name, and the sets; the first set is shown by default."""
    holders: dict[str, list[int]] = {}  # a host may have ten thousand certificates
    for number, one in enumerate(read):
        for name in one.names:
            holders.setdefault(name, []).append(number)
    chosen = {name: _standing_for(name, holders, read) for name in holders}
    first = read[0].names
    default = chosen[first[0]] if first and chosen[first[0]][0] == 0 else (0,)
    sets = dict.fromkeys([default, *chosen.values()])
    places = {members: place for place, members in enumerate(sets)}
    names = tuple(
        (name.removeprefix("*").encode("ascii", "ignore"), places[members])
        for name, members in chosen.items()
    )
    return names, tuple(sets)


def _standing_for(
    name: str, holders: dict[str, list[int]], read: list[CertificatePlan]
) -> tuple[int, ...]:
    """One certificate of each kind of key, by number; one that says this very name goes first."""
    wildcard = "*." + name.partition(".")[2]
    found: dict[str, int] = {}
    for wanted in dict.fromkeys((name, wildcard)):
        for number in holders.get(wanted, ()):
            found.setdefault(read[number].kind, number)
    return tuple(sorted(found.values()))


def _certificates(said: Tls, folder: Path, tell: Tell) -> list[CertificatePlan]:
    from fourseven.tls import certificates as files  # slow to load, and few need it

    read = []
    for i, one in enumerate(said.certificates):
        certificate = folder / one.certificate
        try:
            pair = files.pair(certificate, folder / (one.key or one.certificate))
            read.append(_stapled(pair, one, folder))
        except files.Refused as refused:
            tell(("certificates", i), str(refused))
    return read


def _stapled(pair: CertificatePlan, said: CertificateFiles, folder: Path) -> CertificatePlan:
    """With its OCSP response. A bad one is a warning: it must not keep a renewal out."""
    place = _staple_file(said, folder)
    if said.ocsp is None and not place.exists():
        return pair
    from cryptography import x509

    from fourseven.tls import certificates as files
    from fourseven.tls import staples

    chain = x509.load_pem_x509_certificates(pair.chain)
    try:
        if said.ocsp == FETCH:
            staples.issuer_in(chain)
            if not staples.responder(chain[0]):
                raise files.Refused("the certificate names no responder to ask")
            return replace(pair, fetches=True)
        staple = staples.judge(files.read(place), chain, time.time())
    except files.Refused as refused:
        return replace(pair, staple_fault=str(refused))
    return replace(pair, staple=staple.der, staple_until=staple.until)


def _staple_file(said: CertificateFiles, folder: Path) -> Path:
    return folder / (said.ocsp or f"{said.certificate}.ocsp")


def _authority(said: Tls, folder: Path, tell: Tell) -> bytes:
    from fourseven.tls import certificates as files

    if said.client_certificates is None:
        return b""
    path = folder / said.client_certificates.ca
    try:
        raw = files.read(path)
        files.certificates_in(raw, path)
    except files.Refused as refused:
        tell(("client_certificates", "ca"), str(refused))
        return b""
    return raw


def _revoked(said: Tls, folder: Path, authority: bytes, tell: Tell) -> tuple[bytes, float, float]:
    """The lists, since when all hold, and when the first of them ends. Without a list of each
    authority its clients are all refused, which nobody means who names a file of lists."""
    from fourseven.tls import certificates as files

    if said.client_certificates is None or said.client_certificates.crl is None or not authority:
        return b"", 0.0, 0.0
    path = folder / said.client_certificates.crl
    try:
        return files.lists_in(files.read(path, files.LISTS_MAX), path, authority)
    except files.Refused as refused:
        tell(("client_certificates", "crl"), str(refused))
        return b"", 0.0, 0.0


def _settings(said: Tls, tell: Tell) -> None:
    """OpenSSL itself is asked whether it knows these words."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    version = said.min_version or PROFILES[said.profile]
    if said.profile == "modern" and said.min_version == "1.2":
        tell(("min_version",), "the profile modern is TLS 1.3 alone; remove one of the two")
    if said.ciphers is not None:
        if version == "1.3":
            tell(("ciphers",), "these are ciphers of TLS 1.2, which is not served here; remove it")
        try:
            context.set_ciphers(said.ciphers)
        except ssl.SSLError:
            text = f"OpenSSL knows no cipher in {said.ciphers!r}; `openssl ciphers` lists them"
            tell(("ciphers",), text)
    for i, curve in enumerate(said.curves or ()):
        try:
            context.set_ecdh_curve(curve)
        except (ValueError, ssl.SSLError):
            text = f"OpenSSL does not know the curve {curve!r}; write e.g. {', '.join(CURVES)}"
            tell(("curves", i), text)


def alpn(names: tuple[str, ...], tell: Tell) -> bytes:
    """As on the wire: each with its size before it."""
    wire = b""
    for i, one in enumerate(names):
        raw = one.encode()
        if not 0 < len(raw) <= PROTOCOL_MAX:
            tell(("alpn", i), f"{one[:40]!r} has {len(raw)} bytes; a protocol has 1 to 255")
            continue
        wire += bytes([len(raw)]) + raw
    return wire


def _files(said: Tls, folder: Path) -> list[Path]:
    every = [one.certificate for one in said.certificates]
    every += [one.key for one in said.certificates if one.key]
    every += [str(_staple_file(one, folder)) for one in said.certificates if one.ocsp != FETCH]
    if said.client_certificates is not None:
        every += [said.client_certificates.ca]
        every += [said.client_certificates.crl] if said.client_certificates.crl else []
    return [folder / one for one in dict.fromkeys(every)]
