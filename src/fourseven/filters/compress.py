"""Compression of answers: gzip, brotli, zstd."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from fourseven.features import Filter, Need
from fourseven.filters.keys import OneOrMore
from fourseven.plan import Action, GatePlan
from fourseven.protocols.coding import Coding, built
from fourseven.scalars import Size
from fourseven.snapshot.layout import ActionKind, GateKind

CodingName = Literal["gzip", "br", "zstd"]
NUMBERS: dict[CodingName, Coding] = {
    "gzip": Coding.CODING_GZIP,
    "br": Coding.CODING_BROTLI,
    "zstd": Coding.CODING_ZSTD,
}
PACKAGES = {"br": "libbrotli-dev", "zstd": "libzstd-dev"}
LEVELS = {"gzip": (1, 9), "br": (0, 6), "zstd": (1, 6)}  # above, one compressor takes 10 to 50 MiB
USUAL: dict[CodingName, int] = {"zstd": 3, "br": 4, "gzip": 5}  # in the order in which we like them
TYPES = (
    "text/*",
    "*+json",
    "*+xml",
    "application/json",
    "application/xml",
    "application/javascript",
    "application/x-javascript",
    "application/x-ndjson",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/bmp",
    "image/x-icon",
)
TYPES_MAX = 64  # each is compared with each answer's
CREDENTIALS = ("always", "same_site", "never")  # l7.gate_compress.Credentials
_TYPE = re.compile(r"\*/\*|\*\+[a-z0-9.-]+|[a-z0-9!#$&^_.+-]+/(\*|[a-z0-9!#$&^_.+-]+)", re.ASCII)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _type(value: str) -> str:
    if not _TYPE.fullmatch(value.lower()):
        raise ValueError(f"{value[:80]!r} is no type; write e.g. text/html, text/* or *+json")
    return value.lower()


Type = Annotated[str, Field(strict=True, max_length=128), AfterValidator(_type)]
Codings = Annotated[
    tuple[CodingName, ...],
    Field(min_length=1, max_length=3),
    BeforeValidator(_listed),
    OneOrMore(),
]
Level = Annotated[int, Field(strict=True, ge=0, le=9)]


class Compress(Filter):
    """Compresses the answers of servers for clients that say they can read it.

    Of the codings that a client takes (Accept-Encoding with its weights) the best one for it is
    used; among equals the first in `codings`. An answer stays as it is if it is compressed already,
    is of no listed type, is known to be shorter than `min_length`, is a part (206), carries
    Cache-Control: no-transform or a digest of its bytes. Where it might have been compressed it
    says Vary: Accept-Encoding; where it is, a strong ETag becomes a weak one, and Accept-Ranges is
    left out. Events (text/event-stream) are flushed one by one. gRPC, WebSocket, our own answers
    and clients of HTTP/1.0 are left alone.

    Not compressed by default, against BREACH: answers to requests with credentials (a cookie, an
    Authorization, a client certificate) that a page of another site has caused. `credentials`
    changes that: always compresses all the same, never compresses no answer to credentials at all.

        filters: [compress]
        filters: [{compress: gzip}]
        filters: [{compress: {codings: [br, gzip], levels: {br: 5}, types: [text/*, "*+json"]}}]
    """

    key: ClassVar[str] = "compress"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "codings"

    codings: Codings | None = Field(
        None,
        description="gzip, br, zstd, in your order; left out: zstd, br, gzip, as far as built in.",
    )
    levels: dict[CodingName, Level] = Field(
        {}, description="gzip 1 to 9, br 0 to 6, zstd 1 to 6; left out: gzip 5, br 4, zstd 3."
    )
    types: Annotated[
        tuple[Type, ...],
        Field(min_length=1, max_length=TYPES_MAX),
        BeforeValidator(_listed),
        OneOrMore(),
    ] = Field(TYPES, description="Content types; text/* and *+json stand for many, */* for all.")
    min_length: Size = Field(1024, description="A shorter answer stays as it is.")
    credentials: Literal["always", "same_site", "never"] = Field(
        "same_site", description="Whether answers to requests with credentials are compressed."
    )
    at_once: Annotated[int, Field(strict=True, ge=1, le=65_536)] = Field(
        128, description="Answers compressed at one time by one worker; more pass as they are."
    )
    ask_servers: bool = Field(
        True, description="false: servers do not see Accept-Encoding, so they do not compress."
    )

    @field_validator("codings")
    @classmethod
    def is_built(cls, value: tuple[CodingName, ...] | None) -> tuple[CodingName, ...] | None:
        for name in value or ():
            if name not in built():
                raise ValueError(
                    f"{name} is not in this build (there is {', '.join(built())}):"
                    f" install {PACKAGES[name]} and build again, or leave it out"
                )
        if len(set(value or ())) < len(value or ()):
            raise ValueError("a coding stands here twice")
        return value

    @field_validator("levels")
    @classmethod
    def is_level(cls, value: dict[CodingName, int]) -> dict[CodingName, int]:
        for name, level in value.items():
            low, high = LEVELS[name]
            if not low <= level <= high:
                raise ValueError(f"{name} has levels {low} to {high}, not {level}")
        return value

    def request_actions(self) -> tuple[Action, ...]:
        if self.ask_servers:
            return ()
        return (Action(ActionKind.ACTION_REMOVE_HEADER, b"Accept-Encoding"),)

    def gates(self) -> tuple[GatePlan, ...]:
        chosen = self.codings or tuple(name for name in USUAL if name in built())
        order = sum(NUMBERS[name] << 8 * at for at, name in enumerate(chosen))
        levels = {**USUAL, **self.levels}
        return (
            GatePlan(
                int(GateKind.GATE_COMPRESS),
                numbers=(
                    order,
                    sum(level << 8 * NUMBERS[name] for name, level in levels.items()),
                    self.min_length,
                    CREDENTIALS.index(self.credentials),
                    self.at_once,
                ),
                texts=tuple(one.encode() for one in self.types),
            ),
        )
