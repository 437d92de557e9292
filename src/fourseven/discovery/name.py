"""A host name in place of a server's address: `servers: [web.internal:8080]`.

One name is one server: its first address, as the system resolves it (so names of /etc/hosts count),
and looked up again now and then. An address that the name still has is kept: resolvers change the
order of their answers to spread clients, which is no news here. Who wants every address says `dns`.

This is no feature of its own: control.discovery makes it of a server that has a name.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import ClassVar

from fourseven.addresses import canonical_address
from fourseven.discovery.dns import address_of
from fourseven.discovery.found import Found, Look, Unfound
from fourseven.features import Source

LOOK_S = 10.0  # the system tells no TTL
TIMEOUT_S = 5.0


class Name(Source):
    """A host name and a port."""

    key: ClassVar[str] = "name"
    single: ClassVar[bool] = True

    host: str
    port: int

    async def look(self, folder: Path) -> Look:  # noqa: ARG002 - no file is read
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                ends = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise Unfound("no answer in time") from None
        except OSError as error:
            raise Unfound(error.strerror or str(error)) from None
        known = f"{self.host}:{self.port}"
        hosts = dict.fromkeys(canonical_address(str(end[4][0]).partition("%")[0]) for end in ends)
        servers = [
            Found(address_of(one, self.port), name=self.host, known_as=known) for one in hosts
        ]
        return Look(tuple(servers), LOOK_S)
