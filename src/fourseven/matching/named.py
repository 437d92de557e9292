"""What header, cookie and query share: a mapping of names to tests.

In the file the mapping itself is the value (`header: {X-Tenant: acme}`), since a name can be
anything and no key of ours may stand among them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator

from fourseven.features import Feature, Need
from fourseven.matching.text import TextTest, lower_named
from fourseven.plan import Expression


class Named(Feature):
    """All named values hold."""

    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "values"
    looks: ClassVar[int]  # records.Field
    example: ClassVar[str]

    values: dict[str, TextTest] = Field(
        min_length=1, description="name: value, or name: {test: value}"
    )

    @classmethod
    def from_file(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"{value!r} names no value; write {cls.example}")
        return {"values": value}

    @classmethod
    def canonical_name(cls, name: str) -> str:
        """The name as it is compared; ValueError with the mend."""
        return name

    @field_validator("values")
    @classmethod
    def names(cls, values: dict[str, TextTest]) -> dict[str, TextTest]:
        found: dict[str, TextTest] = {}
        for name, test in values.items():
            if not name:
                raise ValueError(f"the name is empty; write e.g. {cls.example}")
            canonical = cls.canonical_name(name)
            if canonical in found:
                raise ValueError(f"{name!r} stands twice; write one entry with all its tests")
            found[canonical] = test
        return found

    def lower(self) -> Expression:
        return lower_named(self.looks, self.values)
