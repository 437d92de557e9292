"""Where the comparison takes place: a network of the demo's own, or loopback.

    client ── 10.47.1.0/24 ── balancer ── 10.47.2.0/24 ── origin

The kernel planes translate what comes to an interface, so they cannot be measured over loopback.
Where it is permitted each of the three gets a network namespace, joined by veth, and every way is
measured there: the kernel planes, the relay and HTTP side by side, and the direct way, which is
then plain routing. Where it is not, all stand on loopback and one line says why.

Laws: nothing is left, not even by kill -9. A namespace has no name; it lives as long as we hold its
descriptor or somebody runs in it. The balancer has a mount namespace with a bpf filesystem of its
own (`python -m fourseven.demo.network run FILE`), so what it pins ends with it, and the pins of
others are out of its sight. No setting of the host is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self

from fourseven.demo.processes import Failed
from fourseven.l4.host import facts
from fourseven.l4.pins import ROOT as BPF

PLANES = ("tcx", "nftables")
FRONT, CLIENT, BACK, ORIGIN = "10.47.1.1", "10.47.1.2", "10.47.2.1", "10.47.2.2"
LOOPBACK = "127.0.0.1"
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
OWN_NETWORK = "/proc/thread-self/ns/net"
PROGRAM = ("-m", "fourseven")
Inside = Callable[[], contextlib.AbstractContextManager[None]]

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where client, balancer and origin are: enter one of them to start something there."""

    client: Inside = contextlib.nullcontext
    balancer: Inside = contextlib.nullcontext
    server: Inside = contextlib.nullcontext
    front: str = LOOPBACK  # the balancer's address, as the client knows it
    origin: str = LOOPBACK
    program: tuple[str, ...] = PROGRAM  # what Python runs as the balancer
    planes: tuple[str, ...] = ()  # of the kernel, that can be measured here
    notes: tuple[str, ...] = ()  # why others cannot

    @property
    def apart(self) -> bool:
        return self.front != LOOPBACK


class Namespace:
    """A network namespace with nothing but a loopback, held by a descriptor."""

    def __init__(self) -> None:
        with stepped(lambda: libc.unshare(CLONE_NEWNET), "unshare"):
            self.fd = os.open(OWN_NETWORK, os.O_RDONLY)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"  # as ip(8) takes it

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """This thread, and what it starts, in the namespace; then back."""
        return stepped(lambda: libc.setns(self.fd, CLONE_NEWNET), "setns")

    def ip(self, *lines: str) -> None:
        with self.inside():
            done = subprocess.run(
                ["ip", "-batch", "-"],
                input="\n".join(lines),
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise Failed(f"ip: {done.stderr.strip().partition(chr(10))[0]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A network of our own; loopback where there can be none. It is gone when the block ends."""
    with contextlib.ExitStack() as stack:
        try:
            found = build(stack)
        except (OSError, Failed) as error:
            found = Place(notes=(f"The kernel planes are not in the table: {error}.",))
        yield found


def build(stack: contextlib.ExitStack) -> Place:
    """The namespaces and the two links. Raises with the reason where that cannot be."""
    if os.geteuid() != 0:
        raise Failed("only root may have network namespaces")
    if not shutil.which("ip"):
        raise Failed("ip (iproute2) is not installed")
    client, balancer, server = (stack.enter_context(Namespace()) for _ in range(3))
    balancer.ip(
        "link set lo up",
        f"link add front type veth peer name eth netns {client.path}",
        f"link add back type veth peer name eth netns {server.path}",
        *(f"addr add {FRONT}/24 dev front", "link set front up"),
        *(f"addr add {BACK}/24 dev back", "link set back up"),
    )
    for one, address, gateway in ((client, CLIENT, FRONT), (server, ORIGIN, BACK)):
        up = ("link set lo up", f"addr add {address}/24 dev eth", "link set eth up")
        one.ip(*up, f"route add default via {gateway}")
    with balancer.inside():
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        refused = dict(facts().refused)
    return Place(
        client.inside,
        balancer.inside,
        server.inside,
        front=FRONT,
        origin=ORIGIN,
        program=("-m", "fourseven.demo.network"),
        planes=tuple(plane for plane in PLANES if plane not in refused),
        notes=tuple(f"No {plane}: {refused[plane]}." for plane in PLANES if plane in refused),
    )


@contextlib.contextmanager
def stepped(step: Callable[[], int], name: str) -> Iterator[None]:
    """This thread in the network that a system call takes it to, then back."""
    before = os.open(OWN_NETWORK, os.O_RDONLY)
    try:
        succeeded(step(), f"a network of its own is not permitted here ({name})")
        yield
    finally:
        libc.setns(before, CLONE_NEWNET)
        os.close(before)


def succeeded(result: int, what: str) -> None:
    if result != 0:
        raise Failed(f"{what}: {os.strerror(ctypes.get_errno())}")


def main() -> NoReturn:
    """Becomes fourseven, with mounts of its own and an empty bpf filesystem among them."""
    try:
        succeeded(libc.unshare(CLONE_NEWNS), "no mount namespace")
        succeeded(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "no private mounts")
        bpf = libc.mount(b"fourseven-demo", bytes(BPF), b"bpf", 0, b"mode=0700")
        succeeded(bpf, f"no bpf filesystem on {BPF}")
    except Failed as failed:
        sys.exit(str(failed))
    os.execv(sys.executable, [sys.executable, *PROGRAM, *sys.argv[1:]])


if __name__ == "__main__":
    main()
