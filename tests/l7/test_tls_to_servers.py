"""TLS to servers: who is believed and who is not, what is kept between requests, every bad end."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from support.balancer import site
from support.front import Front, Stage
from support.recorder import Conversation
from support.service import Service, settled
from support.tls import Authority, TlsConversation, TlsRecorder, TlsWire, self_made
from support.wire import RESET, Message

ASK = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
NAME = "server.example"


@pytest.fixture(scope="session")
def proof(authority: Authority) -> str:
    return authority.issue("server.pem", NAME, "127.0.0.1")


def secured(stage: Stage, authority: Authority, context: ssl.SSLContext, **more) -> Front:
    """A balancer whose one server speaks TLS; the options are those of the backend's `tls`."""
    server = TlsRecorder(context)
    stage.servers.append(server)
    said = {"ca": str(authority.pem), "name": NAME, **more}
    config = site(server.address)
    config["backends"]["all"]["tls"] = {k: v for k, v in said.items() if v is not None}
    return Front(server, stage.balancer(config))


def faults(front: Front) -> dict[str, int]:
    counted = front.balancer.counters()["workers"]["tls_server_faults"]
    return {name: n for name, n in counted.items() if n}


def server_row(front: Front) -> dict[str, int]:
    return next(iter(front.balancer.counters()["servers"].values()))


# ---- who is believed ----


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_requests_to_a_server_behind_tls(stage: Stage, authority, proof, version: str):
    front = secured(stage, authority, authority.server_context(proof, version))
    with front.wire() as wire:
        for _ in range(3):
            assert wire.send(ASK).read().body == b"server"
    assert len(front.server.greeted) == 1  # the pool keeps the connection, and its TLS
    assert front.server.greeted[0].secure.version() == f"TLSv{version}"
    row = server_row(front)
    assert (row["tls_handshakes"], row["tls_failed"], row["requests"]) == (1, 0, 3)


def test_the_servers_address_is_its_name(stage: Stage, authority, proof):
    front = secured(stage, authority, authority.server_context(proof), name=None)
    assert front.balancer.get().body == b"server"


def test_sni_and_alpn(stage: Stage, authority, proof):
    asked = []
    context = authority.server_context(proof)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    context.set_alpn_protocols(["http/1.1"])
    for more in ({}, {"sni": "other.example"}, {"name": "127.0.0.1"}):
        front = secured(stage, authority, context, **more)
        assert front.balancer.get().body == b"server"
        assert front.server.greeted[0].secure.selected_alpn_protocol() == "http/1.1"
    assert asked == [NAME, "other.example", None]


def untrusted(authority: Authority, tmp_path: Path) -> str:
    return Authority(tmp_path).issue("u.pem", NAME)


BAD = {
    "name": lambda authority, tmp_path: authority.issue("n.pem", "other.example"),
    "expired": lambda authority, tmp_path: authority.expired("e.pem", NAME),
    "authority": untrusted,
}


@pytest.mark.parametrize("why", [*BAD, "self made"])
def test_who_is_not_believed(stage: Stage, authority, tmp_path, why: str):
    """Not a byte of the request reaches it, and both the client and the counters know why."""
    file = self_made(tmp_path) if why == "self made" else BAD[why](authority, tmp_path)
    front = secured(stage, authority, authority.server_context(file))
    answer = front.balancer.get()
    assert answer.status == 502
    assert b"certificate of the server" in answer.body
    why = "authority" if why == "self made" else why
    assert faults(front) == {why: 1}
    assert server_row(front)["tls_failed"] == 1
    assert front.server.greeted == []
    assert front.server.received == b""


def test_a_common_name_is_no_name(stage: Stage, authority, tmp_path):
    file = authority.issue("cn.pem", "other.example", common_name=NAME)
    front = secured(stage, authority, authority.server_context(file))
    assert front.balancer.get().status == 502
    assert set(faults(front)) == {"name"}


def test_an_address_that_the_certificate_does_not_hold(stage: Stage, authority):
    file = authority.issue("no-ip.pem", NAME)
    front = secured(stage, authority, authority.server_context(file), name=None)
    assert front.balancer.get().status == 502
    assert set(faults(front)) == {"name"}


def test_verification_is_off_only_by_its_word(stage: Stage, authority, tmp_path):
    file = self_made(tmp_path)
    front = secured(stage, authority, authority.server_context(file), relax=["verification"])
    assert front.balancer.get().status == 200


def test_the_systems_authorities_are_the_default(stage: Stage, authority, proof):
    front = secured(stage, authority, authority.server_context(proof), ca=None)
    assert front.balancer.get().status == 502
    assert set(faults(front)) == {"authority"}


