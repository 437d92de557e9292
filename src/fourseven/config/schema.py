"""The JSON Schema of a file, for editors: it completes keys and shows what each is for.

It is made from the model and the registry, so it says all that `check` says about form: the short
forms too. Descriptions are the docstrings that a reader of the code sees.

A file names it in its first line:

    # yaml-language-server: $schema=fourseven.schema.json
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from fourseven.model import Config
from fourseven.units import SIZE_PATTERN, TIME_PATTERN, format_duration, format_size

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The whole schema, as plain data."""
    made = _as_written(Config.model_json_schema(by_alias=True, schema_generator=OneOrMany))
    return {
        "$schema": DIALECT,
        "title": "fourseven",
        **made,
        "patternProperties": {"^x-": {"description": "Yours: a place for anchors."}},
    }


class OneOrMany(GenerateJsonSchema):
    """Knows of a validator that makes a list of one thing, and so takes one where a list stands."""

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        made = super().function_before_schema(schema)
        if made.get("type") != "array" or schema["function"]["type"] != "no-info":
            return made
        one: Any = object()
        lists = schema["function"]["function"]
        return {"anyOf": [made["items"], made]} if lists(one) == [one] else made


def _as_written(node: Any) -> Any:
    """The schema of what a file says: no null, no made-up titles, defaults with their units."""
    if isinstance(node, list):
        return [_as_written(part) for part in node if part != {"type": "null"}]
    if not isinstance(node, dict):
        return node
    made = {key: _as_written(value) for key, value in node.items() if not _noise(key, value)}
    if isinstance(made.get("default"), int) and not isinstance(made["default"], bool):
        made["default"] = _with_unit(made["default"], str(made))
    if len(made.get("anyOf", ())) == 1:
        made |= made.pop("anyOf")[0]
    return made


def _noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value in (None, []))


def _with_unit(value: int, said: str) -> int | str:
    if repr(TIME_PATTERN) in said:
        return format_duration(value) if value else 0
    return format_size(value) if repr(SIZE_PATTERN) in said and value else value
