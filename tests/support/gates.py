"""What the tests of gates share: a route with filters, and a request with headers."""

from __future__ import annotations

from support.balancer import site


def guarded(address: str, *filters, **listener) -> dict:
    return site(address, routes=[{"backend": "all", "filters": list(filters)}], **listener)


def asked(line: bytes, **headers: bytes) -> bytes:
    lines = [b"%s: %s\r\n" % (name.replace("_", "-").encode(), v) for name, v in headers.items()]
    return line + b" HTTP/1.1\r\nHost: a\r\n" + b"".join(lines) + b"\r\n"
