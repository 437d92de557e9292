"""The PROXY protocol: whom it is taken from, what it changes, and what is said on to servers."""

from __future__ import annotations

import contextlib
import socket
import ssl as tls
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fourseven.protocols import probe
from protocols.test_proxyproto import REFUSED as BAD_HEADERS
from protocols.test_proxyproto import V4, V6, ssl, tlv, v2
from support.balancer import Config, site
from support.front import Front, Stage
from support.relay import until
from support.tls import Authority, TlsWire
from support.wire import RESET, Wire

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n"
ASK = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
FROM_US = {"from": ["127.0.0.1"]}
HEADERS = {
    "v1": V1,
    "v2": v2(V4),
    "v2 with TLVs": v2(V4 + tlv(2, b"a.example") + tlv(0xEA, b"x")),
}


class Speaker:
    """A TCP server that says what it got first, and then echoes."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.listening = socket.create_server((address, 0), backlog=64)
        self.address = f"{address}:{self.listening.getsockname()[1]}"
        self.open: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                connected, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connected,), daemon=True).start()

    def serve(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), connected:
            while data := connected.recv(65_536):
                connected.sendall(data)

    def stop(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


@pytest.fixture
def speaker() -> Iterator[Callable[..., Speaker]]:
    made: list[Speaker] = []

    def start(**more: Any) -> Speaker:
        made.append(Speaker(**more))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def relay(*servers: str, backend: Config | None = None, **listener: Any) -> Config:
    """One listener at Layer 4."""
    config = site(*servers, **{"protocol": "auto", **listener})
    config["backends"]["all"].update(backend or {})
    return config


def reset(wire: Wire) -> bool:
    """Whether it ends by a reset, and nothing is said before."""
    return wire.ended() and wire.end == RESET


# ---- received at Layer 7 ----


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_client_is_whom_the_header_says(stage: Stage, header: bytes):
    front = stage.front(proxy_protocol=FROM_US)
    with front.wire() as wire:
        for _ in range(2):  # the header holds for the connection
            wire.send(header, ASK)
            assert wire.read().status == 200
            header = b""
    assert [one.get("x-forwarded-for") for one in front.server.requests] == [b"192.0.2.7"] * 2


def test_header_and_request_byte_by_byte(stage: Stage):
    front = stage.front(proxy_protocol=FROM_US)
    for header in (*HEADERS.values(), v2(V6, 0x21)):
        with front.wire() as wire:
            wire.send_each(bytes([byte]) for byte in header + ASK)
            assert wire.read().status == 200
    clients = [one.get("x-forwarded-for") for one in front.server.requests]
    assert clients == [b"192.0.2.7"] * 3 + [b"2001:db8::7"]


def test_header_and_request_cut_at_every_byte(stage: Stage):
    """Nothing of the request is taken for the header, nor of the header for the request."""
    front = stage.front(proxy_protocol=FROM_US)
    whole = v2(V4 + tlv(2, b"a.example")) + ASK
    for at in range(1, len(whole)):
        with front.wire() as wire:
            wire.send(whole[:at])
            wire.send(whole[at:])
            assert wire.read().status == 200, at
    assert {one.get("x-forwarded-for") for one in front.server.requests} == {b"192.0.2.7"}


LOCAL = {
    "local": v2(b"", 0, 0x20),
    "unknown": b"PROXY UNKNOWN\r\n",
    "unspecified": v2(b"", 0),
    "unix": v2(bytes(216), 0x31),
}


@pytest.mark.parametrize("header", LOCAL.values(), ids=LOCAL)
def test_who_names_nobody_is_himself(stage: Stage, header: bytes):
    front = stage.front(proxy_protocol=FROM_US)
    with front.wire() as wire:
        assert wire.send(header, ASK).read().status == 200
    assert front.server.requests[0].get("x-forwarded-for") == b"127.0.0.1"


def test_rules_see_the_client(stage: Stage):
    """Address matches, templates, and whether the client came over TLS."""
    body = "{client.address} {client.port} {scheme} {port}"
    routes = [
        {"match": {"address": "192.0.2.0/24"}, "filters": {"respond": {"body": body}}},
        {"filters": {"respond": {"body": "other"}}},
    ]
    front = stage.front(proxy_protocol=FROM_US, routes=routes)
    for header, want in [
        (V1, b"192.0.2.7 40000 http 443"),
        (v2(V4 + ssl(1, 0)), b"192.0.2.7 40000 https 443"),
        (v2(V6, 0x21), b"other"),
    ]:
        with front.wire() as wire:
            assert wire.send(header, ASK).read().body == want


def test_names_that_a_proxy_tells_are_matched(stage: Stage, speaker):
    """It has ended TLS and says which name was asked for; what comes behind is no TLS."""
    named = {"match": {"sni": "a.example", "alpn": "h2"}}
    routes = [named | {"filters": {"respond": {"body": "named"}}}]
    routes += [{"filters": {"respond": {"body": "other"}}}]
    front = stage.front(proxy_protocol=FROM_US, routes=routes)
    with_names = v2(V4 + tlv(2, b"A.example") + tlv(1, b"h2"))
    for header, want in [(with_names, b"named"), (v2(V4 + tlv(2, b"a.example")), b"other")]:
        with front.wire() as wire:
            assert wire.send(header, ASK).read().body == want


def test_trust_goes_by_the_client_that_was_told(stage: Stage):
    """X-Forwarded-For is believed of 192.0.2.7, not of the proxy that stands before us."""
    front = stage.front(proxy_protocol=FROM_US, trusted=["192.0.2.7"])
    said = b"GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n"
    for header in (V1, v2(V6, 0x21)):
        with front.wire() as wire:
            assert wire.send(header, said).read().status == 200
    first, second = [one.get("x-forwarded-for") for one in front.server.requests]
    assert (first, second) == (b"203.0.113.5, 192.0.2.7", b"2001:db8::7")


# ---- who may, and what is refused ----


def test_strangers_are_cut(stage: Stage):
    """With a header and without: whoever is not named gets nothing."""
    front = stage.front(proxy_protocol={"from": ["192.0.2.0/24", "::1"]})
    for said in (V1 + ASK, ASK):
        with contextlib.suppress(ConnectionResetError), front.wire() as wire:
            wire.send(said)
            assert reset(wire)
    until(lambda: front.balancer.counters()["listeners"]["web"]["status"][0] == 2)
    assert front.balancer.counters()["workers"]["proxy_refused"] == 2
    assert front.server.received == b""


def test_proxies_must_send_it(stage: Stage):
    front = stage.front(proxy_protocol=FROM_US)
    with front.wire() as wire:
        wire.send(ASK)
        assert reset(wire)
    assert front.server.received == b""


def test_without_proxies_a_header_is_no_request(stage: Stage):
    front = stage.front()
    for header in (V1, v2(V4)):
        with front.wire() as wire:
            assert wire.send(header, ASK).read().status == 400
    assert front.server.received == b""


@pytest.mark.parametrize("header, _", [r[1:] for r in BAD_HEADERS], ids=[r[0] for r in BAD_HEADERS])
def test_what_is_no_header_reaches_nobody(bad: Front, header: bytes, _: int):
    before = bad.balancer.counters()["workers"]["proxy_refused"]
    with bad.wire() as wire:
        wire.send(header + ASK * 3)
        assert reset(wire)
    until(lambda: bad.balancer.counters()["workers"]["proxy_refused"] > before)
    assert bad.balancer.counters()["workers"]["proxy_refused"] == before + 1
    assert bad.server.received == b""


@pytest.fixture(scope="module")
def bad() -> Iterator[Front]:
    with Stage() as stage:
        yield stage.front(proxy_protocol=FROM_US)


def test_a_slow_header_ends(stage: Stage):
    front = stage.front(proxy_protocol=FROM_US, hello_timeout="300ms")
    with front.wire() as silent, front.wire() as slow:
        slow.send(V1[:-1])
        assert reset(silent)
        assert reset(slow)
    until(lambda: front.balancer.order("busy") == 0)
    assert front.balancer.counters()["workers"]["timeouts_hello"] == 2


def test_a_client_that_leaves_in_its_header(stage: Stage):
    front = stage.front(proxy_protocol=FROM_US)
    with front.wire() as wire:
        wire.send(V1[:20]).finish()
        assert reset(wire)
    until(lambda: front.balancer.order("busy") == 0)


# ---- received at Layer 4 ----


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_the_relay_takes_the_header_off(stage: Stage, speaker, header: bytes):
    balancer = stage.balancer(relay(speaker().address, proxy_protocol=FROM_US))
    with balancer.wire() as wire:
        wire.send_each(bytes([byte]) for byte in header + b"hello")
        assert wire.take(5) == b"hello"
        wire.send(b"again")
        assert wire.take(5) == b"again"


def test_the_relay_routes_and_balances_by_the_client(stage: Stage, speaker):
    one, other = speaker(), speaker()
    routes = [{"match": {"address": "2001:db8::/32"}, "backend": "six"}, {"backend": "all"}]
    config = relay(one.address, proxy_protocol=FROM_US, routes=routes)
    config["backends"]["six"] = {"servers": [other.address]}
    balancer = stage.balancer(config)
    for header in (V1, v2(V6, 0x21), v2(V6, 0x21)):
        with balancer.wire() as wire:
            assert wire.send(header, b"x").take(1) == b"x"
    servers = balancer.counters()["servers"]
    assert servers[f"six {other.address}"]["connects"] == 2
    assert servers[f"all {one.address}"]["connects"] == 1


def test_a_server_that_speaks_first_waits_for_the_header_alone(stage: Stage):
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listening.getsockname()[1]
        balancer = stage.balancer(relay(f"127.0.0.1:{port}", proxy_protocol=FROM_US))
        with balancer.wire() as wire:
            wire.send(V1)
            server, _ = listening.accept()
            with server:
                server.sendall(b"220 hello\r\n")
                assert wire.take(11) == b"220 hello\r\n"


# ---- sent at Layer 4 ----


class Listening:
    """A server that reads the header strictly, then echoes; `heard` has what each header said."""

    def __init__(self, context: tls.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listening = socket.create_server((host, 0), family=family, backlog=64)
        port = self.listening.getsockname()[1]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.context = context
        self.heard: list[dict[str, Any]] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                connected, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connected,), daemon=True).start()

    def serve(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), connected:
            data = b""
            while not (found := probe.proxy(data))["result"] and (more := connected.recv(1)):
                data += more
            self.heard.append(found)
            if found["result"] <= 0:
                return
            if self.context is not None:
                connected = self.context.wrap_socket(connected, server_side=True)
            while data := connected.recv(65_536):
                connected.sendall(data)

    def stop(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


@pytest.fixture
def listening() -> Iterator[Callable[..., Listening]]:
    made: list[Listening] = []

    def start(**more: Any) -> Listening:
        made.append(Listening(**more))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("proxy"))
    made.issue("a.pem", "a.example")
    made.issue("me.pem", "me@a.example", common_name="me")
    return made


def shaken(wire: Wire) -> None:
    """It has reached the server, and comes back."""
    assert wire.send(b"hello").take(5) == b"hello"


@pytest.mark.parametrize("version", [1, 2])
def test_servers_are_told_the_client(stage: Stage, listening, version: int):
    server = listening()
    backend = {"proxy_protocol": f"v{version}"}
    balancer = stage.balancer(relay(server.address, backend=backend))
    with balancer.wire() as wire:
        shaken(wire)
        ours, theirs = wire.socket.getsockname(), wire.socket.getpeername()
    (heard,) = server.heard
    assert (heard["version"], heard["source"], heard["destination"]) == (version, ours, theirs)


def test_a_server_that_speaks_first_is_told_before(stage: Stage):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = f"127.0.0.1:{server.getsockname()[1]}"
        balancer = stage.balancer(relay(address, backend={"proxy_protocol": "v1"}))
        with balancer.wire() as wire:
            connected, _ = server.accept()
            with connected:
                assert connected.recv(6) == b"PROXY "
                connected.sendall(b"220\r\n")
                assert wire.take(5) == b"220\r\n"


def test_what_a_proxy_has_told_is_told_on(stage: Stage, listening):
    server = listening()
    backend = {"proxy_protocol": "v2"}
    balancer = stage.balancer(relay(server.address, backend=backend, proxy_protocol=FROM_US))
    said = v2(V4 + tlv(1, b"h2") + tlv(2, b"a.example") + ssl(3, 0, tlv(0x21, b"TLSv1.3")))
    for header in (said, v2(V6, 0x21), b"PROXY UNKNOWN\r\n"):
        with balancer.wire() as wire:
            wire.send(header)
            shaken(wire)
            us = wire.socket.getsockname()
    first, second, third = server.heard
    assert (first["source"], first["destination"]) == (("192.0.2.7", 40000), ("198.51.100.1", 443))
    assert (first["alpn"], first["authority"]) == (b"h2", b"a.example")
    assert (first["client"], first["verified"]) == (3, 1)
    assert (second["source"], second["client"]) == (("2001:db8::7", 40000), 0)
    assert third["source"] == us


def test_the_next_server_is_told_too(stage: Stage, listening):
    server = listening()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{closed.getsockname()[1]}"
        backend = {"proxy_protocol": "v2", "retries": 1}
        balancer = stage.balancer(relay(dead, server.address, backend=backend))
        for _ in range(4):
            with balancer.wire() as wire:
                shaken(wire)
    assert [one["result"] for one in server.heard] == [1] * 4


def test_a_name_that_is_passed_through(stage: Stage, listening, authority: Authority):
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "a.pem")
    server = listening(context=context)
    routes = [{"match": {"sni": "*.example"}, "backend": "all"}]
    backend = {"proxy_protocol": "v2"}
    balancer = stage.balancer(relay(server.address, backend=backend, routes=routes))
    with TlsWire(balancer.address, authority.context(), name="a.example") as wire:
        shaken(wire)
    (heard,) = server.heard
    assert (heard["authority"], heard["alpn"], heard["client"]) == (b"a.example", None, 0)


@pytest.mark.parametrize("inner", [False, True], ids=["plain to the server", "TLS to the server"])
def test_tls_that_ends_at_the_relay(stage: Stage, listening, authority: Authority, inner: bool):
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "a.pem")
    server = listening(context=context if inner else None)
    certificates = {"certificates": [str(authority.folder / "a.pem")]}
    certificates["client_certificates"] = {"ca": str(authority.pem), "mode": "optional"}
    backend: Config = {"proxy_protocol": "v2"}
    if inner:
        backend["tls"] = {"ca": str(authority.pem), "name": "a.example"}
    said = relay(server.address, backend=backend, tls=certificates, protocol="tcp")
    balancer = stage.balancer(said)
    for mine in (None, str(authority.folder / "me.pem")):
        context = authority.context("1.3", certificate=mine)
        with TlsWire(balancer.address, context, name="a.example") as wire:
            shaken(wire)
    stranger, known = server.heard
    assert (stranger["client"], stranger["tls_version"]) == (1, b"TLSv1.3")
    assert stranger["tls_cipher"].startswith(b"TLS_AES")
    assert (stranger["authority"], stranger["common_name"]) == (b"a.example", None)
    assert (known["client"], known["verified"], known["common_name"]) == (7, 1, b"me")


# ---- sent at Layer 7 ----


class Web(Listening):
    """Answers HTTP behind the header: which connection it is, and how many requests it has had."""

    def serve(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), connected:
            data = b""
            while not (found := probe.proxy(data))["result"] and (more := connected.recv(1)):
                data += more
            self.heard.append(found)
            number, count = len(self.heard), 0
            if self.context is not None:
                connected = self.context.wrap_socket(connected, server_side=True)
            while connected.recv(65_536):
                count += 1
                body = b"%d %d" % (number, count)
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                connected.sendall(head + body)


@pytest.fixture
def web() -> Iterator[Callable[..., Web]]:
    made: list[Web] = []

    def start(**more: Any) -> Web:
        made.append(Web(**more))
        return made[-1]

    yield start
    for one in made:
        one.stop()


def http(address: str, version: str = "v2", **listener: Any) -> Config:
    config = site(address, **listener)
    config["backends"]["all"]["proxy_protocol"] = version
    return config


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_connection_speaks_of_one_client_alone(stage: Stage, web, version: str):
    """Kept for the client's next requests, never given to another, closed with it."""
    server = web()
    balancer = stage.balancer(http(server.address, version))
    ours = []
    with balancer.wire() as first, balancer.wire() as second:
        for count in (1, 2, 3):
            for number, wire in enumerate((first, second), 1):
                assert wire.send(ASK).read().body == b"%d %d" % (number, count)
        ours = [wire.socket.getsockname() for wire in (first, second)]
        until(lambda: balancer.counters()["workers"]["upstream_idle"] == 2)
    assert [one["source"] for one in server.heard] == ours
    until(lambda: balancer.counters()["workers"]["upstream_idle"] == 0)
    with balancer.wire() as third:
        assert third.send(ASK).read().body == b"3 1"


