"""Where flows stand: places, homes and what is said of them agree, whatever comes and goes."""

from __future__ import annotations

import random
import threading

import pytest

from fourseven.l4 import scan
from fourseven.l4.bpf.kernel import Table
from fourseven.l4.bpf.layout import order
from fourseven.l4.kernel_plan import BY_HASH, MASQUERADE, TCP, UDP, End
from fourseven.l4.kernel_plane import FlowFilter
from fourseven.l4.program.slots import HOUSE, SPILLED, SPREAD, STREET, STREET_BITS, WINDOW
from fourseven.l4.program.tables import (
    BUSY,
    FLOWS,
    INDEX,
    IS_UDP,
    NEAR,
    SEED,
    TO_CLIENT,
    USED,
    places_for,
)
from fourseven.l4.sweep import Rows, wanted_bytes
from l4.test_states import ACK, CLIENT, FIN, RST, SERVERS, SYN, Talk, plan, service
from support.network import why_not
from support.one_way import Stage, one_way
from support.packets_l4 import segment

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")
ALL = (1 << 64) - 1


@pytest.fixture(scope="module", autouse=True)
def network():
    with one_way():
        yield


class Places:
    """The rows of IPv4 of a data path, read by the rules of slots.py written a second time."""

    def __init__(self, path: Stage) -> None:
        self.rows: Table = path.tables["flows4"]
        self.near: Table = path.tables["near4"]
        self.seed = path.tables["seed"].get(INDEX.pack(number=0))["number"]
        self.count = self.rows.form.size

    def used(self) -> dict[int, bytes]:
        state = FLOWS[4].find("state")
        found = {}
        for place in range(self.count):
            raw = self.rows.raw(INDEX.pack(number=place))
            word = int.from_bytes(raw[state.offset : state.offset + 4], order(state))
            assert not word & BUSY, "somebody stopped half way"
            if word & USED:
                found[place] = raw[:12] + bytes([UDP if word & IS_UDP else TCP, 0, 0])
                found[place] += bytes([word & TO_CLIENT])
        return found

    def homes(self, key: bytes) -> tuple[int, int]:
        """Of a key, in whose last byte stands which end is the client's."""
        number = lambda raw: int.from_bytes(raw, order(NEAR.find("homes")))  # noqa: E731
        end, whole = key[15], key[:15] + b"\0"
        address, port = key[4 * end : 4 * end + 4], key[8 + 2 * end : 10 + 2 * end]
        port = int.from_bytes(port, "big")
        street = self.home([number(address) << 32 | port >> STREET_BITS << 16 | key[12]])
        home = (street ^ port % STREET * HOUSE) % self.count
        return home, self.home([number(whole[:8]), number(whole[8:])])

    def home(self, parts: list[int]) -> int:
        mixed = (parts[0] ^ self.seed) * SPREAD & ALL
        for part in parts[1:]:
            mixed = (mixed ^ mixed >> 32 ^ part) * SPREAD & ALL
        mixed = (mixed ^ mixed >> 29) * SPREAD & ALL
        return mixed >> 64 - (self.count.bit_length() - 1)

    def said(self, home: int) -> int:
        return self.near.get(INDEX.pack(number=home >> 3))["homes"] >> 8 * (home & 7) & 0xFF

    def agree(self) -> dict[int, bytes]:
        """Every row is where one of its homes says, and nothing else is said."""
        used, meant = self.used(), set()
        for place, key in used.items():
            first, second = self.homes(key)
            behind = [(place - home) % self.count for home in (first, second)]
            said = [
                home
                for home, at in zip((first, second), behind, strict=True)
                if at < WINDOW and self.said(home) >> at & 1
            ]
            assert len(set(said)) == 1, (place, first, second)
            assert said[0] == first or self.said(first) & SPILLED
            meant.add((said[0], place))
        for home in range(self.count):
            for at in range(WINDOW):
                if self.said(home) >> at & 1:
                    assert (home, (home + at) % self.count) in meant, "nobody stands there"
        assert len(set(used.values())) == len(used), "a flow stands twice"
        return used


