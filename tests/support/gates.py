"""What the tests of gates share: a route with filters, a request with headers, the end of all."""

from __future__ import annotations

from typing import Any

from support.balancer import Balancer, site


def guarded(address: str, *filters, **listener) -> dict:
    return site(address, routes=[{"backend": "all", "filters": list(filters)}], **listener)


def asked(line: bytes, **headers: bytes) -> bytes:
    lines = [b"%s: %s\r\n" % (name.replace("_", "-").encode(), v) for name, v in headers.items()]
    return line + b" HTTP/1.1\r\nHost: a\r\n" + b"".join(lines) + b"\r\n"


def at_rest(balancer: Balancer) -> dict[str, Any]:
    """The counters, once nothing is in flight anywhere."""
    seen: dict[str, Any] = balancer.at_rest()
    return seen
