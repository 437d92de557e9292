"""What the two header filters share: which names may be changed, and the actions that do it.

Laws: names that frame the message or belong to one connection are never a filter's: setting them
wrongly is request smuggling. Host has a filter of its own, for it decides where a request goes.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fourseven.filters.values import TOKEN, Place, parse
from fourseven.plan import Action
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


def header_actions(
    remove: tuple[str, ...], set_: dict[str, str], add: dict[str, tuple[str, ...]]
) -> tuple[Action, ...]:
    """Remove, then set, then add, so that no step undoes a later one."""
    actions = [Action(ActionKind.ACTION_REMOVE_HEADER, name.encode()) for name in remove]
    actions += [_write(ActionKind.ACTION_SET_HEADER, name, value) for name, value in set_.items()]
    actions += [
        _write(ActionKind.ACTION_ADD_HEADER, name, value)
        for name, values in add.items()
        for value in values
    ]
    return tuple(actions)


def _write(kind: ActionKind, name: str, value: str) -> Action:
    return Action(kind, name.encode(), parse(value.strip(" \t"), Place.HEADER))
