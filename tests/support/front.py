"""A balancer with one recording server behind it, as hostile tests and scenarios meet them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from support.balancer import Config, Process
from support.recorder import Recorder
from support.wire import Wire

GOOD = b"GET /good HTTP/1.1\r\nHost: good\r\n\r\n"


@dataclass(slots=True)
class Front:
    """The balancer, and what stands behind it."""

    server: Recorder
    balancer: Process

    def wire(self, **more: Any) -> Wire:
        return self.balancer.wire(**more)

    def fence(self) -> None:
        """Returns once whatever was sent before has reached the server, if it ever will."""
        assert self.balancer.ask(GOOD).status == 200
        self.server.settle()

    def verify_nothing_came(self, but: int = 0) -> None:
        """The server saw no byte but of our own good requests."""
        self.fence()
        heads = [head.target for head in self.server.heads]
        assert heads == [b"/good"] * (but + 1), self.server.received
        assert self.server.received.count(b"\r\n\r\n") == but + 1, self.server.received


def config(server: Recorder) -> Config:
    """The defaults, with a rule that denies /admin."""
    return {
        "listeners": {
            "web": {
                "routes": [
                    {"match": {"path": "/admin"}, "filters": [{"respond": {"status": 403}}]},
                    {"backend": "all"},
                ],
            }
        },
        "backends": {"all": {"servers": [server.address]}},
    }
