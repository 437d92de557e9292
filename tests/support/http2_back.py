"""A balancer in front of a server of HTTP/2."""

from __future__ import annotations

from typing import Any

from support.balancer import Config, site
from support.front import Front, Stage
from support.http2_server import Http2Server


class Back(Front):
    server: Http2Server  # type: ignore[assignment]

    def forget(self) -> None:
        """What an earlier test has said and left; connections that are open stay so."""
        server = self.server
        server.conversations = server.open()
        for talk in server.conversations:
            talk.heads.clear()
            talk.requests.clear()
        for each in (server.scripts, server.early, server.held):
            each.clear()


def back_of(
    stage: Stage,
    server: Http2Server | None = None,
    backend: Config | None = None,
    workers: int = 1,
    **listener: Any,
) -> Back:
    """The options are the listener's, `backend` the backend's."""
    server = server or Http2Server()
    stage.servers.append(server)
    config = site(server.address, http_versions=[1.1, 2], **listener)
    config["backends"]["all"] |= {"protocol": "h2", **(backend or {})}
    return Back(server, stage.balancer(config, workers=workers))


def in_flight(back: Back) -> int:
    return sum(row["in_flight"] for row in back.balancer.counters()["servers"].values())
