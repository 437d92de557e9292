"""TLS at the relay: ended here, begun here, or both; bytes, halves, failures and every bad end."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from support.balancer import Balancer, Config
from support.service import settled
from support.tls import Authority, self_made

PATIENCE_S = 20.0
NAME = "server.example"
Talk = Callable[[socket.socket], None]


@dataclass
class Server:
    """A TCP or TLS server; `talk` runs for each connection in a thread of its own."""

    talk: Talk
    context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listening.getsockname()[1]}"
        self.resumed: list[bool | None] = []
        self.shut: list[str] = []  # how each connection ended
        self.threads: list[threading.Thread] = []
        self.acceptor = threading.Thread(target=self.accept)
        self.acceptor.start()

    def accept(self) -> None:
        while True:
            try:
                connected, _ = self.listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=(connected,))
            self.threads.append(thread)
            thread.start()

    def serve(self, connected: socket.socket) -> None:
        connected.settimeout(PATIENCE_S)
        try:
            if self.context is not None:
                connected = self.context.wrap_socket(
                    connected, server_side=True, suppress_ragged_eofs=False
                )
                self.resumed.append(connected.session_reused)
            self.talk(connected)
            self.shut.append("well")
        except OSError as error:
            self.shut.append(type(error).__name__)
        finally:
            connected.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.acceptor.join()
        for thread in self.threads:
            thread.join()


def echo(connected: socket.socket) -> None:
    while data := connected.recv(65_536):
        connected.sendall(data)


def answer_at_the_end(connected: socket.socket) -> None:
    """Reads to the end of the client's half, and only then speaks."""
    sum_ = hashlib.sha256()
    while data := connected.recv(65_536):
        sum_.update(data)
    connected.sendall(sum_.hexdigest().encode())
    if isinstance(connected, ssl.SSLSocket):
        connected.unwrap()


def config(authority: Authority, *servers: str, ends: bool, begins: bool, **more) -> Config:
    web: Config = {"protocol": "tcp", "backend": "all", **more}
    backend: Config = {"servers": list(servers)}
    if ends:
        web["tls"] = {"certificates": [authority.issue("a.pem", "a.example")]}
    if begins:
        backend["tls"] = {"ca": str(authority.pem), "name": NAME}
    return {"listeners": {"web": web}, "backends": {"all": backend}}


def client(
    balancer: Balancer, authority: Authority, ends: bool, **more
) -> socket.socket | ssl.SSLSocket:
    raw = socket.create_connection(balancer.address, PATIENCE_S)
    if not ends:
        return raw
    return authority.context(**more).wrap_socket(
        raw, server_hostname="a.example", suppress_ragged_eofs=False
    )


def secure(authority: Authority, *version: str) -> ssl.SSLContext:
    return authority.server_context(authority.issue("s.pem", NAME), *version)


def read_to_end(connected: socket.socket) -> bytes:
    parts = []
    while data := connected.recv(65_536):
        parts.append(data)
    return b"".join(parts)


BOTH = pytest.mark.parametrize("ends,begins", [(True, False), (False, True), (True, True)])


@BOTH
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_bytes_there_and_back(stage, authority, ends, begins, version):
    with Server(echo, secure(authority, version) if begins else None) as server:
        balancer = stage.balancer(config(authority, server.address, ends=ends, begins=begins))
        with client(balancer, authority, ends) as here:
            for size in (1, 100, 16_384, 16_385, 65_536, 200_000):
                data = b"x" * size
                sender = threading.Thread(target=here.sendall, args=(data,))
                if ends:
                    here.sendall(data[:1])  # one thread speaks through one TLS connection
                    assert here.recv(1) == data[:1]
                    continue
                sender.start()
                got = b""
                while len(got) < size:
                    got += here.recv(65_536)
                sender.join()
                assert got == data
        counted = balancer.counters()
        assert counted["workers"]["tls_handshakes"] == int(ends)
        assert next(iter(counted["servers"].values()))["tls_handshakes"] == int(begins)


@BOTH
def test_half_close_goes_on_as_close_notify(stage, authority, ends, begins):
    """The client's end reaches the server as an end; its answer comes back all the same."""
    data = hashlib.sha256(b"y").digest() * 200_000
    with Server(answer_at_the_end, secure(authority) if begins else None) as server:
        balancer = stage.balancer(config(authority, server.address, ends=ends, begins=begins))
        if ends:
            got = half_close_over_tls(balancer, authority, data)
        else:
            with client(balancer, authority, False) as here:
                here.sendall(data)
                here.shutdown(socket.SHUT_WR)
                got = read_to_end(here)
        assert got == hashlib.sha256(data).hexdigest().encode()
    assert server.shut == ["well"]


