"""The lab: clients, a balancer and servers, each in a network namespace of its own, joined by veth.

    client ── 10.77.1.0/24 ── balancer ── 10.77.11.0/24 ── server1
              fd77:1::/64        │  └──── 10.77.12.0/24 ── server2
                        10.77.0.1, fd77::1: addresses that are answered for

    with Lab(servers=3, back=MASQUERADE, mtu={"server1": 1400}) as lab:
        lab.run("client", "ping", "-c1", lab.vip(4))       a command, inside, to its end
        child = lab.start("server1", "iperf3", "-s")       a process, inside, until the lab ends
        with lab.inside("balancer"): ...                   this thread, inside
        made = lab.socket("client", AF_INET, SOCK_STREAM)  a socket, inside

How servers find back (`back`): ROUTED, the balancer is their gateway; MASQUERADE, they know their
own link and nothing beyond; DIRECT, all stand on one link, servers hold the VIP and answer the
client straight (addresses stay as they are in the other two). `routers=True` puts a router before
the balancer (`edge`) and one behind it (`core`), so that ICMP errors come from between. `mtu` is by
the name of who hangs on a link: {"client": 9000, "server1": 1400}.

Every node answers for many addresses without adding one (AnyIP): `many("server1", 4)` is the
network that it answers for: a thousand servers live in one namespace.

All is gone when the block ends, on errors too, and when the test run is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from fourseven.control import remains
from fourseven.demo.processes import Child
from support.network import Namespace
from support.service import Service

VIPS = {socket.AF_INET: "10.77.0.1", socket.AF_INET6: "fd77::1"}
CLIENTS = {socket.AF_INET: "10.77.1.2", socket.AF_INET6: "fd77:1::2"}
ROUTED, MASQUERADE, DIRECT = "routed", "masquerade", "direct"
SIOCETHTOOL, ETHTOOL_STXCSUM, ETHTOOL_SGRO = 0x8946, 0x17, 0x2C
RUN = [sys.executable, "-m", "fourseven"]
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
BALANCER, EDGE, CORE, SWITCH = "balancer", "edge", "core", "switch"
PATIENCE_SECONDS = 90.0  # of programs on a machine that is busy; who passes never waits for it
SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40
SETTINGS = (  # forwarding; answers may come by another way; nobody is told of a shorter one
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
)
HOLDS_VIP = (("ipv4/conf/all/arp_ignore", "1"), ("ipv4/conf/all/arp_announce", "2"))


def server_address(number: int, family: int) -> str:
    return f"10.77.1{number}.2" if family == socket.AF_INET else f"fd77:1{number}::2"


def net_of(name: str) -> int:
    """The number in a node's addresses: client 1, client2 2, server1 11, server12 112."""
    kind = name.rstrip("0123456789")
    number = name.removeprefix(kind)
    if kind == "server":
        return int("1" + number)
    return {"client": int(number or 1), EDGE: 8, CORE: 9}[kind]


def address(name: str, family: int, host: int = 2) -> str:
    """Of a node; host 1: of its gateway on the same link."""
    net = net_of(name)
    return f"10.77.{net}.{host}" if family == socket.AF_INET else f"fd77:{net}::{host}"


