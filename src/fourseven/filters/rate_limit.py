"""Rate limit: so many requests in so much time, by whatever they are counted by."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.keys import Counted
from fourseven.plan import GatePlan
from fourseven.snapshot.layout import GATE_HEAD, GateKind

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
RATE_MAX = 1_000_000  # a second: an interval is a whole number of ns, so it is exact to 0.1 %
ENTRY = 16  # bytes: l7.rate_table.RateEntry
HEADERS, DRY_RUN = 1, 2  # l7.gate_rate.RateFlag
PATTERN = r"^[0-9]{1,9}/[0-9]{0,4}(s|m|h|d)$"
_RATE = re.compile(r"([0-9]{1,9})/([0-9]{0,4})(s|m|h|d)", re.ASCII)


def checked_rate(value: str) -> str:
    """The text, if it is a rate that can be kept."""
    limit, window_s = parts(value)
    if limit == 0 or window_s == 0:
        raise ValueError(f"{value} lets nothing pass; to refuse all write a filter `respond`")
    if limit > RATE_MAX * window_s:
        raise ValueError(f"{value} is more than {RATE_MAX}/s, which is no limit for one balancer")
    return value


def parts(value: str) -> tuple[int, int]:
    """(requests, seconds) of `500/s`, `100/m`, `20/10s`."""
    found = _RATE.fullmatch(value)
    if found is None:
        raise ValueError(f"{value[:40]!r} is no rate; write e.g. 500/s, 100/m or 20/10s")
    return int(found[1]), int(found[2] or 1) * UNITS_S[found[3]]


class RateLimit(Counted, Filter):
    """Requests above a rate are answered with 429.

    A token bucket for each key: it holds `burst` requests at most, and is filled at the rate. So in
    any t seconds a key gets at most burst + rate * t, exactly, over all workers together. What is
    refused costs no token. The answer has Retry-After: when the next request would pass.

    A request without the key (no such header, or an empty one) is counted by its client's address.
    Keys stand in a table of fixed size (16 bytes each). One that is full again is forgotten at
    once, for it makes no difference; where a place is needed although all count, the key that is
    full soonest makes room (counter rate_keys_replaced). The table is kept over a reload, for the
    route of the same name; it begins anew with a new engine.

        filters: [{rate_limit: 500/s}]                                # the whole route
        filters: [{rate_limit: {rate: 100/m, by: client, burst: 20}}]
        filters: [{rate_limit: {rate: 10/s, by: {header: X-Api-Key}, headers: true}}]
        filters: [{rate_limit: {rate: 5/m, by: [client, path], dry_run: true}}]
    """

    key: ClassVar[str] = "rate_limit"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "rate"

    rate: Annotated[
        str,
        Field(strict=True, json_schema_extra={"pattern": PATTERN}),
        AfterValidator(checked_rate),
    ] = Field(description="500/s, 100/m, 20/10s, 1000/h.")
    burst: Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)] | None = Field(
        None, description="How many may come at once; left out: the number in rate."
    )
    headers: bool = Field(
        False, description="Clients are told by RateLimit and RateLimit-Policy where they stand."
    )
    name: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9_.-]{1,63}$")] = Field(
        "default", description="Of the policy, in those headers."
    )
    dry_run: bool = Field(False, description="Nothing is refused, only counted (rate_dry_run).")

    @model_validator(mode="after")
    def burst_is_a_time(self) -> RateLimit:
        limit, window_s = parts(self.rate)
        if (self.burst or limit) * window_s > 10 * 365 * 86_400 * limit:
            raise ValueError("such a burst would take more than ten years to fill")
        return self

    def gates(self) -> tuple[GatePlan, ...]:
        limit, window_s = parts(self.rate)
        interval_ns = window_s * 10**9 // limit
        burst = self.burst or limit
        policy = f'"{self.name}";q={limit};w={window_s}'
        return (
            GatePlan(
                int(GateKind.GATE_RATE),
                numbers=(
                    interval_ns,
                    interval_ns * burst,
                    HEADERS * self.headers | DRY_RUN * self.dry_run,
                ),
                keys=self.keys(),
                texts=(policy.encode(), f'"{self.name}"'.encode()),
                state_size=GATE_HEAD + self.table_size(ENTRY),
            ),
        )
