"""Each check against servers that answer well, wrongly, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.health import http
from fourseven.health.answer import Answer
from fourseven.health.command import Command
from fourseven.health.connect import Target, Unwell, why
from fourseven.health.http import Http
from fourseven.health.inward import Ways
from fourseven.health.tcp import Tcp
from fourseven.health.tls import Tls
from fourseven.protocols import probe
from support.service import settled

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def server(answer: bytes | None, context: ssl.SSLContext | None = None, family=socket.AF_INET):
    """Answers every connection's first bytes with `answer` and closes; None: says nothing.
    Yields its address and the requests that it got."""
    got: list[bytes] = []
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind((host, 0))
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = listening.accept()
                    with contextlib.suppress(OSError), taken:
                        talk(taken)

        def talk(taken: socket.socket) -> None:
            if context is not None:
                taken = context.wrap_socket(taken, server_side=True)
            data = taken.recv(4096)
            got.append(data)
            if data and answer is not None:
                taken.sendall(answer)
                if context is None:  # a close before all is read would be a reset
                    taken.shutdown(socket.SHUT_WR)
                    while taken.recv(4096):
                        pass
            elif data:
                taken.recv(4096)  # until the other gives up

        thread = threading.Thread(target=serve)
        thread.start()
        mark = "[{}]:{}" if family == socket.AF_INET6 else "{}:{}"
        try:
            yield mark.format(*listening.getsockname()[:2]), got
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def ask(check, address: str, timeout: float = 20.0, port: int = 0) -> str:
    """The reason why it is not well; "" when it is."""

    async def once() -> None:
        async with asyncio.timeout(timeout):
            await check.ask(Target(address, port))

    try:
        asyncio.run(once())
    except Exception as error:
        return why(error)
    return ""


def test_a_check_lets_the_server_end_its_answer(monkeypatch):
    """The head is enough to judge, but a reset amid the body is a line in the server's log."""
    monkeypatch.setattr(http, "LINGER_S", 20.0)  # however long the two wait for their turn
    ended = []
    whole = asyncio.Event()

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for part in (b"re", b"ady"):  # the first one gets the reset, the second one the error
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(part)
        await writer.drain()
        ended.append(writer.is_closing())
        writer.close()
        whole.set()

    async def once() -> None:
        serving = await asyncio.start_server(answers, "127.0.0.1", 0)
        host, port = serving.sockets[0].getsockname()
        await Http().ask(Target(f"{host}:{port}"))
        async with asyncio.timeout(20):
            await whole.wait()
        serving.close()

    asyncio.run(once())
    assert ended == [False]


