"""Ejection at work: in virtual time with counters of a test, and with a whole fourseven."""

from __future__ import annotations

import asyncio
import socket
from array import array

from fourseven.control.ejection import Ejection
from fourseven.plan import BackendPlan, EjectionPlan, Plan, ServerPlan
from support.clock import play
from support.recorder import Conversation, Recorder
from support.service import Service, settled
from support.wire import Message


class Counters:
    """Slots whose numbers a test sets: answers, errors and nanoseconds for each."""

    def __init__(self, servers: int) -> None:
        self.rows = [0] * servers
        self.counted = array("Q", [0] * 3 * servers)
        self.forgiven: list[int] = []

    def slots_of(self, backend: str, addresses: tuple[str, ...]) -> array[int]:
        return array("I", [int(address) for address in addresses])

    def failing(self, slots: array[int], in_a_row: int) -> list[int]:
        return [at for at, slot in enumerate(slots) if self.rows[slot] >= in_a_row]

    def forgive(self, slot: int) -> None:
        self.rows[slot] = 0
        self.forgiven.append(slot)

    def tally(self, slots, before, window, kept) -> None:
        for at, slot in enumerate(slots):
            for i in range(3):
                now = self.counted[3 * slot + i]
                window[3 * at + i] = window[3 * at + i] * kept + now - before[3 * at + i]
                before[3 * at + i] = now

    def answer(self, slot: int, answers: int, errors: int = 0) -> None:
        self.counted[3 * slot] += answers
        self.counted[3 * slot + 1] += errors


def plan(*addresses: str, ejection: EjectionPlan | None) -> Plan:
    servers = tuple(map(ServerPlan, addresses))
    return Plan((), (BackendPlan("web", servers, "random", 1, ejection=ejection),))


def test_a_row_of_errors_and_a_rate():
    async def scene() -> None:
        said: list = []
        counters = Counters(4)
        counters.answer(3, 10_000, 10_000)  # long ago
        ejection = Ejection(lambda key, why: said.append((key[1], why)))
        options = EjectionPlan(time_ms=10_000, requests_min=50, interval_ms=1000)
        ejection.use(plan("0", "1", "2", "3", ejection=options), counters)
        await asyncio.sleep(2)
        assert said == []
        counters.rows[2] = 5
        await asyncio.sleep(0.15)
        assert said == [("2", "5 errors in a row")]
        for _ in range(3):
            for slot in (0, 1, 3):
                counters.answer(slot, 30, 20 if slot == 3 else 0)
            await asyncio.sleep(1)
        assert said[1:] == [("3", "67% errors, where others have 0%")]
        await asyncio.sleep(7.5)
        assert (said[2:], counters.forgiven) == ([("2", "")], [2])
        ejection.use(plan("0", "1", "2", "3", ejection=None), counters)
        assert said[3:] == [("3", "")]  # nobody asks for it any more
        await asyncio.sleep(60)
        assert len(said) == 4

    play(scene)


class Broken:
    """A server that answers 500 while it is told to."""

    def __init__(self, recorder: Recorder) -> None:
        self.broken = False
        self.asked = 0
        recorder.scripts[b"/"] = self.answer

    def answer(self, conversation: Conversation, request: Message) -> None:
        self.asked += 1
        conversation.read_body(request)
        status = b"500 Broken" if self.broken else b"200 OK"
        conversation.send(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)


def test_a_server_that_answers_with_errors_is_left_out_for_a_while():
    with Recorder("one") as one, Recorder("two") as two:
        servers = [Broken(one), Broken(two)]
        backend = {
            "servers": [one.address, two.address],
            "ejection": {"errors_in_a_row": 3, "time": "1s"},
        }
        listener = {"protocol": "http", "backend": "all"}
        config = {"listeners": {"web": listener}, "backends": {"all": backend}}
        with Service(config) as service:
            address = service.address()

            def ask() -> list[int]:
                """How many of ten requests each server got."""
                before = [server.asked for server in servers]
                for _ in range(10):
                    service.get(address)
                return [server.asked - was for server, was in zip(servers, before, strict=True)]

            assert ask() == [5, 5]
            servers[0].broken = True
            assert settled(lambda: ask() == [0, 10])
            assert settled(lambda: 'why="3 errors in a row"' in service.words())
            servers[0].broken = False
            assert settled(lambda: ask() == [5, 5])
            assert settled(lambda: "server.returned" in service.words())


def test_a_relay_counts_connections_that_cannot_be_made():
    with Recorder("one") as one, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        gone = f"127.0.0.1:{bound.getsockname()[1]}"
        backend = {"servers": [one.address, gone], "ejection": {"errors_in_a_row": 3}}
        listener = {"protocol": "tcp", "backend": "all"}
        config = {"listeners": {"web": listener}, "backends": {"all": backend}}
        with Service(config) as service:
            for _ in range(10):  # the other one takes over
                assert service.get(service.address()).status == 200
            assert settled(lambda: f"server={gone} why=" in service.words())
