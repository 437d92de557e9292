"""`admin:` of a file: who may speak to the admin API beside the unix socket, and what proves it.

The unix socket in the runtime directory is always there and needs nothing here: the system says who
is at its other end. An address is for dashboards and for Prometheus, so it needs a token.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fourseven.addresses import bind_parts, spread
from fourseven.forms import Form
from fourseven.plan import AdminPlan
from fourseven.scalars import Bind, Text, listed

# 16 characters of any alphabet worth the name are beyond guessing over a network.
TOKEN_MIN, TOKEN_MAX = 16, 512
_ADMIN = AdminPlan()


def checked_token(value: str) -> str:
    """A bearer token as RFC 6750 lets one be written in a header."""
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("the token has spaces or signs beyond ASCII; write letters and digits")
    if not TOKEN_MIN <= len(value) <= TOKEN_MAX:
        raise ValueError(
            f"the token has {len(value)} characters; it needs {TOKEN_MIN} to {TOKEN_MAX},"
            " as `openssl rand -hex 16` makes them"
        )
    return value


def checked_host(value: str) -> str:
    host = value.lower()
    if not host or any(sign in host for sign in " /:@"):
        raise ValueError(f"{value!r} is no host name; write e.g. balancer.example, without a port")
    return host


Token = Annotated[Text, AfterValidator(checked_token)]


class Admin(Form):
    """The admin API: state, metrics, the dashboard, and changes while it runs. It always listens
    on admin.sock in the runtime directory, for the same user and root; here it gets an address."""

    bind: Annotated[tuple[Bind, ...], BeforeValidator(listed)] = Field(
        _ADMIN.bind, description="127.0.0.1:4747, or a list; left out: only the unix socket."
    )
    remote: bool = Field(
        False,
        description="true: bind may be an address that others reach. The API speaks plain HTTP, so"
        " put TLS or a private network around it.",
    )
    token: Token | None = Field(
        None, description="Who shows it (Authorization: Bearer …) may see and change everything."
    )
    token_file: Text | None = Field(None, description="The same, from a file's first line.")
    read_token: Token | None = Field(
        None, description="Who shows it may see state and metrics, and change nothing."
    )
    read_token_file: Text | None = Field(None, description="The same, from a file's first line.")
    hosts: Annotated[
        tuple[Annotated[Text, AfterValidator(checked_host)], ...], BeforeValidator(listed)
    ] = Field(
        _ADMIN.hosts,
        description="Names by which browsers reach it, beside localhost and IP addresses; others"
        " are refused, so that no web page can get in by DNS rebinding.",
    )

    @model_validator(mode="after")
    def is_guarded(self) -> Admin:
        for one in ("token", "read_token"):
            if getattr(self, one) is not None and getattr(self, f"{one}_file") is not None:
                raise ValueError(f"{one} and {one}_file stand in one place; keep one of them")
        if self.bind and self.token is None and self.token_file is None:
            raise ValueError("an address without a token is open to everybody; give it token_file")
        for bind in self.bind:
            if not bind.startswith("tcp:") or len(spread(bind)) > 1:
                raise ValueError(f"{bind} is no single TCP address; write e.g. 127.0.0.1:4747")
            host = ipaddress.ip_address(bind_parts(bind)[1])
            if not host.is_loopback and not self.remote:
                raise ValueError(
                    f"{bind} can be reached from other machines; bind to 127.0.0.1, or allow it"
                    " with remote: true"
                )
        return self
