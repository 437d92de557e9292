"""`fourseven run` as its users meet it: real engines, real connections, and what must never happen.

No connection is refused and none is cut by a reload, an upgrade or a restart; a bad file changes
nothing; a stop lets go of nobody who is being served.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fourseven.demo.processes import stat
from support.api import Api
from support.recorder import Conversation, Recorder
from support.service import Service, answering, own_host, proxying, settled
from support.wire import OPEN, Message, Wire

pytestmark = pytest.mark.sanitize

RELOADS = 100
PIECE = b"%06d" % 0 + b"x" * 8186  # of the slow download; its number stands in front


class Load(threading.Thread):
    """A client that never stops asking, on a new connection each time or on one that it keeps."""

    def __init__(self, address: tuple[str, int], kept: bool) -> None:
        super().__init__()
        self.address, self.kept = address, kept
        self.stopping = threading.Event()
        self.served = 0
        self.failures: list[str] = []

    def run(self) -> None:
        wire: Wire | None = None
        while not self.stopping.is_set():
            try:
                wire = wire or Wire(self.address)
                wire.send(b"GET /load HTTP/1.1\r\nHost: a\r\n\r\n")
                assert wire.read(b"GET").status == 200
                self.served += 1
                if not self.kept:
                    wire.close()
                    wire = None
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
                wire = None
        if wire:
            wire.close()

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.join()


@pytest.fixture
def server():
    with Recorder("one") as recorder:
        yield recorder


def echo(conversation: Conversation, request: Message) -> None:
    """A WebSocket's server, as far as a balancer can tell."""
    conversation.read_body(request)
    conversation.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    )
    while data := conversation.receive():
        conversation.send(data)
    conversation.close()


