"""CORS: which pages of other origins may use this one from a browser."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fourseven.features import Filter, Need
from fourseven.matching.text import listed
from fourseven.plan import Action, GatePlan
from fourseven.scalars import TOKEN, Time
from fourseven.snapshot.layout import ActionKind, GateKind

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]{0,31}://(\*\.)?[a-z0-9.-]{1,253}(:[0-9]{1,5})?", re.ASCII)
_OURS = (
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Expose-Headers",
    "Access-Control-Max-Age",
)
ORIGINS_MAX = 256  # each is compared with; a list this long is a wildcard's case


def _token(name: Any) -> str:
    if not isinstance(name, str) or not TOKEN.fullmatch(name) or len(name) > 128:
        raise ValueError(f"{str(name)[:80]!r} is no name; write e.g. GET or X-Tenant")
    return name


Token = Annotated[str, BeforeValidator(_token)]
Tokens = Annotated[tuple[Token, ...], BeforeValidator(listed), Field(max_length=32)]


class Cors(Filter):
    """Answers what browsers ask before a page of another origin may use this one (CORS).

    A preflight is answered at once, with 204 for an allowed origin and 403 for another. Other
    requests go on; their answers get the headers that let the page read them, if its origin is
    allowed, and lose those that the server has set. `Vary: Origin` keeps caches right. It is no
    protection of the server: who is no browser ignores it. Put it before filters that may refuse,
    so that a page can read their answers too.

        filters: [{cors: "https://app.example"}]
        filters:
          - cors:
              origins: ["https://app.example", "https://*.example.com"]
              methods: [GET, POST, DELETE]
              headers: [Content-Type, X-Tenant]
              credentials: true
    """

    key: ClassVar[str] = "cors"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "origins"

    origins: Annotated[
        tuple[str, ...], BeforeValidator(listed), Field(min_length=1, max_length=ORIGINS_MAX)
    ] = Field(description='Origins: https://app.example, https://*.example.com, or "*" for all.')
    methods: Tokens = Field(
        ("GET", "HEAD", "POST"), description='Beyond them none; "*": whatever is asked for.'
    )
    headers: Tokens = Field(("*",), description='That a page may send; "*": whatever is asked for.')
    expose: Tokens = Field((), description="Headers of the answer that a page may read.")
    max_age_ms: Time = Field(
        600_000, alias="max_age", description="How long a browser may remember a preflight."
    )
    credentials: bool = Field(
        False, strict=True, description="Cookies and passwords may come along; not with * origins."
    )

    @field_validator("origins")
    @classmethod
    def are_origins(cls, value: tuple[Any, ...]) -> tuple[str, ...]:
        for one in value:
            if one != "*" and not (isinstance(one, str) and _ORIGIN.fullmatch(one)):
                raise ValueError(
                    f"{str(one)[:80]!r} is no origin; write scheme://host or scheme://host:port in"
                    " lower case, without a path, e.g. https://app.example or https://*.example"
                )
            for scheme, port in (("http", ":80"), ("https", ":443")):
                if one.startswith(f"{scheme}://") and one.endswith(port):
                    raise ValueError(f"browsers leave {port} out of {one}; leave it out too")
        if "*" in value and len(value) > 1:
            raise ValueError('"*" is every origin; leave the others out, or "*"')
        return value

    @model_validator(mode="after")
    def is_no_open_door(self) -> Cors:
        if self.credentials and "*" in self.origins:
            raise ValueError(
                "credentials with origins * would let every page act in the client's name;"
                " name the origins"
            )
        return self

    def gates(self) -> tuple[GatePlan, ...]:
        numbers = ("*" in self.origins, self.credentials, self.max_age_ms // 1000)
        lists = (self.methods, self.headers, self.expose)
        texts = [b"*" if "*" in names else ", ".join(names).encode() for names in lists]
        origins = [one.encode() for one in self.origins if one != "*"]
        return (GatePlan(GateKind.GATE_CORS, numbers=numbers, texts=(*texts, *origins)),)

    def response_actions(self) -> tuple[Action, ...]:
        return tuple(Action(ActionKind.ACTION_REMOVE_HEADER, name.encode()) for name in _OURS)
