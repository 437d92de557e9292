"""The access log as an operator meets it: lines in a file, through rotation, reload and hostility."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import Api
from support.recorder import Conversation, Recorder, whole_answer
from support.service import Service, answering, proxying, settled
from support.wire import Message, Wire

LOG = "log.jsonl"


def site(server: Recorder, **log: Any) -> dict[str, Any]:
    config = proxying(server.address, access_log={"to": LOG, **log})
    config["listeners"]["web"]["routes"] = [
        {"name": "own", "match": {"path": "/own"}, "filters": [{"respond": {"status": 204}}]},
        {"name": "all", "backend": "all"},
    ]
    return config


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder("server") as recorder:
        yield recorder


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    service = Service(answering("x"))
    yield service
    service.stop()


@pytest.fixture
def service(running: Service, server: Recorder) -> Service:
    """One for all tests, since it takes seconds to start; the log is new for each."""
    (running.folder / LOG).unlink(missing_ok=True)
    assert running.reload(answering("x"))["code"] == 0
    assert running.reload(site(server))["code"] == 0
    return running


def lines(service: Service, count: int, file: str = LOG) -> list[dict[str, Any]]:
    """The log's lines, once there are so many."""
    read = lambda: whole_lines(service.folder / file)  # noqa: E731
    assert settled(lambda: len(read()) >= count), read()
    assert len(read()) == count
    return [json.loads(line) for line in read()]


def whole_lines(path: Path) -> list[bytes]:
    """A reader may see the first part of what is being written."""
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def test_a_line_says_what_happened(service: Service, server: Recorder):
    host, port = service.address()
    with Wire((host, port)) as wire:
        wire.send(
            b'GET /a?b=%22 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test "one"\r\n'
            b"Referer: http://x/\r\nConnection: close\r\n\r\n"
        ).read(b"GET")
    (line,) = lines(service, 1)
    known = {key: line[key] for key in line if not key.endswith("_ms")}
    assert known.pop("time").endswith("Z")
    assert known.pop("client_port") > 0
    assert known.pop("bytes_in") > 80
    assert known.pop("bytes_out") > 30
    assert known == {
        "client": "127.0.0.1",
        "listener": "web",
        "route": "all",
        "backend": "all",
        "server": server.address,
        "method": "GET",
        "target": "/a?b=%22",
        "host": "shop.example",
        "user_agent": 'test "one"',
        "referer": "http://x/",
        "id": None,
        "protocol": "HTTP/1.1",
        "scheme": "http",
        "status": 200,
        "reason": None,
        "retries": 0,
        "trace_id": None,
        "span_id": None,
    }
    assert 0 < line["total_ms"] < 60_000
    assert line["connect_ms"] <= line["total_ms"]


def test_answers_of_our_own_have_a_reason(service: Service, server: Recorder):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens there
        config = site(server)
        config["backends"]["all"]["servers"] = [f"127.0.0.1:{held.getsockname()[1]}"]
        service.reload(config)
        service.get(service.address(), "/own")
        with Wire(service.address()) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").read(b"GET")
        service.get(service.address(), "/dead")
    found = {line["reason"]: (line["route"], line["status"]) for line in lines(service, 3)}
    assert found == {"action": ("own", 204), "fault": (None, 400), "connect": ("all", 502)}


REFUSALS = {  # by a filter of which route, with what
    "denied": ({"access": {"deny": "127.0.0.1"}}, 403),
    "password": ({"basic_auth": {"users": {"al": "$6$a$" + 86 * "."}}}, 401),
    "token": ({"jwt": {"secret": 32 * "s"}}, 401),
    "ask_failed": ({"forward_auth": {"backend": "nobody", "timeout": "20s"}}, 503),
    "injected": ({"fault": {"abort": {"share": "100%", "status": 404}}}, 404),
}


