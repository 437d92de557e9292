"""Values with variables: from the text in the file to the parts that are written at run time.

    X-Client: "{client.address} by {listener}"

A `{name}` with letters, digits and . _ - is a variable; any other brace is itself, so that JSON and
CSS need no escapes. `{{` is one brace where a name follows all the same.

Laws: what a literal may hold depends on its place, and is judged here, once; what a variable may
hold is judged when it is written (l7.templates). An error says which variable was meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from fourseven.errors import did_you_mean
from fourseven.plan import Part
from fourseven.protocols.message import CertificateFact
from fourseven.scalars import TOKEN
from fourseven.snapshot.layout import PartKind

VARIABLES = {
    "client.address": PartKind.PART_CLIENT_ADDRESS,
    "client.port": PartKind.PART_CLIENT_PORT,
    "peer.address": PartKind.PART_PEER_ADDRESS,
    "host": PartKind.PART_HOST,
    "path": PartKind.PART_PATH,
    "query": PartKind.PART_QUERY,
    "method": PartKind.PART_METHOD,
    "scheme": PartKind.PART_SCHEME,
    "port": PartKind.PART_PORT,
    "request_id": PartKind.PART_REQUEST_ID,
    "listener": PartKind.PART_LISTENER,
    "route": PartKind.PART_ROUTE,
    "backend": PartKind.PART_BACKEND,
    "client_certificate.verified": PartKind.PART_VERIFIED,
}
CERTIFICATE = {
    "client_certificate.subject": CertificateFact.FACT_SUBJECT,
    "client_certificate.issuer": CertificateFact.FACT_ISSUER,
    "client_certificate.fingerprint": CertificateFact.FACT_FINGERPRINT,
    "client_certificate.serial": CertificateFact.FACT_SERIAL,
    "client_certificate.san": CertificateFact.FACT_NAMES,
}
MEANINGS = {
    "client.address": "the client's address, as trusted proxies tell it",
    "client.port": "its port; empty where a proxy told the address alone",
    "peer.address": "the other end of the connection: the client, or the last proxy",
    "host": "the host that was asked for, in lower case and without a port",
    "path": "the path in its canonical form, before any rewrite",
    "query": "the query with its question mark, or nothing",
    "method": "GET, POST, …",
    "scheme": "http or https",
    "port": "the port that the client came to",
    "request_id": "the request's id, where the listener gives one",
    "listener": "the listener's name",
    "route": "the route's name",
    "backend": "the backend's name",
    "client_certificate.verified": "true where the client has shown a certificate, else false",
    "client_certificate.subject": "whose it is, e.g. CN=alice,O=Acme",
    "client_certificate.issuer": "who has signed it",
    "client_certificate.fingerprint": "its SHA-256, in hexadecimal digits",
    "client_certificate.serial": "its number, in hexadecimal digits",
    "client_certificate.san": "its alternative names, with a comma and a space between them",
    "header.<name>": "the first header of that name in the request",
}

_VARIABLE = re.compile(r"\{\{|\{([A-Za-z][A-Za-z0-9._-]*)\}", re.ASCII)
_GROUP = re.compile(r"\\([0-9])|\\(\\)", re.ASCII)
VALUE_MAX = 4096  # bytes of literals in one header value or URL: a head of 32 KiB holds eight
BODY_MAX = 32 * 1024  # bytes: a page, not a download; with variables it fits a buffer of 68 KiB
PARTS_MAX = 64


class Place(Enum):
    """Where a value stands, and so what its literals may hold."""

    HEADER = "a header's value"
    PATH = "a path"
    URL = "a URL"
    BODY = "a body"


_ALLOWED = {
    Place.HEADER: re.compile(r"[\t -~\u00a0-\U0010ffff]*"),
    Place.PATH: re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/%-]*", re.ASCII),
    Place.URL: re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/%?#\[\]-]*", re.ASCII),
    Place.BODY: re.compile(r".*", re.DOTALL),
}


def parse(text: str, place: Place) -> tuple[Part, ...]:
    """The parts of a value; ValueError says what must not stand there."""
    parts: list[Part] = []
    literal = ""
    at = 0
    for found in _VARIABLE.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        if found[1] is None:
            literal += "{"
            continue
        variable = _variable(found[1])
        parts += _literal(literal, place)
        parts.append(variable)
        literal = ""
    parts += _literal(literal + text[at:], place)
    size = sum(len(part.text) for part in parts)
    limit = BODY_MAX if place is Place.BODY else VALUE_MAX
    if size > limit or len(parts) > PARTS_MAX:
        raise ValueError(
            f"the value has {size} bytes in {len(parts)} parts; "
            f"at most {limit} bytes and {PARTS_MAX} parts fit"
        )
    return tuple(parts)


def parse_groups(text: str, groups: int) -> tuple[Part, ...]:
    r"""The same for the replacement of a regular expression: \1 to \9 are its groups, \0 is all."""
    parts: list[Part] = []
    at = 0
    for found in _GROUP.finditer(text):
        number = int(found[1] or 0)
        if number > groups:
            raise ValueError(
                rf"\{number} has no group: the expression has {groups}; "
                "put round brackets around what it should be"
            )
        parts += parse(text[at : found.start()], Place.PATH)
        if found[2]:
            raise ValueError(r"a backslash must not stand in a path; \1 to \9 are groups")
        parts.append(Part(PartKind.PART_GROUP, found[1].encode()))
        at = found.end()
    return (*parts, *parse(text[at:], Place.PATH))


def _variable(name: str) -> Part:
    if name.startswith("header."):
        header = name.removeprefix("header.")
        if not TOKEN.fullmatch(header):
            raise ValueError(f"{{{name}}} names no header; write e.g. {{header.User-Agent}}")
        return Part(PartKind.PART_HEADER, header.encode())
    if name in CERTIFICATE:
        return Part(PartKind.PART_CERTIFICATE, b"%d" % CERTIFICATE[name])
    kind = VARIABLES.get(name)
    if kind is None:
        mend = did_you_mean(name, [*VARIABLES, *CERTIFICATE, "header.<name>"])
        raise ValueError(f"the variable {{{name}}} is not known; {mend} ({{{{ is a plain brace)")
    return Part(kind)


def _literal(text: str, place: Place) -> Iterable[Part]:
    if not text:
        return
    if not _ALLOWED[place].fullmatch(text):
        bad = next(c for c in text if not _ALLOWED[place].fullmatch(c))
        raise ValueError(f"{bad!r} must not stand in {place.value}; {_MENDS[place]}")
    if place in (Place.PATH, Place.URL) and re.search(r"%(?![0-9A-Fa-f]{2})", text, re.ASCII):
        raise ValueError(f"a % in {place.value} needs two hexadecimal digits; write %25 for itself")
    yield Part(PartKind.PART_LITERAL, text.encode())


_MENDS = {
    Place.HEADER: "write one line without control characters",
    Place.PATH: "write it percent-encoded, e.g. %20",
    Place.URL: "write it percent-encoded, e.g. %20",
    Place.BODY: "",
}
