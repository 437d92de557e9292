"""The single values that a file may hold: times, sizes, addresses, names, words to choose from.

Each is a type with its own validation and its own place in the schema, so that the model says only
what a value is for. A time or a size is read here once; from then on it is a number whose unit
stands in its name.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from fourseven import addresses, units
from fourseven.features import Need

WEIGHT_MAX = 1_000_000  # a larger ratio is a slip of the finger; sums stay far below 64 bits
NAME = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", re.ASCII
)  # a label in metrics and in a shell

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110 5.6.2
HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)  # of one that we write or ask for


class NeedOf:
    """Annotation: setting this option makes its listener need this much."""

    def __init__(self, need: Need) -> None:
        self.need = need


def needs(need: Need) -> Any:
    return NeedOf(need)


def listed(value: Any) -> Any:
    """One thing where a list may stand."""
    return value if isinstance(value, list | tuple) else [value]


def version(value: Any) -> Any:
    """A version looks like a number to YAML."""
    return str(value) if isinstance(value, float | int) else value


def token_name(value: str) -> str:
    if not TOKEN.fullmatch(value) or len(value) > 64:
        raise ValueError(f"{value!r} is no name; use letters, digits, _ and -, 64 at most")
    return value


def header_name(value: str) -> str:
    if not HEADER_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no header name; use letters, digits and -, 64 at most")
    return value


def checked_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"{value[:80]!r} is no name; use at most 63 letters, digits, _ . and -")
    return value


def has_an_end(milliseconds: int) -> int:
    if milliseconds == 0:
        raise ValueError("0 would wait for ever; every wait has an end, write e.g. 1h")
    return milliseconds


_TIME_SCHEMA = WithJsonSchema(
    {
        "anyOf": [{"type": "string", "pattern": units.TIME_PATTERN}, {"const": 0}],
        "examples": ["10s"],
    }
)
_WAIT_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": units.TIME_PATTERN, "examples": ["10s"]}
)
_SIZE_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "pattern": units.SIZE_PATTERN},
            {"type": "integer", "minimum": 0},
        ]
    }
)
Time = Annotated[int, BeforeValidator(units.duration_ms), _TIME_SCHEMA]
Size = Annotated[int, BeforeValidator(units.size_bytes), _SIZE_SCHEMA]
Wait = Annotated[int, BeforeValidator(units.duration_ms), AfterValidator(has_an_end), _WAIT_SCHEMA]
Percent = Annotated[
    int,
    BeforeValidator(units.percentage),
    Field(ge=0, le=100),
    WithJsonSchema({"type": "string", "pattern": units.PERCENT_PATTERN}),
]
Share = Annotated[
    int,
    BeforeValidator(units.share_millionths),
    Field(ge=0, le=1_000_000),
    WithJsonSchema({"type": "string", "pattern": units.SHARE_PATTERN}),
]
Count = Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
Name = Annotated[str, AfterValidator(checked_name)]
HeaderName = Annotated[str, AfterValidator(header_name)]
TokenName = Annotated[str, AfterValidator(token_name)]  # of anybody's header or cookie
Text = Annotated[str, Field(strict=True)]
Bind = Annotated[str, BeforeValidator(addresses.canonical_bind), WithJsonSchema({"type": "string"})]
Network = Annotated[
    str, BeforeValidator(addresses.canonical_network), WithJsonSchema({"type": "string"})
]
ServerAddress = Annotated[
    str, BeforeValidator(addresses.canonical_server), WithJsonSchema({"type": "string"})
]
IpAddress = Annotated[
    str, BeforeValidator(addresses.canonical_address), WithJsonSchema({"type": "string"})
]
Interface = Annotated[str, Field(strict=True, pattern=r"^[^\s/]{1,15}$")]
L7 = needs(Need.REQUEST)

Relaxed = Literal["underscores", "trace", "encoded_slash", "merge_slashes"]
ForwardedHeader = Literal["x-forwarded", "forwarded"]
Path = tuple[str | int, ...]  # of keys and indexes, from the top of the file
Protocol = Literal["auto", "http", "tcp", "udp"]
HttpVersion = Literal["1.1", "2"]
BackendProtocol = Literal["http/1.1", "h2"]
Suite = Literal["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
Plane = Literal["auto", "http", "relay", "tcx", "xdp", "nftables"]
ReturnPath = Literal["masquerade", "routed", "direct"]
KernelPolicy = Literal["auto", "off", "tcx", "xdp", "nftables"]
