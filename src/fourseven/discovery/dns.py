"""Servers by DNS: the addresses of a name, or the targets of a service.

Every address counts: A and AAAA of a name, each with the port of the file; or SRV, where each
target has its port and its weight. Of SRV's priorities the lowest is the backend's first tier, and
each further one a tier behind it: spare ones by definition (RFC 2782). The answer's TTL, the least
of all records that led to it, says when to ask again, within `ttl_min` and `ttl_max`.

An answer that is no answer (timeout, SERVFAIL) leaves the set as it was. So does one that is empty
(NXDOMAIN, no records): that mostly is somebody's mistake, and servers that are really gone are what
checks are for. `when_empty: empty` believes it.

Laws: an address is used as it came, once. Nothing here waits longer than `timeout` for all of it.

Source: RFC 1035 (7), 2782 (SRV), 2308 (negative answers).
"""

from __future__ import annotations

import asyncio
import re
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fourseven.addresses import canonical_address, canonical_server, is_host_name
from fourseven.discovery.found import SERVERS_MAX, Found, Look, Unfound
from fourseven.features import Source
from fourseven.scalars import Wait, listed

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

ASKED_AT_ONCE = 32  # targets of a service; a resolver that is asked more at once drops some
DNS_PORT = 53
TIERS = 8  # that a backend may have
FAMILIES = {"both": ("A", "AAAA"), "ipv4": ("A",), "ipv6": ("AAAA",)}


def _resolver(value: Any) -> str:
    """`10.0.0.53`, `2001:db8::53`, or with its port: `10.0.0.53:5353`."""
    try:
        return address_of(canonical_address(value), DNS_PORT)
    except ValueError:
        found = canonical_server(value)
    canonical_address(found.rpartition(":")[0].strip("[]"))
    return found


