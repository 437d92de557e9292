"""The lab: a client, a balancer and servers, each in a network namespace of its own, joined by veth.

    client ── 10.77.1.0/24 ── balancer ── 10.77.11.0/24 ── server 1
              fd77:1::/64        │  └──── 10.77.12.0/24 ── server 2
                        10.77.0.1, fd77::1: addresses that are answered for

The namespaces are the lab's own, named after this process, and go when the lab ends. A socket
belongs to the namespace in which it was made, so servers and clients are threads of the test that
step inside to make one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from support.network import CLONE_NEWNET, libc

VIPS = {socket.AF_INET: "10.77.0.1", socket.AF_INET6: "fd77::1"}
CLIENTS = {socket.AF_INET: "10.77.1.2", socket.AF_INET6: "fd77:1::2"}
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
COUNT = itertools.count()
RUN = [sys.executable, "-m", "fourseven"]


def server_address(number: int, family: int) -> str:
    return f"10.77.1{number}.2" if family == socket.AF_INET else f"fd77:1{number}::2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Lab:
    """The namespaces, by short names: client, balancer, server1, server2."""

    def __init__(self) -> None:
        self.prefix = f"fourseven-{os.getpid()}-{next(COUNT)}-"
        self.made: list[str] = []
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Lab:
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
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def build(self) -> None:
        for name in ("balancer", "client", "server1", "server2"):
            ip("netns", "add", self.prefix + name)
            self.made.append(self.prefix + name)
            ip("-n", self.prefix + name, "link", "set", "lo", "up")
        for name, net in (("client", "1"), ("server1", "11"), ("server2", "12")):
            self.join(name, net)
        for vip in ("10.77.0.1/32", "fd77::1/128"):
            ip("-n", self.prefix + "balancer", "addr", "add", vip, "dev", "lo")
        with self.inside("balancer"):
            for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                Path("/proc/sys/net", path).write_text("1")

    def join(self, name: str, net: str) -> None:
        """A veth between the balancer (`to-<name>`) and another, which routes through it."""
        here, there = self.prefix + "balancer", self.prefix + name
        near = f"to-{name}"
        ip("-n", here, "link", "add", near, "type", "veth", "peer", "name", "eth", "netns", there)
        for space, device, host in ((here, near, "1"), (there, "eth", "2")):
            ip("-n", space, "addr", "add", f"10.77.{net}.{host}/24", "dev", device)
            ip("-n", space, "addr", "add", f"fd77:{net}::{host}/64", "dev", device, "nodad")
            ip("-n", space, "link", "set", device, "up")
        ip("-n", there, "route", "add", "default", "via", f"10.77.{net}.1")
        ip("-n", there, "route", "add", "default", "via", f"fd77:{net}::1")

    @contextlib.contextmanager
    def inside(self, name: str):
        """This thread in one of the namespaces, then back."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.prefix}{name}", os.O_RDONLY)
        try:
            if libc.setns(there, CLONE_NEWNET):
                raise OSError(f"setns into {name}")
            yield
        finally:
            libc.setns(before, CLONE_NEWNET)
            os.close(there)
            os.close(before)

    def compute_sums(self) -> None:
        """The balancer's interfaces compute every checksum, so that a wrong one is noticed: veth
        otherwise passes on a half-made one, and the receiver believes it."""
        with self.inside("balancer"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            for name in ("client", "server1", "server2"):
                value = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0), 8)
                where = ctypes.addressof(value)
                request = struct.pack("=16sQ16x", f"to-{name}".encode(), where)
                fcntl.ioctl(asking, SIOCETHTOOL, request)

    def socket(self, name: str, family: int, kind: int) -> socket.socket:
        with self.inside(name):
            made = socket.socket(family, kind)
        made.settimeout(10)
        self.sockets.append(made)
        return made

    def serve(self, number: int, family: int) -> None:
        """A server that says who it is and whom it sees, then sends back what it gets."""
        address = (server_address(number, family), 7000)
        tcp = self.socket(f"server{number}", family, socket.SOCK_STREAM)
        tcp.bind(address)
        tcp.listen(64)
        udp = self.socket(f"server{number}", family, socket.SOCK_DGRAM)
        udp.bind(address)
        for one in (tcp, udp):
            one.settimeout(None)
        name = str(number).encode()
        threading.Thread(target=_accept, args=(tcp, name), daemon=True).start()
        threading.Thread(target=_answer, args=(udp, name), daemon=True).start()

    def balance(self, file: Path) -> subprocess.Popen:
        """`fourseven l4 run` in the balancer's namespace, on all its interfaces."""
        command = ["ip", "netns", "exec", self.prefix + "balancer"]
        command += [*RUN, "l4", "run", str(file)]
        for name in ("client", "server1", "server2"):
            command += ["-i", f"to-{name}"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def _accept(listening: socket.socket, name: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            taken, peer = listening.accept()
            threading.Thread(target=_echo, args=(taken, name, peer), daemon=True).start()


def _echo(taken: socket.socket, name: bytes, peer: tuple) -> None:
    with taken, contextlib.suppress(OSError):
        taken.sendall(name + b" " + peer[0].encode() + b"\n")
        while data := taken.recv(65536):
            taken.sendall(data)


def _answer(bound: socket.socket, name: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            data, peer = bound.recvfrom(65536)
            if peer is None:  # shut down: the lab ends
                return
            bound.sendto(name + b" " + data, peer)
