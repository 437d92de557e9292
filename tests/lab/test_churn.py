"""What goes on while everything around it changes: established connections, and honest new ones.

Servers come and go, the control plane is killed, a flood of SYNs comes from nobody, the table of
flows is far too small. The clients are processes that echo all the time (support/lab_load.py); a broken
connection, a wrong echo, or a new connection that finds nobody fails the test. The figures of each
run are printed (pytest -s) and kept as properties of the report.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.l4.flood import Flood
from bench.l4.frames import UDP

from fourseven.demo.processes import Child
from support.lab import MASQUERADE, ROUTED, VIPS, Lab, many
from support.network import needs_lab, why_no_lab

pytestmark = needs_lab(plane="relay")

PORT = 7000
SERVERS = 8
TESTS = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"PYTHONPATH": f"{TESTS}:{TESTS.parent / 'src'}"}
SECONDS = float(os.environ.get("FOURSEVEN_CHURN_SECONDS", "5"))  # longer: by hand
FLOOD_RATE = 50_000  # SYNs a second: what a loaded machine of two cores makes beside the rest
CROWD_RATE = 4_000  # datagrams a second, two a flow: the table is new every two seconds
ESTABLISHED_WAIT_MS, NEW_WAIT_MS = 5_000, 8_000  # a new one may lose a SYN or two (1 s, then 2 s)
ECHOES, VISITS = 20, 50  # of each established one; new ones
PATIENCE_S = 120.0  # until clients on a busy machine have done so much


def text(family: int, servers: list[int], plane: str, back: str, more: str = "") -> str:
    """A file with some of the servers: addresses of two namespaces, in turn."""
    form = "[{}]:{}" if family == socket.AF_INET6 else "{}:{}"
    said = json.dumps([form.format(server(family, at), PORT) for at in servers])
    vip = form.format(VIPS[family], PORT)
    return f"""\
{more}
shutdown_timeout: 1s
listeners:
  echo: {{bind: "{vip}", backend: all, plane: {plane}}}
  crowd: {{bind: "udp://{vip}", backend: all, plane: {plane}}}
backends:
  all: {{servers: {said}, balance: round_robin, return_path: {back}}}