def test_versions(stage: Stage, authority, proof):
    context = authority.server_context(proof, "1.2")
    front = secured(stage, authority, context, min_version="1.3")
    answer = front.balancer.get()
    assert (answer.status, set(faults(front))) == (502, {"version"})
    assert b"no TLS version in common" in answer.body


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("shown", [True, False])
def test_our_own_certificate(stage: Stage, authority, proof, version, shown):
    context = authority.server_context(proof, version)
    context.load_verify_locations(authority.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = authority.issue("balancer.pem", "balancer.example") if shown else None
    front = secured(stage, authority, context, certificate=mine)
    answer = front.balancer.get()
    if shown:
        assert answer.status == 200
        assert "balancer.example" in str(front.server.greeted[0].secure.getpeercert())
    else:
        assert answer.status == 502
        assert set(faults(front)) == {"refused"}
        assert b"refused the TLS connection" in answer.body


# ---- bad ends ----


def test_a_server_without_tls(stage: Stage, authority):
    plain = socket.create_server(("127.0.0.1", 0))
    config = site(f"127.0.0.1:{plain.getsockname()[1]}")
    config["backends"]["all"]["tls"] = {"ca": str(authority.pem), "name": NAME}
    balancer = stage.balancer(config)
    talker = threading.Thread(target=talk_plain, args=(plain,))
    talker.start()
    answer = balancer.get()
    talker.join()
    plain.close()
    assert answer.status == 502
    assert b"does not speak TLS" in answer.body


def talk_plain(listening: socket.socket) -> None:
    connected, _ = listening.accept()
    connected.recv(65536)
    connected.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    connected.close()


def test_a_handshake_that_never_ends(stage: Stage, authority):
    silent = socket.create_server(("127.0.0.1", 0))
    config = site(f"127.0.0.1:{silent.getsockname()[1]}")
    tls = {"ca": str(authority.pem), "name": NAME}
    config["backends"]["all"].update(tls=tls, connect_timeout="200ms", retries=0)
    balancer = stage.balancer(config)
    answer = balancer.get()
    assert answer.status == 504
    assert b"took too long" in answer.body
    counted = balancer.counters()["workers"]["tls_server_faults"]
    assert counted["time"] == 1
    silent.close()


def test_a_server_that_breaks_off_is_followed_by_another(stage: Stage, authority, proof):
    good = TlsRecorder(authority.server_context(proof), "good")
    stage.servers.append(good)
    rude = socket.create_server(("127.0.0.1", 0))
    config = site(f"127.0.0.1:{rude.getsockname()[1]}", good.address)
    config["backends"]["all"]["tls"] = {"ca": str(authority.pem), "name": NAME}
    balancer = stage.balancer(config)
    stop = threading.Event()

    def slam() -> None:
        rude.settimeout(0.05)
        while not stop.is_set():
            try:
                connected, _ = rude.accept()
            except TimeoutError:
                continue
            connected.settimeout(5)
            connected.recv(1)
            connected.close()

    slammer = threading.Thread(target=slam)
    slammer.start()
    try:
        body = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        for _ in range(4):
            assert balancer.ask(body).body == b"good"  # nothing was sent: even a POST may go on
    finally:
        stop.set()
        slammer.join()
        rude.close()
    counted = balancer.counters()["workers"]
    assert counted["tls_server_faults"]["reset"] >= 1
    assert all(request.body == b"hello" for request in good.requests)


def test_an_answer_that_ends_without_close_notify_is_broken(stage: Stage, authority, proof):
    """RFC 8446 6.1: whoever cuts the line must not be able to shorten an answer."""

    def cut(conversation: Conversation, request: Message) -> None:
        conversation.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
        assert isinstance(conversation, TlsConversation)
        if request.target == b"/whole":
            conversation.hang_up()
        conversation.socket.close()

    front = secured(stage, authority, authority.server_context(proof))
    front.server.on(b"/cut", cut).on(b"/whole", cut)
    with front.wire() as wire:
        answer = wire.send(b"GET /whole HTTP/1.1\r\nHost: a\r\n\r\n").read()
        assert answer.body == b"half"
    with front.wire() as wire:
        wire.send(b"GET /cut HTTP/1.0\r\nHost: a\r\n\r\n")
        wire.read_to_end()
        assert wire.end == RESET


# ---- what is kept ----


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_new_connection_resumes(stage: Stage, authority, proof, version: str):
    def once(conversation: Conversation, request: Message) -> None:
        conversation.answer(b"once", headers=b"Connection: close\r\n")

    front = secured(stage, authority, authority.server_context(proof, version))
    front.server.on(b"/", once)
    for _ in range(4):
        assert front.balancer.get().body == b"once"
    row = server_row(front)
    assert (row["tls_handshakes"], row["tls_resumed"]) == (4, 3)
    assert [each.resumed for each in front.server.greeted] == [False] + [True] * 3


def test_a_late_ticket_does_not_end_a_kept_connection(stage: Stage, authority, proof):
    """A server may say something of TLS at any time; only data that nobody asked for is a fault."""
    front = secured(stage, authority, authority.server_context(proof, "1.3"))
    for _ in range(20):
        assert front.balancer.get().status == 200
    assert len(front.server.greeted) == 1


def test_who_speaks_unasked_is_not_used_again(stage: Stage, authority, proof):
    def more(conversation: Conversation, request: Message) -> None:
        conversation.answer(b"first", rest=b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    front = secured(stage, authority, authority.server_context(proof))
    front.server.on(b"/x", more)
    for _ in range(3):
        assert front.balancer.ask(ASK).body == b"first"
    assert len(front.server.greeted) == 3


def test_a_reload_that_asks_for_more_uses_nothing_old(stage: Stage, authority, proof, tmp_path):
    front = secured(stage, authority, authority.server_context(proof), relax=["verification"])
    assert front.balancer.get().status == 200
    config = front.balancer.config
    del config["backends"]["all"]["tls"]["relax"]
    config["backends"]["all"]["tls"]["name"] = "other.example"
    front.balancer.reload(config)
    assert front.balancer.get().status == 502
    config["backends"]["all"]["tls"]["name"] = NAME
    front.balancer.reload(config)
    assert front.balancer.get().status == 200
    assert [each.resumed for each in front.server.greeted] == [False, False]
    del config["backends"]["all"]["tls"]
    front.balancer.reload(config)
    assert front.balancer.get().status == 502  # plain HTTP to a server of TLS


# ---- bodies ----


@pytest.mark.parametrize("client_tls", [False, True])
def test_bodies_both_ways(stage: Stage, authority, proof, client_tls: bool):
    size = 5_000_000
    data = hashlib.sha256(b"x").digest() * (size // 32)

    def echo(conversation: Conversation, request: Message) -> None:
        conversation.answer(conversation.read_body(request))

    server = TlsRecorder(authority.server_context(proof))
    stage.servers.append(server)
    server.on(b"/x", echo)
    listener = {"tls": {"certificates": [authority.issue("a.pem", "a.example")]}}
    config = site(server.address, **(listener if client_tls else {}))
    config["backends"]["all"]["tls"] = {"ca": str(authority.pem), "name": NAME}
    balancer = stage.balancer(config)
    wire = TlsWire(balancer.address, authority.context()) if client_tls else balancer.wire()
    head = b"POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % len(data)
    assert wire.send(head, data).read().body == data
    wire.close()


def test_upgrade_to_a_server_behind_tls(stage: Stage, authority, proof):
    def echo(conversation: Conversation, request: Message) -> None:
        conversation.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        )
        conversation.send(conversation.take(300_000))
        assert isinstance(conversation, TlsConversation)
        conversation.hang_up()
        conversation.close()

    front = secured(stage, authority, authority.server_context(proof))
    front.server.on(b"/x", echo)
    with front.wire() as wire:
        wire.send(ASK[:-2] + b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n")
        assert wire.read_head().status == 101
        data = b"0123456789" * 30_000
        assert wire.send(data).take(300_000) == data
        assert wire.ended()


# ---- others ----


def test_nginx(stage: Stage, authority, proof, tmp_path):
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("nginx is missing: apt install nginx-core")
    path = f"unix:{tmp_path}/tls"  # no port that another could take first
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/log;\n"
        f"events {{}} http {{ access_log off; client_body_temp_path {tmp_path}/b;\n"
        f"proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f;\n"
        f"uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"server {{ listen {path} ssl; ssl_certificate {proof};\n"
        f"ssl_certificate_key {proof}; ssl_protocols TLSv1.2 TLSv1.3; return 200 'by $ssl_server_name $ssl_protocol'; }} }}\n"
    )
    running = subprocess.Popen([nginx, "-p", str(tmp_path), "-c", str(conf)])
    try:
        config = site(path)
        config["backends"]["all"]["tls"] = {"ca": str(authority.pem), "name": NAME}
        balancer = stage.balancer(config)
        assert settled(lambda: balancer.get().status == 200, 20)
        for _ in range(20):
            answer = balancer.get()
            assert answer.body == f"by {NAME} TLSv1.3".encode()
    finally:
        running.terminate()
        running.wait()


def test_a_renewed_authority_comes_into_force(authority, proof, tmp_path):
    """`fourseven run` reads the files of backends again too."""
    own = tmp_path / "ca.pem"
    own.write_bytes(Authority(tmp_path).pem.read_bytes())
    with TlsRecorder(authority.server_context(proof)) as server:
        config = site(server.address)
        config["backends"]["all"]["tls"] = {"ca": str(own), "name": NAME}
        with Service(config) as running:
            assert running.get(running.address()).status == 502
            own.write_bytes(authority.pem.read_bytes())
            until = 200
            while running.get(running.address()).status != 200:
                threading.Event().wait(0.05)  # a step: nothing tells a client of a renewal
                until -= 1
                assert until, running.log.read_text()
