"""TLS at a listener: handshakes, certificates, tickets, client certificates, and every bad end."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

from support.balancer import site
from support.front import GOOD, Front, Stage
from support.recorder import Conversation
from support.service import Service, answering, settled
from support.tls import Authority, TlsWire, self_made
from support.wire import CLOSED, OPEN, RESET, Message, Wire

MIB = 1024 * 1024
HOST = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"


@pytest.fixture(scope="session")
def leaf(authority: Authority) -> str:
    return authority.issue("a.pem", "a.example")


def tls_front(stage: Stage, *certificates: str, workers: int = 1, **tls) -> Front:
    more = {key: tls.pop(key) for key in list(tls) if key not in TLS_KEYS}
    return stage.front(workers=workers, tls={"certificates": list(certificates), **tls}, **more)


TLS_KEYS = {"profile", "min_version", "ciphers", "suites", "curves", "client_certificates"}


def tls(front: Front, context: ssl.SSLContext, **more) -> TlsWire:
    return TlsWire(front.balancer.address, context, **more)


def refused(front: Front, context: ssl.SSLContext, **more) -> bool:
    """Whether TLS fails, in the handshake or (TLS 1.3, client certificates) at the first read."""
    try:
        with tls(front, context, **more) as wire:
            wire.socket.sendall(HOST)
            wire.socket.recv(1)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


# ---- handshakes ----


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_requests_behind_tls(stage: Stage, authority: Authority, leaf: str, version: str):
    front = tls_front(stage, leaf)
    with tls(front, authority.context(version)) as wire:
        assert wire.socket.version() == f"TLSv{version}"
        for _ in range(3):
            assert wire.send(HOST).read().body == b"server"
    request = front.server.requests[0]
    assert request.get("x-forwarded-proto") == b"https"
    assert front.balancer.counters()["workers"]["tls_handshakes"] == 1


def test_the_scheme_is_known_to_templates(stage: Stage, authority: Authority, leaf: str):
    routes = [{"filters": {"respond": {"body": "{scheme}"}}}]
    with tls(tls_front(stage, leaf, routes=routes), authority.context()) as wire:
        assert wire.send(HOST).read().body == b"https"


def test_alpn(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf)
    context = authority.context()
    context.set_alpn_protocols(["spdy/3", "http/1.1"])
    with tls(front, context) as wire:
        assert wire.socket.selected_alpn_protocol() == "http/1.1"
    context.set_alpn_protocols(["spdy/3"])
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        tls(front, context)


def test_curl(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf)
    host, port = front.balancer.address
    curl = shutil.which("curl")
    assert curl, "curl is missing: apt install curl"
    command = [curl, "-sS", "--noproxy", "*", "--cacert", str(authority.pem), "--resolve"]
    url = f"https://a.example:{port}/x"
    done = subprocess.run([*command, f"a.example:{port}:{host}", url], capture_output=True)
    assert (done.stdout, done.stderr) == (b"server", b"")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_handshake_and_a_request_byte_by_byte(
    stage: Stage, authority: Authority, leaf: str, version: str
):
    """Every record is met in halves, and several come at once."""
    front = tls_front(stage, leaf)
    came, went = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = authority.context(version).wrap_bio(came, went, server_hostname="a.example")
    with front.wire() as wire:
        turn(wire, came, went, inside.do_handshake)
        inside.write(HOST)
        inside.write(HOST)
        answer = b""
        while answer.count(b"server") < 2:
            answer += turn(wire, came, went, lambda: inside.read(65536))


def turn(wire: Wire, came: ssl.MemoryBIO, went: ssl.MemoryBIO, step) -> bytes:
    """Runs the step, and each time that it wants bytes, sends what it has said byte by byte."""
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            wire.send_each(bytes([byte]) for byte in went.read())
            came.write(wire.receive())


@pytest.mark.parametrize(
    "profile,version,good",
    [
        ({}, "1.2", True),
        ({"profile": "modern"}, "1.2", False),
        ({"profile": "modern"}, "1.3", True),
        ({"min_version": "1.3"}, "1.2", False),
    ],
)
def test_versions(stage: Stage, authority: Authority, leaf: str, profile, version, good):
    front = tls_front(stage, leaf, **profile)
    assert refused(front, authority.context(version)) is not good


def test_a_cipher_of_the_file(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305")
    with tls(front, authority.context("1.2")) as wire:
        assert wire.socket.cipher()[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"


def test_a_suite_of_the_file(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf, suites=["TLS_CHACHA20_POLY1305_SHA256"])
    with tls(front, authority.context("1.3")) as wire:
        assert wire.socket.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"


def test_plain_http_on_a_tls_port(stage: Stage, leaf: str):
    front = tls_front(stage, leaf)
    with front.wire() as wire:
        answer = wire.send(GOOD).read()
        assert answer.status == 400
        assert b"https" in answer.body
        assert wire.ended()
    assert front.balancer.counters()["workers"]["tls_failed"] == 1
    assert not front.server.heads


def test_tls_on_a_plain_port(stage: Stage, authority: Authority):
    front = stage.front()
    with pytest.raises(ssl.SSLError):
        tls(front, authority.context())
    came, went = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = authority.context().wrap_bio(came, went, server_hostname="a.example")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    with front.wire() as wire:
        assert wire.send(went.read()).read().status == 400


@pytest.mark.parametrize("said", [b"\x16\x03\x01\x00\x05hello", b"\x00" * 300, b"\x80\x2e\x01\x00"])
def test_what_is_no_handshake_is_closed(stage: Stage, leaf: str, said: bytes):
    front = tls_front(stage, leaf)
    with front.wire() as wire:
        wire.send(said).finish()
        wire.read_to_end()
        assert wire.end in (CLOSED, RESET)


def test_a_handshake_that_stops_is_closed(stage: Stage, leaf: str):
    front = tls_front(stage, leaf, head_timeout="300ms")
    with front.wire() as wire:
        assert wire.send(b"\x16\x03\x01\x02\x00\x01").ended()
    with front.wire() as wire:
        wire.send(b"\x16\x03\x01\x02\x00\x01")
        wire.reset()

    def failed() -> int:
        return front.balancer.counters()["workers"]["tls_failed"]

    assert settled(lambda: failed() >= 2)
    assert failed() == 2


def test_no_renegotiation(stage: Stage, authority: Authority, leaf: str):
    host, port = tls_front(stage, leaf).balancer.address
    openssl = shutil.which("openssl")
    assert openssl, "openssl is missing: apt install openssl"
    command = [openssl, "s_client", "-connect", f"{host}:{port}", "-tls1_2"]
    done = subprocess.run(command, input=b"R\n", capture_output=True, timeout=20)
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stderr.lower()


# ---- certificates by name ----


def shown(front: Front, context: ssl.SSLContext, name: str | None) -> set[str]:
    context.check_hostname = False
    with tls(front, context, name=name) as wire:
        names = wire.socket.getpeercert()["subjectAltName"]
        return {text for _, text in names}


def test_the_name_chooses_the_certificate(stage: Stage, authority: Authority):
    front = tls_front(
        stage,
        authority.issue("one.pem", "one.example"),
        authority.issue("star.pem", "*.b.example"),
        authority.issue("exact.pem", "x.b.example"),
    )
    context = authority.context()
    table = {
        "one.example": "one.example",
        "ONE.Example": "one.example",
        "y.b.example": "*.b.example",
        "x.b.example": "x.b.example",
        "b.example": "one.example",
        "z.y.b.example": "one.example",
        "other.example": "one.example",
        None: "one.example",
    }
    for name, wanted in table.items():
        assert shown(front, context, name) == {wanted}, name


def test_ecdsa_and_rsa_side_by_side(stage: Stage, authority: Authority):
    front = tls_front(
        stage,
        authority.issue("ec.pem", "a.example"),
        authority.issue("rsa.pem", "a.example", kind="RSA"),
    )
    for cipher in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"):
        context = authority.context("1.2")
        context.set_ciphers(cipher)
        with tls(front, context) as wire:
            assert wire.socket.cipher()[0] == cipher


def test_a_host_that_the_certificate_does_not_cover(stage: Stage, authority: Authority):
    front = tls_front(
        stage,
        authority.issue("two.pem", "a.example", "a2.example"),
        authority.issue("c.pem", "c.example"),
    )
    asked = b"GET /x HTTP/1.1\r\nHost: %s\r\n\r\n"
    for host, status in [(b"a.example:99", 200), (b"a2.example", 200), (b"c.example", 421)]:
        with tls(front, authority.context()) as wire:
            assert wire.send(asked % host).read().status == status, host
    assert [r.get("host") for r in front.server.requests] == [b"a.example:99", b"a2.example"]
    with tls(front, authority.context(), name=None) as wire:  # no name, so nothing is broken
        assert wire.send(asked % b"10.0.0.1").read().status == 200


# ---- tickets ----


def ticket(front: Front, context: ssl.SSLContext, session=None) -> tuple[ssl.SSLSession, bool]:
    with tls(front, context, session=session) as wire:
        assert wire.send(HOST).read().status == 200  # TLS 1.3 brings the ticket with it
        return wire.socket.session, wire.socket.session_reused


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_ticket_is_good_at_every_worker_and_over_a_reload(
    stage: Stage, authority: Authority, leaf: str, version: str
):
    front = tls_front(stage, leaf, workers=2)
    context = authority.context(version)
    session, reused = ticket(front, context)
    assert not reused
    for turn in range(12):
        if turn == 6:
            front.balancer.reload(front.balancer.config)
        shown = session
        session, reused = ticket(front, context, shown)
        assert reused, turn
        if version == "1.3":  # a client uses each ticket once, so it got another
            assert session != shown, turn
    counted = front.balancer.counters()["workers"]
    assert counted["tls_resumed"] == 12
    assert counted["tls_handshakes"] == 13


def test_keys_rotate(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf)
    context = authority.context("1.2")
    session, _ = ticket(front, context)
    for _ in range(2):
        front.balancer.order("rotate_tickets")
        assert ticket(front, context, session)[1]
    front.balancer.order("rotate_tickets")
    assert not ticket(front, context, session)[1]
    for _ in range(9):
        front.balancer.order("rotate_tickets")  # the oldest are wiped
    session, _ = ticket(front, context)
    assert ticket(front, context, session)[1]


def test_a_ticket_belongs_to_its_listener(stage: Stage, authority: Authority, leaf: str):
    server = stage.server()
    config = site(server.address, tls={"certificates": [leaf]})
    config["listeners"]["other"] = dict(config["listeners"]["web"])
    balancer = stage.balancer(config)
    context = authority.context("1.2")
    session, _ = ticket(Front(server, balancer), context)
    for name, reused in (("web", True), ("other", False)):
        with TlsWire(balancer.addresses[name], context, session=session) as wire:
            assert wire.socket.session_reused is reused, name
            assert wire.send(HOST).read().status == 200


# ---- client certificates ----


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("mode", ["required", "optional"])
def test_client_certificates(
    stage: Stage, authority: Authority, leaf: str, mode, version, tmp_path
):
    front = tls_front(stage, leaf, client_certificates={"ca": str(authority.pem), "mode": mode})
    good = authority.issue("client.pem", "client.example")
    late = authority.expired("late.pem", "late.example")
    with tls(front, authority.context(version, certificate=good)) as wire:
        assert wire.send(HOST).read().status == 200
    assert refused(front, authority.context(version)) is (mode == "required")
    assert refused(front, authority.context(version, certificate=late))
    foreign = authority.context(version, certificate=self_made(tmp_path))
    if version == "1.2" and mode == "optional":
        # Python shows no certificate that the server's list of authorities does not ask for.
        refused(front, foreign)
    else:
        assert refused(front, foreign)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_who_must_show_a_certificate_shows_it_each_time(
    stage: Stage, authority: Authority, leaf: str, version: str
):
    front = tls_front(stage, leaf, client_certificates={"ca": str(authority.pem)})
    context = authority.context(version, certificate=authority.issue("client.pem", "c.example"))
    session, _ = ticket(front, context)
    if session is not None:
        assert not ticket(front, context, session)[1]
    assert front.balancer.counters()["workers"]["tls_resumed"] == 0


# ---- bodies and ends ----


def test_a_hundred_mib_each_way(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf)
    piece = hashlib.sha256(b"x").digest() * 32768
    wanted = hashlib.sha256()
    for _ in range(100):
        wanted.update(piece)
    seen = []

    def echo(conversation: Conversation, request: Message) -> None:
        seen.append(hashlib.sha256(conversation.read_body(request)).digest())
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (100 * MIB))
        for _ in range(100):
            conversation.send(piece)

    front.server.on(b"/echo", echo)
    with tls(front, authority.context(), receive_buffer=65536, timeout_s=60) as wire:
        wire.send(
            b"POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % (100 * MIB)
        )
        for _ in range(100):
            wire.send(piece)
        wire.read_head()
        got = hashlib.sha256()
        for _ in range(1600):
            got.update(wire.take(65536))
    assert seen == [wanted.digest()]
    assert got.digest() == wanted.digest()
    assert front.balancer.memory_kib() < 200 * 1024


def test_a_slow_reader_loses_nothing(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf)
    body = hashlib.sha256(b"y").digest() * 65536
    front.server.on(b"/x", lambda conversation, request: conversation.answer(body))
    with tls(front, authority.context(), receive_buffer=4096) as wire:
        wire.send(HOST).read_head()
        front.server.settle()  # the server has said what it can: the balancer is full
        assert wire.take(len(body)) == body


@pytest.mark.parametrize("size", [0, 1, 16000, 16384, 16385, 65536, 69000, 200_000])
def test_answers_of_every_size(stage: Stage, authority: Authority, leaf: str, size: int):
    front = tls_front(stage, leaf)
    body = b"z" * size
    front.server.on(b"/x", lambda conversation, request: conversation.answer(body))
    with tls(front, authority.context()) as wire:
        for _ in range(3):
            assert wire.send(HOST).read().body == body


def test_close_notify_ends_an_answer_without_a_length(
    stage: Stage, authority: Authority, leaf: str
):
    front = tls_front(stage, leaf)
    with tls(front, authority.context()) as wire:
        answer = wire.send(b"GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n").read()
        assert answer.body == b"server"
        assert wire.ended()
        assert wire.end == CLOSED


def test_an_answer_that_breaks_off_is_no_end(stage: Stage, authority: Authority, leaf: str):
    """HTTP/1.0: the close is the end of the body, so a broken body must end without close_notify."""
    front = tls_front(stage, leaf)

    begun = threading.Event()

    def broken(conversation: Conversation, request: Message) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        conversation.send(head + b"5\r\nhello\r\n")
        conversation.hold(begun)
        conversation.send(b"zz\r\n")

    front.server.on(b"/x", broken)
    with tls(front, authority.context()) as wire:
        wire.send(b"GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n").read_head()
        assert wire.take(5) == b"hello"
        begun.set()
        wire.read_to_end()
        assert wire.end == RESET


def test_a_body_that_ends_without_close_notify_never_arrives(
    stage: Stage, authority: Authority, leaf: str
):
    front = tls_front(stage, leaf)
    wire = tls(front, authority.context())
    wire.send(b"POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello")
    front.server.wait(lambda: front.server.heads)
    wire.socket.shutdown(socket.SHUT_WR)  # a FIN, and no close_notify
    front.server.wait(lambda: front.server.gone(b"/x"))
    assert front.server.requests == []
    wire.socket.close()


@pytest.mark.parametrize("cut", [1, 5, 6, 20])
def test_half_a_record_and_a_reset(stage: Stage, authority: Authority, leaf: str, cut: int):
    front = tls_front(stage, leaf)
    came, went = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = authority.context().wrap_bio(came, went, server_hostname="a.example")
    wire = front.wire()
    while True:
        try:
            inside.do_handshake()
            break
        except ssl.SSLWantReadError:
            wire.send(went.read())
            came.write(wire.receive())
    inside.write(HOST)
    whole = went.read()
    wire.send(whole[:-cut])
    wire.reset()
    with tls(front, authority.context()) as other:
        assert other.send(HOST).read().status == 200
    assert len(front.server.requests) == 1


def test_upgrade_behind_tls(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf)

    def echo(conversation: Conversation, request: Message) -> None:
        conversation.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        )
        conversation.send(conversation.take(300_000))
        conversation.close()

    front.server.on(b"/x", echo)
    with tls(front, authority.context()) as wire:
        wire.send(HOST[:-2] + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n")
        assert wire.read_head().status == 101
        data = b"0123456789" * 30_000
        assert wire.send(data).take(300_000) == data
        assert wire.ended()


def test_too_many_clients_are_closed(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf, connections_max=1)
    with tls(front, authority.context()) as first:
        first.send(HOST).read()
        with Wire(front.balancer.address) as second:
            assert second.send(b"\x16\x03\x01").ended()


def test_a_drain_finishes_what_runs(stage: Stage, authority: Authority, leaf: str):
    front = tls_front(stage, leaf)
    with tls(front, authority.context()) as idle:
        assert idle.send(HOST).read().status == 200
        assert idle.end == OPEN
        front.balancer.order("drain")
        assert idle.ended()
        assert idle.end == CLOSED


# ---- hostile vectors, through TLS ----

HOSTILE = [
    (400, b"POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, b"POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (400, b"GET /x HTTP/1.1\nHost: a.example\n\n"),
    (400, b"GET /x HTTP/1.1\r\nHost : a.example\r\n\r\n"),
    (400, b"GET /x HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n"),
    (400, b"GET /x HTTP/1.1\r\n\r\n"),
    (400, b"GET /x HTTP/1.1\r\nHost: a.example\r\nX: a\0b\r\n\r\n"),
    (400, b"GET /%00 HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    (405, b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("status,sent", HOSTILE)
def test_what_is_refused_is_refused_behind_tls(
    stage: Stage, authority: Authority, leaf: str, status: int, sent: bytes
):
    front = tls_front(stage, leaf)
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    with tls(front, authority.context()) as wire:
        assert wire.send(sent + smuggled).read().status == status
        assert wire.ended()
        assert wire.end == CLOSED
    with tls(front, authority.context()) as wire:
        assert wire.send_each(bytes([byte]) for byte in sent).read().status == status
    assert front.server.heads == []


# ---- the files ----


def test_renewed_certificates_come_into_force(authority: Authority, tmp_path):
    """`fourseven run` notices; the connection that is open stays."""
    own = Authority(tmp_path)
    path = own.issue("own.pem", "a.example", "old.example")
    with Service(answering("hello", tls={"certificates": [path]})) as running:
        before = TlsWire(running.address(), own.context())
        assert before.send(HOST).read().body == b"hello"
        own.issue("own.pem", "a.example", "new.example")
        until = 200
        while "new.example" not in str(names_at(running, own)):
            until -= 1
            assert until, running.log.read_text()
        (tmp_path / "own.pem").write_text("not a certificate")
        while "certificates.kept" not in running.log.read_text():
            until -= 1
            assert until, running.log.read_text()
            assert "new.example" in str(names_at(running, own))
        assert before.send(HOST).read().body == b"hello"
        before.close()


def names_at(running: Service, own: Authority) -> object:
    with TlsWire(running.address(), own.context()) as wire:
        threading.Event().wait(0.05)  # a step: nothing tells a client of a renewal
        return wire.socket.getpeercert()["subjectAltName"]
