"""What the two header filters share: which names may be changed, and the actions that do it.

Laws: names that frame the message or belong to one connection are never a filter's: setting them
wrongly is request smuggling. Host has a filter of its own, for it decides where a request goes.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from fourseven.filters.values import Place, parse
from fourseven.plan import Action
from fourseven.scalars import TOKEN
from fourseven.snapshot.layout import ActionKind

NEVER = {
    "connection": "it belongs to one connection",
    "keep-alive": "it belongs to one connection",
    "proxy-connection": "it belongs to one connection",
    "te": "it belongs to one connection",
    "trailer": "it belongs to the body's framing",
    "transfer-encoding": "it frames the body",
    "content-length": "it frames the body",
    "upgrade": "it belongs to one connection",
    "http2-settings": "it belongs to one connection",
    "expect": "client and server agree by it on when the body comes",
    "host": "the filter `host` sets it",
}
NAMES_MAX = 64  # of one filter: more is a mistake, and each costs every request


def _name(value: Any) -> str:
    if not isinstance(value, str) or not TOKEN.fullmatch(value) or len(value) > 128:
        raise ValueError(f"{str(value)[:80]!r} is no header name; write e.g. X-Tenant")
    if value.lower() in NEVER:
        raise ValueError(f"{value} cannot be changed: {NEVER[value.lower()]}; leave it out")
    return value


def _value(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{value!r} is no text; put it in quotes")
    text = str(value)
    if not text.strip(" \t"):
        raise ValueError("the value is empty; to send no such header, name it under remove")
    parse(text, Place.HEADER)
    return text


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Name = Annotated[str, BeforeValidator(_name)]
Value = Annotated[str, BeforeValidator(_value)]
Values = Annotated[tuple[Value, ...], BeforeValidator(_listed)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(max_length=NAMES_MAX)]


class HeaderEdits(BaseModel):
    """What may be done to headers: remove, set, add; in this order no step undoes a later one."""

    remove: Names = Field((), description="Names that are taken away.")
    set_: Annotated[dict[Name, Value], Field(max_length=NAMES_MAX)] = Field(
        {}, alias="set", description="Name and value: replaces every header of that name."
    )
    add: Annotated[dict[Name, Values], Field(max_length=NAMES_MAX)] = Field(
        {}, description="Name and value, or a list of values: beside those that are there."
    )

    @model_validator(mode="after")
    def does_something(self) -> Self:
        if not (self.remove or self.set_ or self.add):
            raise ValueError("nothing is changed; write e.g. set: {X-Tenant: acme}")
        return self

    def actions(self) -> tuple[Action, ...]:
        actions = [Action(ActionKind.ACTION_REMOVE_HEADER, name.encode()) for name in self.remove]
        actions += [
            _write(ActionKind.ACTION_SET_HEADER, name, value) for name, value in self.set_.items()
        ]
        actions += [
            _write(ActionKind.ACTION_ADD_HEADER, name, value)
            for name, values in self.add.items()
            for value in values
        ]
        return tuple(actions)


def _write(kind: ActionKind, name: str, value: str) -> Action:
    return Action(kind, name.encode(), parse(value.strip(" \t"), Place.HEADER))
