"""Key sets at URLs: when they are fetched, what is kept, what is refused; and a whole fourseven."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519

from fourseven.control import key_sets
from fourseven.control.key_sets import SET_MAX, KeySets, fetch
from fourseven.filters.jwt import Jwt
from fourseven.filters.token_keys import keys_in
from fourseven.plan import All, KeySource, ListenerPlan, Plan, RoutePlan
from support.clock import play
from support.gates import asked
from support.recorder import Recorder
from support.service import Service, proxying, settled
from support.tls import Authority
from support.wire import Wire

KEYS = [ed25519.Ed25519PrivateKey.generate() for _ in range(3)]
URL = "https://id.example/keys"


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def set_of(*numbers: int) -> bytes:
    """A set with these keys, under their numbers."""
    points = {str(n): b64(KEYS[n].public_key().public_bytes_raw()) for n in numbers}
    rows = [{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x} for kid, x in points.items()]
    return json.dumps({"keys": rows}).encode()


def token(number: int) -> str:
    parts = [{"alg": "EdDSA", "kid": str(number)}, {"exp": 9_999_999_999}]
    text = ".".join(b64(json.dumps(one).encode()) for one in parts)
    return f"{text}.{b64(KEYS[number].sign(text.encode()))}"


def plan(*urls: str, refresh: str = "10m") -> Plan:
    gates = [Jwt(keys=url, refresh=refresh).gates()[0] for url in urls]
    route = RoutePlan("r", All(), gates=tuple(gates))
    return Plan((ListenerPlan("web", ("tcp://x:1",), 1, (route,)),), ())


class Scene:
    """Sets in virtual time; `answers` are what is fetched in turn, the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[float] = []
        self.changes = 0
        self.unknown = 0
        self.sets = KeySets(self.changed, lambda: self.unknown, self.ask)

    def changed(self) -> None:
        self.changes += 1

    async def ask(self, source: KeySource) -> bytes:
        self.asked.append(asyncio.get_running_loop().time())
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(said, Exception):
            raise said
        return said

    def kids(self, there: Plan) -> list[str]:
        gate = self.sets.keyed(there).listeners[0].routes[0].gates[0]
        assert gate.numbers[6] == len(gate.built)
        return [row[0].decode() for row in gate.built]

    def pauses(self) -> list[float]:
        return [round(b - a) for a, b in zip(self.asked, self.asked[1:], strict=False)]


def test_the_set_comes_into_the_plan_and_is_fetched_again():
    async def scene() -> None:
        stage, there = Scene(set_of(0), set_of(0), set_of(0, 1)), plan(URL)
        stage.sets.follow(there)
        assert stage.sets.pending(there)
        assert stage.kids(there) == []
        await stage.sets.ready(there, 3)
        assert not stage.sets.pending(there)
        assert stage.kids(there) == ["0"]
        before = stage.sets.keyed(there).listeners[0].routes[0].gates[0].texts[0]
        await asyncio.sleep(700)
        assert stage.changes == 1  # the same once more changes nothing
        await asyncio.sleep(600)
        assert (stage.changes, stage.kids(there)) == (2, ["0", "1"])
        assert stage.pauses() == [600, 600]
        after = stage.sets.keyed(there).listeners[0].routes[0].gates[0].texts[0]
        assert before != after  # no verdict of before is remembered under it
        stage.sets.use(None)
        await asyncio.sleep(2000)
        assert len(stage.asked) == 3

    play(scene)


def test_what_fails_leaves_the_last_set_there():
    async def scene() -> None:
        bad = [OSError("refused"), b"<html>", set_of(), b'{"keys": [{"kty": "oct", "k": "eA"}]}']
        stage, there = Scene(set_of(0), *bad, set_of(1)), plan(URL, refresh="60s")
        stage.sets.follow(there)
        await stage.sets.ready(there, 3)
        await asyncio.sleep(60 + 5 + 10 + 20 + 3)
        assert (stage.kids(there), len(stage.asked)) == (["0"], 5)
        await asyncio.sleep(40)
        assert stage.kids(there) == ["1"]
        assert stage.pauses() == [60, 5, 10, 20, 40]
        stage.sets.use(None)

    play(scene)


def test_a_load_waits_a_moment_and_no_longer():
    async def scene() -> None:
        stage, there = Scene(OSError("refused")), plan(URL)
        stage.sets.follow(there)
        began = asyncio.get_running_loop().time()
        await stage.sets.ready(there, 3)
        assert asyncio.get_running_loop().time() == began + 3
        assert stage.sets.keyed(there) == there
        stage.sets.use(None)

    play(scene)


def test_an_unknown_key_causes_a_fetch_and_a_flood_of_them_no_more():
    async def scene() -> None:
        stage, there = Scene(set_of(0), set_of(0, 1)), plan(URL)
        stage.sets.follow(there)
        await stage.sets.ready(there, 3)
        await asyncio.sleep(100)
        stage.unknown += 1
        await asyncio.sleep(2)
        assert stage.kids(there) == ["0", "1"]
        for _ in range(300):
            stage.unknown += 1000
            await asyncio.sleep(1)
        assert 10 <= len(stage.asked) <= 12
        assert min(stage.pauses()[1:]) >= key_sets.UNKNOWN_MIN_S
        stage.sets.use(None)

    play(scene)


