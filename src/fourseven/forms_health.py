"""`health:` of a backend: how its servers are asked whether they are well."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fourseven.forms import HealthCheck
from fourseven.plan import HealthPlan
from fourseven.scalars import Percent, Wait

_HEALTH = HealthPlan(None)


class Health(HealthCheck):
    """How servers are asked whether they are well: one check (its key), and how often."""

    interval_ms: Wait = Field(
        _HEALTH.interval_ms, alias="interval", description="From one check of a server to the next."
    )
    fast_interval_ms: Wait = Field(
        _HEALTH.fast_interval_ms,
        alias="fast_interval",
        description="The same while the server is in doubt; not above interval.",
    )
    timeout_ms: Wait = Field(
        _HEALTH.timeout_ms, alias="timeout", description="For a whole check, connecting included."
    )
    rise: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        _HEALTH.rise, description="Successes in a row until a server that was down is up."
    )
    fall: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        _HEALTH.fall, description="Failures in a row until a server is down."
    )
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = Field(
        _HEALTH.port, description="Where to ask; 0: the server's own port."
    )
    on_down: Literal["keep", "cut"] = Field(
        _HEALTH.on_down,
        description="What becomes of the flows of a server that goes down, in the kernel planes:"
        " they may go on, or their clients get a reset and connect anew.",
    )
    panic_percent: Percent = Field(
        _HEALTH.panic_percent,
        alias="panic",
        description="When fewer of the servers than this are up, all are used: better a guess"
        " than to crush the few. 0%: never.",
    )
