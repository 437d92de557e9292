"""What a backend does when its servers fail or are full: `retry`, `queue`, `limits`, `breaker`,
`failover`; and `persistence`, which decides what happens when one server in particular is gone.

Each has defaults that are right for most, so the key alone, or `true`, is a good beginning.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from fourseven import units
from fourseven.forms import Form, NotEmpty, Persisting
from fourseven.scalars import Count, HeaderName, Percent, Text, Time, Wait, listed

Zone = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,64}$")]
STATUSES_MAX = 8  # those that may be worth another try are 408, 425, 429 and 500 to 504
FAILURES = ("connect", "reset", "timeout")


class Persistence(Persisting):
    """Who comes back to which server: one way (its key), and what is done without the server."""

    fallback: Literal["rebalance", "wait", "503"] = Field(
        "rebalance",
        description="When the client's server cannot be had. rebalance: another one, from then on."
        " wait: until it can, for at most wait. 503: an answer of our own.",
    )
    wait_ms: Wait = Field(5_000, alias="wait", description="How long fallback: wait waits.")

    @field_validator("fallback", mode="before")
    @classmethod
    def is_word(cls, value: Any) -> Any:
        return "503" if value == 503 else value


def hedge_time(value: Any) -> Any:
    """Milliseconds of `50ms`; less than 0 for `p95`: that percentage."""
    if isinstance(value, str) and re.fullmatch(r"p[1-9][0-9]", value, re.ASCII):
        return -int(value[1:])
    milliseconds = units.duration_ms(value)
    if milliseconds == 0:
        raise ValueError("0 would ask two servers each time; write e.g. 50ms, or p95")
    return milliseconds


class Hedge(Form):
    """A request that is not answered in time is sent to a second server; the first answer wins."""

    after: Annotated[
        int,
        BeforeValidator(hedge_time),
        WithJsonSchema({"type": "string", "pattern": f"{units.TIME_PATTERN}|^p[1-9][0-9]$"}),
    ] = Field(
        description="After its last byte, without an answer: a time, or p95 for what 95 % of the"
        " answers take, which is learnt. Ticks of 16 ms."
    )

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"after": value}


class Retry(Form):
    """Another try when a server fails before the first byte of its answer reached the client."""

    attempts: Annotated[int, Field(strict=True, ge=0, le=3)] = Field(
        1, description="Further tries after the first; each takes another server."
    )
    on: Annotated[tuple[Any, ...], NotEmpty(), BeforeValidator(listed)] = Field(
        ("connect", "reset"),
        description="connect, reset (hung up before it answered), timeout, and statuses: 503.",
    )
    methods: Literal["idempotent", "all"] = Field(
        "idempotent",
        description="Which requests may reach two servers. all: POST and PATCH too, if the"
        " application bears it. What never reached a server is tried again in any case.",
    )
    try_timeout_ms: Time = Field(
        0,
        alias="try_timeout",
        description="From the choice of a server to its answer's head; 0: the backend's other"
        " times alone.",
    )
    budget: Percent = Field(
        20,
        description="Of the backend's requests in flight, the most that may be on a further try;"
        " 0%: no budget. So retries cannot become the load that keeps servers down.",
    )
    budget_min: Count = Field(
        10, description="Further tries a second that the budget never denies."
    )
    same_server: bool = Field(
        True, description="The same server once more where there is no other."
    )
    hedge: Hedge | None = Field(
        None,
        description="A second server is asked when the first one is slow: a time, p95, or a"
        " mapping. It counts among the attempts, and by the budget.",
    )

    @model_validator(mode="after")
    def hedge_has_bounds(self) -> Retry:
        if self.hedge is not None and self.attempts == 0:
            raise ValueError("a hedge is a further try, and attempts is 0; write attempts: 1")
        if self.hedge is not None and self.budget == 0:
            raise ValueError(
                "a hedge without a budget doubles the load of slow servers; 10% will do"
            )
        return self

    @field_validator("on")
    @classmethod
    def known(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        statuses = [one for one in value if isinstance(one, int) and not isinstance(one, bool)]
        for one in value:
            if one not in FAILURES and (one not in statuses or not 400 <= one <= 599):
                raise ValueError(
                    f"{one!r} is nothing to retry on; use connect, reset, timeout,"
                    " or a status from 400 to 599"
                )
        if len(set(statuses)) > STATUSES_MAX:
            raise ValueError(f"{len(set(statuses))} statuses; {STATUSES_MAX} are the most")
        return value

    @property
    def statuses(self) -> tuple[int, ...]:
        """Sorted, each once."""
        return tuple(sorted({one for one in self.on if one not in FAILURES}))


class Queue(Form):
    """Requests wait for a server where all are at their limit, instead of getting a 503."""

    size: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(
        100, description="Requests that may wait at once, over all workers."
    )
    timeout_ms: Wait = Field(5_000, alias="timeout", description="How long one waits.")
    priority_header: HeaderName | None = Field(
        None,
        description="A request header that says who goes first: high, normal (or anything else),"
        " low. Set or remove it by a filter where clients are not to choose.",
    )


class Limits(Form):
    """What a backend as a whole may have at once, over all workers; who waits is queue's."""

    requests: Count = Field(
        0, description="Requests (L7) or connections (L4) in flight; 0: no limit."
    )
    connections: Count = Field(
        0,
        description="Connections to all its servers, idle ones included (HTTP/1.1), or relayed ones"
        " (L4); 0: no limit.",
    )