def upgraded(address: tuple[str, int]) -> Wire:
    wire = Wire(address)
    wire.send(
        b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert wire.read_head().status == 101
    return wire


def slow(pieces: int, go: threading.Semaphore) -> Callable[[Conversation, Message], None]:
    """A download that goes on by one piece each time it is let."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        size = pieces * len(PIECE)
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for number in range(pieces):
            assert go.acquire(timeout=20)
            conversation.send(b"%06d" % number + PIECE[6:])

    return script


def test_a_hundred_reloads_cut_nobody_and_refuse_nobody(server: Recorder):
    go = threading.Semaphore(0)
    server.scripts[b"/socket"] = echo
    server.scripts[b"/slow"] = slow(RELOADS, go)
    one = proxying(server.address)
    two = proxying(server.address, server.address.replace("127.0.0.1", "localhost"))
    two["listeners"]["second"] = {"routes": [{"backend": "all"}], "protocol": "http"}
    with Service(one) as service:
        address = service.address()
        with Load(address, kept=True) as kept, Load(address, kept=False) as fresh:
            socket_like, download = upgraded(address), Wire(address)
            download.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            download.read_head()
            for number in range(RELOADS):
                assert service.reload(one if number % 2 else two) == {"code": 0, "lines": []}
                go.release()
                assert download.take(len(PIECE)) == b"%06d" % number + PIECE[6:]
                socket_like.send(b"ping %d" % number)
                assert socket_like.take(len(b"ping %d" % number)) == b"ping %d" % number
                if number == 9:
                    engine = service.engine()
                    early = service.descriptors(engine), service.descriptors(service.process.pid)
            assert (socket_like.end, download.end) == (OPEN, OPEN)
            socket_like.close()
            download.close()
            assert settled(lambda: min(kept.served, fresh.served) > RELOADS)
        assert kept.failures == fresh.failures == []
        assert service.engine() == engine  # it never crashed
        # A socket that a reload gave up is closed within seconds; nothing else may be left, but for
        # kept connections to the server: each worker may have one for each of the four clients.
        assert settled(lambda: service.descriptors(engine) <= early[0] + 2 * 4)
        # The supervisor closes a question's connection a moment after it has answered.
        assert settled(lambda: service.descriptors(service.process.pid) <= early[1])


def test_a_bad_file_keeps_the_old_one_and_says_everything():
    with Service(answering("old")) as service:
        address = service.address()
        answer = service.reload("listeners:\n  web:\n    bnd: 127.0.0.1:1\n    routes: 7\n")
        assert answer["code"] == 78
        assert any("fourseven.yaml:3:5" in line and "bind" in line for line in answer["lines"])
        assert len(answer["lines"]) > 1
        assert service.get(address).body == b"old"
        service.told("READY=1")
        assert service.words().count("config.refused") == len(answer["lines"])
        service.signal(signal.SIGHUP)
        service.told("READY=1")
        assert settled(lambda: service.words().count("config.refused") == 2 * len(answer["lines"]))
        assert service.reload(answering("new")) == {"code": 0, "lines": []}
        assert service.get(address).body == b"new"


def test_a_listener_comes_and_goes_and_its_port_is_refused_then():
    one = answering("one")
    two = answering("one")
    more = answering("more", bind=f"{own_host()}:0")  # a port that nobody takes when it is free
    two["listeners"]["more"] = more["listeners"]["web"]
    with Service(one) as service:
        first = service.address()
        service.reload(two)
        second = service.address("more")
        assert service.get(second).body == b"more"
        service.reload(one)
        with pytest.raises(ConnectionRefusedError):
            Wire(second)
        assert service.get(first).body == b"one"


def test_a_killed_engine_is_back_and_who_waited_is_served():
    with Service(answering("hello")) as service:
        address = service.address()
        longest = 0.0
        for _ in range(3):
            began = time.monotonic()
            os.kill(service.engine(), signal.SIGKILL)
            wires = [Wire(address, timeout_s=60) for _ in range(20)]  # the sockets never went away
            for wire in wires:
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            for wire in wires:
                assert wire.read(b"GET").body == b"hello"
                wire.close()
            longest = max(longest, time.monotonic() - began)
        assert service.status()["restarts"] == 3
        # A second on a quiet machine (bench measures it); here others may have the cores. That the
        # supervisor itself does not wait before a first restart is tests/control/test_supervisor's.
        print(f"back after {longest * 1000:.0f} ms")


def test_a_crash_goes_on_with_what_was_in_force_not_with_the_file_on_disk():
    with Service(answering("in force")) as service:
        address = service.address()
        service.write("nonsense: [")
        os.kill(service.engine(), signal.SIGKILL)
        assert service.get(address).body == b"in force"


def test_a_killed_supervisor_takes_its_engine_along_and_leaves_its_file(tmp_path: Path):
    bind = f"{own_host()}:4747"  # known, for it is bound twice
    with Service(answering("first", bind=bind), folder=tmp_path) as service:
        engine, address = service.engine(), service.address()
        half = Wire(address)  # keeps the engine busy, with its sockets open, for a while
        half.send(b"GET / HT")
        service.process.kill()
        service.process.wait()
    with Service("nonsense: [", folder=tmp_path) as successor:  # at once, on the same port
        assert successor.get(address).body == b"first"
        assert "config.last_good" in successor.words()
        half.close()
        assert settled(lambda: not stat(engine))
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["cookie.key"]  # it is for ever
    broken = Service("nonsense: [", folder=tmp_path, wait=False)
    assert broken.wait() == 78
    broken.stop()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_who_is_served_and_refuses_who_comes(server: Recorder, signum: int):
    go = threading.Event()

    def held(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.hold(go)
        conversation.answer(b"late but whole")

    server.scripts[b"/held"] = held
    config = proxying(server.address)
    config["listeners"]["web"]["bind"] = f"{own_host()}:0"  # once closed, nobody listens there
    with Service(config) as service:
        address = service.address()
        wire = Wire(address)
        wire.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        assert settled(lambda: bool(server.conversations and server.conversations[0].requests))
        service.signal(signum)
        service.told("STOPPING=1")
        assert settled(lambda: refused(address))
        go.set()
        answer = wire.read(b"GET")
        assert (answer.status, answer.body) == (200, b"late but whole")
        assert service.wait() == 0


def refused(address: tuple[str, int]) -> bool:
    try:
        Wire(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_an_engine_that_was_asked_ends_without_a_word_too_many():
    """The admin API is loaded by its first caller, and must not keep the data plane too long."""
    with Service(answering("a")) as service:  # its stop looks at the log
        assert Api(service.runtime / "admin.sock").ask("GET", "/healthz").status == 200


def test_the_deadline_of_a_stop_cuts(server: Recorder):
    server.scripts[b"/held"] = lambda conversation, request: conversation.hold(threading.Event())
    with Service(proxying(server.address, shutdown_timeout="300ms")) as service:
        wire = Wire(service.address())
        wire.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        assert settled(lambda: bool(server.conversations))
        service.signal(signal.SIGTERM)
        assert service.wait() == 0
        wire.read_to_end()
        assert wire.end != OPEN
        assert "drain.cut" in service.words()


def test_an_upgrade_cuts_nobody_and_refuses_nobody(server: Recorder):
    server.scripts[b"/socket"] = echo
    with Service(proxying(server.address)) as service:
        address = service.address()
        socket_like = upgraded(address)
        with Load(address, kept=False) as fresh:
            old = service.engine()
            assert service.ask("upgrade") == {"code": 0, "lines": []}
            new = service.engine()
            assert new != old
            assert service.status()["draining"] == [old]  # it has the WebSocket yet
            served = fresh.served
            assert settled(lambda: fresh.served > served + 50)
        assert fresh.failures == []
        socket_like.send(b"still here")
        assert socket_like.take(10) == b"still here"
        socket_like.close()
        assert settled(lambda: service.status()["draining"] == [])
        assert service.engine() == new


def test_udp_keeps_its_port_over_a_crash():
    echo_server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    echo_server.bind(("127.0.0.1", 0))
    echo_server.settimeout(20)
    where = f"127.0.0.1:{echo_server.getsockname()[1]}"
    dns = {"bind": "udp://127.0.0.1:0", "backend": "dns"}
    config = {"listeners": {"dns": dns}, "backends": {"dns": {"servers": [where]}}}
    with Service(config) as service, echo_server:
        address = service.address("dns")
        for _ in range(2):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"question", address)
                question, sender = echo_server.recvfrom(99)
                assert question == b"question"
                echo_server.sendto(b"answer", sender)
                client.settimeout(20)
                assert client.recv(99) == b"answer"
            os.kill(service.engine(), signal.SIGKILL)
            service.told("READY=1")


def test_a_listener_changes_its_layer_and_a_server_that_speaks_first_is_heard(server: Recorder):
    """TCP_DEFER_ACCEPT waits for the client's first bytes: right for HTTP, wrong for SMTP."""
    with socket.create_server(("127.0.0.1", 0)) as smtp:
        smtp.settimeout(20)
        where = f"127.0.0.1:{smtp.getsockname()[1]}"
        http = proxying(server.address)
        with Service(http) as service:
            address = service.address()
            assert service.get(address).status == 200
            relay = proxying(where)
            relay["listeners"]["web"] = {"protocol": "tcp", "backend": "all"}
            relay["listeners"]["web"]["bind"] = http_bind = "127.0.0.1:0"
            assert service.reload(relay)["code"] == 0
            assert service.address() == address, http_bind
            # A deferred accept takes a second each time; without, only the machine can be so slow.
            assert settled(lambda: greeted_s(address, smtp) < 0.9)
            assert service.reload(http)["code"] == 0
            assert service.get(address).status == 200


def greeted_s(address: tuple[str, int], smtp: socket.socket) -> float:
    """How long a client that says nothing waits for the words of a server that speaks first."""
    began = time.monotonic()
    with Wire(address) as client:
        upstream, _ = smtp.accept()
        with upstream:
            upstream.sendall(b"220 hello\r\n")
            assert client.take(11) == b"220 hello\r\n"
    return time.monotonic() - began


def test_systemd_hands_over_the_socket():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        # What systemd does: descriptor 3, and the very process id in LISTEN_PID.
        launch = (
            "import os, sys\n"
            f"os.dup2({listening.fileno()}, 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web')\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        )
        with Service(
            answering("activated", bind=f"127.0.0.1:{address[1]}"),
            launcher=[sys.executable, "-c", launch],
            fds=sorted({3, listening.fileno()} if fd_is_open(3) else {listening.fileno()}),
        ) as service:
            assert service.get(address).body == b"activated"
            os.kill(service.engine(), signal.SIGKILL)
            assert service.get(address).body == b"activated"
            service.signal(signal.SIGTERM)
            assert service.wait() == 0
        Wire(address).close()  # systemd's socket takes connections for whom it starts next


def fd_is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_second_one_in_the_same_place_is_refused_with_the_reason(tmp_path: Path):
    with Service(answering("one"), folder=tmp_path) as service:
        second = Service(answering("two"), folder=tmp_path, wait=False)
        assert second.wait() == 1
        assert f"process {service.process.pid}" in second.words()
        second._notify.close()
        assert service.ask("status")["code"] == 0


def test_the_commands_say_what_happened(tmp_path: Path):
    from click.testing import CliRunner

    from fourseven.cli.main import fourseven

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(fourseven, [*arguments, "--runtime-dir", str(tmp_path / "run")])
        return done.exit_code, done.output

    with Service(answering("one"), folder=tmp_path) as service:
        code, text = call("status")
        assert code == 0
        assert f"engine {service.engine()}" in text
        assert "web       tcp://127.0.0.1:" in text
        assert call("reload") == (0, "")
        service.write("listeners: {}")
        code, text = call("reload")
        assert code == 78
        assert "fourseven.yaml:1:" in text
        assert call("upgrade")[0] == 78
    code, text = call("status")
    assert code == 1