def test_places_and_what_is_said_of_them_agree_in_a_table_that_is_too_small():
    chance = random.Random(47)
    with Stage(plan(service(BY_HASH, mode=MASQUERADE, servers=SERVERS[:2]), flows_max=16)) as path:
        talk, places, open_ = Talk(path), Places(path), {}
        assert places.count == places_for(16) == 64
        for turn in range(400):
            client = End(CLIENT.address + chance.randrange(40), 4000)
            if client not in talk.flows():
                open_[client] = talk.open(client)
                assert talk.ask(ACK, client).source == open_[client].source
            elif chance.random() < 0.5:
                talk.ask(chance.choice((FIN, RST)), client)
            if turn % 40 == 20:
                places.agree()
            if turn % 80 == 60:
                talk.age(chance.choice((12, 62)))
                talk.sweep()
                places.agree()
        used = places.agree()
        assert len(used) == 2 * len(talk.flows()), "half a flow is left"
        active, new, closed, evicted = talk.counts()
        assert evicted > 0
        assert new == active + closed + evicted
        talk.age(400)
        talk.sweep()
        assert places.agree() == {}


def test_a_flow_that_is_not_at_home_is_found_and_cut():
    with Stage(plan(service(servers=SERVERS[:2]), flows_max=512)) as path:
        talk, places = Talk(path), Places(path)
        far = random.Random(47).sample(range(1 << 15), 128)  # neighbours hardly meet
        clients = [End(CLIENT.address + at, 4000) for at in far]
        asked = {client: talk.open(client) for client in clients}
        stand = places.agree().items()
        away = [key for place, key in stand if places.homes(key)[0] + key[15] != place]
        assert len(away) > 2
        for client, before in asked.items():
            after = talk.ask(ACK, client)
            assert after.destination == before.destination
        listed = {(f.client, f.packets_in, f.packets_out) for f in path.rows.flows()}
        assert listed == {(client, 2, 0) for client in clients}
        assert path.rows.cut(("all", SERVERS[0])) == 64
        assert len(places.agree()) == 128
        assert path.rows.sweep.numbers() == {
            path.rows.numbers[next(iter(path.rows.backends)), SERVERS[1]]
        }


def test_a_sweep_beside_packets_loses_nothing_and_leaves_nothing_half_done():
    """The control plane takes rows out of the very places that packets are taking."""
    with Stage(plan(service(BY_HASH, servers=SERVERS[:1]), flows_max=16)) as path:
        talk, places, done = Talk(path), Places(path), threading.Event()

        def cutting() -> None:
            while not done.is_set():
                path.rows.sweep.cut(0)

        other = threading.Thread(target=cutting)
        other.start()
        try:
            for i in range(1500):
                client = End(CLIENT.address + i % 50, 4000)
                asked = talk.ask(SYN, client)
                talk.pass_through(segment(asked.destination, asked.source, SYN | ACK, 8, 1))
                assert talk.ask(ACK, client) is not None
        finally:
            done.set()
            other.join()
        path.rows.sweep.cut(0)
        assert places.agree() == {}


def test_memory_that_does_not_fit_is_refused():
    with Stage(plan(service(), flows_max=16)) as path:
        of: Rows = path.rows.sweep.rows[0]
        whole = of.form, bytearray(64 * 64), bytes(64 * 8), bytearray(64)
        assert scan.mark(*whole, bytearray(8)) == 0
        for i, why in enumerate(("no form", "shorter", "shorter", "shorter")):
            short = [one if i != at else one[:-1] for at, one in enumerate(whole)]
            with pytest.raises(ValueError, match=why):
                scan.mark(*short, bytearray(8))
        with pytest.raises(ValueError, match="no power of two"):
            scan.mark((63).to_bytes(8, "little") + of.form[8:], *whole[1:], bytearray(8))
        with pytest.raises(ValueError, match="no filter"):
            scan.tell(b"", *whole, 0, 64, 0, 100, bytearray(256))
        with pytest.raises(ValueError, match="has ticks"):
            scan.tell(wanted_bytes(FlowFilter()), *whole, 0, 64, 0, 0, bytearray(256))
    assert SEED.size == 8
