"""Fault: delays and errors on purpose, for a share of the requests."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.keys import CountedBy
from fourseven.plan import GatePlan
from fourseven.scalars import HeaderName, Share, Wait
from fourseven.snapshot.layout import GateKind

STATUSES = (400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504)  # those with a text of ours


class Delay(BaseModel):
    """A delay for a share of the requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time_ms: Wait = Field(alias="time", description="How long; ticks of 16 ms.")
    share: Share = Field(
        1_000_000, validate_default=False, description="Of the requests: 5%, 0.1%."
    )


class Abort(BaseModel):
    """An error for a share of the requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Annotated[int, Field(strict=True)] = Field(
        503, description=f"One of {', '.join(map(str, STATUSES))}."
    )
    share: Share = Field(
        1_000_000, validate_default=False, description="Of the requests: 5%, 0.1%."
    )

    @model_validator(mode="after")
    def has_a_text(self) -> Abort:
        if self.status not in STATUSES:
            raise ValueError(
                f"{self.status} is no fault; write one of {', '.join(map(str, STATUSES))}"
            )
        return self


class Fault(Filter):
    """A share of the requests is delayed, or answered with an error, on purpose.

    Delay and error are drawn each for itself: a request may get both, the error after the delay. By
    a key the draw is no chance: the same client (header, path) meets the same fault each time, on
    all machines. With `header` only requests that carry this header are touched.

        filters: [{fault: {delay: {time: 300ms, share: 5%}}}]
        filters: [{fault: {abort: {status: 503, share: 0.5%}, by: client}}]
        filters: [{fault: {delay: {time: 2s}, header: X-Test-Slow}}]
    """

    key: ClassVar[str] = "fault"
    need: ClassVar[Need] = Need.REQUEST

    delay: Delay | None = Field(None, description="How long, and for which share (left out: all).")
    abort: Abort | None = Field(None, description="Which status, and for which share.")
    by: CountedBy | None = Field(
        None, description="client, host, path, method, {header: …}: the same one, the same fault."
    )
    header: HeaderName | None = Field(None, description="Only requests with this header.")

    @model_validator(mode="after")
    def does_something(self) -> Fault:
        if self.delay is None and self.abort is None:
            raise ValueError("fault does nothing; write e.g. {abort: {status: 503, share: 5%}}")
        return self

    def gates(self) -> tuple[GatePlan, ...]:
        return (
            GatePlan(
                int(GateKind.GATE_FAULT),
                numbers=(
                    self.delay.time_ms if self.delay else 0,
                    self.delay.share if self.delay else 0,
                    self.abort.status if self.abort else 0,
                    self.abort.share if self.abort else 0,
                ),
                keys=(self.by.lower(),) if self.by else (),
                texts=(self.header.encode(),) if self.header else (),
            ),
        )
