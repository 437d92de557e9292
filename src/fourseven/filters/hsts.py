"""HSTS: browsers are told to come by HTTPS alone."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from fourseven import units
from fourseven.features import Filter, Need
from fourseven.plan import Action, Part
from fourseven.snapshot.layout import ActionKind, PartKind

YEAR_S = 365 * 24 * 3600  # the least that the browsers' preload list takes

Age = Annotated[
    int,
    BeforeValidator(units.long_duration_ms),
    WithJsonSchema({"type": "string", "pattern": units.TIME_PATTERN, "examples": ["365d"]}),
]


class Hsts(Filter):
    """Tells browsers to use HTTPS alone for this host (Strict-Transport-Security, RFC 6797).

    Its name alone means a year. A server's own header of that name is replaced. Over plain HTTP
    the header is not sent, for there anybody could have written it; such a client is sent on by
    `redirect: {scheme: https, status: 308}`.

        filters: [hsts]
        filters: [{hsts: {max_age: 730d, subdomains: true, preload: true}}]

    Browsers keep it for max_age, whatever you say later: begin with a short one.
    """

    key: ClassVar[str] = "hsts"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "max_age"

    max_age_ms: Age = Field(
        YEAR_S * 1000, alias="max_age", description="How long browsers keep to it; 0: forget it."
    )
    subdomains: bool = Field(False, strict=True, description="All hosts below this one too.")
    preload: bool = Field(
        False, strict=True, description="Consent to the browsers' built-in list (hstspreload.org)."
    )

    @classmethod
    def from_file(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"max_age": value}

    @model_validator(mode="after")
    def preload_needs_more(self) -> Hsts:
        if self.preload and not (self.subdomains and self.max_age_ms >= YEAR_S * 1000):
            raise ValueError(
                "the preload list takes only subdomains: true and a max_age of 365d or more"
            )
        return self

    def response_actions(self) -> tuple[Action, ...]:
        text = f"max-age={self.max_age_ms // 1000}"
        text += "; includeSubDomains" if self.subdomains else ""
        text += "; preload" if self.preload else ""
        value = (Part(PartKind.PART_SECURE, text.encode()),)
        return (Action(ActionKind.ACTION_SET_HEADER, b"Strict-Transport-Security", value),)
