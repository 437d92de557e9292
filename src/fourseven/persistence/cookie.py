"""A cookie of ours: the client carries the name of its server."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from fourseven import units
from fourseven.features import Need, Persistence
from fourseven.matching.table import Field as Seen
from fourseven.plan import KeyPlan, PersistencePlan
from fourseven.scalars import TokenName
from fourseven.snapshot.layout import PersistenceKind

SECRET_MIN = 16  # characters; beyond guessing over a network
SECURE = {False: 0, "auto": 1, True: 2}


class Cookie(Persistence):
    """A cookie that is set with the first answer and leads the client back to its server.

    Its value is an HMAC-SHA256 of the server's backend and address, cut to 128 bits: nobody can
    make one, no address can be read from it, and it stays the same as long as the secret does.
    Only a client that has none (or one that is no longer good) gets a `Set-Cookie`.

    Without `secret` a key is made at the start and kept over reloads. For cookies that outlive a
    restart, or that several machines share, there is `secret_file`: each line is a secret of at
    least 16 characters; the first one signs, the others are still accepted and answered with a new
    cookie. So a secret is rotated by a new first line.

    `secure: auto` sets Secure where the client came by TLS. `max_age: 0` is a cookie that the
    browser forgets when it is closed. Without `name` it is `fourseven_` and six hexadecimal digits
    that differ from backend to backend.

        persistence: cookie
        persistence: {cookie: {name: shop, max_age: 8h, same_site: strict, secret_file: cookie.key}}
    """

    key: ClassVar[str] = "cookie"
    need: ClassVar[Need] = Need.REQUEST

    name: TokenName | None = None
    secure: Literal["auto"] | bool = "auto"
    http_only: bool = True
    same_site: Literal["lax", "strict", "none"] = "lax"
    domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,253}$")] | None = None
    path: Annotated[str, Field(pattern=r"^/[!-:<-~]{0,255}$")] = "/"
    max_age: Annotated[
        int,
        WithJsonSchema(
            {"anyOf": [{"type": "string", "pattern": units.TIME_PATTERN}, {"const": 0}]}
        ),
    ] = 0
    secret: Annotated[str, Field(min_length=SECRET_MIN, max_length=512)] | None = None
    secret_file: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("max_age", mode="before")
    @classmethod
    def in_ms(cls, value: Any) -> Any:
        return units.duration_ms(value)

    @model_validator(mode="after")
    def agrees(self) -> Cookie:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("secret and secret_file stand in one place; keep one of them")
        if self.same_site == "none" and self.secure is False:
            raise ValueError("browsers take same_site: none only with Secure; leave secure out")
        return self

    def lower(self) -> PersistencePlan:
        parts = [f"Path={self.path}"]
        parts += [f"Domain={self.domain}"] if self.domain else []
        parts += [f"Max-Age={self.max_age // 1000}"] if self.max_age else []
        parts += ["HttpOnly"] if self.http_only else []
        parts.append(f"SameSite={self.same_site.capitalize()}")
        return PersistencePlan(
            kind=int(PersistenceKind.PERSIST_COOKIE),
            key=KeyPlan(field=int(Seen.FIELD_COOKIE), name=(self.name or "").encode()),
            attributes="".join(f"; {part}" for part in parts).encode(),
            secure=2 if self.same_site == "none" else SECURE[self.secure],
            secrets=(self.secret.encode(),) if self.secret else (),
            secret_file=self.secret_file or "",
        )
