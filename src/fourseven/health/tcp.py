"""The cheapest check: does the server accept a connection?"""

from __future__ import annotations

from typing import ClassVar

from fourseven.features import Check
from fourseven.health.connect import Target, connected


class Tcp(Check):
    """A server is well when it accepts a connection; nothing is sent.

    It says that the process listens and the network is whole, and no more: a server that accepts
    and then hangs passes. For HTTP servers `http` says more.

        health: tcp
        health: {tcp: {}, interval: 5s, fall: 2}
    """

    key: ClassVar[str] = "tcp"
    only_connects: ClassVar[bool] = True

    async def ask(self, target: Target) -> None:
        async with connected(target):
            pass
