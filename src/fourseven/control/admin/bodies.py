"""What callers send: bodies and query parameters, judged by pydantic, described by the same."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from fourseven.scalars import WEIGHT_MAX

BODY_MAX = 1 << 20  # an explained request may carry a payload; nothing else is near


class Body(BaseModel):
    """Every key is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Keep(Body):
    """Whether a change outlives a reload."""

    keep: bool = Field(
        True,
        description="true: the change holds until it is undone, also over reloads and upgrades."
        " false: it ends when the file is loaded again.",
    )


class Drain(Body):
    """How long what runs may go on."""

    deadline_s: Annotated[float, Field(gt=0, le=86_400 * 7)] | None = Field(
        None,
        description="Seconds until sessions that are kept to this server are rebalanced; left out:"
        " they may finish.",
    )


class Weight(Body):
    """A server's share of new work."""

    weight: Annotated[int, Field(strict=True, ge=0, le=WEIGHT_MAX)] | None = Field(
        description="Its share of new work, against the others; 0 takes none; null: the file's."
    )


class Nothing(Body):
    """An empty body, or {}."""


class Question(Body):
    """A request that is put on trial; none is sent."""

    method: Annotated[str, Field(max_length=64)] = "GET"
    url: Annotated[str, Field(max_length=65_536)] = Field(
        description="As a client writes it: http://example.com:8080/path?query."
    )
    headers: Annotated[list[Annotated[str, Field(max_length=65_536)]], Field(max_length=256)] = (
        Field([], description="Lines: 'Name: value'.")
    )
    client: str = Field("127.0.0.1", description="Where the connection comes from.")
    body: str | None = None
    sni: str | None = Field(None, description="In the ClientHello; left out: an https URL's host.")
    alpn: list[str] = Field([], description="Protocols that the ClientHello offers.")
    certificate: str = Field(
        "", max_length=1_048_576, description="The client's certificate, in PEM; empty: none."
    )
    listener: str | None = Field(None, description="Left out: the one bound to the URL's port.")