@contextlib.contextmanager
def refusing():
    """An address where nobody listens, nor can meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


HTTP = {  # the answer, the check's options, what is wrong with it
    "plain": (OK, {}, ""),
    "status of the range": (b"HTTP/1.1 302 Found\r\n\r\n", {}, ""),
    "1.0 without a reason": (b"HTTP/1.0 204\r\n\r\n", {}, ""),
    "wrong status": (b"HTTP/1.1 503 Busy\r\n\r\n", {}, "status 503"),
    "not the status that is wanted": (OK, {"status": 204}, "status 200"),
    "one of a list": (OK, {"status": ["204", "200-201"]}, ""),
    "after an interim answer": (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, {}, ""),
    "body": (OK, {"body": "ready"}, ""),
    "another body": (OK, {"body": "well"}, "200, but its body does not contain the wanted text"),
    "a body in chunks that cut the text": (
        CHUNKED + b"2;x=y\r\nre\r\n3\r\nady\r\n0\r\n\r\n",
        {"body": "ready"},
        "",
    ),
    "the framing is no body": (
        CHUNKED + b"5\r\nready\r\n0\r\n\r\n",
        {"body": "5"},
        "200, but its body does not contain the wanted text",
    ),
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", {}, "what it says is not HTTP/1"),
    "HTTP/2": (b"HTTP/2.0 200 OK\r\n\r\n", {}, "what it says is not HTTP/1"),
    "half a head": (b"HTTP/1.1 200 OK\r\nA: b\r\n", {}, "the answer has no whole head"),
    "a head without end": (
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 9000,
        {},
        "the answer has no whole head",
    ),
    "nothing": (b"", {}, "closed, no answer"),
}


@pytest.mark.parametrize("name", HTTP)
def test_http(name):
    answer, options, wanted = HTTP[name]
    with server(answer) as (address, got):
        assert ask(Http(path="/healthz", **options), address) == wanted
    assert got[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: " + address.encode() + b"\r\n")
    assert got[0].endswith(b"Connection: close\r\n\r\n")


def test_an_answer_ends_where_it_says_though_the_connection_stays():
    """The reason was that no answer came in time, when that time was over."""

    async def judged(*parts: bytes) -> str:
        reader = asyncio.StreamReader()  # never at its end
        reader.feed_data(b"".join(parts))
        async with asyncio.timeout(20):
            try:
                await Http(body="well").judge(reader, Answer("GET"))
            except Unwell as error:
                return str(error)
        return ""

    text = "200, but its body does not contain the wanted text"
    assert asyncio.run(judged(OK)) == text
    assert asyncio.run(judged(CHUNKED, b"5\r\nready\r\n0\r\n\r\n")) == text
    assert asyncio.run(judged(b"HTTP/1.1 204 No\r\n\r\n")) == "204" + text[3:]
    assert asyncio.run(judged(CHUNKED, b"x" * 20_000)) == text


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_an_answer_is_the_same_however_it_comes(pieces, data):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces)
    whole = CHUNKED + chunks + b"0\r\n\r\n"
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=5))
    answer, at = Answer("GET"), 0
    for cut in [*sorted(cuts), len(whole)]:
        if cut > at:
            answer.receive(whole[at:cut])
            at = cut
    assert (answer.status, bytes(answer.body), answer.ended) == (200, b"".join(pieces), True)


def test_http_asks_as_it_is_told():
    with server(OK) as (address, got):
        check = Http(path="/x", method="HEAD", host="web.example", headers={"X-Probe": "1"})
        assert ask(check, address) == ""
    assert got[0].splitlines()[:2] == [b"HEAD /x HTTP/1.1", b"Host: web.example"]
    assert b"X-Probe: 1" in got[0].splitlines()


def test_over_ipv6_and_at_another_port():
    with server(OK, family=socket.AF_INET6) as (address, _):
        assert ask(Http(), address) == ""
        port = int(address.rpartition(":")[2])
        assert ask(Http(), "[::1]:1", port=port) == ""


@pytest.mark.parametrize("check", [Tcp(), Http(), Tls()], ids=lambda check: check.key)
def test_nobody_there(check):
    with refusing() as address:
        assert ask(check, address) == "connection refused"


@pytest.mark.parametrize("check", [Http(), Tls()], ids=lambda check: check.key)
def test_a_server_that_hangs(check):
    with server(None) as (address, _):
        assert ask(check, address, 0.2) == "no answer in time"
        assert ask(Tcp(), address) == ""  # which is all that it says


def test_tcp_over_a_unix_socket(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert ask(Tcp(), f"unix:{path}") == "connection refused"
        listening.listen()
        assert ask(Tcp(), f"unix:{path}") == ""
    assert ask(Tcp(), f"unix:{tmp_path}/none") == "no such file or directory"


def test_tls(tmp_path):
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db.example").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ours.pem"))
    stranger.cert_pem.write_to_path(str(tmp_path / "theirs.pem"))
    with server(b"", context) as (address, _):
        assert ask(Tls(), address) == ""
        assert ask(Tls(name="db.example", ca=str(tmp_path / "ours.pem")), address) == ""
        assert "does not verify" in ask(Tls(name="x", ca=str(tmp_path / "theirs.pem")), address)
        assert "does not verify" in ask(
            Tls(name="web.example", ca=str(tmp_path / "ours.pem")), address
        )
    with server(OK) as (address, _):
        assert ask(Tls(), address) != ""


def test_command(tmp_path):
    said = tmp_path / "said"
    shell = lambda text: Command(run=("/bin/sh", "-c", text, "sh", "{host}", "{port}"))  # noqa: E731
    assert ask(shell(f'echo "$1 $2" > {said}'), "127.0.0.1:5432") == ""
    assert said.read_text() == "127.0.0.1 5432\n"
    assert ask(shell("echo first; echo it sleeps >&2; exit 3"), "127.0.0.1:1") == (
        "exit code 3: it sleeps"
    )
    assert ask(Command(run=("/nowhere/at/all",)), "127.0.0.1:1") == "no such file or directory"
    text = f"sleep 60 & echo $! > {said}.new; mv {said}.new {said}; wait"
    said.unlink()
    for patience in (0.5, 5.0, 20.0):  # until the shell has come so far
        if not said.exists():
            assert ask(shell(text), "127.0.0.1:1", patience) == "no answer in time"
    pid = int(said.read_text())
    assert settled(lambda: not alive(pid))  # nor does what it has started live on


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# ---- the way that requests go ----


def by_the_file(folder: Path, address: str, timeout: float = 20.0, **backend) -> str:
    """What the check of a backend in a file finds, spoken to as the file says."""
    said = {"servers": [address], "health": "http", **backend}
    site = {"listeners": {"web": {"bind": ":80", "backend": "all"}}, "backends": {"all": said}}
    plan = compile_plan(loads(yaml.safe_dump(site).encode(), str(folder / "f.yaml")))
    (target,) = Ways().targets(plan).values()

    async def once() -> None:
        async with asyncio.timeout(timeout):
            await plan.backends[0].health.check.ask(target)

    try:
        asyncio.run(once())
    except Exception as error:
        return why(error)
    return ""


@pytest.fixture
def authority(tmp_path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


def serving(authority: trustme.CA, *names: str, clients: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


@pytest.mark.parametrize(
    ("names", "tls", "words"),
    [
        (["127.0.0.1"], {"ca": "ca.pem"}, ""),
        (["a.example"], {"ca": "ca.pem", "name": "a.example"}, ""),
        (["*.example"], {"ca": "ca.pem", "name": "a.example", "sni": "other.example"}, ""),
        (["*.example"], {"ca": "ca.pem", "name": "a.b.example"}, "stands for another name"),
        (["a.example"], {"ca": "ca.pem"}, "stands for another name than 127.0.0.1"),
        (["127.0.0.2"], {"ca": "ca.pem"}, "stands for another name than 127.0.0.1"),
        (["127.0.0.1"], {}, "certificate does not verify"),
        (["a.example"], {"relax": ["verification"]}, ""),
    ],
)
def test_the_tls_of_the_backend(authority: trustme.CA, tmp_path, names, tls, words):
    with server(OK, serving(authority, *names)) as (address, got):
        found = by_the_file(tmp_path, address, tls=tls or True)
    assert (found == "") == (words == "")
    assert words in found
    assert any(got) == (not words)  # not a byte of the request to whom it is not for


def test_our_certificate_is_shown(authority: trustme.CA, tmp_path):
    ours = authority.issue_cert("balancer.example")
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    tls = {"ca": "ca.pem", "certificate": "ours.pem"}
    with server(OK, serving(authority, "127.0.0.1", clients=True)) as (address, _):
        assert by_the_file(tmp_path, address, tls=tls) == ""
        assert by_the_file(tmp_path, address, tls={"ca": "ca.pem"}) != ""


@pytest.mark.parametrize(
    ("version", "header"),
    [("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")],
)
def test_the_proxy_header_of_the_backend(tmp_path, version: str, header: bytes):
    with server(OK) as (address, got):
        by_the_file(tmp_path, address, proxy_protocol=version)
    assert got[0].startswith(header)
    assert probe.proxy(header)["source"] is None  # our own reader takes it for nobody's word


def test_another_port_is_another_service(tmp_path):
    with server(OK) as (address, got):
        port = int(address.rpartition(":")[2])
        backend = {"tls": {"relax": ["verification"]}, "proxy_protocol": "v2"}
        health = {"http": "/x", "port": port}
        assert by_the_file(tmp_path, "127.0.0.1:1", health=health, **backend) == ""
    assert got[0].startswith(b"GET /x ")
