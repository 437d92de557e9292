"""Concurrency: so many requests at once, by whatever they are counted by."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.keys import Counted
from fourseven.plan import GatePlan
from fourseven.snapshot.layout import GATE_HEAD, GateKind

ENTRY = 8  # bytes: one word of l7.gate_concurrency
BY_KEY_MAX = 65_000  # the count of a key has 16 bits


class Concurrency(Counted, Filter):
    """Requests above a number at once are answered with 503, or 429.

    A request counts from here to the end of its answer; a tunnel (WebSocket) until it is closed.
    Exact over all workers together. A request without the key (no such header, or an empty one) is
    counted by its client's address. A request that finds no place in the table of keys is refused
    too (counter concurrency_untracked): make keys_max twice what may be in flight.

    For a queue in front of busy servers see the backend's own limits.

        filters: [{concurrency: 200}]                              # the whole route
        filters: [{concurrency: {max: 10, by: client, status: 429}}]
    """

    key: ClassVar[str] = "concurrency"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "max"

    max: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] = Field(
        description="Requests at once."
    )
    status: Literal[429, 503] = Field(503, description="Of the refusal: 503 or 429.")

    @model_validator(mode="after")
    def fits_a_word(self) -> Concurrency:
        if self.by and self.max > BY_KEY_MAX:
            raise ValueError(f"a key may have {BY_KEY_MAX} requests at once at most")
        return self

    def gates(self) -> tuple[GatePlan, ...]:
        return (
            GatePlan(
                int(GateKind.GATE_CONCURRENCY),
                numbers=(self.max, self.status),
                keys=self.keys(),
                state_size=GATE_HEAD + self.table_size(ENTRY),
                holds=True,
            ),
        )
