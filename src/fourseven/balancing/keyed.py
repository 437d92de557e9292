"""What is hashed: the part that the hashing algorithms share.

A key is one thing of the request (or, for those that allow it, the client's address). A request
that lacks it, or has it empty, is hashed by its client's address: all such requests on one server
would be a hot spot made by whoever leaves the header out.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field as Setting
from pydantic import WithJsonSchema, field_validator

from fourseven import units
from fourseven.balancing.source_hash import PREFIX_V4, PREFIX_V6
from fourseven.features import Feature, Picker
from fourseven.matching.table import Field

PERCENT_DEFAULT = 125  # the paper's example; 100 would allow no freedom, 200 is hardly a bound

Name = Annotated[str, Setting(min_length=1)]
BOUND_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "boolean"},
            {"type": "string", "pattern": units.PERCENT_PATTERN},
            {"type": "integer", "minimum": 101, "maximum": 1000},
        ]
    }
)


class Keyed(Feature):
    """The fields that name a key of the request."""

    PLAIN: ClassVar[tuple[str, ...]] = ("path", "host")

    header: Name | None = None
    cookie: Name | None = None
    query: Name | None = None
    path: bool = False
    host: bool = False
    bounded_load: Annotated[int, Setting(gt=100, le=1000), BOUND_SCHEMA] | None = None

    @classmethod
    def from_file(cls, value: Any) -> Any:
        """`hash: path` is `hash: {path: true}`; a bare name has no fields."""
        if value is None:
            return {}
        return {value: True} if isinstance(value, str) else value

    @field_validator("header", "cookie", "query")
    @classmethod
    def name_of_ascii(cls, name: str | None) -> str | None:
        if name is not None and not name.isascii():
            raise ValueError(f"the name {name!r} is not ASCII, so no request can carry it")
        return name

    @field_validator("bounded_load", mode="before")
    @classmethod
    def percent(cls, value: Any) -> Any:
        """`true` is the default bound; `125%` and `125` are the same."""
        if isinstance(value, bool):
            return PERCENT_DEFAULT if value else None
        return units.percentage(value) if isinstance(value, str) else value

    def named(self) -> list[str]:
        """Which of the fields name a key."""
        return [name for name in KEYS if getattr(self, name)]

    def keyed(
        self, pick: int, table: Any, prefix_v4: int = PREFIX_V4, prefix_v6: int = PREFIX_V6
    ) -> Picker:
        """The compiled form with this key; without one the client's address counts."""
        name = next(iter(self.named()), None)
        value = getattr(self, name) if name else ""
        return Picker(
            pick=pick,
            table=table,
            hash_field=int(KEYS[name]) if name else int(Field.FIELD_CLIENT),
            hash_name=value.encode() if isinstance(value, str) else b"",
            hash_prefix_v4=prefix_v4,
            hash_prefix_v6=prefix_v6,
            bounded_load_percent=self.bounded_load or 0,
        )


KEYS = {
    "header": Field.FIELD_HEADER,
    "cookie": Field.FIELD_COOKIE,
    "query": Field.FIELD_QUERY,
    "path": Field.FIELD_PATH,
    "host": Field.FIELD_HOST,
}
