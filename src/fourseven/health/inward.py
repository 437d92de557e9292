"""How a check speaks to a server: as requests do, with the backend's TLS and PROXY header.

A check that went another way than requests go would prove nothing of them. So the server's own
port is spoken to under the very settings of the backend: the same authorities, name, certificate of
ours and lowest version. Where a check names another `port`, what listens there is not what serves
requests, and it is spoken to plainly.

Law: the name is verified wherever requests verify it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Hashable
from typing import Any

from fourseven.health.connect import Target, Unwell, connected
from fourseven.plan import (
    BackendPlan,
    CertificatePlan,
    HealthPlan,
    OutwardPlan,
    Plan,
    ServerPlan,
)

VERSIONS = {0x0303: ssl.TLSVersion.TLSv1_2, 0x0304: ssl.TLSVersion.TLSv1_3}


class Ways:
    """The targets of checks. A context is made once for all backends with the same settings."""

    def __init__(self) -> None:
        self._contexts: dict[Hashable, ssl.SSLContext] = {}

    def targets(self, plan: Plan) -> dict[tuple[str, str], Target]:
        """Each server that is checked, by its backend and address, as its check meets it."""
        before, self._contexts = self._contexts, {}
        for backend in plan.backends:
            if backend.health is not None and backend.tls is not None:
                alpn = _alpn(backend)
                key = _settings(backend.tls, alpn)
                if key not in self._contexts:
                    self._contexts[key] = before.get(key) or context_of(backend.tls, alpn)
        return {
            (backend.name, server.address): self._target(backend, number)
            for backend in plan.backends
            for number, server in enumerate(backend.servers)
            if check_of(backend, server) is not None
        }

    def _target(self, backend: BackendPlan, number: int) -> Target:
        server = backend.servers[number]
        check, address = check_of(backend, server), server.address
        assert check is not None
        if check.port:
            return Target(address, check.port)
        if backend.tls is None:
            return Target(address, proxy=backend.proxy_protocol, http2=backend.http2)
        peer = backend.tls.peers[number]
        name, sni = peer.name.decode(), peer.sni.decode()
        return Target(
            address,
            proxy=backend.proxy_protocol,
            tls=self._contexts[_settings(backend.tls, _alpn(backend))],
            sni=sni or name,
            verified=name if backend.tls.verified else "",
            http2=backend.http2,
        )


def _alpn(backend: BackendPlan) -> str:
    """What a check wants, or what requests speak."""
    assert backend.health is not None
    return backend.health.check.alpn or ("h2" if backend.http2 else "")


def check_of(backend: BackendPlan, server: ServerPlan) -> HealthPlan | None:
    """How this server is checked; None: it is not."""
    if backend.health is None or server.unchecked:
        return None
    return server.health or backend.health


def _settings(said: OutwardPlan, alpn: str) -> Hashable:
    return alpn, said.authority, said.verified, said.certificate, said.min_version, said.ciphers


def context_of(said: OutwardPlan, alpn: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if alpn:
        context.set_alpn_protocols([alpn])
    context.check_hostname = False  # see verify_name: the name may be another than the SNI
    context.verify_mode = ssl.CERT_REQUIRED if said.verified else ssl.CERT_NONE
    if said.verified:
        context.load_verify_locations(cadata=said.authority.decode("ascii", "ignore"))
    context.minimum_version = VERSIONS[said.min_version]
    context.set_ciphers(said.ciphers.decode())
    if said.certificate is not None:
        _show(context, said.certificate)
    return context


def _show(context: ssl.SSLContext, ours: CertificatePlan) -> None:
    """ssl takes a certificate from a file alone; this one is in memory, and ends here."""
    memory = os.memfd_create("certificate")
    try:
        os.write(memory, ours.chain + b"\n" + ours.key)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    finally:
        os.close(memory)


@contextlib.asynccontextmanager
async def talking(
    target: Target,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A conversation with the server, inside its TLS where it has one."""
    async with connected(target) as made:
        # The streams take the socket over; a copy of ours keeps both sides tidy.
        reader, writer = await asyncio.open_connection(
            sock=made.dup(), ssl=target.tls, server_hostname=target.sni if target.tls else None
        )
        try:
            if target.verified:
                verify_name(writer.get_extra_info("peercert"), target.verified)
            yield reader, writer
        finally:
            writer.transport.abort()


def verify_name(certificate: Any, name: str) -> None:
    """The server must be whom requests expect; a wildcard stands for one label (RFC 9525 6.3)."""
    shown = [(kind, value.lower()) for kind, value in certificate.get("subjectAltName", ())]
    wanted = name.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        good = {("DNS", wanted), ("DNS", "*." + wanted.partition(".")[2])}
        found = any(one in good for one in shown)
    else:
        kind = "IP Address"
        found = any(one[0] == kind and ipaddress.ip_address(one[1]) == address for one in shown)
    if not found:
        raise Unwell(f"its certificate stands for another name than {name}")
