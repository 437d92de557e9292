"""From pydantic's errors to ours: what is wrong, and what would be right, in the file's own words.

One table, by the type of pydantic's error. What a ValueError of ours says is passed on as it is.
A key that belongs elsewhere is sent there; one that is not known is compared with those that are,
and so is a word out of a fixed set.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, get_args, get_origin

from pydantic import BaseModel, RootModel
from pydantic_core import ErrorDetails

from fourseven.config.tree import Step
from fourseven.errors import did_you_mean
from fourseven.model import Backend, Listener, Route
from fourseven.registry import FILTERS, MATCHES


def words(error: ErrorDetails, model: type[BaseModel]) -> str:
    """The text of one error of a validation of `model`."""
    wording = _WORDING.get(error["type"])
    return wording(error, model) if wording else _plainly(error["msg"])


def _plainly(message: str) -> str:
    """Pydantic's own sentence, without its capital and its talk of input."""
    message = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return f"this should be {message}" if not message[:1].isupper() else message


def _unknown_key(error: ErrorDetails, model: type[BaseModel]) -> str:
    key = str(error["loc"][-1])
    elsewhere = " or ".join(place for place, keys in _places() if key in keys)
    if elsewhere:
        return f"the key {key!r} does not stand here; it belongs to {elsewhere}"
    known = known_keys(model, error["loc"][:-1])
    return f"the key {key!r} is not known here; {did_you_mean(key, known)}"


@functools.cache
def _places() -> tuple[tuple[str, set[str]], ...]:
    """Where a key may belong that stands in a wrong place. Each place knows all its keys itself."""
    forms = (("a listener", Listener), ("a route", Route), ("a backend", Backend))
    named = (("a match", MATCHES), ("filters", FILTERS))
    return (
        *((place, known_keys(form, ())) for place, form in forms),
        *((place, {feature.key for feature in features}) for place, features in named),
    )


def _missing(error: ErrorDetails, _model: type[BaseModel]) -> str:
    key = str(error["loc"][-1])
    return f"the key {key!r} is missing; write e.g. {_EXAMPLES.get(key, f'{key}: …')}"


def _word(error: ErrorDetails, _model: type[BaseModel]) -> str:
    known = [item.strip("'") for item in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
    return f"{_shown(error)} is not known here; {did_you_mean(str(error['input']), known)}"


def _bound(text: str, name: str) -> Callable[[ErrorDetails, type[BaseModel]], str]:
    return lambda error, _: f"{_shown(error)} is out of bounds; write {text} {error['ctx'][name]}"


def _kind(wanted: str) -> Callable[[ErrorDetails, type[BaseModel]], str]:
    def tell(error: ErrorDetails, _model: type[BaseModel]) -> str:
        if error["input"] is None:
            return f"there is no value; write {wanted}"
        return f"{_shown(error)} is not {_noun(wanted)}; write {wanted}"

    return tell


def _noun(wanted: str) -> str:
    return wanted.partition(",")[0]


def _value(error: ErrorDetails, _model: type[BaseModel]) -> str:
    return str(error["ctx"]["error"]) if "error" in error.get("ctx", {}) else _plainly(error["msg"])


def _shown(error: ErrorDetails) -> str:
    """The value as a file would have it, on one line."""
    value: object = error["input"]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_MAPPING = _kind("a mapping, with key: value in it")
_LIST = _kind("a list, e.g. [a, b]")
_NUMBER = _kind("a whole number, without quotes and unit")
_TEXT = _kind("text, in quotes if it looks like something else")
_WORDING: dict[str, Callable[[ErrorDetails, type[BaseModel]], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "literal_error": _word,
    "enum": _word,
    "value_error": _value,
    "assertion_error": _value,
    "greater_than_equal": _bound("at least", "ge"),
    "greater_than": _bound("more than", "gt"),
    "less_than_equal": _bound("at most", "le"),
    "less_than": _bound("less than", "lt"),
    "too_short": lambda _error, _model: "there is nothing in it; give it at least one",
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "int_type": _NUMBER,
    "int_parsing": _NUMBER,
    "int_from_float": _NUMBER,
    "string_type": _TEXT,
    "bool_type": _kind("true or false"),
    "bool_parsing": _kind("true or false"),
}
_EXAMPLES = {
    "bind": "bind: 0.0.0.0:8080",
    "listeners": "listeners: {web: {bind: :8080, backend: web}}",
    "servers": "servers: [127.0.0.1:9000]",
    "address": "address: 127.0.0.1:9000",
}


def known_keys(model: type[BaseModel], path: Iterable[Step]) -> set[str]:
    """The keys that a mapping at this path may have; empty when any will do or none is known."""
    at: Any = model
    for step in path:
        at = _below(at, step)
        if at is None:
            return set()
    found = _model_in(at)
    return {field.alias or name for name, field in found.model_fields.items()} if found else set()


def _below(annotation: Any, step: Step) -> Any:
    """The annotation of what stands at `step` of a value with this annotation."""
    model = _model_in(annotation)
    if model is not None and not issubclass(model, RootModel):
        for name, field in model.model_fields.items():
            if step in (name, field.alias):
                return field.annotation
        return None
    if model is not None:
        return _below(model.model_fields["root"].annotation, step)
    for part in _parts(annotation):
        origin, arguments = get_origin(part), get_args(part)
        if origin in (list, tuple, set, frozenset) and arguments:
            return arguments[0]
        if isinstance(origin, type) and issubclass(origin, typing.Mapping) and len(arguments) == 2:
            return arguments[1]
    return None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model that a value with this annotation is, if it is one."""
    for part in _parts(annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _parts(annotation: Any) -> Iterable[Any]:
    """The members of a union, without Annotated; the annotation itself where it is none."""
    if get_origin(annotation) is typing.Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for part in get_args(annotation) for inner in _parts(part)]
    return [annotation]
