"""The ways from a client to one of two servers: four of others, and ours.

Each way has a lab of its own (a client, a balancer, two servers, joined by veth) and servers of its
own, all started before the first round; those that wait cost nothing. All are given their best:
ECMP and no NAT for plain routing, one rule with jhash for nftables, TCP mode with splicing for
haproxy. All choose by a hash of the client's address, so that the one client meets one server in
each: how a load happens to be spread over two servers changes what they cost, on any way.

Laws: a way says why it cannot be here, in one line, and the run goes on without it.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from bench.l4.works import (
    BY_HAND,
    HAPROXY,
    MASQUERADE,
    NFTABLES,
    RELAY,
    ROUTING,
    TCX,
    TCX_MANY,
    XDP,
)
from bench.peers.peer import first_line, install
from fourseven.demo.processes import Child
from fourseven.l4 import pins
from support.lab import BALANCER, ROUTED, VIPS, Lab, many
from support.lab import MASQUERADE as BACK_MASQUERADE

SOURCE = Path(__file__).resolve().parents[2] / "src"
VIP = VIPS[socket.AF_INET]
SERVERS = ("10.77.11.2", "10.77.12.2")
HTTP, PING, BULK, UDP, ECHO = 8080, 8081, 8082, 8083, 8084
TCP_PORTS = {"http": HTTP, "ping": PING, "bulk": BULK, "echo": ECHO}
MANY = 1000


class Way(ABC):
    """One way. `start` makes the balancer of a lab serve the VIP's ports."""

    name: str
    program = ""
    packages: tuple[str, ...] = ()
    back = ROUTED
    vip_here = True

    @abstractmethod
    def start(self, lab: Lab) -> Child | None:
        """Serves from now on; the process that does, if one does."""

    def ready(self, lab: Lab) -> bool:  # noqa: ARG002 - those that have more to do than listen
        return True

    def missing(self) -> str:
        if self.program and not shutil.which(self.program):
            if os.geteuid() == 0 and shutil.which("apt-get"):
                install(self.packages)
            if not shutil.which(self.program):
                return f"{self.program} is not installed"
        return ""

    def version(self) -> str:
        return ""

    def lab(self) -> Lab:
        return Lab(back=self.back, vip=self.vip_here)


class Routing(Way):
    """The servers hold the VIP; the balancer routes to one of them by a hash of the addresses."""

    name = ROUTING
    vip_here = False

    def start(self, lab: Lab) -> None:
        for server in lab.servers:
            lab.hold_vips(server)
        hops = " ".join(f"nexthop via {address}" for address in SERVERS)
        lab.ip(BALANCER, f"route add {VIP}/32 {hops}")


RULES = """\
table ip bench {{
    map ports {{ type inet_proto . inet_service : verdict
        elements = {{ {ports} }} }}
    chain share {{
        dnat to jhash ip saddr mod 2 map {{ 0 : {0}, 1 : {1} }}
    }}
    chain arrive {{
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr {vip} meta l4proto . th dport vmap @ports
    }}
}}
"""
# A closed connection's row is soon gone, so that the rounds of new connections meet no full table.
SOON = (
    ("netfilter/nf_conntrack_tcp_timeout_time_wait", "2"),
    ("netfilter/nf_conntrack_udp_timeout", "5"),
)


class ByHand(Way):
    """nftables as an expert writes it: one lookup, one jhash, dnat; conntrack does the rest."""

    name = BY_HAND
    program = "nft"
    packages = ("nftables",)

    def start(self, lab: Lab) -> None:
        ports = [f"tcp . {port} : jump share" for port in TCP_PORTS.values()]
        text = RULES.format(
            *SERVERS, vip=VIP, ports=", ".join([*ports, f"udp . {UDP} : jump share"])
        )
        lab.run(BALANCER, "nft", "-f", "-", input=text)
        lab.spaces[BALANCER].sysctl(SOON)

    def version(self) -> str:
        return first_line(["nft", "--version"])


HAPROXY_TEXT = """\
global
    nbthread 1
    maxconn 15000
    no strict-limits
defaults
    mode tcp
    timeout client 1h
    timeout server 1h
    timeout connect 5s
    option splice-auto
"""