class Dns(Source):
    """The addresses that DNS has for a name, looked up again as their TTL runs out.

    `dns: web.internal:8080` takes every A and AAAA record of the name, with this port. With
    `type: srv` the name is that of a service, and each target has its own port and weight; those
    of the lowest priority are the first tier, the others its spare ones (`failover`).
    `priorities: first` takes no others. `resolver` names other resolvers than the system's.

    An answer that fails or is empty leaves the servers as they were; `when_empty: empty` believes
    an empty one. A name that cannot be resolved at the start is a warning, and the backend has no
    server until it can.

        servers: [{dns: web.internal:8080}]
        servers: [{dns: {name: _http._tcp.web.internal, type: srv, resolver: 10.0.0.53}}]
    """

    key: ClassVar[str] = "dns"

    name: str
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 0
    type: Literal["a", "srv"] = "a"
    family: Literal["both", "ipv4", "ipv6"] = "both"
    resolver: Annotated[
        tuple[Annotated[str, BeforeValidator(_resolver)], ...], BeforeValidator(listed)
    ] = ()
    ttl_min_ms: Wait = Field(1_000, alias="ttl_min")
    ttl_max_ms: Wait = Field(60_000, alias="ttl_max")
    timeout_ms: Wait = Field(5_000, alias="timeout")
    when_empty: Literal["keep", "empty"] = "keep"
    priorities: Literal["tiers", "first"] = "tiers"

    @classmethod
    def from_file(cls, value: Any) -> Any:
        """`dns: name:port`."""
        if isinstance(value, str):
            name, colon, port = value.rpartition(":")
            return (
                {"name": name, "port": int(port)} if colon and port.isdecimal() else {"name": value}
            )
        return value

    @field_validator("name")
    @classmethod
    def is_name(cls, value: str) -> str:
        if not is_host_name(value) or re.fullmatch(r"[0-9.]+", value):
            raise ValueError(f"{value!r} is no host name; write e.g. web.internal:8080")
        return value.lower()

    @model_validator(mode="after")
    def has_a_port(self) -> Dns:
        if self.type == "a" and not self.port:
            raise ValueError("the port is missing; write e.g. web.internal:8080")
        if self.ttl_min_ms > self.ttl_max_ms:
            raise ValueError("ttl_min is longer than ttl_max")
        return self

    async def look(self, folder: Path) -> Look:  # noqa: ARG002 - no file is read
        try:
            async with asyncio.timeout(self.timeout_ms / 1000):
                look = await (self.service() if self.type == "srv" else self.addresses())
        except TimeoutError:
            raise Unfound("no answer in time") from None
        if len(look.servers) > SERVERS_MAX:
            raise Unfound(f"{len(look.servers)} servers; {SERVERS_MAX} is the most")
        if not look.servers and self.when_empty == "keep":
            raise Unfound(look.partly or f"{self.name} has no such record")
        return look

    async def addresses(self) -> Look:
        """Of the name itself."""
        asking = Asking(self.asked(), self.family)
        hosts = await asking.hosts(self.name)
        servers = (Found(address_of(host, self.port), name=self.name) for host in hosts)
        return self.looked(tuple(dict.fromkeys(servers)), asking)

    async def service(self) -> Look:
        """Of the service's targets."""
        asking = Asking(self.asked(), self.family)
        records = await asking.records(self.name, "SRV")
        ranks = {said: rank for rank, said in enumerate(sorted({r.priority for r in records}))}
        most = 0 if self.priorities == "first" else TIERS - 1
        chosen = [one for one in records if one.port and ranks[one.priority] <= most]
        chosen.sort(key=lambda one: int(one.priority))  # an address counts where it is preferred
        names = [one.target.to_text(omit_final_dot=True).lower() for one in chosen]
        all_hosts = await asyncio.gather(*(asking.hosts(name) for name in names))
        found: dict[str, Found] = {}
        for record, name, hosts in zip(chosen, names, all_hosts, strict=True):
            for host in hosts:
                address = address_of(host, record.port)
                # A weight of 0 is "a very small chance" (RFC 2782), not none.
                rank = ranks[record.priority]
                found.setdefault(
                    address, Found(address, max(record.weight, 1), name=name, rank=rank)
                )
        return self.looked(tuple(found[address] for address in sorted(found)), asking)

    def looked(self, servers: tuple[Found, ...], asking: Asking) -> Look:
        ttl_s = min(asking.ttls, default=0)
        again_s = min(max(ttl_s, self.ttl_min_ms / 1000), self.ttl_max_ms / 1000)
        return Look(servers, again_s, partly=asking.failure)

    def asked(self) -> Resolver:
        """The resolver as it is set up now: the system's file is read each time."""
        from dns.asyncresolver import Resolver  # slow to load, and few need it
        from dns.nameserver import Do53Nameserver

        made = Resolver(configure=not self.resolver)
        if self.resolver:
            ends = (one.rpartition(":") for one in self.resolver)
            made.nameservers = [
                Do53Nameserver(host.strip("[]"), int(port)) for host, _, port in ends
            ]
        else:
            made.use_search_by_default = True
        made.lifetime = self.timeout_ms / 1000
        made.timeout = max(made.lifetime / 3, 0.1)  # for each try: one lost packet is not the end
        return made


class Asking:
    """The questions of one look."""

    def __init__(self, resolver: Resolver, family: str) -> None:
        self._resolver = resolver
        self._family = family
        self._room = asyncio.Semaphore(ASKED_AT_ONCE)
        self.ttls: list[int] = []  # of all that was answered
        self.failure = ""  # of the last question that was not

    async def hosts(self, name: str) -> list[str]:
        """The addresses of a name, IPv4 first, each in its canonical form."""
        kinds = FAMILIES[self._family]
        answers = await asyncio.gather(*(self.records(name, kind) for kind in kinds))
        found = [canonical_address(one.address) for records in answers for one in records]
        if wrong := [one for one in found if not may_serve(one)]:
            self.failure = f"{name}: {wrong[0]} is no address of a server"
        return [one for one in found if may_serve(one)]

    async def records(self, name: str, kind: str) -> list[Any]:
        """The records of a kind, sorted; none where there are none, or `failure` says why."""
        from dns.exception import DNSException
        from dns.resolver import NXDOMAIN

        try:
            async with self._room:
                answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False)
        except NXDOMAIN:
            return []
        except (DNSException, OSError) as error:
            self.failure = f"{name}: {' '.join(str(error).split())[:200]}"
            return []
        if answer.rrset is None:
            return []
        self.ttls.append(answer.chaining_result.minimum_ttl)
        return sorted(answer.rrset)


def may_serve(address: str) -> bool:
    """Resolvers that block a name say 0.0.0.0, to which a connection comes back to this host."""
    at = ip_address(address)
    return not (at.is_unspecified or at.is_multicast or address == "255.255.255.255")


def address_of(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
