"""JWT: a signed token says who the client is."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from fourseven.features import Filter, Need, Reader
from fourseven.filters.basic_auth import REALM
from fourseven.filters.headers import Name
from fourseven.filters.token_keys import ALGORITHMS, Row, bits, identity, keys_in, of_secret
from fourseven.matching.records import Field as Looks
from fourseven.matching.text import listed
from fourseven.plan import Action, GatePlan, KeySource
from fourseven.scalars import TOKEN, Time, Wait
from fourseven.snapshot.layout import ActionKind, GateKind

CLAIM = re.compile(r"[^\x00-\x1f\"\\]{1,200}")
TEXT_MAX = 1000
LIST_MAX = 32
URL = re.compile(
    r"https://[!-~]{1,2000}|http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?(/[!-~]*)?"
)
REFRESH_MIN_MS = 5_000


def checked_claim(name: str) -> str:
    if not CLAIM.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no claim; write e.g. sub, or /realm_access/roles")
    return name


def pointer(claim: str) -> bytes:
    """A claim's name, or a JSON pointer (RFC 6901) into a deeper one."""
    if claim.startswith("/"):
        return claim.encode()
    return b"/" + claim.replace("~", "~0").replace("/", "~1").encode()


def checked_text(value: Any) -> str:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str | int) or not 0 < len(str(value)) <= TEXT_MAX:
        raise ValueError(f"{str(value)[:80]!r} is no text of 1 to {TEXT_MAX} letters")
    if "\0" in str(value):
        raise ValueError("a zero byte stands in no claim")
    return str(value)


Claim = Annotated[str, AfterValidator(checked_claim)]
Wanted = Annotated[str, BeforeValidator(checked_text)]
WantedList = Annotated[tuple[Wanted, ...], BeforeValidator(listed), Field(max_length=LIST_MAX)]