class Haproxy(Way):
    name = HAPROXY
    program = "haproxy"
    packages = ("haproxy",)
    back = BACK_MASQUERADE

    def start(self, lab: Lab) -> Child:
        text = HAPROXY_TEXT
        for name, port in TCP_PORTS.items():
            text += f"listen {name}\n    bind {VIP}:{port} backlog 4096\n    balance source\n"
            text += "".join(f"    server s{n} {at}:{port}\n" for n, at in enumerate(SERVERS))
        file = lab.folder / "haproxy.cfg"
        file.write_text(text)
        return lab.start(BALANCER, "haproxy", "-db", "-q", "-f", str(file))

    def version(self) -> str:
        return " ".join(first_line(["haproxy", "-v"]).split()[:3:2])


class Ours(Way):
    """fourseven, as a user runs it, with the plane forced."""

    def __init__(self, name: str, plane: str, back: str) -> None:
        self.name, self.plane, self.back = name, plane, back

    def text(self) -> str:
        """The file. `echo` has one server, which a change replaces."""
        lines = ["workers: 1", "shutdown_timeout: 1s", "listeners:"]
        for name, bind, backend in self.listeners():
            plane = f"plane: {self.plane}"
            lines.append(f'  {name}: {{bind: "{bind}", backend: {backend}, {plane}}}')
        lines.append("backends:")
        way = "" if self.plane == "relay" else f", return_path: {self.back}"
        for name, port in {**TCP_PORTS, "udp": UDP}.items():
            servers = ", ".join(f'"{at}:{port}"' for at in self.servers(name))
            lines.append(f"  {name}: {{servers: [{servers}], balance: source_hash{way}}}")
        return "\n".join(lines) + "\n"

    def listeners(self) -> Iterator[tuple[str, str, str]]:
        for name, port in TCP_PORTS.items():
            yield name, f"{VIP}:{port}", name
        yield "udp", f"udp://{VIP}:{UDP}", "udp"

    def servers(self, backend: str) -> Sequence[str]:  # noqa: ARG002 - of others of its kind
        return SERVERS

    def start(self, lab: Lab) -> Child:
        file = lab.folder / "fourseven.yaml"
        file.write_text(self.text())
        if self.plane == "xdp":
            lab.whole_frames()  # xdp sees frames as they are, with sums that are not there yet
        command = [sys.executable, "-m", "fourseven", "run", str(file)]
        command += ["--runtime-dir", f"{file}.run"]
        return lab.start(
            BALANCER, *command, environment={"PYTHONPATH": str(SOURCE)}, patience_seconds=15.0
        )

    def ready(self, lab: Lab) -> bool:
        """Until then the relay answers, for who comes to an address of its host."""
        if self.plane == "relay":
            return True
        if self.plane == "nftables":
            return "fourseven" in lab.run(BALANCER, "nft", "list", "tables").stdout
        with lab.inside(BALANCER):
            links = {one.name for _, home in pins.homes() for one in home.rglob("link-*")}
        return len(links) >= len(lab.interfaces())

    def version(self) -> str:
        text = (SOURCE / "fourseven" / "__init__.py").read_text()
        return "fourseven " + text.partition('__version__ = "')[2].partition('"')[0]


class OursMany(Ours):
    """The same with 1,000 servers behind a listener, and so many addresses more."""

    def __init__(self, name: str, plane: str, back: str, vips: int = MANY) -> None:
        super().__init__(name, plane, back)
        self.vips = vips

    def listeners(self) -> Iterator[tuple[str, str, str]]:
        yield from super().listeners()
        for number, address in enumerate(islice(many(BALANCER, socket.AF_INET).hosts(), self.vips)):
            yield f"many-{number}", f"{address}:{HTTP}", "http"

    def servers(self, backend: str) -> Sequence[str]:
        if backend in ("bulk", "echo"):
            return SERVERS
        half = [
            list(islice(many(name, socket.AF_INET).hosts(), MANY // 2))
            for name in ("server1", "server2")
        ]
        return [str(address) for pair in zip(*half, strict=True) for address in pair]


WAYS: dict[str, Way] = {
    way.name: way
    for way in (
        Routing(),
        ByHand(),
        Haproxy(),
        Ours(TCX, "tcx", ROUTED),
        OursMany(TCX_MANY, "tcx", ROUTED),
        Ours(MASQUERADE, "tcx", BACK_MASQUERADE),
        Ours(XDP, "xdp", ROUTED),
        Ours(NFTABLES, "nftables", ROUTED),
        Ours(RELAY, "relay", BACK_MASQUERADE),
    )
}
