"""`ejection:` of a backend: how servers that do badly with real requests are left out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from fourseven.forms import Form
from fourseven.plan import EjectionPlan
from fourseven.scalars import Percent, Wait

_EJECTION = EjectionPlan()


class Ejection(Form):
    """Servers that do badly with real requests get none for a while. `true` is enough."""

    errors_in_a_row: Annotated[int, Field(strict=True, ge=0, le=100_000)] = Field(
        _EJECTION.errors_in_a_row,
        description="Answers of 5xx, failed connections and timeouts, one after the other;"
        " 0: they do not count.",
    )
    rate_deviations: Annotated[float, Field(ge=0, le=100)] = Field(
        _EJECTION.rate_deviations,
        description="How many standard deviations (of at least 5 points) a server's error rate may"
        " lie above the others'; 0: rates do not count.",
    )
    slow_times: Annotated[float, Field(ge=0, le=1000)] = Field(
        _EJECTION.slow_times,
        description="How many times the others' mean response time a server may take;"
        " 0: time does not count.",
    )
    requests_min: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = Field(
        _EJECTION.requests_min,
        description="Answers of about the last ten intervals, for a server to be compared.",
    )
    servers_min: Annotated[int, Field(strict=True, ge=3, le=10_000)] = Field(
        _EJECTION.servers_min, description="Servers with so many answers, for any to be compared."
    )
    interval_ms: Wait = Field(
        _EJECTION.interval_ms, alias="interval", description="How often servers are compared."
    )
    time_ms: Wait = Field(
        _EJECTION.time_ms,
        alias="time",
        description="How long a server is out the first time; the second time twice that, and on.",
    )
    time_max_ms: Wait = Field(
        _EJECTION.time_max_ms, alias="time_max", description="How long it is out at most."
    )
    share_max_percent: Percent = Field(
        _EJECTION.share_max_percent,
        alias="share_max",
        description="Of the servers may be out at once; one always may, all never.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"const": True}, handler(schema)]}


def compile_ejection(form: Ejection) -> EjectionPlan:
    """ValueError where it contradicts itself."""
    if form.time_max_ms < form.time_ms and "time_max_ms" in form.model_fields_set:
        raise ValueError("ejection: time_max is shorter than time")
    given = {name: getattr(form, name) for name in type(form).model_fields}
    return EjectionPlan(**given | {"time_max_ms": max(form.time_max_ms, form.time_ms)})
