"""Respond: an answer that needs no server."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.values import Place, parse
from fourseven.plan import Action
from fourseven.snapshot.layout import ActionKind

MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(;[ -~]{1,200})?", re.ASCII)
BODILESS = (204, 304)


class Respond(Filter):
    """Answers by itself, with a status and a short text. The route needs no backend.

    The body may hold variables; in a page (html, xml) and in JSON they are escaped for it, so that
    nothing a stranger sends becomes markup.

        filters: [{respond: 404}]
        filters: [{respond: {status: 503, body: "Back at noon.\\n"}}]
        filters:
          - respond: {body: '{"you": "{client.address}"}', content_type: application/json}
    """

    key: ClassVar[str] = "respond"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "status"
    terminal: ClassVar[bool] = True

    status: Annotated[int, Field(strict=True, ge=200, le=599)] = Field(
        200, description="200 to 599."
    )
    body: str = Field("", description="Text, at most 32 KiB.")
    content_type: str = Field("text/plain; charset=utf-8", description="What the body is.")

    @field_validator("body")
    @classmethod
    def has_known_variables(cls, value: str) -> str:
        parse(value, Place.BODY)
        return value

    @field_validator("content_type")
    @classmethod
    def is_media_type(cls, value: str) -> str:
        if not MEDIA_TYPE.fullmatch(value):
            raise ValueError(
                f"{value!r} is no media type; write e.g. text/html or application/json"
            )
        return value

    @model_validator(mode="after")
    def fits_together(self) -> Respond:
        if self.body and self.status in BODILESS:
            raise ValueError(f"an answer {self.status} has no body; leave body out")
        return self

    def request_actions(self) -> tuple[Action, ...]:
        return (
            Action(
                ActionKind.ACTION_RESPOND,
                self.content_type.encode(),
                parse(self.body, Place.BODY),
                self.status,
            ),
        )
