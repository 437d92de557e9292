"""A balancer with one recording server behind it, as hostile tests and scenarios meet them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from support.balancer import Balancer, Config, Process, site
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


class Stage:
    """Starts balancers and servers for a scenario, and ends them all. As a context it verifies at
    its end that they lived until then."""

    def __init__(self) -> None:
        self.servers: list[Recorder] = []
        self.balancers: list[Balancer] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            if failed is None:
                self.verify()
        finally:
            self.strike()

    def server(self, name: str = "server", **more: Any) -> Recorder:
        self.servers.append(Recorder(name, **more))
        return self.servers[-1]

    def balancer(self, config: Config, **more: Any) -> Balancer:
        self.balancers.append(Balancer(config, **more))
        return self.balancers[-1]

    def front(self, backend: Config | None = None, workers: int = 1, **listener: Any) -> Front:
        """A balancer with one server; the options are the listener's, `backend` the backend's."""
        server = self.server()
        config = site(server.address, **listener)
        config["backends"]["all"].update(backend or {})
        return Front(server, self.balancer(config, workers=workers))

    def verify(self) -> None:
        """Every balancer is alive, and every server could read what it got."""
        for balancer in self.balancers:
            balancer.verify_alive()
        for server in self.servers:
            assert not server.faults, f"{server.name} could not read what it got"

    def strike(self) -> None:
        """Ends everything, whatever fails on the way."""
        try:
            while self.balancers:
                self.balancers.pop().stop()
        finally:
            for server in self.servers:
                server.stop()