class Breaker(Form):
    """A circuit of each server, or of the whole backend: too many errors open it, and then one
    request finds out."""

    of: Literal["server", "backend", "both"] = Field(
        "server",
        description="backend: all servers are counted together, and while it is open nobody goes to"
        " any of them (fallback of a route); for what they share.",
    )
    errors: Percent = Field(
        50, description="Of a window's requests: failed tries, timeouts, answers of 5xx."
    )
    requests: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(
        20, description="That a window must have seen."
    )
    window_ms: Wait = Field(10_000, alias="window", description="Over which errors are counted.")
    open_ms: Wait = Field(
        5_000,
        alias="open",
        description="How long it stays open. Then it is half open: one request goes there, and"
        " closes it or opens it again.",
    )

    @field_validator("errors")
    @classmethod
    def some(cls, value: int) -> int:
        if value == 0:
            raise ValueError("0% would open at once; write e.g. 50%")
        return value


class Failover(Form):
    """When the servers of a tier are too few, those of the next one take the work."""

    below: Percent = Field(
        0,
        description="A tier is left when less than this share of its servers' weight is usable;"
        " 0%: when none is.",
    )

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"below": value}


class Locality(Form):
    """Servers in our own zone go before all others of their tier."""

    spill: Percent = Field(
        70,
        description="While at least this share of the local servers' weight is usable they take"
        " everything; with less they take as much less, and the rest goes to other zones.",
    )

    @field_validator("spill")
    @classmethod
    def some(cls, value: int) -> int:
        if value == 0:
            raise ValueError("0% never spills; leave it at 70%, or write 1% for almost never")
        return value


class LoadReports(Form):
    """Servers say in their answers how busy they are, and get work by it."""

    from_: Annotated[tuple[Literal["orca", "x-load"], ...], NotEmpty(), BeforeValidator(listed)] = (
        Field(
            ("orca", "x-load"),
            alias="from",
            description="Headers that are heard. orca: endpoint-load-metrics as TEXT, JSON or BIN,"
            " and gRPC's endpoint-load-metrics-bin, in trailers too."
            " x-load: X-Load, as 0.35 or 35%.",
        )
    )
    pass_: Annotated[bool, Field(strict=True)] = Field(
        False, alias="pass", description="Whether clients get these headers too."
    )
    expires_ms: Wait = Field(
        10_000,
        alias="expires",
        description="A server that has not said anything for so long has its whole weight again.",
    )
    least: Percent = Field(
        10, description="Of its weight, what a server keeps however busy it says it is."
    )


class ResilientRoute(Form):
    """What a route says of a backend that cannot serve."""

    fallback: Text | None = Field(
        None,
        description="The backend that serves where the chosen one has no server for a request:"
        " none usable, circuits open, limits and queue full.",
    )


def bare(value: Any) -> Any:
    """`true` is the mapping with everything left out."""
    return {} if value is True else value


class ResilientServer(Form):
    """What a server may say of itself beside its address."""

    max_connections: Count = Field(
        0,
        description="L7: connections to it at once, idle ones included, over all workers;"
        " 0: no limit.",
    )
    tier: Annotated[int, Field(strict=True, ge=0, le=7)] = Field(
        0, description="0 is used first, 1 when tier 0 has too few left (failover), and so on."
    )
    backup: bool = Field(False, description="Short for tier: 1.")

    zone: Zone | None = Field(None, description="Where it stands; see locality.")

    @model_validator(mode="after")
    def one_tier(self) -> ResilientServer:
        if self.backup and self.tier:
            raise ValueError("backup and tier stand in one server; backup is tier: 1, keep one")
        return self

    @property
    def stage(self) -> int:
        """The tier, with the short form spelt out."""
        return 1 if self.backup else self.tier


class Resilient(Form):
    """The keys of a backend for when servers fail or are full."""

    persistence: Persistence | None = Field(
        None, description="Clients come back to their server; left out: each request is balanced."
    )
    retry: Annotated[Retry | None, BeforeValidator(bare)] = Field(
        None, description="Another try when a server fails; in place of retries, and says more."
    )
    limits: Limits | None = Field(None, description="What the backend may have at once.")
    queue: Annotated[Queue | None, BeforeValidator(bare)] = Field(
        None, description="Requests wait while all servers are at their limit."
    )
    breaker: Annotated[Breaker | None, BeforeValidator(bare)] = Field(
        None,
        description="A server, or a backend, with too many errors gets no requests for a while.",
    )
    failover: Failover | None = Field(
        None, description="When the next tier of servers takes the work; a share, or a mapping."
    )
    locality: Annotated[Locality | None, BeforeValidator(bare)] = Field(
        None, description="Servers of our own zone first; true, or how."
    )
    load_reports: Annotated[LoadReports | None, BeforeValidator(bare)] = Field(
        None,
        description="Servers are heard on how busy they are, and get work by it; true, or how.",
    )
