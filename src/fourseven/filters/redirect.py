"""Redirect: the client is sent elsewhere."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.prefix import PathValue, TakesPrefix
from fourseven.filters.values import Place, parse
from fourseven.plan import Action, Part
from fourseven.snapshot.layout import ActionKind, PartKind

DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]", re.ASCII)
_START = re.compile(r"https?://[^/?#]|/(?![/\\])", re.ASCII)


class Redirect(TakesPrefix, Filter):
    """Answers with the address where the client should ask instead. The route needs no backend.

    A plain value is the whole address, `to`. The other keys change one piece of the address that
    the client used; the query always goes along. A new scheme or host means its usual port, unless
    `port` says another. Without scheme, host and port the address is relative, which is right
    behind every proxy. `prefix` works as in `rewrite`.

    Status 301 and 308 are permanent: browsers keep them. 307 and 308 keep the method and the body.

        filters: [{redirect: {scheme: https, status: 308}}]
        filters: [{redirect: "https://www.example.com{path}{query}"}]
        filters: [{redirect: {prefix: /new/, status: 301}}]
    """

    key: ClassVar[str] = "redirect"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "to"
    terminal: ClassVar[bool] = True

    to: str | None = Field(None, description="The whole address.")
    scheme: Literal["http", "https"] | None = Field(None, description="http or https.")
    host: str | None = Field(None, description="A host name, or an IPv6 address in brackets.")
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = Field(
        None, description="1 to 65535."
    )
    path: PathValue | None = Field(None, description="The whole new path.")
    status: Literal[301, 302, 303, 307, 308] = Field(302, description="301, 302, 303, 307 or 308.")

    @field_validator("to")
    @classmethod
    def is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not _START.match(value):
            raise ValueError(
                f"{value!r} is no address; begin with https://, http:// or one slash, "
                'e.g. "https://www.example.com{path}{query}"'
            )
        if not value.startswith("/"):
            _check_authority(parse(value, Place.URL))
        if "/{path}" in value:
            raise ValueError("{path} begins with a slash of its own; leave out the one before it")
        parse(value, Place.URL)
        return value

    @field_validator("host")
    @classmethod
    def is_host(cls, value: str | None) -> str | None:
        if value is not None and not _HOST.fullmatch(value):
            raise ValueError(
                f"{value!r} is no host; write e.g. www.example.com, and the port under port"
            )
        return value

    @model_validator(mode="after")
    def says_one_thing(self) -> Redirect:
        pieces = [self.scheme, self.host, self.port, self.path, self.prefix]
        if self.to is not None and any(piece is not None for piece in pieces):
            raise ValueError("to is the whole address; leave the other keys out, or to")
        if self.to is None and all(piece is None for piece in pieces):
            raise ValueError(
                'redirect leads nowhere; write e.g. {scheme: https} or "https://…{path}"'
            )
        if self.path is not None and self.prefix is not None:
            raise ValueError("path and prefix stand in one redirect; keep one of them")
        if self.strip is not None and self.prefix is None:
            raise ValueError("strip belongs to prefix; write {prefix: /, strip: /videos/}")
        return self

    def request_actions(self) -> tuple[Action, ...]:
        value = self.location()
        return (Action(ActionKind.ACTION_REDIRECT, self.stripped(), value, self.status),)

    def location(self) -> tuple[Part, ...]:
        """The address as a template."""
        if self.to is not None:
            return parse(self.to, Place.URL)
        text = ""
        if self.scheme or self.host or self.port:
            text = f"{self.scheme or '{scheme}'}://{self.host or '{host}'}"
            if self.port and self.port != DEFAULT_PORTS.get(self.scheme or ""):
                text += f":{self.port}"
        if self.prefix is None:
            return parse(text + (self.path or "{path}") + "{query}", Place.URL)
        rest = Part(PartKind.PART_PATH_REST)
        head = parse(text + self.prefix.rstrip("/"), Place.URL)
        return (*head, rest, Part(PartKind.PART_QUERY))


def _check_authority(parts: tuple[Part, ...]) -> None:
    """A variable in the host would let a stranger choose where our redirect leads."""
    for i, part in enumerate(parts):
        if part.kind == PartKind.PART_LITERAL:
            text = part.text.split(b"://", 1)[1] if i == 0 else part.text
            if re.search(rb"[/?#]", text):
                return
        elif part.kind == PartKind.PART_PATH:
            return
        elif part.kind not in (PartKind.PART_HOST, PartKind.PART_PORT):
            raise ValueError(
                "a variable in the host lets a stranger choose where this leads; "
                "only {host} and {port} may stand there"
            )
