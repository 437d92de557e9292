"""Why a call is refused: RFC 9457, `application/problem+json`.

Each kind has one row, so that a program can go by `type` and a person reads `detail`.
"""

from __future__ import annotations

from typing import Any

# kind -> (status, title)
KINDS = {
    "malformed": (400, "The call is malformed"),
    "unauthorized": (401, "A token is needed"),
    "forbidden": (403, "This token may not do that"),
    "host": (403, "The Host is not one of ours"),
    "origin": (403, "Another site's page asked"),
    "not-found": (404, "There is no such thing"),
    "method": (405, "The method does not fit"),
    "conflict": (409, "That cannot be done now"),
    "too-large": (413, "The body is too large"),
    "media-type": (415, "The body must be application/json"),
    "invalid": (422, "A value is wrong"),
    "fault": (500, "A fault in fourseven"),
    "not-ready": (503, "Nothing is served yet"),
    "timeout": (504, "It took too long"),
}
MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):
    """A call that gets no answer but this."""

    def __init__(self, kind: str, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = KINDS[kind]
        self.detail = detail
        self.headers = headers

    def document(self) -> dict[str, Any]:
        return {
            "type": f"urn:fourseven:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
