"""`fourseven run` with the kernel planes: reload, crash, kill -9, upgrade, and a clean end."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from fourseven.l4 import pins
from support.lab import BALANCER, MASQUERADE, VIPS, Lab, server_address
from support.network import why_not
from support.service import Service

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
V4, V6 = socket.AF_INET, socket.AF_INET6
PORT = 80


def end(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def config(servers=(1, 2), family=V4, **more):
    bind = end(more.pop("vip", VIPS[family]), PORT)
    listener = {"plane": more.pop("plane", "auto")}
    return {
        "listeners": {
            "tcp": {"bind": bind, "backend": "all", **listener},
            "udp": {"bind": f"udp://{bind}", "backend": "all", **listener},
        },
        "backends": {
            "all": {"servers": [end(server_address(n, family), 7000) for n in servers]}
            | more.pop("backend", {})
        },
        "shutdown_timeout": "5s",
        **more,
    }


class Scene:
    """A lab with `fourseven run` in its balancer."""

    def __init__(self, lab: Lab, family: int, **more) -> None:
        self.lab, self.family, self.more = lab, family, more
        for number in (1, 2):
            lab.serve(number, family)
        self.service = self.begin()

    def begin(self, folder=None) -> Service:
        with self.lab.inside(BALANCER):
            return Service(config(family=self.family, **self.more), folder=folder)

    def connect(self, kind: int = TCP) -> tuple[socket.socket, str]:
        made = self.lab.socket("client", self.family, kind)
        made.connect((VIPS[self.family], PORT))
        return made, (read_line(made).split()[0] if kind == TCP else ask(made))

    def left(self) -> list[str]:
        """What is pinned for the balancer."""
        with self.lab.inside(BALANCER):
            return [str(one.relative_to(home)) for home in pins.homes() for one in home.rglob("*")]

    def tables(self) -> str:
        return self.lab.run(BALANCER, "nft", "list", "tables").stdout

    def refused(self) -> bool:
        made = self.lab.socket("client", self.family, TCP)
        with contextlib.suppress(TimeoutError):
            try:
                made.connect((VIPS[self.family], PORT))
            except ConnectionRefusedError:
                return True
        return False


def read_line(made: socket.socket) -> str:
    got = b""
    while not got.endswith(b"\n"):
        got += made.recv(1) or b"\n"
    return got.decode()


def ask(made: socket.socket, text: bytes = b"hello") -> str:
    made.send(text)
    name, _, rest = made.recv(2048).partition(b" ")
    assert rest == text
    return name.decode()


def echoes(made: socket.socket, text: bytes = b"still here") -> bool:
    made.sendall(text)
    got = b""
    while len(got) < len(text):
        piece = made.recv(65536)
        if not piece:
            return False
        got += piece
    return got == text


def until(holds: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def running(back: str = "routed", family: int = V4, **more) -> Iterator[Scene]:
    more.setdefault("backend", {"return_path": back})
    with Lab(back=back) as lab:
        scene = Scene(lab, family, **more)
        try:
            yield scene
        finally:
            scene.service.stop()


PLANES = [("tcx", "routed"), ("tcx", MASQUERADE), ("nftables", MASQUERADE)]


@pytest.mark.parametrize("plane,back", PLANES)
@pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])
def test_flows_outlive_reload_crash_and_upgrade_and_a_stop_leaves_nothing(plane, back, family):
    with running(back, family, plane=plane) as scene:
        service = scene.service
        flows = [scene.connect() for _ in range(8)]
        asked = [scene.connect(UDP) for _ in range(4)]
        assert {name for _, name in flows} == {"1", "2"}

        def all_live() -> bool:
            same = [ask(made, b"again") for made, _ in asked] == [name for _, name in asked]
            return same and all(echoes(made) for made, _ in flows)

        assert service.reload(config((2,), family, **scene.more))["code"] == 0
        assert {scene.connect()[1] for _ in range(4)} == {"2"}
        assert all_live()

        engine = service.engine()
        os.kill(engine, signal.SIGKILL)
        assert all_live()  # while nobody is there
        until(lambda: service.engine() != engine)
        assert {scene.connect()[1] for _ in range(4)} == {"2"}
        assert all_live()

        assert service.ask("upgrade")["code"] == 0
        assert {scene.connect()[1] for _ in range(4)} == {"2"}
        assert all_live()
        for made, _ in flows:
            made.close()
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        assert scene.left() == []
        assert "fourseven" not in scene.tables()


@pytest.mark.parametrize("plane,back", PLANES)
@pytest.mark.parametrize("on_down", ["keep", "cut"])
def test_a_server_that_is_down_gets_nothing_new_and_is_cut_if_asked(plane, back, on_down, tmp_path):
    dead = tmp_path / "dead"  # a check of its own, so that the server itself stays as it is
    dead.write_text("nobody\n")
    command = ["/bin/sh", "-c", '! grep -qx "$1" "$0"', str(dead), "{host}"]
    health = {"command": command, "interval": "100ms", "fall": 1, "on_down": on_down}
    backend = {"return_path": back, "health": health}
    told = re.compile(rf"server={re.escape(server_address(1, V4))}:7000 state=(\w+)")
    with running(back, plane=plane, backend=backend) as scene:

        def state() -> str:
            return ["", *told.findall(scene.service.words())][-1]

        flows = [scene.connect() for _ in range(8)]
        assert {name for _, name in flows} == {"1", "2"}
        dead.write_text(server_address(1, V4) + "\n")
        until(lambda: state() == "down")
        until(lambda: ("kernel.cut" in scene.service.words()) == (on_down == "cut"))
        assert {scene.connect()[1] for _ in range(6)} == {"2"}
        for made, name in flows:
            if name == "1" and on_down == "cut":
                with pytest.raises(ConnectionResetError):
                    echoes(made)
            else:
                assert echoes(made)
        dead.write_text("nobody\n")
        until(lambda: state() == "up")
        assert {scene.connect()[1] for _ in range(6)} == {"1", "2"}