"""


def server(family: int, number: int) -> str:
    return str(many(f"server{1 + number % 2}", family)[100 + number])


class Scene:
    """A lab with echo servers, and `fourseven run` in its balancer."""

    def __init__(self, lab: Lab, family: int, plane: str = "tcx", more: str = "") -> None:
        self.lab, self.family, self.plane, self.more = lab, family, plane, more
        self.draw = random.Random(4)
        self.folder = lab.folder / "balancer"
        self.folder.mkdir()
        for name in lab.servers:
            command = [sys.executable, "-m", "support.lab_servers", "echo", str(PORT), name]
            lab.start(name, *command, environment=ENVIRONMENT, speaks=True).read_line()
        self.begin()

    def begin(self) -> None:
        self.service = self.lab.service(self.text(list(range(SERVERS))), self.folder)

    def text(self, servers: list[int]) -> str:
        return text(self.family, servers, self.plane, self.lab.back, self.more)

    def reload(self, servers: list[int]) -> None:
        assert self.service.reload(self.text(servers))["code"] == 0

    def churn(self, seconds: float, least: int = 0) -> int:
        """Other servers each 100 ms, or as quickly as reloads follow each other; how often."""
        until, changes = time.monotonic() + seconds, 0
        while time.monotonic() < until or changes < least:
            self.reload(self.draw.sample(range(SERVERS), self.draw.randint(2, SERVERS)))
            changes += 1
            time.sleep(0.1)
        return changes

    def load(self, *more: str) -> Child:
        """Honest clients; their connections stand when this returns."""
        command = [sys.executable, "-m", "support.lab_load", VIPS[self.family], str(PORT), *more]
        child = self.lab.start("client", *command, environment=ENVIRONMENT, speaks=True)
        assert child.read_line() == "ready", child.log_tail()
        return child


def ended(load: Child, record_property) -> dict:
    """What the clients met, once they have been told to end."""
    load.process.stdin.close()
    found = json.loads(load.read_line())
    print(found)
    for key in ("established", "echoes", "longest_ms", "new", "longest_new_ms"):
        record_property(key, found[key])
    return found


def worked(load: Child) -> bool:
    """Have the clients met enough by now, that they are a proof?"""
    load.process.stdin.write(b"?\n")
    load.process.stdin.flush()
    found = json.loads(load.read_line())
    return found["echoes"] > ECHOES * found["established"] and found["new"] > VISITS


def go_on_until(enough: Callable[[], bool], meanwhile: Callable[[], object]) -> None:
    """The trouble lasts until the clients have met enough of it, however slow the machine is."""
    until = time.monotonic() + PATIENCE_S
    while not enough():
        assert time.monotonic() < until, "the clients do not get on"
        meanwhile()


def unharmed(found: dict) -> None:
    assert found["broken"] == found["failed"] == {}
    assert found["echoes"] > ECHOES * found["established"]
    assert found["new"] > VISITS
    assert found["longest_ms"] < ESTABLISHED_WAIT_MS
    assert found["longest_new_ms"] < NEW_WAIT_MS


V4, V6 = socket.AF_INET, socket.AF_INET6
SCENES = {
    "tcx-routed-v4": ("tcx", ROUTED, V4),
    "tcx-routed-v6": ("tcx", ROUTED, V6),
    "tcx-masquerade-v4": ("tcx", MASQUERADE, V4),
    "tcx-masquerade-v6": ("tcx", MASQUERADE, V6),
    "nftables-v4": ("nftables", MASQUERADE, V4),
}


@pytest.fixture(params=SCENES)
def scene(request):
    plane, back, family = SCENES[request.param]
    if reason := why_no_lab(*(["nft"] if plane == "nftables" else []), plane=plane):
        pytest.skip(reason)
    with Lab(back=back) as lab:
        yield Scene(lab, family, plane)


def test_no_flow_breaks_while_servers_come_and_go(scene, record_property):
    load = scene.load()
    scene.churn(SECONDS, least=int(SECONDS) + 1)
    go_on_until(lambda: worked(load), lambda: scene.churn(0.2))
    found = ended(load, record_property)
    unharmed(found)
    assert len(found["servers"]) == SERVERS


def test_a_server_that_left_gets_nothing_new(scene):
    load = scene.load("--established", "16", "--rate", "0")
    scene.reload([0, 1])
    others = scene.load("--established", "40", "--rate", "0")
    for child in (load, others):
        child.process.stdin.close()
    first, second = (json.loads(child.read_line()) for child in (load, others))
    assert len(first["servers"]) == SERVERS
    assert set(second["servers"]) == {server(scene.family, at) for at in (0, 1)}
    assert first["broken"] == second["broken"] == {}


def test_nobody_notices_a_control_plane_that_is_killed(scene, record_property):
    """Amid the coming and going of servers; first the engine, then it and its supervisor. The next
    start adopts what it finds."""
    load = scene.load()
    for _ in range(max(1, round(SECONDS / 5))):
        scene.churn(0.5)
        engine = scene.service.engine()
        os.kill(engine, signal.SIGKILL)
        while scene.service.engine() == engine:
            time.sleep(0.01)
        scene.churn(0.5)
        scene.service.kill()
        time.sleep(0.5)  # nobody is there, and packets go on
        scene.begin()
        scene.churn(0.5)
    go_on_until(lambda: worked(load), lambda: scene.churn(0.2))
    unharmed(ended(load, record_property))


@needs_lab()
@pytest.mark.parametrize("back", [ROUTED, MASQUERADE])
def test_a_flood_from_nobody_harms_nobody(back, record_property):
    with Lab(back=back) as lab:
        scene = Scene(lab, V4)
        load = scene.load()
        with Flood(lab, (VIPS[V4], PORT), FLOOD_RATE) as flood:
            time.sleep(SECONDS)
            go_on_until(lambda: flood.sent > 20_000 and worked(load), lambda: time.sleep(0.2))
        found = ended(load, record_property)
        record_property("syns_a_second", int(flood.sent / flood.seconds))
        print(f"{flood.sent:,} SYNs, {flood.sent / flood.seconds:,.0f} a second")
        unharmed(found)


@needs_lab()
def test_a_full_table_gives_up_idle_flows_first(record_property):
    """Ten thousand flows that say two words each, through a table of four thousand."""
    with Lab() as lab:
        scene = Scene(lab, V4, more="kernel: {flows_max: 4096}")
        load = scene.load("--established", "200", "--gap", "0.1")
        with Flood(lab, (VIPS[V4], PORT), CROWD_RATE, UDP) as crowd:
            time.sleep(SECONDS)
            go_on_until(lambda: crowd.sent > 2 * 4096 and worked(load), lambda: time.sleep(0.2))
        unharmed(ended(load, record_property))
