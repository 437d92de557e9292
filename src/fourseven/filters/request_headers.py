"""Request headers: what a server gets to see."""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Filter, Need
from fourseven.filters.headers import HeaderEdits
from fourseven.plan import Action


class RequestHeaders(HeaderEdits, Filter):
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

    def request_actions(self) -> tuple[Action, ...]:
        return self.actions()
