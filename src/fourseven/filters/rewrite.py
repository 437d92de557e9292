"""Rewrite: the path that the server gets."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.prefix import PathValue, TakesPrefix, path_parts
from fourseven.filters.values import parse_groups
from fourseven.matching.regex import regex_check
from fourseven.plan import Action
from fourseven.snapshot.layout import ActionKind


class Rewrite(TakesPrefix, Filter):
    r"""Changes the path before the server gets it; the query stays.

    A plain value is `prefix`: it stands in place of the prefix that the route matches (or that
    `strip` names), by whole segments: in a route below /videos/, `rewrite: /` makes /a of
    /videos/a.
    `path` replaces the whole path. `regex` (Perl's) is looked for in the path, and the part that
    matches becomes `to`, where \1 to \9 are its groups; ^ and $ pin it to the ends.

    The new path must be one that a client could have sent: a request whose path would come to hold
    `..` or a hidden slash is answered with 400. Variables are percent-encoded.

        filters: [{rewrite: /}]
        filters: [{rewrite: {prefix: /v2/, strip: /api/}}]
        filters: [{rewrite: {path: "/tenants/{header.X-Tenant}"}}]
        filters: [{rewrite: {regex: "^/u/([0-9]+)", to: '/users/\1'}}]
    """

    key: ClassVar[str] = "rewrite"
    need: ClassVar[Need] = Need.REQUEST
    shorthand: ClassVar[str | None] = "prefix"

    path: PathValue | None = Field(None, description="The whole new path.")
    regex: str | None = Field(None, description="A pattern; its match becomes `to`.")
    to: str | None = Field(None, description=r"What stands in place of the match; \1 is a group.")

    @model_validator(mode="after")
    def says_one_thing(self) -> Rewrite:
        given = [key for key in ("prefix", "path", "regex") if getattr(self, key) is not None]
        if len(given) != 1:
            told = " and ".join(given) if given else "nothing"
            raise ValueError(f"{told} is given; write one of prefix, path, or regex with to")
        if (self.regex is None) != (self.to is None):
            raise ValueError("regex and to stand together; write {regex: '^/a/(.*)', to: '/b/\\1'}")
        if self.strip is not None and self.prefix is None:
            raise ValueError("strip belongs to prefix; write {prefix: /, strip: /videos/}")
        if self.regex is not None and self.to is not None:
            parse_groups(self.to, regex_check(self.regex.encode()))
        return self

    def request_actions(self) -> tuple[Action, ...]:
        if self.prefix is not None:
            kind = ActionKind.ACTION_REWRITE_PREFIX
            return (Action(kind, self.stripped(), path_parts(self.prefix)),)
        if self.path is not None:
            return (Action(ActionKind.ACTION_REWRITE_PATH, value=path_parts(self.path)),)
        pattern = (self.regex or "").encode()
        value = parse_groups(self.to or "", regex_check(pattern))
        return (Action(ActionKind.ACTION_REWRITE_REGEX, value=value, regex=pattern),)
