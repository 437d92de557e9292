"""Response headers: what a client gets to see."""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Filter, Need
from fourseven.filters.headers import HeaderEdits
from fourseven.plan import Action


class ResponseHeaders(HeaderEdits, Filter):
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

    def response_actions(self) -> tuple[Action, ...]:
        return self.actions()