def many(name: str, family: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The addresses, 65,536 of them, that a node answers for besides its own."""
    net = 0 if name == BALANCER else net_of(name)
    text = f"10.{78 + net}.0.0/16" if family == socket.AF_INET else f"fd78:{net}::/112"
    return ipaddress.ip_network(text)


class Lab:
    """The namespaces, by short names: client, balancer, server1, server2, …"""

    def __init__(
        self,
        clients: int = 1,
        servers: int = 2,
        back: str = ROUTED,
        *,
        routers: bool = False,
        vip: bool = True,  # the balancer holds the VIP; else it is merely routed there
        mtu: Mapping[str, int] | None = None,
    ) -> None:
        assert servers < 100, "addresses are made of these numbers"
        assert clients < 8, "addresses are made of these numbers"
        assert back != DIRECT or not routers, "direct: all on one link"
        self.back, self.vip_here, self.routers = back, vip, routers
        self.mtu = dict(mtu or {})
        self.clients = ["client", *(f"client{n}" for n in range(2, clients + 1))]
        self.servers = [f"server{n}" for n in range(1, servers + 1)]
        self.spaces: dict[str, Namespace] = {}
        self.sockets: list[socket.socket] = []
        self.children: list[Child] = []
        self.services: list[Service] = []
        self.talk = Talk()
        self.open = contextlib.ExitStack()
        self.folder = Path()

    def __enter__(self) -> Lab:
        scratch = tempfile.TemporaryDirectory(prefix="fourseven-lab-", ignore_cleanup_errors=True)
        self.folder = Path(self.open.enter_context(scratch))
        self.folder.chmod(0o755)  # some servers want to be another user
        try:
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it
            one.close()
        with contextlib.ExitStack() as ending:  # the last named first; all of it, whatever fails
            ending.callback(self.open.close)
            for space in self.spaces.values():
                ending.callback(space.close)
            ending.callback(self.unpin)
            for service in self.services:
                ending.callback(service.stop)
            for child in self.children:
                ending.callback(child.stop)
            ending.callback(self.talk.end)
        self.spaces.clear()

    def unpin(self) -> None:
        """What a fourseven that was killed has left in the host's bpf filesystem."""
        for space in self.spaces.values():
            with space.inside():
                for home, _ in remains.found():
                    remains.clean(home)

    # ---- building ----

    def build(self) -> None:
        names = [BALANCER, *self.clients, *self.servers]
        names += [EDGE, CORE] if self.routers else []
        names += [SWITCH] if self.back == DIRECT else []
        for name in names:
            self.spaces[name] = Namespace(name)
        for name in (BALANCER, EDGE, CORE):
            if name in self.spaces:
                self.spaces[name].sysctl(SETTINGS)
        if self.back == DIRECT:
            self.one_link()
        else:
            self.tree()
        for name in self.spaces:
            if name not in (EDGE, CORE, SWITCH):
                nets = (many(name, family) for family in FAMILIES.values())
                self.ip(name, *(f"route add local {net} dev lo" for net in nets))
        if self.vip_here:
            self.hold_vips(BALANCER)
        for space in self.spaces.values():
            settle(space)

    def hold_vips(self, name: str) -> None:
        self.ip(name, *(f"addr add {vip} dev lo nodad" for vip in VIPS.values()))

    def tree(self) -> None:
        """Everybody hangs on the balancer, or on a router that does."""
        if self.routers:
            self.join(EDGE, BALANCER)
            self.join(CORE, BALANCER)
        for name in self.clients:
            self.join(name, EDGE if self.routers else BALANCER)
        for name in self.servers:
            self.join(name, CORE if self.routers else BALANCER)

    def join(self, name: str, on: str) -> None:
        """A veth from one (`to-<name>`) to another (`eth`), which routes through it."""
        here, there = self.spaces[on], self.spaces[name]
        near, mtu = f"to-{name}", self.mtu.get(name, 1500)
        here.ip(
            f"link add {near} mtu {mtu} type veth peer name eth mtu {mtu} netns {there.path}",
            *self.address_lines(name, near, 1),
            f"link set {near} up",
            *(f"route add {net} via {address(name, f)}" for f, net in nets_beyond(name)),
        )
        there.ip(*self.address_lines(name, "eth", 2), "link set eth up")
        if name not in self.servers or self.back == ROUTED:
            there.ip(*defaults(name))
        if on != BALANCER:
            self.ip(BALANCER, *self.ways_beyond(name, on))

    def ways_beyond(self, name: str, router: str) -> Iterator[str]:
        """How the balancer reaches who stands behind a router."""
        for family in FAMILIES.values():
            own = ipaddress.ip_network(
                address(name, family) + ("/24" if family == socket.AF_INET else "/64"), strict=False
            )
            for net in (own, many(name, family)):
                yield f"route add {net} via {address(router, family)}"

    def address_lines(self, name: str, device: str, host: int) -> list[str]:
        v4, v6 = (address(name, family, host) for family in FAMILIES.values())
        return [
            f"link set {device} addrgenmode none",  # the kernel's own link-local is a second late
            f"addr add fe80::{net_of(name)}:{host}/64 dev {device} nodad",
            f"addr add {v4}/24 dev {device}",
            f"addr add {v6}/64 dev {device} nodad",
        ]

    def one_link(self) -> None:
        """Everybody on one switch; the balancer has one arm, servers hold the VIP."""
        switch = self.spaces[SWITCH]
        switch.ip("link add bridge type bridge", "link set bridge up")
        everyone = [*self.clients, *self.servers]
        for name in (BALANCER, *everyone):
            mtu = self.mtu.get(name, 1500)
            switch.ip(
                f"link add to-{name} mtu {mtu} type veth"
                f" peer name eth mtu {mtu} netns {self.spaces[name].path}",
                f"link set to-{name} master bridge up",
            )
        for name in everyone:
            if name in self.servers:
                self.spaces[name].sysctl(HOLDS_VIP)
            self.ip(name, *self.address_lines(name, "eth", 2), "link set eth up")
            self.ip(BALANCER, *self.address_lines(name, "eth", 1))
        self.ip(BALANCER, "link set eth up")
        for name in everyone:
            self.ip(
                BALANCER, *(f"route add {n} via {address(name, f)}" for f, n in nets_beyond(name))
            )
            others = self.clients if name in self.servers else self.servers
            self.ip(name, *defaults(name), *(line for other in others for line in links(other)))
            if name in self.servers:
                self.hold_vips(name)

    # ---- using ----

    def interfaces(self) -> list[str]:
        """The balancer's, loopback left out."""
        if self.back == DIRECT:
            return ["eth"]
        if self.routers:
            return [f"to-{EDGE}", f"to-{CORE}"]
        return [f"to-{name}" for name in (*self.clients, *self.servers)]

    def inside(self, name: str) -> contextlib.AbstractContextManager[None]:
        """This thread in one of the namespaces, then back."""
        return self.spaces[name].inside()

    def ip(self, name: str, *lines: str) -> None:
        self.spaces[name].ip(*lines)

    def run(self, name: str, *command: str, **more: object) -> subprocess.CompletedProcess[str]:
        """A command inside, to its end; it fails loudly unless `check=False`."""
        given = {"timeout": PATIENCE_SECONDS, "check": True, **more}
        with self.inside(name):
            try:
                return subprocess.run(command, capture_output=True, text=True, **given)
            except subprocess.CalledProcessError as error:
                said = f"{error.stdout[-2000:]}\n{error.stderr[-2000:]}"
                raise AssertionError(f"{' '.join(command)} in {name}: {said}") from None

    def start(self, name: str, *command: str, **more: object) -> Child:
        """A process inside, until the lab ends or it is stopped."""
        log = self.folder / f"{name}-{len(self.children)}.log"
        with self.inside(name):
            child = Child(command, log, **more)
        self.children.append(child)
        return child

    def socket(self, name: str, family: int, kind: int) -> socket.socket:
        with self.inside(name):
            made = socket.socket(family, kind)
        made.settimeout(20)
        self.sockets.append(made)
        return made

    def compute_sums(self, names: Iterable[str] = (BALANCER,)) -> None:
        """Their interfaces compute every checksum, so that a wrong one is noticed: veth otherwise
        passes on a half-made one, and the receiver believes it."""
        self.offload(names, ETHTOOL_STXCSUM, 0)

    def offload(self, names: Iterable[str], command: int, on: int) -> None:
        """Switches an offload of their interfaces."""
        for name in names:
            with self.inside(name), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                links = [link for _, link in socket.if_nameindex() if link not in ("lo", "bridge")]
                for device in self.interfaces() if name == BALANCER else links:
                    value = ctypes.create_string_buffer(struct.pack("=II", command, on), 8)
                    where = ctypes.addressof(value)
                    request = struct.pack("=16sQ16x", device.encode(), where)
                    fcntl.ioctl(asking, SIOCETHTOOL, request)

    def whole_frames(self) -> None:
        """What an xdp program on a veth asks of the other ends: they send whole checksums, and
        take frames that were redirected to them."""
        others = [name for name in self.spaces if name != BALANCER]
        self.compute_sums(others)
        self.offload(others, ETHTOOL_SGRO, 1)

    def serve(self, number: int, family: int, at: str = "", port: int = 7000) -> None:
        """A server that says who it is and whom it sees, then sends back what it gets."""
        place = (at or server_address(number, family), port)
        tcp = self.socket(f"server{number}", family, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(place)
        tcp.listen(4096)
        udp = self.socket(f"server{number}", family, socket.SOCK_DGRAM)
        udp.bind(place)
        for one in (tcp, udp):
            one.settimeout(None)
        name = str(number).encode()
        self.talk.begin(self.talk.accept, tcp, name)
        self.talk.begin(self.talk.answer, udp, name)

    def service(self, config: str, folder: Path | None = None) -> Service:
        """`fourseven run` in the balancer's namespace; it serves when this returns."""
        with self.inside(BALANCER):
            made = Service(config, folder=folder)
        self.services.append(made)
        return made

    def balance(self, file: Path) -> subprocess.Popen:
        """`fourseven l4 run` in the balancer's namespace, on all its interfaces."""
        command = [*RUN, "l4", "run", str(file)]
        for name in self.interfaces():
            command += ["-i", name]
        with self.inside(BALANCER):
            return subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )


def settle(space: Namespace) -> None:
    """Waits until every interface runs: what is sent before is lost, and asked again a second on."""
    until = time.monotonic() + PATIENCE_SECONDS
    with space.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("=16s24x", name.encode())
            while True:
                flags = struct.unpack_from("=H", fcntl.ioctl(asking, SIOCGIFFLAGS, request), 16)[0]
                if flags & IFF_RUNNING:
                    break
                assert time.monotonic() < until, f"{space.name}: {name} does not run"
                time.sleep(0.002)


def nets_beyond(name: str) -> list[tuple[int, object]]:
    """What a node answers for besides its own address; a router answers for nothing more."""
    if name in (EDGE, CORE):
        return []
    return [(family, many(name, family)) for family in FAMILIES.values()]


def defaults(name: str) -> list[str]:
    return [f"route add default via {address(name, f, 1)}" for f in FAMILIES.values()]


def links(name: str) -> list[str]:
    """Routes straight to another node, where all stand on one link."""
    return [
        f"route add {address(name, socket.AF_INET)}/32 dev eth",
        f"route add {address(name, socket.AF_INET6)}/128 dev eth",
        *(f"route add {net} via {address(name, family)}" for family, net in nets_beyond(name)),
    ]


class Talk:
    """The threads of the servers that a lab runs itself; at its end none is left, and no connection
    (whose socket would keep a namespace alive)."""

    def __init__(self) -> None:
        self.threads: set[threading.Thread] = set()
        self.taken: set[socket.socket] = set()

    def begin(self, what: Callable[..., None], *about: object) -> None:
        def run() -> None:
            with contextlib.suppress(OSError):
                what(*about)
            self.threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, daemon=True)
        self.threads.add(thread)
        thread.start()

    def accept(self, listening: socket.socket, name: bytes) -> None:
        while True:
            taken, peer = listening.accept()
            self.taken.add(taken)
            self.begin(self.echo, taken, name, peer)

    def echo(self, taken: socket.socket, name: bytes, peer: tuple) -> None:
        try:
            with taken:
                taken.sendall(name + b" " + peer[0].encode() + b"\n")
                while data := taken.recv(65536):
                    taken.sendall(data)
        finally:
            self.taken.discard(taken)

    def answer(self, bound: socket.socket, name: bytes) -> None:
        while True:
            data, peer = bound.recvfrom(65536)
            if peer is None:  # shut down: the lab ends
                return
            bound.sendto(name + b" " + data, peer)

    def end(self) -> None:
        """The listening sockets are closed already; what they still took is in `taken` soon."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self.threads:
            for one in list(self.taken):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for thread in list(self.threads):
                thread.join(0.05)
            assert time.monotonic() < until, "a server of the lab does not end"