def test_the_header_goes_before_tls_to_the_server(stage: Stage, web, authority: Authority):
    context = tls.SSLContext(tls.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "a.pem")
    server = web(context=context)
    certificates = {"certificates": [str(authority.folder / "a.pem")]}
    config = http(server.address, tls=certificates, proxy_protocol=FROM_US)
    config["backends"]["all"]["tls"] = {"ca": str(authority.pem), "name": "a.example"}
    balancer = stage.balancer(config)
    ask = ASK.replace(b"Host: a", b"Host: a.example")
    raw = socket.create_connection(balancer.address, timeout=20)
    raw.sendall(V1)
    with authority.context("1.3").wrap_socket(raw, server_hostname="a.example") as inside:
        inside.sendall(ask)
        answer = b""
        while not answer.endswith(b"1 1"):
            part = inside.recv(65_536)
            assert part, answer
            answer += part
    (heard,) = server.heard
    assert (heard["source"], heard["destination"]) == (("192.0.2.7", 40000), ("198.51.100.1", 443))
    assert (heard["authority"], heard["tls_version"]) == (b"a.example", b"TLSv1.3")


def test_a_retry_is_told_too(stage: Stage, web):
    server = web()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        config = http(server.address)
        config["backends"]["all"]["servers"].append(f"127.0.0.1:{closed.getsockname()[1]}")
        balancer = stage.balancer(config)
        for _ in range(4):
            with balancer.wire() as wire:
                assert wire.send(ASK).read().status == 200
    assert [one["result"] for one in server.heard] == [1] * 4
