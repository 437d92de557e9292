"""The reader of what a TLS server says in clear text, on OpenSSL's handshakes and on hand-made ones."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.protocols import probe
from fourseven.protocols.serverhello import FLIGHT_MAX, MESSAGE_ROOM, FlightEvent
from protocols.test_clienthello import block, extension, records
from support.tls import Authority

MORE, OVER = FlightEvent.FLIGHT_MORE, FlightEvent.FLIGHT_OVER
HELLO, TICKET = FlightEvent.FLIGHT_HELLO, FlightEvent.FLIGHT_TICKET
BROKEN, LONG = FlightEvent.FLIGHT_BROKEN, FlightEvent.FLIGHT_LONG
CHANGE = b"\x14\x03\x03\x00\x01\x01"


def message(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + block(3, content)


def hello(session: bytes = b"", *extensions: bytes, version: bytes = b"\x03\x03") -> bytes:
    tail = block(2, *extensions) if extensions else b""
    return message(2, version + bytes(32) + block(1, session) + b"\xc0\x2f\x00" + tail)


def ticket(content: bytes) -> bytes:
    return message(4, bytes(4) + block(2, content))


FULL = hello(b"s" * 32, extension(35, b"")) + message(11, bytes(3000)) + message(14, b"")
WHOLE = records(FULL) + records(ticket(b"t" * 180)) + CHANGE
# What is said, and what comes of it; the last event's position is left to the test.
HEARD = [
    ("a whole handshake", WHOLE, [(HELLO, 0x303, b"s" * 32), (TICKET, b"t" * 180), (OVER,)]),
    ("no session", records(hello()) + CHANGE, [(HELLO, 0x303, b""), (OVER,)]),
    ("TLS 1.0", records(hello(b"s", version=b"\x03\x01")), [(HELLO, 0x301, b"s"), (MORE,)]),
    ("TLS 1.3", records(hello(b"s", extension(43, b"\x03\x04"))), [(HELLO, 0x304, b"s"), (MORE,)]),
    (
        "nothing counts behind a hello of 1.3",
        records(hello(b"s", extension(43, b"\x03\x04")) + ticket(b"t")),
        [(HELLO, 0x304, b"s"), (OVER,)],
    ),
    ("no ticket after all", records(hello() + ticket(b"")), [(HELLO, 0x303, b""), (MORE,)]),
    ("a long ticket", records(hello() + ticket(bytes(5000))), [(HELLO, 0x303, b""), (MORE,)]),
    ("alert", b"\x15\x03\x03\x00\x02\x02\x28", [(OVER,)]),
    ("not TLS", b"SSH-2.0-x\r\n", [(BROKEN,)]),
    ("no version of TLS", b"\x16\x04\x03\x00\x02", [(BROKEN,)]),
    ("empty record", b"\x16\x03\x03\x00\x00", [(BROKEN,)]),
    ("record too long", b"\x16\x03\x03\x40\x01", [(BROKEN,)]),
    ("no hello first", records(message(11, b"abc")), [(BROKEN,)]),
    ("two hellos", records(hello() + hello()), [(HELLO, 0x303, b""), (BROKEN,)]),
    ("session of 33", records(hello(bytes(33))), [(BROKEN,)]),
    ("cut in its random", records(message(2, b"\x03\x03" + bytes(31))), [(BROKEN,)]),
    ("version 4", records(hello(version=b"\x04\x03")), [(BROKEN,)]),
    ("behind the extensions", records(message(2, hello(b"", b"")[4:] + b"\0")), [(BROKEN,)]),
    ("extension too long", records(hello(b"", b"\x00\x23\x00\x01")), [(BROKEN,)]),
    ("version of 3 bytes", records(hello(b"", extension(43, b"\x03\x04\x00"))), [(BROKEN,)]),
    ("1.2 said like 1.3", records(hello(b"", extension(43, b"\x03\x03"))), [(BROKEN,)]),
    ("hello beyond the room", records(hello(b"", extension(1, bytes(4096)))), [(LONG,)]),
    (
        "ticket too short",
        records(hello() + message(4, bytes(4) + b"\x00\x02a")),
        [(HELLO, 0x303, b""), (BROKEN,)],
    ),
    (
        "behind the ticket",
        records(hello() + message(4, bytes(4) + block(2, b"a") + b"b")),
        [(HELLO, 0x303, b""), (BROKEN,)],
    ),
]


@pytest.mark.parametrize(("data", "events"), [row[1:] for row in HEARD], ids=[r[0] for r in HEARD])
def test_heard(data: bytes, events: list[tuple[object, ...]]) -> None:
    found = probe.server_flight(data)
    assert [*found[:-1], found[-1][:1]] == events
    for step in (1, 2, 3, 7, 41):
        assert probe.server_flight(data, step) == found, "however it is cut"


def test_records_cut_anywhere() -> None:
    whole = probe.server_flight(WHOLE)[:-1]
    for size in (1, 4, 5, 37, 600):
        data = records(FULL, size) + records(ticket(b"t" * 180), size) + CHANGE
        assert probe.server_flight(data, 13)[:-1] == whole


def test_no_more_than_enough() -> None:
    endless = records(hello()) + records(message(11, bytes(FLIGHT_MAX)))
    events = probe.server_flight(endless)
    assert events[-1][0] == LONG
    assert FLIGHT_MAX < events[-1][1] <= FLIGHT_MAX + 16384
    largest = ticket(bytes(MESSAGE_ROOM - 10))
    assert [e[0] for e in probe.server_flight(records(hello() + largest))] == [HELLO, TICKET, MORE]


@given(st.binary(max_size=200), st.integers(1, 20))
def test_anything(data: bytes, step: int) -> None:
    for start in (b"", b"\x16\x03\x03\x00\xff", records(hello(b"a"))):
        assert probe.server_flight(start + data, step) == probe.server_flight(start + data)


@pytest.fixture(scope="module")
def pem(tmp_path_factory) -> str:
    made = Authority(tmp_path_factory.mktemp("serverhello"))
    made.issue("a.pem", "a.example")
    return str(made.folder / "a.pem")


@pytest.mark.parametrize("tickets", [True, False])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_openssl(pem: str, version: ssl.TLSVersion, tickets: bool) -> None:
    """A handshake and its resumption, in memory."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    server.options |= 0 if tickets else ssl.OP_NO_TICKET
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = version

    def shake(session: ssl.SSLSession | None) -> tuple[bytes, list, ssl.SSLSession]:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        there = server.wrap_bio(up, down, server_side=True)
        here_in, here_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        here = client.wrap_bio(here_in, here_out, session=session)
        first = said = b""
        done: set[object] = set()
        for _ in range(6):
            for side in (here, there):
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
                up.write(piece := here_out.read())
                first = first or piece
                said += (piece := down.read())
                here_in.write(piece)
        assert done == {here, there}
        assert here.session_reused == (session is not None)
        with contextlib.suppress(ssl.SSLWantReadError):
            there.unwrap()  # OpenSSL forgets a session that ends without
        return first, probe.server_flight(said, 100), here.session

    first, events, session = shake(None)
    assert probe.client_hello(first)["ticket"] == b""
    if version is ssl.TLSVersion.TLSv1_3:
        assert [event[:2] for event in events[:-1]] == [(HELLO, 0x304)]
        return
    given = dict(event[:1] + event[-1:] for event in events)
    assert len(given[HELLO]) == (0 if tickets else 32)
    assert (TICKET in given) == tickets
    second, events, _ = shake(session)
    shown = probe.client_hello(second)
    assert shown["ticket"] == (given[TICKET] if tickets else b"")
    assert events[0][2] == shown["session"] != b"", "it is said back"
    assert tickets or shown["session"] == given[HELLO]
