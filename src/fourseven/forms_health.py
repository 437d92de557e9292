"""`health:` of a backend: how its servers are asked whether they are well."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from fourseven.forms import Form, HealthCheck
from fourseven.plan import HealthPlan
from fourseven.scalars import Percent, Wait

_HEALTH = HealthPlan(None)
Times = Annotated[int, Field(strict=True, ge=1, le=100)]


class Pace(Form):
    """How often one server alone is checked, where that is not as its backend says."""

    interval_ms: Wait | None = Field(None, alias="interval")
    fast_interval_ms: Wait | None = Field(None, alias="fast_interval")
    timeout_ms: Wait | None = Field(None, alias="timeout")
    rise: Times | None = None
    fall: Times | None = None
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] | None = None
    jitter: Percent | None = None

    def over(self, plan: HealthPlan) -> HealthPlan:
        """The backend's plan with what is said here."""
        said = {name: value for name, value in self.model_dump().items() if value is not None}
        if "jitter" in said:
            said["jitter_percent"] = said.pop("jitter")
        made = replace(plan, **said)
        return replace(made, fast_interval_ms=min(made.fast_interval_ms, made.interval_ms))


class CheckedServer(Form):
    """What a server may say of its own checks."""

    health: Pace | Literal[False] | None = Field(
        None,
        description="How it alone is checked: interval, fast_interval, timeout, rise, fall, port,"
        " jitter; false: not at all, it is taken as well. Left out: as its backend says.",
    )


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
    jitter_percent: Percent = Field(
        _HEALTH.jitter_percent,
        alias="jitter",
        description="Of an interval, by which each is longer or shorter at random.",
    )
    rise: Times = Field(
        _HEALTH.rise, description="Successes in a row until a server that was down is up."
    )
    fall: Times = Field(_HEALTH.fall, description="Failures in a row until a server is down.")
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = Field(
        _HEALTH.port, description="Where to ask; 0: the server's own port."
    )
    on_down: Literal["keep", "cut"] = Field(
        _HEALTH.on_down,
        description="What becomes of the connections and flows of Layer 4, in every plane, of a"
        " server that goes down: they may go on, or their clients get a reset and connect anew.",
    )
    panic_percent: Percent = Field(
        _HEALTH.panic_percent,
        alias="panic",
        description="When fewer of the servers than this are up, all are used: better a guess"
        " than to crush the few. 0%: never.",
    )
