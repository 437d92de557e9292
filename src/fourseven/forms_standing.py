"""What the file says of a server's standing: `drain` and `maintenance`.

The same words as an operator's while it runs (control.servers), for those who keep everything in
the file: no new work, and persistent sessions until a deadline; or nothing at all. What an operator
says goes before the file's word, until it is unsaid.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from fourseven import units
from fourseven.forms import Form

Standing = Literal["enable", "drain", "maintenance"]


def drain_time(value: Any) -> int | None:
    """Milliseconds until kept sessions end; 0: never (true). None: no drain (false)."""
    if isinstance(value, bool):
        return 0 if value else None
    milliseconds = units.duration_ms(value)
    if milliseconds == 0:
        raise ValueError("0 ends kept sessions at once; write maintenance: true")
    return milliseconds


class StandingServer(Form):
    """What a server may say of the work it gets."""

    drain_ms: Annotated[
        int | None,
        BeforeValidator(drain_time),
        WithJsonSchema(
            {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": units.TIME_PATTERN}]}
        ),
    ] = Field(
        None,
        alias="drain",
        description="true: it gets no new work; what runs may finish, and kept sessions go on"
        " coming. 5m: kept sessions too end so long after the load that brought this.",
    )
    maintenance: Annotated[bool, Field(strict=True)] = Field(
        False, description="It gets no work at all, not even from kept sessions."
    )

    @model_validator(mode="after")
    def one_word(self) -> StandingServer:
        if self.maintenance and self.drain_ms is not None:
            raise ValueError("drain and maintenance stand in one server; keep one of them")
        return self

    @property
    def standing(self) -> Standing:
        """The operator's word for it."""
        if self.maintenance:
            return "maintenance"
        return "drain" if self.drain_ms is not None else "enable"