class Jwt(Filter):
    """Lets in who shows a signed token (JWT, RFC 7519) as `Authorization: Bearer …`.

    `keys` is a file: a JWK set, or public keys in PEM; changes are in force two seconds later. Or
    it is a URL (https) of a JWK set, which is fetched again by `refresh`, and soon after a token of
    an unknown key came; a fetch that fails leaves the last set in force. Until there is one, the
    answer is 503. A key takes only the algorithms of its kind (RS, PS, ES, EdDSA, HS): a token
    cannot choose, and `none` is none. The token must have a time of expiry. Its signature is
    verified once, its claims at each request. Without a good token the answer is 401, without a
    required claim 403, both with the words of RFC 6750. `claims` become headers for the server, and
    no client's own header of that name passes.

        filters: [{jwt: {keys: jwks.json, issuer: "https://id.example", audience: api}}]
        filters: [{jwt: {keys: "https://id.example/jwks.json", refresh: 5m, audience: api}}]
        filters:
          - jwt:
              secret: "0123456789abcdef0123456789abcdef"
              require: {scope: [read, write], /realm_access/roles: admin}
              claims: {X-User: sub}
    """

    key: ClassVar[str] = "jwt"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "keys"

    keys: str | None = Field(
        None, description="A file: a JWK set, or public keys in PEM; or the URL of a JWK set."
    )
    refresh_ms: Wait = Field(
        600_000, alias="refresh", description="How often the set at a URL is fetched again."
    )
    ca: str | None = Field(
        None,
        description="A file of PEM: whom the URL's server is verified by; left out: the host's.",
    )
    secret: str | None = Field(
        None, repr=False, description="Shared with who signs (HS256 and so on): 32 bytes or more."
    )
    algorithms: Annotated[
        tuple[Literal[ALGORITHMS], ...],  # type: ignore[valid-type]
        BeforeValidator(listed),
    ] = Field((), description="Only these; left out: all of the keys' kinds.")
    issuer: WantedList = Field((), description="`iss` is one of these.")
    audience: WantedList = Field((), description="`aud` names one of these.")
    require: Annotated[dict[Claim, WantedList], Field(max_length=LIST_MAX)] = Field(
        {},
        description="Claim and values: one of them is the claim, or stands in its list or scope."
        " No value: it must be there.",
    )
    claims: Annotated[dict[Name, Claim], Field(max_length=LIST_MAX)] = Field(
        {}, description="Header and claim: told to the server."
    )
    leeway_ms: Time = Field(30_000, alias="leeway", description="By which clocks may differ.")
    cookie: str | None = Field(None, description="It stands in this cookie instead.")
    realm: str = Field("api", description="Named in a refusal.")
    forward: bool = Field(True, strict=True, description="Authorization goes on to the server.")
    _rows: tuple[Row, ...] = PrivateAttr(())
    _path: str = PrivateAttr("")

    @model_validator(mode="after")
    def can_verify(self) -> Jwt:
        if (self.keys is None) == (self.secret is None):
            raise ValueError("a token is verified by keys (a file, a URL) or by a secret; name one")
        if not self._is_url and self.model_fields_set & {"refresh_ms", "ca"}:
            raise ValueError("refresh and ca are for keys at a URL; a file is watched by itself")
        if self.keys is not None and "://" in self.keys and not URL.fullmatch(self.keys):
            raise ValueError(f"{self.keys[:80]!r} is no URL of keys; it begins with https://")
        if self.refresh_ms < REFRESH_MIN_MS:
            raise ValueError(f"a set is fetched every {REFRESH_MIN_MS // 1000}s at the most")
        if self.secret is not None:
            of_secret(self.secret.encode())
        if not REALM.fullmatch(self.realm):
            raise ValueError("a realm is plain text without quotes, at most 200 letters")
        if self.cookie is not None and not TOKEN.fullmatch(self.cookie):
            raise ValueError(f"{self.cookie[:80]!r} is no cookie's name")
        return self

    @property
    def _is_url(self) -> bool:
        return self.keys is not None and "://" in self.keys

    def read(self, reader: Reader) -> Filter:
        step = self.model_copy()
        if self._is_url:
            if self.ca is not None:
                reader.file(self.ca)  # it must be there
                step._path = reader.path(self.ca)
        elif self.keys is not None:
            step._path = reader.path(self.keys)
            step._rows = keys_in(reader.file(self.keys), self.keys)
        return step

    def gates(self) -> tuple[GatePlan, ...]:
        rows = self._served()
        source = 0 if self.cookie is None else int(Looks.FIELD_COOKIE)
        required = [
            text
            for claim, values in self.require.items()
            for text in (pointer(claim), b"".join(one.encode() + b"\0" for one in values))
        ]
        told = [
            text for head, claim in self.claims.items() for text in (pointer(claim), head.encode())
        ]
        counts = (len(self.issuer), len(self.audience), len(self.require), len(self.claims))
        texts = (
            identity(rows),
            self.realm.encode(),
            (self.cookie or "").encode(),
            *(one.encode() for one in (*self.issuer, *self.audience)),
            *required,
            *told,
        )
        return (
            GatePlan(
                GateKind.GATE_TOKEN,
                numbers=(source, self.leeway_ms // 1000, *counts, len(rows)),
                texts=texts,
                built=rows,
                files=(self._path,) if self._path and not self._is_url else (),
                fetched=self._source(),
            ),
        )

    def _source(self) -> KeySource | None:
        if self.keys is None or not self._is_url:
            return None
        allowed = bits(list(self.algorithms or ALGORITHMS))
        return KeySource(self.keys, self._path, self.refresh_ms / 1000, allowed)

    def _served(self) -> tuple[Row, ...]:
        rows = self._rows
        if self.secret is not None:
            rows = (of_secret(self.secret.encode()),)
        if not self.algorithms:
            return rows
        allowed = bits(list(self.algorithms))
        kept = tuple((name, mask & allowed, key) for name, mask, key in rows if mask & allowed)
        if rows and not kept:
            raise ValueError("no key is for one of the algorithms; leave algorithms out")
        return kept

    def tells(self) -> tuple[str, ...]:
        return tuple(self.claims)

    def request_actions(self) -> tuple[Action, ...]:
        if self.forward:
            return ()
        return (Action(ActionKind.ACTION_REMOVE_HEADER, b"Authorization"),)
