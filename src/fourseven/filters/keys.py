"""What requests are counted by: the part of the file that limits share.

    by: client                          the client's address (IPv6: its first 64 bits)
    by: {header: X-Api-Key}
    by: [client, path]                  both together: each pair has a limit of its own
    by: {client: {v4: 24, v6: 48}}      a whole network counts as one

A key that the request lacks, or has empty, is the client's address instead (l7.gate_key).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fourseven.features import Feature
from fourseven.matching.table import Field as Seen
from fourseven.plan import KeyPlan

WORDS = ("client", "host", "path", "method")
KEYS_MAX = 4  # parts of one key; each costs every request a hash
PREFIX_V6 = 64  # RFC 7421: a site's hosts share these bits, and one host may use any of the rest


class Prefixes(BaseModel):
    """How many bits of an address count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v4: Annotated[int, Field(strict=True, ge=1, le=32)] = Field(32, description="Bits of IPv4.")
    v6: Annotated[int, Field(strict=True, ge=1, le=128)] = Field(
        PREFIX_V6, description="Bits of IPv6."
    )


Name = Annotated[str, Field(strict=True, min_length=1, max_length=128, pattern=r"^[!-~]+$")]


class CountedBy(BaseModel):
    """One part of a key: exactly one of these. The names without a value stand alone too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    client: Annotated[
        Prefixes | None, BeforeValidator(lambda value: {} if value is True else value)
    ] = Field(None, description="The client's address: true, or how many bits of it count.")
    header: Name | None = Field(None, description="A header, by name; the first of several.")
    cookie: Name | None = Field(None, description="A cookie, by name.")
    query: Name | None = Field(None, description="A parameter of the query, by name.")
    host: bool = Field(False, description="The host that is asked for.")
    path: bool = Field(False, description="The path in its canonical form, without the query.")
    method: bool = Field(False, description="The method.")

    @model_validator(mode="before")
    @classmethod
    def from_file(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in WORDS:
                raise ValueError(
                    f"{value[:40]!r} is no key; write one of {', '.join(WORDS)}, "
                    "or e.g. {header: X-Api-Key}"
                )
            return {value: True}
        return value

    @model_validator(mode="after")
    def one_thing(self) -> CountedBy:
        found = [name for name in type(self).model_fields if getattr(self, name)]
        if len(found) != 1:
            raise ValueError(
                f"a part of a key is one thing, and here stand {len(found)}; "
                "for several together write a list, e.g. [client, path]"
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"enum": list(WORDS)}, handler(schema)]}

    def lower(self) -> KeyPlan:
        """As the plan has it."""
        if self.client is not None:
            return KeyPlan(int(Seen.FIELD_CLIENT), b"", self.client.v4, self.client.v6)
        name = next(name for name in FIELDS if getattr(self, name))
        said = getattr(self, name)
        text = said.encode() if isinstance(said, str) else b""
        return KeyPlan(int(FIELDS[name]), text, 32, PREFIX_V6)


FIELDS = {
    "header": Seen.FIELD_HEADER,
    "cookie": Seen.FIELD_COOKIE,
    "query": Seen.FIELD_QUERY,
    "host": Seen.FIELD_HOST,
    "path": Seen.FIELD_PATH,
    "method": Seen.FIELD_METHOD,
}


def listed(value: Any) -> Any:
    """One part where a list may stand; `route` is no part at all."""
    if value is None or value == "route":
        return ()
    return value if isinstance(value, list | tuple) else (value,)


@dataclass(frozen=True)
class OneOrMore:
    """Annotation, for editors: one thing may stand where a list may, and so may these words."""

    words: tuple[str, ...] = ()

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        found = handler(schema)
        return {"anyOf": [*({"const": word} for word in self.words), found["items"], found]}


By = Annotated[
    tuple[CountedBy, ...],
    Field(max_length=KEYS_MAX),
    BeforeValidator(listed),
    OneOrMore(("route",)),
]


class Counted(Feature):
    """The fields of a limit that counts by key."""

    KEYS: ClassVar[int] = 65_536

    by: By = Field(
        (),
        description="What is counted: client, host, path, method, {header: …}, {cookie: …},"
        " {query: …}, a list of them together; left out: all requests of the route.",
    )
    keys_max: Annotated[int, Field(strict=True, ge=512, le=1 << 24)] = Field(
        KEYS, description="Keys known at once, rounded up to a power of two."
    )

    def keys(self) -> tuple[KeyPlan, ...]:
        return tuple(part.lower() for part in self.by)

    def table_size(self, entry: int) -> int:
        """Bytes of the entries; none where nothing is counted by key."""
        return entry << (self.keys_max - 1).bit_length() if self.by else 0


def names(parts: Iterable[KeyPlan]) -> str:
    """For people."""
    return ", ".join(Seen(part.field).name.removeprefix("FIELD_").lower() for part in parts)
