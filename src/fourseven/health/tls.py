"""Does the server complete a TLS handshake?"""

from __future__ import annotations

import asyncio
import ssl
from typing import ClassVar

from fourseven.features import Check
from fourseven.health.connect import Target, connected


class Tls(Check):
    """A server is well when it completes a TLS handshake.

    `name` is asked for by SNI. With `ca` (a PEM file) its certificate must also verify, for this
    name; without, any certificate will do: the check asks whether the server serves.

        health: tls
        health: {tls: {name: db.example, ca: /etc/ssl/our-ca.pem}}
    """

    key: ClassVar[str] = "tls"
    shorthand: ClassVar[str | None] = "name"

    name: str = ""
    ca: str = ""

    async def ask(self, target: Target) -> None:
        context = ssl.create_default_context(cafile=self.ca or None)
        if not self.ca:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        async with connected(target) as made:
            name = self.name or (target.host if self.ca else "")
            # start_tls' transport takes the socket over; a copy of ours keeps both sides tidy.
            _, writer = await asyncio.open_connection(
                sock=made.dup(), ssl=context, server_hostname=name or target.host or "server"
            )
            writer.transport.abort()
