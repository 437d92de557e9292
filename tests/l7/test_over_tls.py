"""Persistence and compression where the client comes by TLS, with either version of HTTP."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

import pytest

from support.balancer import Balancer, site
from support.front import Stage
from support.http2 import Http2
from support.recorder import Conversation
from support.tls import Authority, TlsWire
from support.wire import Message

PAGE = b"".join(b"<p>line %d of a page that is worth it</p>\n" % n for n in range(200))
COOKIE = re.compile(
    rb"(fourseven_[0-9a-f]{6}=[0-9a-f]{32}); Path=/; HttpOnly; SameSite=Lax; Secure"
)
NAMES = (b"one", b"two", b"three")


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("over_tls"))


@pytest.fixture(scope="module")
def balancer(authority: Authority) -> Iterator[Balancer]:
    """Three servers that say who they are; the answer's first word is the name."""
    with Stage() as stage:
        servers = []
        for name in NAMES:

            def page(talk: Conversation, asked: Message, name: bytes = name) -> None:
                talk.read_body(asked)
                talk.answer(name + b" " + PAGE, headers=b"Content-Type: text/html\r\n")

            servers.append(stage.server().on(b"", page).address)
        pem = authority.issue("a.pem", "a.example")
        config = site(*servers, tls={"certificates": pem}, http_versions=[1.1, 2])
        config["listeners"]["web"]["routes"][0]["filters"] = ["compress"]
        config["backends"]["all"]["persistence"] = "cookie"
        yield stage.balancer(config, workers=2)


def asked(balancer: Balancer, authority: Authority, version: str, *fields: tuple[str, str]):
    """An answer over a new connection."""
    context = authority.context()
    context.set_alpn_protocols([version])
    wire = TlsWire(balancer.address, context, name="a.example")
    assert wire.socket.selected_alpn_protocol() == version
    if version == "h2":
        with Http2(wire) as http:
            return http.get("GET", "/", *fields)
    with wire:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        wire.send(f"GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n".encode())
        return wire.read()


@pytest.mark.parametrize("version", ["http/1.1", "h2"])
def test_a_cookie_and_a_coding(balancer: Balancer, authority: Authority, version: str):
    owners: set[bytes] = set()
    for _ in range(3):
        first = asked(balancer, authority, version)
        assert first.get("content-encoding") is None
        found = COOKIE.fullmatch(first.get("set-cookie") or b"")
        assert found, "auto: Secure, for the client came by TLS"
        name = first.body.partition(b" ")[0]
        owners.add(name)
        fields = (("cookie", found[1].decode()), ("accept-encoding", "gzip"))
        for other in ("http/1.1", "h2"):
            again = asked(balancer, authority, other, *fields)
            assert again.get("set-cookie") is None
            assert again.get("content-encoding") == b"gzip"
            assert again.get("vary").lower() == b"accept-encoding"
            assert zlib.decompress(again.body, 31) == name + b" " + PAGE
            assert len(again.body) < len(PAGE) // 4
    assert owners == set(NAMES)