def half_close_over_tls(balancer: Balancer, authority: Authority, data: bytes) -> bytes:
    """Python's sockets end both halves at once, so this one is driven by hand."""
    came, went = ssl.MemoryBIO(), ssl.MemoryBIO()
    inside = authority.context().wrap_bio(came, went, server_hostname="a.example")
    with socket.create_connection(balancer.address, PATIENCE_S) as raw:

        def turn(step):
            while True:
                try:
                    result = step()
                    raw.sendall(went.read())
                    return result
                except ssl.SSLWantReadError:
                    raw.sendall(went.read())
                    got = raw.recv(65_536)
                    came.write(got) if got else came.write_eof()

        turn(inside.do_handshake)
        for at in range(0, len(data), 16_384):
            inside.write(data[at : at + 16_384])
            raw.sendall(went.read())
        with pytest.raises(ssl.SSLWantReadError):
            inside.unwrap()  # our close_notify; the other side's is not there yet
        raw.sendall(went.read())
        answer = b""
        while True:
            try:
                part = turn(lambda: inside.read(65_536))
            except (ssl.SSLZeroReturnError, ssl.SSLSyscallError):
                return answer
            if not part:
                return answer
            answer += part


@BOTH
def test_an_end_without_close_notify_is_a_reset(stage, authority, ends, begins):
    """Who cuts the line cannot make it look like an end."""
    begun = threading.Event()

    def listen(connected: socket.socket) -> None:
        while connected.recv(65_536):
            begun.set()

    with Server(listen, secure(authority) if begins else None) as server:
        balancer = stage.balancer(config(authority, server.address, ends=ends, begins=begins))
        here = client(balancer, authority, ends)
        here.sendall(b"half of it")
        assert begun.wait(PATIENCE_S)
        if ends:
            raw = socket.socket(fileno=here.detach())
            raw.shutdown(socket.SHUT_WR)
        else:
            raw = here
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raw.close()
    assert server.shut in (["ConnectionResetError"], ["SSLEOFError"])


