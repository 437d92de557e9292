"""Host: which name the server is asked for."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, field_validator

from fourseven.features import Filter, Need
from fourseven.filters.values import Place, parse
from fourseven.plan import Action
from fourseven.snapshot.layout import ActionKind, PartKind

AUTHORITY = re.compile(r"[A-Za-z0-9._~:\[\]-]*", re.ASCII)


class Host(Filter):
    """The Host header that the server gets; without this filter, it is the client's own.

    For servers that hold several sites, or that answer only to their own name. What the client
    asked for still stands in X-Forwarded-Host.

        filters: [{host: app.internal}]
        filters: [{host: "{header.X-Tenant}.internal:8080"}]
    """

    key: ClassVar[str] = "host"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "to"

    to: str = Field(min_length=1, max_length=255, description="A host name, and a port if need be.")

    @field_validator("to")
    @classmethod
    def is_authority(cls, value: str) -> str:
        for part in parse(value, Place.HEADER):
            if part.kind == PartKind.PART_LITERAL and not AUTHORITY.fullmatch(part.text.decode()):
                raise ValueError(
                    f"{value!r} is no host; write e.g. app.internal or app.internal:8080"
                )
        return value

    def request_actions(self) -> tuple[Action, ...]:
        return (Action(ActionKind.ACTION_SET_HOST, value=parse(self.to, Place.HEADER)),)
