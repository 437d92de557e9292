"""Adaptive concurrency: a limit that follows the latency of the servers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from fourseven import units
from fourseven.features import Filter, Need
from fourseven.plan import GatePlan
from fourseven.scalars import Wait
from fourseven.snapshot.layout import GATE_HEAD, GateKind

LIMIT_MAX = 1_000_000


class AdaptiveConcurrency(Filter):
    """As many requests at once as the servers bear without getting slower; 503 for the rest.

    When a service has more to do than it can, requests queue inside it: they all get slower, and no
    more of them get done. So the latency of each window (mean time to the head of the answer) is
    compared with that of the long run. While it stays within `tolerance` of it the limit grows,
    when it is above the limit shrinks in proportion. A limit that is not used up does not grow. All
    requests of the route count together, over all workers. Source: Netflix concurrency-limits,
    Gradient2.

        filters: [adaptive_concurrency]
        filters: [{adaptive_concurrency: {min: 10, max: 500, tolerance: 150%}}]
    """

    key: ClassVar[str] = "adaptive_concurrency"
    need: ClassVar[Need] = Need.REQUEST

    min: Annotated[int, Field(strict=True, ge=1, le=LIMIT_MAX)] = Field(
        10, description="The limit is never lower."
    )
    max: Annotated[int, Field(strict=True, ge=1, le=LIMIT_MAX)] = Field(
        1000, description="The limit is never higher."
    )
    start: Annotated[int, Field(strict=True, ge=1, le=LIMIT_MAX)] | None = Field(
        None, description="The limit at first; left out: 20, within min and max."
    )
    window_ms: Wait = Field(
        1000, alias="window", description="How long latencies are gathered for one step."
    )
    tolerance: Annotated[
        int,
        BeforeValidator(lambda value: units.percentage(value) if isinstance(value, str) else value),
        Field(strict=True, ge=100, le=1000),
    ] = Field(150, description="How much slower than in the long run is still well.")

    @model_validator(mode="after")
    def in_order(self) -> AdaptiveConcurrency:
        if not self.min <= (self.start or self.min) <= self.max:
            raise ValueError("min, start and max are not in this order")
        return self

    def gates(self) -> tuple[GatePlan, ...]:
        start = self.start or min(max(20, self.min), self.max)
        return (
            GatePlan(
                int(GateKind.GATE_ADAPTIVE),
                numbers=(self.min, self.max, start, self.window_ms, self.tolerance),
                state_size=GATE_HEAD,
                holds=True,
            ),
        )
