"""What servers say of their load: how it is read, what becomes of it, and what clients see."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
from array import array

import pytest

from fourseven.control.load import Loads
from fourseven.health.load import Shares
from fourseven.l7.probe import load
from fourseven.plan import BackendPlan, LoadPlan, Plan, ServerPlan
from fourseven.snapshot.layout import LoadWord
from scenarios.test_resilience import backend, counted
from support.clock import play
from support.front import Stage
from support.http2_back import back_of
from support.http2_stage import client
from support.recorder import Conversation, Script
from support.wire import Message

X, ORCA = int(LoadWord.LOAD_X), int(LoadWord.LOAD_ORCA)
BAD = -1
MOST = 65536

NUMBERS = [
    (b"0", 0), (b"1", 1024), (b"0.5", 512), (b".5", 512), (b"0.25", 256), (b"2.", 2048),
    (b"00.5000", 512), (b"5e-1", 512), (b"5E-1", 512), (b"0.05e1", 512), (b"1e+0", 1024),
    (b"1e-30", 0), (b"64", MOST), (b"65", MOST), (b"1e30", MOST), (b"1e99999999999", MOST),
    (b"0e99999999999", 0), (b"1e-99999999999", 0), (b"9" * 400, MOST), (b"0." + b"9" * 400, 1023),
    (b"0." + b"0" * 400 + b"1", 0),
    (b"", BAD), (b"-1", BAD), (b"+1", BAD), (b"nan", BAD), (b"inf", BAD), (b"1_0", BAD),
    (b"1,5", BAD), (b"0x1", BAD), (b"1e", BAD), (b"1e+", BAD), (b"e5", BAD), (b".", BAD),
    (b"1.2.3", BAD), (b"1 ", BAD), (b" 1", BAD), (b"1\0", BAD), ("١".encode(), BAD),
]  # fmt: skip


@pytest.mark.parametrize(("text", "meant"), NUMBERS)
def test_a_number(text: bytes, meant: int):
    """The same in every form that carries it."""
    assert load(text, X) == meant
    if b"," not in text:  # there it ends the number
        assert load(b"TEXT application_utilization=" + text, ORCA) == meant
    if text and text[:1] not in b".0 " and text[-1:] not in b". ":
        assert load(b'JSON {"application_utilization": %s}' % text, ORCA) == meant


X_REPORTS = [(b"35%", 358), (b"100%", 1024), (b"250%", 2560), (b"%", BAD), (b"5%%", BAD)]
ORCA_REPORTS = [
    (b"TEXT cpu_utilization=0.5", 512),
    (b"TEXT cpu_utilization=0.5,application_utilization=0.25", 256),
    (b"TEXT application_utilization=0,cpu_utilization=0.5,mem_utilization=0.9", 512),
    (b"TEXT rps_fractional=100, cpu_utilization=0.5, eps=1", 512),
    (b"TEXT cpu_utilization=0.5,cpu_utilization=0.25", 256),
    (b"TEXT named_metrics.cpu_utilization=0.5", BAD),
    (b"TEXT cpu_utilizations=0.5", BAD),
    (b"TEXT cpu_utilization", BAD),
    (b"TEXT cpu_utilization=", BAD),
    (b"TEXT ,,,=,", BAD),
    (b"TEXT ", BAD),
    (b'JSON {"cpu_utilization": 0.5, "mem_utilization": 0.9}', 512),
    (b'JSON {"cpuUtilization": 0.5}', 512),
    (b'JSON {"applicationUtilization": 0.25, "cpuUtilization": 0.5}', 256),
    (b'JSON {"named_metrics": {"cpu_utilization": 0.9}, "cpu_utilization": 0.5}', 512),
    (b'JSON {"cpu_utilization": "0.5"}', 512),
    (b'JSON {"cpu_utilization": {}}', BAD),
    (b'JSON {"cpu_utilization": 0.5', BAD),
    (b"JSON {}", BAD),
    (b"JSON []", BAD),
    (b"JSON " + b"[" * 4000, BAD),
    (b"JSON " + b'{"a":' * 800, BAD),
    (b"BIN CQAAAAAAAOA/", 512),
    (b"cpu_utilization=0.5", BAD),
    (b"TEXT cpu_utilization=0.5" + b"," * 5000, BAD),
]


@pytest.mark.parametrize(("text", "meant"), X_REPORTS)
def test_a_plain_report(text: bytes, meant: int):
    assert load(text, X) == meant


@pytest.mark.parametrize(("text", "meant"), ORCA_REPORTS)
def test_an_orca_report(text: bytes, meant: int):
    assert load(text, ORCA) == meant


def double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def many(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


CPU, APPLICATION = double(1, 0.5), double(9, 0.25)
UTILIZATION = many(5, many(1, b"gpu") + double(2, 0.9))  # a row of a map
BINARY = [
    (CPU, 512),
    (APPLICATION, 256),
    (CPU + APPLICATION, 256),
    (APPLICATION + CPU, 256),
    (CPU + double(9, 0), 512),
    (double(1, 0), 0),
    (double(2, 0.9) + UTILIZATION + b"\x18\x80\x80\x01" + CPU + double(6, 1e6), 512),
    (b"\x1d\1\2\3\4" + CPU, 512),
    (b"\xf8\xff\xff\xff\x0f\x01" + CPU, 512),
    (double(1, 0.9) + CPU, 512),
    (double(9, 1e300), MOST),
    (double(9, math.inf), MOST),
    (double(9, math.nan), BAD),
    (double(9, -0.5), BAD),
    (double(9, -0.0), 0),
    (many(1, b"12345678"), BAD),
    (b"\x09" + bytes(7), BAD),
    (b"\x49", BAD),
    (b"\x2a\xff" + bytes(20), BAD),
    (b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", BAD),
    (b"\x18" + b"\xff" * 10, BAD),
    (b"\x0b" + CPU, BAD),
    (b"\x0f" + CPU, BAD),
    (b"\x00\x00" + CPU, BAD),
    (UTILIZATION, BAD),
]


@pytest.mark.parametrize(("message", "meant"), BINARY)
def test_a_report_in_protobuf(message: bytes, meant: int):
    text = base64.b64encode(message)
    assert load(b"BIN " + text, ORCA) == meant
    assert load(b"BIN " + text.rstrip(b"="), ORCA) == meant, "gRPC leaves the padding out"
    assert load(b"BIN SQAAAAAAAPA/, " + text, ORCA) == meant, "the last one counts"
    for size in range(len(message)):
        assert BAD <= load(b"BIN " + base64.b64encode(message[:size]), ORCA) <= MOST


@pytest.mark.parametrize("text", [b"", b"=", b"A", b"A===", b"CQ-_", b"!", b"A" * 4090, b",", b" "])
def test_no_report_in_base64(text: bytes):
    assert load(b"BIN " + text, ORCA) == BAD


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("passes", [False, True])
def test_a_report_in_trailers(stage: Stage, version: int, passes: bool):
    """Of a server of gRPC."""
    back = back_of(stage, backend={"load_reports": {"from": "orca", "pass": passes}})
    said = base64.b64encode(CPU).rstrip(b"=").decode()
    fields = (("endpoint-load-metrics-bin", said), ("grpc-status", "0"))
    back.server.scripts[b"/t"] = lambda call: call.head().data(b"body").tail(*fields)
    if version == 1:
        answer = back.balancer.ask(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
    else:
        with client(back) as http:
            answer = http.answer(http.ask("GET", "/t"))
    assert answer.body == b"body"
    kept = [(name.encode(), value.encode()) for name, value in fields][0 if passes else 1 :]
    assert answer.trailers == kept
    assert counted(back.balancer, "load_reports", "load_reports_bad") == [1, 0]
    back.server.scripts[b"/t"] = lambda call: call.head().data(b"").tail((fields[0][0], "much"))
    back.balancer.ask(b"GET /t HTTP/1.1\r\nHost: a\r\n\r\n")
    assert counted(back.balancer, "load_reports", "load_reports_bad") == [1, 1]


@pytest.mark.parametrize("text", [one for one, _ in ORCA_REPORTS if len(one) < 200])
def test_a_report_that_is_cut_off(text: bytes):
    """At any byte: it is read or it is not, and nothing else happens."""
    for size in range(len(text) + 1):
        assert BAD <= load(text[:size], ORCA) <= MOST


# ---- what follows ----


def test_shares_follow_what_servers_can_do():
    """One can do three times what the others can: in the end all are equally busy."""
    can = {"weak": 1.0, "fair": 1.0, "strong": 3.0}
    shares = Shares(LoadPlan())
    given = dict.fromkeys(can, 1000)
    for _ in range(60):
        all_of_it = sum(given.values())
        given = shares.step({one: 3 * given[one] / all_of_it / can[one] for one in can})
    assert given["strong"] == 1000
    assert given["weak"] == given["fair"]
    assert 320 <= given["weak"] <= 346


def test_shares_are_bounded_and_come_back():
    shares = Shares(LoadPlan(share_min=100))
    first = shares.step({"a": 60.0, "b": 0.1})
    assert first == {"a": 756, "b": 1000}, "a step is bounded"
    for _ in range(40):
        last = shares.step({"a": 60.0, "b": 0.1})
    assert last == {"a": 100, "b": 1000}
    for _ in range(40):
        last = shares.step({"a": None, "b": 0.1})
    assert last == {"a": 1000, "b": 1000}, "it says nothing any more"
    for _ in range(10):
        last = shares.step({"a": 0.04, "b": 0.001})
    assert last == {"a": 1000, "b": 1000}, "nobody is busy"
    assert shares.step({"a": 0.0, "b": 0.9, "new": None})["a"] == 1000
    assert shares.step({}) == {}


class Reports:
    def __init__(self) -> None:
        self.said: list[float | None] = [0.9, 0.3]

    def slots_of(self, backend: str, addresses: tuple[str, ...]) -> array[int]:
        return array("I", range(len(addresses)))

    def loads(self, slots: array[int], expires_ms: int) -> list[float | None]:
        return [self.said[slot] for slot in slots]


def test_who_listens_and_who_does_not_any_more():
    async def scene() -> None:
        told: dict[str, int] = {}
        reports = Reports()
        loads = Loads(lambda key, share: told.__setitem__(key[1], share))
        servers = (ServerPlan("0"), ServerPlan("1"))
        backend = BackendPlan("web", servers, "random", 1, load=LoadPlan())
        loads.use(Plan((), (backend,)), reports)
        await asyncio.sleep(5.5)
        assert told["1"] == 1000
        assert told["0"] < 700
        loads.use(Plan((), (BackendPlan("web", servers, "random", 1),)), reports)
        assert told == {"0": 1000, "1": 1000}
        loads.stop()

    play(scene)


# ---- with real servers ----


def saying(lines: bytes) -> Script:
    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.answer(b"x", headers=lines)

    return script


def test_clients_do_not_see_it(stage: Stage):
    lines = b"X-Load: 0.5\r\nEndpoint-Load-Metrics: TEXT cpu_utilization=0.25\r\nX-Loaded: 1\r\n"
    server = stage.server().on(b"", saying(lines + b"endpoint-load-metrics-bin: CQAAAAAAAOA/\r\n"))
    balancer = stage.balancer(backend([server.address], load_reports=True))
    answer = balancer.get("/")
    seen = [answer.get(name) for name in ("x-load", "endpoint-load-metrics", "x-loaded")]
    assert seen == [None, None, b"1"]
    assert answer.get("endpoint-load-metrics-bin") is None
    assert counted(balancer, "load_reports", "load_reports_bad") == [3, 0]
    (load,) = balancer.order("loads", "all", server.address)
    assert 0.25 < load < 0.5  # between the reports; it was rounded down to 0, so nobody was busy
    server.on(b"", saying(b"X-Load: much\r\n"))
    assert balancer.get("/").get("x-load") is None
    assert counted(balancer, "load_reports", "load_reports_bad") == [3, 1]

    listeners = {"listeners": balancer.config["listeners"]}
    only = {"from": "orca", "pass": True}
    balancer.reload(backend([server.address], load_reports=only) | listeners)
    server.on(b"", saying(lines))
    answer = balancer.get("/")
    assert answer.get("x-load") == b"0.5"
    assert answer.get("endpoint-load-metrics") == b"TEXT cpu_utilization=0.25"
    assert counted(balancer, "load_reports", "load_reports_bad") == [4, 1]
    balancer.reload(backend([server.address]) | listeners)
    assert balancer.get("/").get("x-load") == b"0.5"
    assert counted(balancer, "load_reports", "load_reports_bad") == [4, 1]
