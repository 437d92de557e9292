"""What the kinds share that keep a table: how many rows it has, and how long one stays.

The table is one for all workers and stays over reloads. A row is 24 bytes; when its place is full,
the row that was used longest ago makes room.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema, field_validator

from fourseven import units
from fourseven.features import Persistence
from fourseven.plan import KeyPlan, PersistencePlan

# 100,000 clients in 2.4 MB; the limit is 400 MB: more is a slip of the finger.
ROWS, ROWS_MAX = 100_000, 16_777_216
TTL_MS = 30 * 60_000  # half an hour without a request ends most sessions of applications too
TTL_SCHEMA = WithJsonSchema({"type": "string", "pattern": units.TIME_PATTERN})


class Kept(Persistence):
    """The fields of a table."""

    rows: Annotated[int, Field(strict=True, ge=64, le=ROWS_MAX)] = ROWS
    ttl: Annotated[int, TTL_SCHEMA, Field(ge=1000)] = TTL_MS

    @field_validator("ttl", mode="before")
    @classmethod
    def in_ms(cls, value: Any) -> Any:
        """A time of at least a second; a plain number is the default's own."""
        return units.duration_ms(value) if isinstance(value, str) else value

    def kept(self, kind: int, key: KeyPlan) -> PersistencePlan:
        """The compiled form."""
        return PersistencePlan(kind=kind, key=key, ttl_ms=self.ttl, rows=self.rows)