@BOTH
def test_a_slow_reader_stops_the_writer(stage, authority, ends, begins):
    """40 MiB to a client that reads late: memory stays small, and nothing is lost."""
    size = 40 * 1024 * 1024
    piece = hashlib.sha256(b"z").digest() * 2048

    def pour(connected: socket.socket) -> None:
        connected.recv(1)
        for _ in range(size // len(piece)):
            connected.sendall(piece)
        if isinstance(connected, ssl.SSLSocket):
            connected.unwrap()

    with Server(pour, secure(authority) if begins else None) as server:
        balancer = stage.balancer(config(authority, server.address, ends=ends, begins=begins))
        with client(balancer, authority, ends) as here:
            here.sendall(b"?")
            threading.Event().wait(0.3)  # the server fills all there is to fill
            assert balancer.memory_kib() < 60 * 1024
            got = 0
            sum_ = hashlib.sha256()
            while got < size:
                data = here.recv(65_536)
                assert data, "it ends too early"
                got += len(data)
                sum_.update(data)
        wanted = hashlib.sha256()
        for _ in range(size // len(piece)):
            wanted.update(piece)
        assert sum_.digest() == wanted.digest()


def test_an_unbelievable_server_is_followed_by_another(stage, authority, tmp_path):
    stranger = authority.server_context(self_made(tmp_path))
    with Server(echo, stranger) as bad, Server(echo, secure(authority)) as good:
        said = config(authority, bad.address, good.address, ends=False, begins=True)
        balancer = stage.balancer(said)
        for _ in range(4):
            with client(balancer, authority, False) as here:
                here.sendall(b"hello")
                assert here.recv(5) == b"hello"
        counted = balancer.counters()["workers"]
        assert counted["tls_server_faults"]["authority"] >= 1
        assert counted["retries"] == counted["tls_server_faults"]["authority"]
    assert not bad.resumed


def test_nobody_believable_is_a_reset(stage, authority, tmp_path):
    with Server(echo, authority.server_context(self_made(tmp_path))) as bad:
        balancer = stage.balancer(config(authority, bad.address, ends=False, begins=True))
        with client(balancer, authority, False) as here, pytest.raises(ConnectionResetError):
            here.recv(1)


def test_connections_to_a_server_resume(stage, authority):
    with Server(echo, secure(authority)) as server:
        balancer = stage.balancer(config(authority, server.address, ends=False, begins=True))
        for _ in range(3):
            with client(balancer, authority, False) as here:
                here.sendall(b"hello")
                assert here.recv(5) == b"hello"
    assert server.resumed == [False, True, True]


def test_the_protocol_inside_is_agreed(stage, authority):
    """Of ours the first that the client offers; the server is told which. Without, none is chosen."""
    table = [
        (["h2", "imap"], ["imap", "h2"], "h2"),
        (["h2", "imap"], ["imap"], "imap"),
        (["h2", "imap"], [], None),
        (["h2", "imap"], ["pop3"], ssl.SSLError),
        ([], ["h2"], None),
    ]
    for ours, offered, chosen in table:
        with Server(echo) as server:
            said = config(authority, server.address, ends=True, begins=False)
            said["listeners"]["web"]["tls"]["alpn"] = ours
            said["backends"]["all"]["proxy_protocol"] = "v2"
            balancer = stage.balancer(said)
            context = authority.context()
            if offered:
                context.set_alpn_protocols(offered)
            raw = socket.create_connection(balancer.address, PATIENCE_S)
            if chosen is ssl.SSLError:
                with raw, pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                    context.wrap_socket(raw, server_hostname="a.example")
                continue
            with context.wrap_socket(raw, server_hostname="a.example") as here:
                assert here.selected_alpn_protocol() == chosen
                here.sendall(b"what is inside")
                told = b""
                while not told.endswith(b"what is inside"):
                    told += here.recv(65_536)
                assert (b"\x01\x00\x02h2" in told) is (chosen == "h2")


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_what_is_no_handshake_reaches_no_server(stage, authority, said):
    with Server(echo) as server:
        balancer = stage.balancer(config(authority, server.address, ends=True, begins=False))
        with socket.create_connection(balancer.address, PATIENCE_S) as here:
            here.sendall(said)
            with contextlib.suppress(ConnectionResetError):  # what was unread makes it one
                read_to_end(here)
        assert settled(lambda: balancer.counters()["workers"]["sessions_closed"] == 1)
        assert balancer.counters()["workers"]["tls_failed"] == 1
        assert not server.threads


def test_a_handshake_that_stops_is_cut(stage, authority):
    with Server(echo) as server:
        said = config(authority, server.address, ends=True, begins=False, hello_timeout="200ms")
        balancer = stage.balancer(said)
        with socket.create_connection(balancer.address, PATIENCE_S) as here:

            def begins_and_stops() -> None:  # cut at its first words, where they come late
                here.sendall(b"\x16\x03\x01\x02\x00\x01")
                here.recv(1)

            with pytest.raises(ConnectionError):
                begins_and_stops()
        assert settled(lambda: balancer.counters()["workers"]["tls_faults"]["time"] == 1)


def test_a_name_chooses_the_backend_of_what_ends_here(stage, authority):
    """SNI is seen before TLS ends, and routes what is inside."""

    def says(name: bytes) -> Talk:
        return lambda connected: connected.sendall(name)

    with Server(says(b"one")) as one, Server(says(b"two")) as two:
        said = config(authority, one.address, ends=True, begins=False)
        web = said["listeners"]["web"]
        certificate = authority.issue("both.pem", "a.example", "b.example")
        web["tls"] = {"certificates": [certificate]}
        del web["backend"]
        web["routes"] = [{"match": {"sni": "b.example"}, "backend": "two"}, {"backend": "all"}]
        said["backends"]["two"] = {"servers": [two.address]}
        balancer = stage.balancer(said)
        for name, wanted in (("a.example", b"one"), ("b.example", b"two")):
            raw = socket.create_connection(balancer.address, PATIENCE_S)
            with authority.context().wrap_socket(raw, server_hostname=name) as here:
                assert here.recv(3) == wanted


def test_a_drain_lets_it_finish(stage, authority):
    with Server(echo, secure(authority)) as server:
        balancer = stage.balancer(config(authority, server.address, ends=True, begins=True))
        with client(balancer, authority, True) as here:
            here.sendall(b"before")
            assert here.recv(6) == b"before"
            balancer.order("drain")
            here.sendall(b"after")
            assert here.recv(5) == b"after"
            assert balancer.order("busy") == 1
