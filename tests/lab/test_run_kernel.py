"""`fourseven run` with the kernel planes: reload, crash, kill -9, upgrade, and a clean end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from fourseven.compiler.explain import BESIDE, WITHIN
from fourseven.l4 import pins
from fourseven.l4.bpf.build import Program
from fourseven.l4.bpf.kernel import Link, Loaded
from fourseven.l4.headers import SKB
from fourseven.l4.program.skb import SkbWire
from support.lab import BALANCER, MASQUERADE, RUN, VIPS, Lab, address, server_address
from support.network import needs_lab
from support.planes import surroundings
from support.service import Service

pytestmark = needs_lab(plane="relay")

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
V4, V6 = socket.AF_INET, socket.AF_INET6
PORT = 80
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


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
            homes = [home for _, home in pins.homes()]
            return [str(one.relative_to(home)) for home in homes for one in home.rglob("*")]

    def tables(self) -> str:
        return self.lab.run(BALANCER, "nft", "list", "tables").stdout

    def refused(self) -> bool:
        with self.lab.socket("client", self.family, TCP) as made:
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


def until(holds: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    back: str = "routed", family: int = V4, *, lab: Lab | None = None, before=None, **more
) -> Iterator[Scene]:
    more.setdefault("backend", {"return_path": back})
    with contextlib.nullcontext(lab) if lab is not None else Lab(back=back) as lab:
        scene = Scene(lab, family, **more)
        scene.before = before
        try:
            yield scene
        finally:
            scene.service.stop()


PLANES = [
    pytest.param(plane, back, marks=needs_lab("nft", "tc", plane=plane))
    for plane, back in (("tcx", "routed"), ("tcx", MASQUERADE), ("nftables", MASQUERADE))
]


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


@pytest.mark.parametrize("plane,back", [*PLANES, ("relay", MASQUERADE)])
@pytest.mark.parametrize("on_down", ["keep", "cut"])
def test_a_server_that_is_down_gets_nothing_new_and_is_cut_if_asked(plane, back, on_down, tmp_path):
    dead = tmp_path / "dead"  # a check of its own, so that the server itself stays as it is
    dead.write_text("nobody\n")
    command = ["/bin/sh", "-c", '! grep -qx "$1" "$0"', str(dead), "{host}"]
    health = {"command": command, "interval": "100ms", "timeout": "20s", "fall": 1}
    health["on_down"] = on_down
    backend = {"return_path": back, "health": health}
    told = re.compile(rf"server={re.escape(server_address(1, V4))}:7000 state=(\w+)")
    with running(back, plane=plane, backend=backend) as scene:

        def state() -> str:
            return ["", *told.findall(scene.service.words())][-1]

        flows = [scene.connect() for _ in range(8)]
        assert {name for _, name in flows} == {"1", "2"}
        dead.write_text(server_address(1, V4) + "\n")
        until(lambda: state() == "down")
        told_of = on_down == "cut" and plane != "relay"
        until(lambda: ("kernel.cut" in scene.service.words()) == told_of)
        until(lambda: {scene.connect()[1] for _ in range(6)} == {"2"})  # told to them after the log
        for made, name in flows:
            if name == "1" and on_down == "cut":
                with pytest.raises(ConnectionResetError):
                    echoes(made)
            else:
                assert echoes(made)
        dead.write_text("nobody\n")
        until(lambda: state() == "up")
        until(lambda: {scene.connect()[1] for _ in range(6)} == {"1", "2"})


@needs_lab()
@pytest.mark.parametrize("plane", ["tcx"])  # what it gets is the same for each plane
def test_servers_that_are_found_come_and_go_and_flows_stay(plane, tmp_path):
    listed = tmp_path / "servers.json"
    one, two = (end(server_address(number, V4), 7000) for number in (1, 2))
    listed.write_text(json.dumps([one, two, "127.0.0.1:7000"]))
    backend = {"servers": [{"file": str(listed)}], "return_path": "masquerade"}
    with running("masquerade", plane=plane, backend=backend) as scene:
        until(lambda: f"plane={plane}" in scene.service.words())
        assert "kernel.left_out" in scene.service.words()  # nobody but this host gets to 127.0.0.1
        flows = [scene.connect() for _ in range(6)]
        assert {name for _, name in flows} == {"1", "2"}
        listed.write_text(json.dumps([two]))
        until(lambda: {scene.connect()[1] for _ in range(4)} == {"2"})
        assert all(echoes(made) for made, _ in flows)
        listed.write_text(json.dumps([one, two]))
        until(lambda: {scene.connect()[1] for _ in range(6)} == {"1", "2"})
        assert all(echoes(made) for made, _ in flows)


def flows(scene: Scene, *words: str) -> list[dict]:
    where = ("--runtime-dir", str(scene.service.runtime))
    command = [*RUN, "flows", "--format", "json", *where, *words]
    said = scene.lab.run(BALANCER, *command, env=ENVIRONMENT)
    return json.loads(said.stdout)


@pytest.mark.parametrize("plane,back", PLANES)
def test_flows_are_told_and_filtered(plane, back):
    with running(back, V4, plane=plane) as scene:
        made = [scene.connect() for _ in range(6)]
        assert all(echoes(one, b"x" * 3000) for one, _ in made)
        asked = scene.connect(UDP)[0]
        assert ask(asked, b"again")
        found = flows(scene)
        assert len(found) == 7
        assert {one["plane"] for one in found} == {plane}
        ports = {one.getsockname()[1] for one, _ in made}
        of_tcp = flows(scene, "--protocol", "tcp", "--bytes", "6000", "--sort", "bytes")
        assert {int(one["client"].rpartition(":")[2]) for one in of_tcp} == ports
        assert {one["state"] for one in of_tcp} == {"established"}
        one = end(server_address(1, V4), 7000)
        of_one = flows(scene, "--protocol", "tcp", "--server", one)
        assert len(of_one) == sum(name == "1" for _, name in made)
        assert all((flow["source"] is None) == (back == "routed") for flow in of_one)
        assert flows(scene, "--client", "192.0.2.0/24") == []
        assert flows(scene, "--idle", "600") == []


@pytest.mark.parametrize("plane,back", PLANES)
def test_killed_and_found_again(plane, back):
    """Supervisor and engine killed at once: the kernel goes on, and the next start with it."""
    with running(back, V4, plane=plane) as scene:
        service = scene.service
        made = [scene.connect() for _ in range(6)]
        service.kill()
        assert all(echoes(one) for one, _ in made)
        scene.service = scene.begin(service.folder)
        assert all(echoes(one) for one, _ in made)
        assert len(flows(scene, "--protocol", "tcp")) == 6
        assert scene.connect()[1] in "12"


FOREIGN = """\
table inet theirs {
  chain forward { type filter hook forward priority 0; policy accept; counter; }
  chain nat { type nat hook prerouting priority dstnat; tcp dport 9999 redirect to :9998; }
}
table ip fourseven_other {
  chain kept { counter; }
}
"""


def settle_in(lab: Lab) -> Link:
    """Somebody else's rules, queue, address, route, policy, and a program before an
    interface: where ours will stand, too."""
    lab.run(BALANCER, "nft", "-f", "-", input=FOREIGN)
    lab.run(BALANCER, "tc", "qdisc", "add", "dev", "to-server1", "clsact")
    lab.ip(
        BALANCER,
        "addr add 10.99.0.1/32 dev lo",
        "route add 10.98.0.0/24 via 10.77.11.2",
        "rule add from 10.97.0.0/24 table 97",
    )
    theirs = Program("theirs", SKB)
    theirs.exit(SkbWire.PASS)
    with lab.inside(BALANCER), Loaded(theirs.assemble(), {}) as loaded:
        return loaded.attach(socket.if_nametoindex("to-client"))


def of_others(lab: Lab) -> dict[str, str]:
    found = surroundings(lab)
    found["rules"] = lab.run(BALANCER, "nft", "-s", "list", "ruleset").stdout
    return found


@pytest.mark.parametrize("plane,back", PLANES)
def test_what_was_left_is_cleaned_and_nothing_else(plane, back):
    with (
        Lab(back=back) as lab,
        contextlib.closing(settle_in(lab)) as theirs,
        running(back, V4, lab=lab, before=of_others(lab), plane=plane) as scene,
    ):
        service = scene.service
        scene.connect()
        clean = [*RUN, "l4", "clean"]
        refused = scene.lab.run(BALANCER, *clean, env=ENVIRONMENT, check=False)
        assert refused.returncode == 1
        assert "runs; stop it" in refused.stderr
        service.kill()
        said = scene.lab.run(BALANCER, *clean, env=ENVIRONMENT).stdout
        assert said.startswith(f"removed: {plane} of ")
        assert scene.left() == []
        assert of_others(lab) == scene.before
        with lab.inside(BALANCER):
            assert theirs.interface() == socket.if_nametoindex("to-client")
        assert scene.refused()


@needs_lab()
def test_a_start_without_kernel_listeners_removes_what_was_left():
    with running(MASQUERADE, V4, plane="tcx") as scene:
        service = scene.service
        service.kill()
        assert scene.left()
        scene.more["plane"] = "relay"
        scene.service = scene.begin(service.folder)
        assert scene.left() == []
        assert scene.connect()[1] in "12"


@needs_lab()
def test_a_listener_that_goes_back_to_the_relay_keeps_its_flows_until_they_end():
    with running(MASQUERADE, V4, plane="tcx") as scene:
        made, _ = scene.connect()
        assert scene.service.reload(config(**{**scene.more, "plane": "relay"}))["code"] == 0
        assert echoes(made)
        assert scene.left()
        other, _ = scene.connect()
        made.close()
        until(lambda: not scene.left())
        assert echoes(other)


@needs_lab()
def test_a_routed_address_is_served_by_the_kernel_alone():
    with Lab(vip=False) as lab:
        scene = Scene(lab, V4, backend={"return_path": "routed"}, plane="tcx")
        try:
            assert {scene.connect()[1] for _ in range(4)} == {"1", "2"}
            assert scene.service.status()["listeners"] == []
        finally:
            scene.service.stop()


@needs_lab()
def test_a_wildcard_follows_the_addresses_and_interfaces_of_the_host():
    with running(MASQUERADE, V4, plane="tcx", vip="0.0.0.0") as scene:
        assert scene.connect()[1] in "12"
        before = len([one for one in scene.left() if "link-" in one])
        scene.lab.ip(
            BALANCER,
            "link add late type veth peer name later",
            "link set late up",
            "link set later up",
            "addr add 10.77.0.9/32 dev late",
        )
        until(lambda: len([one for one in scene.left() if "link-" in one]) == before + 2)
        made = scene.lab.socket("client", V4, TCP)
        made.connect(("10.77.0.9", PORT))
        assert read_line(made).split()[0] in "12"
        until(lambda: len(flows(scene, "--vip", "10.77.0.9")) == 1)
        scene.lab.ip(BALANCER, "link del late")
        until(lambda: len([one for one in scene.left() if "link-" in one]) == before)


@needs_lab()
def test_a_stop_waits_for_flows_and_takes_no_new_ones():
    with running(MASQUERADE, V4, plane="tcx", shutdown_timeout="30s") as scene:
        made, _ = scene.connect()
        scene.service.signal(signal.SIGTERM)
        until(scene.refused)
        assert echoes(made)
        assert scene.service.process.poll() is None
        made.close()
        assert scene.service.wait(60) == 0
        assert scene.left() == []


@needs_lab("nft")
@pytest.mark.parametrize("here", ["a client", "a server"])
def test_who_is_on_the_balancers_host_is_served_and_explain_says_by_whom(here, tmp_path):
    """The first choice is for packets that come by an interface. So it has the relay beside it for
    clients on this host, and leaves a listener with a server there to the plane that can have it."""
    with Lab(back=MASQUERADE) as lab:
        own, names = address("client", V4, 1), {"1", "2"}
        backend = {"return_path": MASQUERADE}
        said = {"plane tcx", BESIDE}
        if here == "a server":
            listening = lab.socket(BALANCER, V4, TCP)
            listening.settimeout(None)
            listening.bind((own, 7000))
            listening.listen()
            lab.talk.begin(lab.talk.accept, listening, b"here")
            backend["servers"], names = [end(own, 7000)], {"here"}
            said = {
                "plane nftables",
                WITHIN,
                f"refused   tcx: the server {own}:7000 is on this host",
            }
        scene = Scene(lab, V4, backend=backend, shutdown_timeout="1s")
        try:
            for node in ("client", BALANCER):
                made = [lab.socket(node, V4, TCP) for _ in range(4)]
                for one in made:
                    one.connect((VIPS[V4], PORT))
                assert {read_line(one).split()[0] for one in made} == names
            assert ("fourseven" in scene.tables()) == (here == "a server")
        finally:
            scene.service.stop()
        written = tmp_path / "f.json"
        written.write_text(json.dumps(config(backend=backend)))
        explained = lab.run(BALANCER, *RUN, "explain", str(written), env=ENVIRONMENT).stdout
        assert [one for one in said if one not in explained] == []


@needs_lab()
def test_what_cannot_be_forced_is_one_line():
    with Lab() as lab, lab.inside(BALANCER):
        wrong = config(plane="tcx", backend={"balance": "peak_ewma"})
        service = Service(wrong, wait=False)
        try:
            assert service.wait() == 78
            said = service.words()
        finally:
            service.stop()
    lines = [line for line in said.splitlines() if "cannot serve" in line]
    assert len(lines) == 2  # a line each for the two listeners
    assert "listeners.tcp.plane: tcx cannot serve this listener: it cannot balance by" in lines[0]


@needs_lab()
def test_what_stands_in_a_namespace_that_is_gone_is_cleaned_from_another():
    with running("routed", V4, plane="tcx") as scene:
        service = scene.service
        scene.connect()
        with scene.lab.inside(BALANCER):
            ((_, home),) = pins.homes()
        assert home not in pins.orphans()  # it lives
        service.kill()
        assert home not in pins.orphans()  # its namespace does
        scene.lab.unpin = lambda: None  # the lab would clean up behind it

    def swept() -> bool:
        """By us, or by another fourseven that starts on this machine just now."""
        pins.sweep()
        return not home.exists()

    until(swept)
