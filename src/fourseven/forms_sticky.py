"""How a route with several backends knows a client again: `sticky` in the file.

sticky: cookie              a cookie of ours, fourseven_choice
sticky: client              the client's address
sticky: {header: X-User}
sticky: {cookie: session}   a cookie of the application
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from fourseven.filters.keys import CountedBy
from fourseven.snapshot.layout import StickyKind

COOKIE = "fourseven_choice"
STICKY = (
    "With backends by weight: a client meets the same one each time. cookie: known by a cookie of"
    " ours; client: by its address; {header: …}, {cookie: …}: by what it brings. Left out: each"
    " request is drawn anew."
)


class Sticky(CountedBy):
    """By what a client is known again."""

    @model_validator(mode="before")
    @classmethod
    def ours(cls, value: Any) -> Any:
        """`cookie` alone is the cookie of ours; it is spelt out before the other words are."""
        return {"cookie": COOKIE} if value == "cookie" else value

    @property
    def kind(self) -> int:
        own = self.cookie == COOKIE
        return int(StickyKind.STICKY_COOKIE if own else StickyKind.STICKY_KEY)
