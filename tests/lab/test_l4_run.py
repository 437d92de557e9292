"""`fourseven l4 run` with real connections, in namespaces of the test's own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import threading

import pytest

from support.lab import CLIENTS, VIPS, Lab, server_address
from support.network import why_not
from support.planes import until

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
PORT = 80


def file(servers, family: int) -> str:
    mark = "[{}]:{}" if family == socket.AF_INET6 else "{}:{}"
    bind = mark.format(VIPS[family], PORT)
    said = ", ".join(repr(mark.format(server_address(n, family), 7000)) for n in servers)
    return f"""\
listeners:
  tcp: {{bind: "{bind}", backend: all}}
  udp: {{bind: "udp://{bind}", backend: all}}
backends:
  all: {{servers: [{said}], balance: round_robin, return_path: routed}}
"""


class Running:
    """The balancer of a lab, and clients of it."""

    def __init__(self, lab: Lab, family: int, path) -> None:
        self.lab, self.family, self.path = lab, family, path
        for number in (1, 2):
            lab.serve(number, family)
        path.write_text(file((1, 2), family))
        self.process = lab.balance(path)
        for listener in ("tcp", "udp"):
            self.expect(f"{listener}: ")

    def expect(self, start: str) -> str:
        line = self.process.stdout.readline()
        assert line.startswith(start), line + (self.process.stdout.read() if not line else "")
        return line

    def connect(self) -> tuple[socket.socket, str]:
        """A connection, and the server that answered."""
        made = self.lab.socket("client", self.family, TCP)
        made.connect((VIPS[self.family], PORT))
        assert made.getpeername()[0] == VIPS[self.family]
        name, seen = read_line(made).split()
        assert seen == CLIENTS[self.family]  # servers see the client's own address
        return made, name

    def ask(self, asking: socket.socket, text: bytes) -> str:
        asking.sendto(text, (VIPS[self.family], PORT))
        data, peer = asking.recvfrom(2048)
        assert peer[0] == VIPS[self.family]
        name, _, rest = data.partition(b" ")
        assert rest == text
        return name.decode()

    def reload(self, servers) -> None:
        self.path.write_text(file(servers, self.family))
        self.process.send_signal(signal.SIGHUP)
        self.expect("reloaded")

    def refused(self) -> bool:
        """Does nobody answer for the address any more? Then the balancer's own kernel says so."""
        made = self.lab.socket("client", self.family, TCP)
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


def echoes(made: socket.socket, text: bytes) -> bool:
    made.sendall(text)
    got = b""
    while len(got) < len(text):
        piece = made.recv(65536)
        if not piece:
            return False
        got += piece
    return got == text


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
def running(request, tmp_path):
    with Lab() as lab:
        found = Running(lab, request.param, tmp_path / "f.yaml")
        try:
            yield found
        finally:
            with contextlib.suppress(ProcessLookupError):
                found.process.kill()
            found.process.wait()
            found.process.stdout.close()


def test_connections_spread_and_stay_when_their_server_leaves(running):
    flows = [running.connect() for _ in range(20)]
    names = [name for _, name in flows]
    assert sorted(names) == ["1"] * 10 + ["2"] * 10
    asking = [running.lab.socket("client", running.family, UDP) for _ in range(10)]
    asked = [running.ask(one, b"hello") for one in asking]
    assert set(asked) == {"1", "2"}

    running.reload((2,))
    assert {running.connect()[1] for _ in range(10)} == {"2"}
    assert all(echoes(made, b"still here") for made, _ in flows)
    assert [running.ask(one, b"again") for one in asking] == asked

    running.reload((1, 2))
    assert {running.connect()[1] for _ in range(4)} == {"1", "2"}
    assert all(echoes(made, b"and still") for made, _ in flows)


@pytest.mark.parametrize("sums", ["left to the receiver", "computed"])
def test_bulk_passes_whole_both_ways(running, sums):
    """Large segments and checksums left to the hardware: the forms that a test run never meets."""
    if sums == "computed":
        running.lab.compute_sums()
        asking = running.lab.socket("client", running.family, UDP)
        assert running.ask(asking, b"datagram") in "12"
    made, _ = running.connect()
    data = os.urandom(1 << 20) * 8
    wanted = hashlib.sha256(data).hexdigest()
    sending = threading.Thread(target=made.sendall, args=(data,))
    sending.start()
    got = hashlib.sha256()
    left = len(data)
    while left:
        piece = made.recv(min(left, 1 << 16))
        assert piece
        got.update(piece)
        left -= len(piece)
    sending.join()
    assert got.hexdigest() == wanted


def test_what_is_not_for_a_service_is_left_alone(running):
    """A direct connection of the balancer (as a health check makes) meets no translation."""
    flows = [running.connect() for _ in range(4)]
    for number in (1, 2):
        for where in ("balancer", "client"):
            made = running.lab.socket(where, running.family, TCP)
            made.connect((server_address(number, running.family), 7000))
            assert made.getpeername()[0] == server_address(number, running.family)
            assert read_line(made).split()[0] == str(number)
            assert echoes(made, b"direct")
    assert all(echoes(made, b"through") for made, _ in flows)


def test_counts_and_flows_are_told(running):
    flows = [running.connect() for _ in range(6)]
    assert all(echoes(made, b"x" * 1000) for made, _ in flows)
    running.process.send_signal(signal.SIGUSR1)
    told = json.loads(running.process.stdout.readline())
    assert sum(row["flows_new"] for row in told["servers"].values()) == 6
    assert all(row["bytes_in"] > 3000 < row["bytes_out"] for row in told["servers"].values())
    assert len(told["flows"]) == 6
    ports = {made.getsockname()[1] for made, _ in flows}
    assert {int(flow["client"].rpartition(":")[2]) for flow in told["flows"]} == ports
    assert all(flow["packets_in"] >= 3 and flow["state"] == "established" for flow in told["flows"])


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(running, ending):
    running.connect()
    running.process.send_signal(ending)
    assert running.process.wait() == (0 if ending is signal.SIGTERM else -signal.SIGKILL)
    until(running.refused)


def test_a_bad_file_leaves_the_old_one_in_force(running):
    running.path.write_text("listeners: {}\nbackends: 3\n")
    running.process.send_signal(signal.SIGHUP)
    running.expect("not reloaded: ")
    assert running.process.poll() is None