def test_each_refusal_has_its_own_reason(service: Service, server: Recorder):
    """The numbers of reasons have a gap: the log named those above it by others' names."""
    config = site(server)
    config["backends"]["nobody"] = {"servers": [{"address": server.address, "maintenance": True}]}
    config["listeners"]["web"]["routes"] = [
        {"name": name, "match": {"path": f"/{name}"}, "filters": [refuses], "backend": "all"}
        for name, (refuses, _) in REFUSALS.items()
    ]
    assert service.reload(config)["code"] == 0
    for name in REFUSALS:
        service.get(service.address(), f"/{name}")
    found = {
        line["route"]: (line["reason"], line["status"]) for line in lines(service, len(REFUSALS))
    }
    assert found == {name: (name, status) for name, (_, status) in REFUSALS.items()}


def test_the_time_in_the_queue(service: Service, server: Recorder):
    """It was nobody's: not the filters', not the server's."""
    go, waited_s = threading.Event(), 0.1

    def slow(conversation: Conversation, request: Message) -> None:
        conversation.hold(go)
        whole_answer(conversation, request)

    config = site(server.on(b"/slow", slow))
    config["backends"]["all"] = {
        "servers": [{"address": server.address, "max_in_flight": 1}],
        "queue": {"size": 1, "timeout": "20s"},
    }
    service.reload(config)
    api = Api(service.runtime / "admin.sock")
    waiting = lambda: api.get("/v1/backends/all")["counters"]["waiting"]  # noqa: E731
    ask = b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with Wire(service.address()) as first, Wire(service.address()) as second:
        first.send(ask % b"/slow")
        server.wait(lambda: server.heads)
        second.send(ask % b"/quick")
        assert settled(lambda: waiting() == 1)
        began = time.monotonic()
        assert settled(lambda: time.monotonic() - began > waited_s)
        go.set()
        assert (first.read(b"GET").status, second.read(b"GET").status) == (200, 200)
    found = {line["target"]: line for line in lines(service, 2)}
    assert found["/slow"]["queue_ms"] <= found["/slow"]["total_ms"] - 1000 * waited_s
    assert found["/quick"]["queue_ms"] >= 1000 * waited_s
    assert found["/quick"]["total_ms"] >= found["/quick"]["queue_ms"]


@pytest.mark.parametrize(
    ("agent", "logged"),
    [
        (b'"\\', '"\\'),
        ("grüße €😀".encode(), "grüße €😀"),
        (b"\xff\xc3(\xed\xa0\x80", "\xff\xc3(\xed\xa0\x80"),
        (b"\xf4\x90\x80\x80 \xc0\x80 \xe0\x80\x80 \xf0\x80\x80\x80", None),
        (b"a\tb", "a\tb"),
        (b"\xe2\x82", "\xe2\x82"),
    ],
)
def test_a_line_is_a_line_whatever_a_client_sends(service: Service, agent: bytes, logged: str):
    with Wire(service.address()) as wire:
        wire.send(b"GET /own HTTP/1.1\r\nHost: a\r\nUser-Agent: " + agent + b"\r\n\r\n").read(
            b"GET"
        )
    (line,) = lines(service, 1)
    assert line["user_agent"] == (logged or agent.decode("latin-1"))


def test_long_texts_are_cut_and_the_line_stays(service: Service):
    with Wire(service.address()) as wire:
        wire.send(
            b"GET /own?"
            + b"a" * 8000
            + b" HTTP/1.1\r\nHost: a\r\nUser-Agent: "
            + b"\x80" * 20_000
            + b"\r\n\r\n"
        ).read(b"GET")
    (line,) = lines(service, 1)
    assert len(line["target"]) == 8005
    assert line["user_agent"] == "\x80" * 8192


def test_rotation_loses_nothing(service: Service):
    with Wire(service.address()) as wire:
        ask = b"GET /own?%d HTTP/1.1\r\nHost: a\r\n\r\n"
        for n in range(200):
            if n == 100:
                (service.folder / LOG).rename(service.folder / "old")
                service.signal(signal.SIGUSR1)
            wire.send(ask % n).read(b"GET")
        assert settled(lambda: (service.folder / LOG).exists())
        wire.send(ask % 200).read(b"GET")

    def targets() -> list[str]:
        files = [service.folder / "old", service.folder / LOG]
        return [json.loads(line)["target"] for file in files for line in whole_lines(file)]

    assert settled(lambda: len(targets()) == 201), (len(targets()), service.words()[-600:])
    assert targets() == [f"/own?{n}" for n in range(201)]
    assert (service.folder / LOG).stat().st_mode & 0o007 == 0


