"""Forward authentication: a service decides who may pass."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from fourseven.features import Filter, Need
from fourseven.filters.headers import Names
from fourseven.matching.text import listed
from fourseven.plan import GatePlan
from fourseven.scalars import Text, Wait
from fourseven.snapshot.layout import GateKind

PATH = re.compile(r"/[!-\"$-~]{0,1000}", re.ASCII)


class ForwardAuth(Filter):
    """Asks a service (a backend of this file) before a request goes on.

    It is asked with GET `path`, the headers named under `headers`, and X-Forwarded-Method, -Proto,
    -Host, -Uri and -For of the request; the body stays here. Its 2xx lets the request pass, and the
    headers named under `copy` go from its answer to the server; no client's own headers of those
    names pass. Any other answer goes to the client as it is, e.g. a 302 to a login page. Where no
    answer comes in time, the client gets 503, or with `on_error: allow` passes. Its backend may
    have `tls` and `protocol: h2`; connections are kept and used again.

        filters: [{forward_auth: {backend: login, path: /check, copy: X-User}}]
    """

    key: ClassVar[str] = "forward_auth"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "backend"

    backend: Text = Field(description="Who is asked.")
    path: str = Field("/", description="What is asked for.")
    headers: Names = Field(("Authorization", "Cookie"), description="The service gets these too.")
    copy_: Annotated[Names, BeforeValidator(listed)] = Field(
        (), alias="copy", description="From its answer to the server."
    )
    timeout_ms: Wait = Field(5_000, alias="timeout", description="For its whole answer.")
    on_error: Literal["deny", "allow"] = Field("deny", description="Where no answer comes.")

    @field_validator("path")
    @classmethod
    def is_path(cls, value: str) -> str:
        if not PATH.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is no path; write e.g. /check")
        return value

    def gates(self) -> tuple[GatePlan, ...]:
        numbers = (self.timeout_ms, self.on_error == "allow", len(self.headers))
        names = [name.encode() for name in (*self.headers, *self.copy_)]
        texts = (self.path.encode(), *names)
        return (
            GatePlan(GateKind.GATE_FORWARD, numbers=numbers, texts=texts, backend=self.backend),
        )

    def backends(self) -> tuple[str, ...]:
        return (self.backend,)

    def tells(self) -> tuple[str, ...]:
        return self.copy_
