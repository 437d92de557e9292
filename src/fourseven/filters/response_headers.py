"""Response headers: what a client gets to see."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.headers import NAMES_MAX, Name, Names, Value, Values, header_actions
from fourseven.plan import Action


class ResponseHeaders(Filter):
    """Changes the headers of the answer before the client gets it.

    Steps: `remove`, then `set`, then `add`. Variables tell of the request. It holds for the
    server's answers and for a route's own (`redirect`, `respond`), not for error pages.

        filters:
          - response_headers:
              set: {Strict-Transport-Security: max-age=31536000}
              remove: [Server, X-Powered-By]
    """

    key: ClassVar[str] = "response_headers"
    need: ClassVar[Need] = Need.REQUEST

    remove: Names = Field((), description="Names that are taken away.")
    set_: Annotated[dict[Name, Value], Field(max_length=NAMES_MAX)] = Field(
        {}, alias="set", description="Name and value: replaces every header of that name."
    )
    add: Annotated[dict[Name, Values], Field(max_length=NAMES_MAX)] = Field(
        {}, description="Name and value, or a list of values: beside those that are there."
    )

    @model_validator(mode="after")
    def does_something(self) -> ResponseHeaders:
        if not (self.remove or self.set_ or self.add):
            raise ValueError("nothing is changed; write e.g. set: {X-Tenant: acme}")
        return self

    def response_actions(self) -> tuple[Action, ...]:
        return header_actions(self.remove, self.set_, self.add)
