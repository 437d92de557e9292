"""HTTP/2 with clients: backpressure, orderly ends, limits, TLS and real clients."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading

import pytest

from support.again import again
from support.balancer import site
from support.front import Stage
from support.http2 import INTERNAL_ERROR, NO_ERROR, Http2, request
from support.http2_stage import client, front_of, scripted, slow_front
from support.recorder import Conversation
from support.tls import Authority, TlsWire
from support.wire import WAIT_S, Message

MIB = 1024 * 1024

# ---- backpressure ----


def test_a_window_that_does_not_open_stops_the_server(stage: Stage):
    front = front_of(stage)
    size = 64 * MIB
    sent = []
    stopped = threading.Event()

    def flood(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        conversation.socket.settimeout(1)
        try:
            while True:
                sent.append(conversation.socket.send(bytes(65_536)))
        except TimeoutError:
            stopped.set()
            conversation.close()

    scripted(front, b"/flood", flood)
    with client(front) as http:
        id = http.ask("GET", "/flood")
        while len(http.begun(id).body) < 65_535:
            http.read()
        for _ in range(3):  # others on the connection are stopped by its window, not by the engine
            http.grant(0, 65_535)
        assert http.get("GET", "/").status == 200
        assert len(http.answers[id].body) == 65_535
        assert stopped.wait(20)
        http.grant(id, 1 << 30).grant(0, 1 << 30)
        answered = http.answer(id)
        assert answered.reset == INTERNAL_ERROR
        assert len(answered.body) <= sum(sent) < 24 * MIB


def test_a_server_that_does_not_read_stops_the_client(stage: Stage):
    front = front_of(stage)
    go = threading.Event()

    def deaf(conversation: Conversation, asked: Message) -> None:
        assert conversation.hold(go)
        conversation.answer(b"%d" % len(conversation.read_body(asked)))

    scripted(front, b"/deaf", deaf)
    with client(front) as http:
        id = http.ask("POST", "/deaf", end=False)
        sent = 0
        while sent < 64 * MIB:
            http.fence()
            size = min(16_384, http.window(0), http.window(id))
            if size <= 0:
                break
            http.data(id, bytes(size))
            sent += size
        assert http.window(id) == 0
        go.set()
        http.body(id, bytes(100_000))
        assert http.answer(id).body == b"%d" % (sent + 100_000)


def test_a_client_that_does_not_read_the_socket(stage: Stage):
    """The windows are wide open and the socket is full: other streams wait, and then all is there."""
    front = front_of(stage)
    body = bytes(range(256)) * 8192

    def big(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        conversation.answer(body)

    scripted(front, b"/big", big)
    with client(front, {4: (1 << 31) - 1}, receive_buffer=4096) as http:
        http.grant(0, (1 << 31) - 65_536)
        ids = [http.ask("GET", "/big") for _ in range(12)]
        for id in reversed(ids):
            assert http.answer(id).body == body


def test_a_window_of_one_byte(stage: Stage):
    front = front_of(stage)
    with client(front, {4: 1}) as http:
        id = http.ask("GET", "/")
        while not (answer := http.answers.get(id)) or not answer.ended:
            http.read()
            if id in http.answers and http.answers[id].begun:
                http.grant(id, 1)
        assert http.answers[id].body == b"server"


# ---- ends ----


def test_a_drain_loses_nothing(stage: Stage):
    front, go = slow_front(stage)
    with client(front) as http:
        slow = http.ask("GET", "/slow")
        assert http.get("GET", "/").status == 200
        front.balancer.order("drain")
        while not http.goaways:
            http.read()
        assert http.goaways[0].last_stream_id == 2**31 - 1  # told, and nothing is refused yet
        late = http.ask("GET", "/late")
        assert http.answer(late).status == 200
        http.pong()
        while len(http.goaways) < 2:
            http.read()
        assert http.goaways[1].last_stream_id == late
        http.ask("GET", "/too-late")
        go.set()
        assert http.answer(slow).body == b"slow"
        assert http.goaway() == NO_ERROR
    assert b"/too-late" not in [one.target for one in front.server.requests]


def test_a_listener_that_is_gone_finishes_what_runs(stage: Stage):
    front, go = slow_front(stage)
    with client(front) as http:
        slow = http.ask("GET", "/slow")
        assert http.get("GET", "/").status == 200
        http.fence()
        front.balancer.reload(site(front.server.address, protocol="tcp"))
        late = http.ask("GET", "/late")
        while not http.goaways:
            http.read()
        assert http.goaways[0].last_stream_id < late  # the client may repeat it elsewhere
        go.set()
        assert http.answer(slow).body == b"slow"
        assert http.goaway() == NO_ERROR
    assert b"/late" not in [one.target for one in front.server.requests]


@again(1.0)
def test_idle(stage: Stage):
    front = front_of(stage, idle_timeout="1s")
    with client(front) as http:
        assert http.get("GET", "/").status == 200
        assert http.goaway() == NO_ERROR


@again(0.5)
@pytest.mark.parametrize("half", ["nothing", "preface", "head"])
def test_a_head_that_never_comes(stage: Stage, half: str):
    front = front_of(stage, head_timeout="500ms", idle_timeout="1h")
    with front.wire() as wire:
        if half == "nothing":
            wire.send(b"PRI * HT")
            assert wire.read().status == 408
            return
        http = Http2(wire)
        if half == "head":
            http.fence()
            head = http.head(request("GET", "/"))
            head.flags.discard("END_HEADERS")
            http.send(head)
            assert http.goaway() == NO_ERROR
        else:
            http.fence().fence()  # the first answer may overtake what the balancer begins with
            assert wire.quiet(0.8)  # longer than a head may take: none has begun
            assert http.get("GET", "/").status == 200


def test_a_body_that_never_comes(stage: Stage):
    front = front_of(stage, body_timeout="1s")
    with client(front) as http:
        id = http.ask("POST", "/up", end=False)
        http.data(id, b"begun")
        assert http.answer(id).status == 408
        assert http.get("GET", "/").status == 200


def test_a_window_that_never_opens(stage: Stage):
    front = front_of(stage, send_timeout="1s")
    with client(front, {4: 0}) as http:
        id = http.ask("GET", "/")
        assert http.answer(id).reset == INTERNAL_ERROR
        assert front.balancer.counters()["workers"]["timeouts_send"] == 1


def test_requests_max(stage: Stage):
    front = front_of(stage, requests_max=3)
    with client(front) as http:
        for _ in range(3):
            assert http.get("GET", "/").status == 200
        while not http.goaways:
            http.read()
        http.pong()
        assert http.goaway() == NO_ERROR


# ---- limits ----


def test_head_limits(stage: Stage):
    front = front_of(stage, head_max="4KiB", headers_max=10, target_max=100)
    with client(front) as http:
        http.fence()
        assert http.settings[6] == 4096
        assert http.get("GET", "/", ("x-large", "x" * 5000)).status == 431
        assert http.get("GET", "/", *[(f"x-{at}", "1") for at in range(12)]).status == 431
        assert http.get("GET", "/" + "x" * 200).status == 414
        assert http.get("GET", "/").status == 200
    assert [one.target for one in front.server.requests] == [b"/"]


def test_body_max(stage: Stage):
    front = front_of(stage, body_max=1000)
    with client(front) as http:
        assert http.get("POST", "/", ("content-length", "1001")).reset is not None
        id = http.ask("POST", "/", ("content-length", "1001"), end=False)
        assert http.answer(id).status == 413
        id = http.ask("POST", "/", end=False)
        http.data(id, bytes(1001))
        assert http.answer(id).status == 413


# ---- TLS ----


def test_alpn_chooses(stage: Stage, authority: Authority):
    certificate = authority.issue("h2.pem", "a.example")
    front = stage.front(tls={"certificates": [certificate]})
    context = authority.context()
    context.set_alpn_protocols(["http/1.1", "h2"])
    with TlsWire(front.balancer.address, context) as wire:
        assert wire.socket.selected_alpn_protocol() == "h2"
        http = Http2(wire)
        assert http.get("GET", "/", scheme="https").body == b"server"
        assert http.get("GET", "/", scheme="https", authority="b.example").status == 421
    assert front.server.requests[0].get("x-forwarded-proto") == b"https"
    only = stage.front(http_versions=1.1, tls={"certificates": [certificate]})
    with TlsWire(only.balancer.address, context) as wire:
        assert wire.socket.selected_alpn_protocol() == "http/1.1"


def test_big_bodies_behind_tls(stage: Stage, authority: Authority):
    front = stage.front(tls={"certificates": [authority.issue("h2b.pem", "a.example")]})
    context = authority.context()
    context.set_alpn_protocols(["h2"])
    body = bytes(range(256)) * 16_384

    def echo(conversation: Conversation, asked: Message) -> None:
        conversation.answer(conversation.read_body(asked))

    scripted(front, b"/echo", echo)
    with TlsWire(front.balancer.address, context) as wire:
        http = Http2(wire, {4: 1 << 24})
        http.grant(0, 1 << 26)
        id = http.ask("POST", "/echo", end=False, scheme="https")
        http.body(id, body)
        assert http.answer(id).body == body


# ---- real clients ----


def tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: apt install {package}")
    return found


def test_curl(stage: Stage, authority: Authority):
    curl = tool("curl", "curl")
    front = stage.front(tls={"certificates": [authority.issue("curl.pem", "a.example")]})
    host, port = front.balancer.address
    command = [
        curl,
        "-sS",
        "--noproxy",
        "*",
        "--cacert",
        str(authority.pem),
        "--http2",
        "--resolve",
    ]
    more = [f"a.example:{port}:{host}", "-w", " %{http_version}", "--data-binary", "@-"]
    url = f"https://a.example:{port}/x"
    done = subprocess.run([*command, *more, url], input=bytes(300_000), capture_output=True)
    assert (done.stdout, done.stderr) == (b"server 2", b"")
    assert front.server.requests[0].body == bytes(300_000)


def test_h2load(stage: Stage):
    h2load = tool("h2load", "nghttp2-client")
    front = front_of(stage)
    host, port = front.balancer.address
    command = [h2load, "-n", "2000", "-c", "3", "-m", "30", f"http://{host}:{port}/x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "2000 succeeded, 0 failed, 0 errored" in done.stdout, done.stdout


def test_the_socket_is_left_in_order(stage: Stage):
    """A client that leaves in the middle of many streams costs nothing that stays."""
    front = front_of(stage)
    gone = threading.Semaphore(0)

    def wait(conversation: Conversation, asked: Message) -> None:
        conversation.read_body(asked)
        assert conversation.read_head() is None
        gone.release()

    scripted(front, b"/slow", wait)
    with client(front) as http:
        for _ in range(20):
            http.ask("GET", "/slow")
        front.server.wait(lambda: len(front.server.requests) == 20)
        http.wire.socket.shutdown(socket.SHUT_RDWR)
    for _ in range(20):
        assert gone.acquire(timeout=WAIT_S)
    counters = front.balancer.counters()["workers"]
    assert counters["buffers_small"] == counters["buffers_large"] == 0