def test_a_reload_changes_form_and_place(service: Service):
    service.get(service.address(), "/own")
    lines(service, 1)
    config = answering("x", routes=[{"filters": [{"respond": {"status": 204}}]}])
    template = "{status} {method} {target} {reason} {trace_id}"
    service.reload({**config, "access_log": {"to": "other", "format": template}})
    service.get(service.address(), "/b")
    other = service.folder / "other"
    assert settled(lambda: other.exists() and other.read_text().endswith("\n"))
    assert other.read_text() == "204 GET /b action -\n"
    lines(service, 1)
    service.reload(config)
    service.get(service.address(), "/c")
    service.reload({**config, "access_log": {"to": "other", "format": template}})
    service.get(service.address(), "/d")
    assert settled(lambda: "/d" in other.read_text())
    assert other.read_text().count("\n") == 2


def test_what_cannot_be_opened_refuses_the_file(service: Service):
    config = answering("x")
    answer = service.reload({**config, "access_log": "/nowhere/at/all"})
    assert "/nowhere/at/all" in answer["lines"][0]
    assert answer["code"] != 0
    assert service.get(service.address(), "/own").status == 204


def test_syslog(service: Service, tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as device:
        device.bind(str(tmp_path / "log"))
        device.settimeout(20)
        log = {"to": f"syslog:{tmp_path}/log", "format": "{status} {target}"}
        service.reload({**answering("x"), "access_log": log})
        service.get(service.address(), "/s")
        said = device.recv(4096).decode()
    head, _, rest = said.partition(" fourseven ")
    assert head.startswith("<134>1 2")
    assert rest.endswith(" - - 200 /s")


def came(device: socket.socket) -> bool:
    try:
        return b"/before" in device.recv(4096)
    except TimeoutError:
        return False


def test_a_syslog_that_is_started_late_and_anew(tmp_path: Path):
    """An engine starts without it. Later another socket stands behind its name; and one that nobody
    reads holds up no end."""
    place = tmp_path / "log"
    log = {"to": f"syslog:{place}", "format": "{status} {target}"}

    def device() -> socket.socket:
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bound.bind(str(place))
        bound.settimeout(20)
        return bound

    with Service({**answering("x"), "access_log": log}) as service, device() as first:
        address = service.address()
        first.settimeout(0.2)
        assert settled(lambda: service.get(address, "/before").status == 200 and came(first))
        first.close()
        place.unlink()
        service.get(address, "/lost")
        with device() as second, Wire(address) as wire:
            service.get(address, "/after")
            while b"/after" not in second.recv(4096):
                pass  # `/lost` may have waited so long
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
            assert all(wire.read(b"GET").status == 200 for _ in range(1000))
            service.signal(signal.SIGTERM)
            assert service.wait() == 0


def test_a_log_that_nobody_reads_stops_nobody_and_the_end_writes_what_it_can(tmp_path: Path):
    """A full pipe: requests go on, and what the ring does not hold is dropped and counted."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    service = Service({**answering("x"), "access_log": str(pipe), "workers": 1})
    try:
        ask = b"GET /" + b"a" * 4000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        with Wire(service.address()) as wire:
            for _ in range(25):
                wire.send(ask * 60)
                for _ in range(60):
                    assert wire.read(b"GET").status == 200
        os.set_blocking(reader, True)
        service.signal(signal.SIGTERM)
        with open(reader, "rb") as stream:
            whole = stream.read().splitlines()
        assert service.wait() == 0
        assert 500 < len(whole) < 1500
        assert all(json.loads(line)["status"] == 200 for line in whole)
    finally:
        service.stop()
