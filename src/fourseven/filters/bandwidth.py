"""Bandwidth: how many bytes a second the bodies of requests and answers may take."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.keys import KEYS_MAX, CountedBy, OneOrMore
from fourseven.plan import GatePlan
from fourseven.scalars import Size
from fourseven.snapshot.layout import GATE_HEAD, GateKind
from fourseven.units import size_bytes

ENTRY, BUCKET = 16, 8  # l7.rate_table.RateEntry, and so many of them are looked at for a key
RATE_MIN, RATE_MAX = 256, 16 << 30  # below, a packet takes seconds; above, nanoseconds overflow
PATTERN = r"^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB)/s$"
_RATE = re.compile(r"(.{1,32})/s", re.ASCII)


def bytes_a_second(value: Any) -> int:
    """Of `1MiB/s`."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{str(value)[:40]!r} is no bandwidth; write e.g. 500KiB/s or 10MiB/s")
    rate = size_bytes(found[1])
    if not RATE_MIN <= rate <= RATE_MAX:
        raise ValueError(f"{value} is out of range; 256B/s is the least, 16GiB/s the most")
    return rate


Rate = Annotated[
    int, BeforeValidator(bytes_a_second), WithJsonSchema({"type": "string", "pattern": PATTERN})
]
EACH = "request"


def _by(value: Any) -> Any:
    """One part where a list may stand; `request` is no key, `route` one without parts."""
    if value is None or value == EACH:
        return None
    if value == "route":
        return ()
    return value if isinstance(value, list | tuple) else (value,)


class Bandwidth(Filter):
    """Bodies are passed on no faster than so many bytes a second.

    By default each request has the whole rate to itself; with `by` all requests of a key share it,
    exactly, over all workers: in any t seconds at most burst + rate * t bytes go, in each direction
    for itself. Those who share have their turns in the order in which they ask. Heads do not count,
    and nor do connections after an Upgrade (WebSocket). What counts of an answer is what the client
    gets: of a compressed one the compressed bytes.

    A body that is held back is not read any faster from the other side; other streams of the same
    HTTP/2 connection go on. Timeouts for slow clients and servers do not run while we hold it back.

        filters: [{bandwidth: 1MiB/s}]                                # each answer
        filters: [{bandwidth: {response: 10MiB/s, request: 2MiB/s, by: client}}]
        filters: [{bandwidth: {response: 100MiB/s, by: route, burst: 20MiB}}]
    """

    key: ClassVar[str] = "bandwidth"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "response"

    response: Rate | None = Field(None, description="Of answers, e.g. 1MiB/s; left out: no limit.")
    request: Rate | None = Field(None, description="Of requests' bodies; left out: no limit.")
    by: Annotated[
        Annotated[
            tuple[CountedBy, ...], Field(max_length=KEYS_MAX), OneOrMore(("request", "route"))
        ]
        | None,
        BeforeValidator(_by),
    ] = Field(
        None,
        description="Who shares it: request (nobody), route, client, host, path, method,"
        " {header: …}, {cookie: …}, {query: …}, or a list of them together.",
    )
    burst: Annotated[Size, Field(ge=1, le=1 << 33)] | None = Field(
        None,
        description="What may go at once after a pause; left out: what the rate gives in 100 ms,"
        " and never less than in 50 ms.",
    )
    keys_max: Annotated[int, Field(strict=True, ge=512, le=1 << 24)] = Field(
        65_536, description="Keys known at once, rounded up to a power of two."
    )

    @model_validator(mode="after")
    def limits_something(self) -> Bandwidth:
        if self.request is None and self.response is None:
            raise ValueError("bandwidth limits nothing; write e.g. 1MiB/s or {request: 1MiB/s}")
        return self

    def gates(self) -> tuple[GatePlan, ...]:
        shared = self.by is not None
        entries = ENTRY * BUCKET
        if self.by:
            entries = 2 * ENTRY << (self.keys_max - 1).bit_length()  # both directions
        return (
            GatePlan(
                int(GateKind.GATE_BANDWIDTH),
                numbers=(self.response or 0, self.request or 0, self.burst or 0, int(shared)),
                keys=tuple(part.lower() for part in self.by or ()),
                state_size=GATE_HEAD + entries if shared else 0,
                holds=shared,
            ),
        )
