"""Body limit: how large a request's body and an answer's may be on a route."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from fourseven.features import Filter, Need
from fourseven.plan import GatePlan
from fourseven.scalars import Size
from fourseven.snapshot.layout import GateKind


class BodyLimit(Filter):
    """Larger bodies are refused: 413 for a request, 502 for an answer.

    What says its size beforehand is refused before any of it is passed on. A body in chunks is cut
    where it passes the limit: a request is then answered 413 if no answer has begun, an answer ends
    so that its client sees that it is not whole. A tunnel (WebSocket) has no body. The listener's
    body_max holds too: the smaller of both counts.

        filters: [{body_limit: 1MiB}]                           # of requests
        filters: [{body_limit: {request: 64KiB, response: 100MiB}}]
    """

    key: ClassVar[str] = "body_limit"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "request"

    request: Annotated[Size, Field(ge=1)] | None = Field(
        None, description="Bytes of a request's body; left out: the listener's limit."
    )
    response: Annotated[Size, Field(ge=1)] | None = Field(
        None, description="Bytes of an answer's body; left out: no limit."
    )

    @model_validator(mode="after")
    def limits_something(self) -> BodyLimit:
        if self.request is None and self.response is None:
            raise ValueError("body_limit limits nothing; write e.g. 1MiB or {response: 10MiB}")
        return self

    def gates(self) -> tuple[GatePlan, ...]:
        return (GatePlan(int(GateKind.GATE_BODY), numbers=(self.request or 0, self.response or 0)),)
