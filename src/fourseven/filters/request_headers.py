"""Request headers: what a server gets to see."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from fourseven.features import Filter, Need
from fourseven.filters.headers import NAMES_MAX, Name, Names, Value, Values, header_actions
from fourseven.plan import Action


class RequestHeaders(Filter):
    """Changes the headers of the request before the server gets it.

    Steps: `remove`, then `set`, then `add`. A value may hold variables. One that comes out empty
    is not sent, and nor is one that would hold a control character; `set` has then only removed.

        filters:
          - request_headers:
              set: {X-Tenant: acme, X-Client: "{client.address}"}
              add: {Via: 1.1 fourseven}
              remove: [Cookie]
    """

    key: ClassVar[str] = "request_headers"
    need: ClassVar[Need] = Need.REQUEST

    remove: Names = Field((), description="Names that are taken away.")
    set_: Annotated[dict[Name, Value], Field(max_length=NAMES_MAX)] = Field(
        {}, alias="set", description="Name and value: replaces every header of that name."
    )
    add: Annotated[dict[Name, Values], Field(max_length=NAMES_MAX)] = Field(
        {}, description="Name and value, or a list of values: beside those that are there."
    )

    @model_validator(mode="after")
    def does_something(self) -> RequestHeaders:
        if not (self.remove or self.set_ or self.add):
            raise ValueError("nothing is changed; write e.g. set: {X-Tenant: acme}")
        return self

    def request_actions(self) -> tuple[Action, ...]:
        return header_actions(self.remove, self.set_, self.add)