def test_each_url_has_a_set_of_its_own():
    async def scene() -> None:
        stage, there = Scene(set_of(0)), plan(URL, URL + "2", URL)
        stage.sets.follow(there)
        await stage.sets.ready(there, 3)
        assert len(stage.asked) == 2
        gates = stage.sets.keyed(there).listeners[0].routes[0].gates
        assert [len(gate.built) for gate in gates] == [1, 1, 1]
        stage.sets.use(plan(URL))
        assert stage.kids(plan(URL)) == ["0"]
        await asyncio.sleep(601)
        assert len(stage.asked) == 3
        stage.sets.use(None)

    play(scene)


def huge(bits: int) -> str:
    return b64(((1 << bits) - 1).to_bytes(bits // 8, "big"))


HOSTILE = {
    "no JSON": (b"\xff\xfe", "neither"),
    "deep": (b"[" * 100_000, "neither"),
    "a list": (b"[]", "no JWK set"),
    "keys no list": (b'{"keys": 1}', "no JWK set"),
    "no objects": (b'{"keys": [1]}', r"keys\[0\]: it is no object"),
    "nothing for us": (b'{"keys": [{"kty": "x"}]}', "no key"),
    "many": (b'{"keys": [%s]}' % b",".join([b"{}"] * 1000), "64 are the most"),
    "a secret": (b'{"keys": [{"kty": "oct", "k": "%s"}]}' % (b"A" * 64), "anybody can fetch"),
    "weak": (json.dumps({"kty": "RSA", "n": huge(1024), "e": "AQAB"}).encode(), "1024 bits"),
    "giant": (json.dumps({"kty": "RSA", "n": huge(80_000), "e": "AQAB"}).encode(), "80000 bits"),
    "a giant exponent": (
        json.dumps({"kty": "RSA", "n": huge(2048), "e": huge(80_000)}).encode(),
        "80000 bits",
    ),
    "numbers no text": (b'{"kty": "RSA", "n": 5, "e": [[]]}', "no text"),
    "no point": (b'{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}', "malformed|point|curve"),
    "a long name": (set_of(0).replace(b'"0"', b'"%s"' % (b"k" * 5000)), "kid"),
    "a huge number": (b'{"keys": ' + b"9" * 10_000 + b"}", "neither|no JWK set"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_sets_are_refused_with_a_line(what: str):
    raw, words = HOSTILE[what]
    with pytest.raises(ValueError, match=words) as found:
        keys_in(raw, URL, public=True)
    assert str(found.value).startswith(URL)
    assert len(str(found.value)) < 500


# ---- over the network ----


class Site:
    """An HTTPS server in the loop of the test."""

    def __init__(self, context: ssl.SSLContext, answer: Callable[[], web.StreamResponse]) -> None:
        self.context = context
        self.answer = answer

    async def __aenter__(self) -> str:
        async def respond(_: web.Request) -> web.StreamResponse:
            return self.answer()

        application = web.Application()
        application.router.add_get("/keys", respond)
        self.runner = web.AppRunner(application)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.context)
        await site.start()
        port = self.runner.addresses[0][1]
        return f"https://127.0.0.1:{port}/keys"

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("keys"))


def test_fetching(authority: Authority, tmp_path):
    """Verified, bounded, and nowhere else."""
    context = authority.server_context(authority.issue("keys.pem", "127.0.0.1"))
    stranger = Authority(tmp_path)
    answers: list[Any] = [
        (web.Response(body=set_of(0)), str(authority.pem), ""),
        (web.Response(body=set_of(0)), str(stranger.pem), "certificate"),
        (web.Response(body=set_of(0)), "", "certificate"),
        (web.Response(status=302, headers={"Location": "/keys"}), str(authority.pem), "302"),
        (web.Response(status=404), str(authority.pem), "404"),
        (web.Response(body=b" " * (SET_MAX + 1)), str(authority.pem), f"more than {SET_MAX}"),
    ]

    async def scene() -> None:
        for answer, trust, words in answers:
            async with Site(context, lambda answer=answer: answer) as url:
                if not words:
                    assert await fetch(KeySource(url, trust)) == set_of(0)
                    continue
                with pytest.raises(Exception, match=words):
                    await fetch(KeySource(url, trust))

    asyncio.run(scene())


def test_a_whole_fourseven(authority: Authority):
    """Tokens are judged by the set of the URL. (A load waits for it, but only for a moment: see
    above. Here whoever serves it may be kept from its core for longer.)"""
    context = authority.server_context(authority.issue("keys.pem", "127.0.0.1"))

    async def scene() -> None:
        async with Site(context, lambda: web.Response(body=set_of(0, 1))) as url:
            await asyncio.to_thread(serve, url)

    def serve(url: str) -> None:
        with Recorder() as server:
            config = proxying(server.address, workers=1)
            steps = [{"jwt": {"keys": url, "ca": str(authority.pem)}}]
            config["listeners"]["web"]["routes"][0]["filters"] = steps
            with Service(config) as service, Wire(service.address()) as wire:
                assert settled(lambda: "keys.fetched" in service.words())
                ask = asked(b"GET /x", Authorization=f"Bearer {token(0)}".encode())
                assert settled(lambda: wire.send(ask).read().status == 200)
                for number, status in ((0, 200), (1, 200), (2, 401)):
                    said = f"Bearer {token(number)}".encode()
                    assert wire.send(asked(b"GET /x", Authorization=said)).read().status == status

    asyncio.run(scene())
