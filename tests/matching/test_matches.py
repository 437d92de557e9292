"""Every match as a user writes it: what it takes, what it leaves, and what it says of a mistake."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError

from fourseven.features import Match, Need
from fourseven.matching.probe import Probe
from fourseven.matching.records import ROUTE_NEEDS_BODY, ROUTE_NONE, ROUTE_UNDECIDED, Field
from fourseven.plan import Expression, RoutePlan
from fourseven.registry import MATCHES

BY_KEY = {cls.key: cls for cls in MATCHES}
CHUNKED, LENGTH = 2, 1
SAMPLES: dict[str, Any] = {
    "address": "10.0.0.0/8",
    "method": "GET",
    "host": "a.example",
    "path": "/videos/",
    "header": {"X-Tenant": "acme"},
    "query": {"a": "1"},
    "cookie": {"a": "1"},
    "device": "mobile",
    "body": {"json": {"/a": 1}},
    "sni": "a.example",
    "client_certificate": {"verified": True},
    "alpn": "h2",
    "grpc": "shop.v1.Orders",
}


def make(key: str, value: Any) -> Match:
    cls = BY_KEY[key]
    return cls.model_validate(cls.from_file(value))


def probe(*matches: Expression) -> Probe:
    return Probe([RoutePlan(name=f"r{n}", match=match) for n, match in enumerate(matches)])


def header(*lines: str, name: bytes = b"Cookie") -> dict[str, Any]:
    return {"headers": [(name, line.encode("latin-1")) for line in lines]}


def body(text: bytes, kind: bytes = b"application/json", **more: Any) -> dict[str, Any]:
    sent = {"body": text, "framing": LENGTH, "content_length": len(text), **more}
    return {"headers": [(b"Content-Type", kind)], **sent}


COOKIES = [
    ({"a": "1"}, header("a=1"), True),
    ({"a": "1"}, header("b=2; a=1"), True),
    ({"a": "1"}, header("b=2;a=1;c=3"), True),
    ({"a": "1"}, header("b=2;\ta = 1 ;c=3"), True),
    ({"a": "1"}, header('a="1"'), True),
    ({"a": "1"}, header("a=2; a=1"), True),
    ({"a": "1"}, header("a=2", "a=1"), True),
    ({"a": "1"}, header("", ";;", "=", "a=1"), True),
    ({"a": "1"}, header("A=1"), False),
    ({"a": "1"}, header("aa=1; a=11; ba=1"), False),
    ({"a": "1"}, header("x=a=1"), False),
    ({"x": "a=1"}, header("x=a=1"), True),
    ({"a": "1"}, header("a"), False),
    ({"a": {"present": True}}, header("a"), False),
    ({"a": {"present": True}}, header("a="), True),
    ({"a": {"present": False}}, header("b=1"), True),
    ({"a": ""}, header("a="), True),
    ({"a": ""}, header('a=""'), True),
    ({"a": '"'}, header('a="'), True),
    ({"a": '"b'}, header('a="b;c"'), True),  # a semicolon ends a value, quoted or not
    ({"a": "%31"}, header("a=%31"), True),  # nothing is decoded
    ({"a": "1", "b": "2"}, header("a=1; b=2"), True),
    ({"a": "1", "b": "2"}, header("a=1"), False),
    ({"a": {"prefix": "v1", "suffix": "z"}}, header("a=v1.z"), True),
    ({"a": "1"}, header("a=1", name=b"X-Cookie"), False),
    ({"a": "1"}, header("a=1", name=b"cOOKIE"), True),
    ({"a": "1"}, {}, False),
]

QUERIES = [
    ({"a": "1"}, b"a=1", True),
    ({"a": "1"}, b"b=2&a=1", True),
    ({"a": "1"}, b"a=2&a=1", True),  # any one of them
    ({"a": "1"}, b"&&a=1&", True),
    ({"a": "1"}, b"%61=%31", True),
    ({"a b": "c d"}, b"a+b=c%20d", True),
    ({"a": "c+d"}, b"a=c%2Bd", True),
    ({"a": "x=y"}, b"a=x=y", True),
    ({"a": ""}, b"a", True),
    ({"a": ""}, b"a=", True),
    ({"a": {"present": True}}, b"a", True),
    ({"a": {"present": True}}, b"b=a", False),
    ({"a": {"present": False}}, b"b=a", True),
    ({"a": {"present": False}}, None, True),
    ({"a": "1"}, None, False),
    ({"a": "1"}, b"", False),
    ({"a": "1"}, b"A=1", False),
    ({"a": "1"}, b"aa=1&b=a=1", False),
    ({"a": "1"}, b"b=2;a=1", False),  # a semicolon divides nothing
    ({"a": "%"}, b"a=%", True),
    ({"a": "%4"}, b"a=%4", True),
    ({"a": "%zz"}, b"a=%zz", True),
    ({"a": "\0"}, b"a=%00", True),
    ({"ä": "€"}, b"%C3%A4=%E2%82%ac", True),
    ({"a": ["1", "2"]}, b"a=2", True),
    ({"a": {"regex": "^x+$"}}, b"a=xxx", True),
    ({"a": 8}, b"a=8", True),
    ({"a": 1.0}, b"a=1", True),
    ({"a": True}, b"a=true", True),
]

PATHS = [
    ("/videos", b"/videos/x", True),
    ("/videos/", b"/videosX", False),
    (["/a", "/b"], b"/b/c", True),
    ("/%76ideos", b"/videos", True),
    ("/x/../videos", b"/videos", True),
    ("//videos", b"/videos", True),
    ("/a b", b"/a%20b", True),
    ("/ä", b"/%C3%A4", True),
    ("/", b"/", True),
    ({"exact": "/a"}, b"/a", True),
    ({"exact": "/a"}, b"/a/", False),
    ({"exact": ["/a", "/b"]}, b"/b", True),
    ({"regex": "^/v[0-9]+/"}, b"/v1/x", True),
    ({"regex": "/b$"}, b"/a/b", True),
    ({"prefix": "/a", "regex": r"\.mp4$"}, b"/a/x.mp4", True),
    ({"prefix": "/a", "regex": r"\.mp4$"}, b"/b/x.mp4", False),
    ({"glob": "/a/*"}, b"/a/b", True),
    ({"glob": "/a/*"}, b"/a/", True),
    ({"glob": "/a/*"}, b"/a", False),
    ({"glob": "/a/*"}, b"/a/b/c", False),
    ({"glob": "/a/**"}, b"/a/b/c", True),
    ({"glob": "/a/**/z"}, b"/a/b/c/z", True),
    ({"glob": "/a/**/z"}, b"/a/z", False),
    ({"glob": "/a**z"}, b"/a/b/cz", True),
    ({"glob": "/*.mp4"}, b"/x.mp4", True),
    ({"glob": "/*.mp4"}, b"/x.mp4x", False),
    ({"glob": "/*.mp4"}, b"/x/y.mp4", False),
    ({"glob": "/**.mp4"}, b"/x/y.mp4", True),
    ({"glob": "/?b"}, b"/ab", True),
    ({"glob": "/?b"}, b"//b", False),
    ({"glob": "/[a-c]x"}, b"/bx", True),
    ({"glob": "/[a-c]x"}, b"/dx", False),
    ({"glob": "/[!a-c]x"}, b"/dx", True),
    ({"glob": "/[!a-c]x"}, b"//x", False),
    ({"glob": "/[]a]x"}, b"/]x", True),
    ({"glob": "/[a-]x"}, b"/-x", True),
    ({"glob": "/*.{mp4,webm}"}, b"/a.webm", True),
    ({"glob": "/*.{mp4,webm}"}, b"/a.mkv", False),
    ({"glob": "/a b*"}, b"/a%20bc", True),
    ({"glob": "/a*b*c*d"}, b"/axbxcxd", True),
    ({"glob": "/a*b*c*d"}, b"/axcxbxd", False),
    ({"glob": "/" + "x" * 62 + "*" + "y" * 70}, b"/" + b"x" * 80 + b"y" * 70, True),
    ({"glob": "/" + "x" * 63 + "*" + "y" * 70}, b"/" + b"x" * 80 + b"y" * 69, False),
]

HOSTS = [
    ("shop.example", b"shop.example", True),
    ("Shop.Example.", b"shop.example", True),
    ("*.Example.com", b"a.b.example.com", True),
    ("*.example.com", b"example.com", False),
    (["a.b", "*.c.d", "e.f"], b"e.f", True),
    (["a.b", "*.c.d", "e.f"], b"x.c.d", True),
    (["a.b", "*.c.d", "e.f"], b"c.d", False),
    ({"regex": "^t[0-9]+\\."}, b"t12.example", True),
    ("[::1]", b"[::1]", True),
    ("127.0.0.1", b"127.0.0.1", True),
]

OTHERS = [
    ("method", "GET", {"method": b"GET"}, True),
    ("method", "GET", {"method": b"HEAD"}, False),
    ("method", ["GET", "HEAD"], {"method": b"HEAD"}, True),
    ("method", ["GET", "HEAD"], {"method": b"POST"}, False),
    ("address", "192.0.2.0/24", {"client": "192.0.2.255"}, True),
    ("address", "192.0.2.0/24", {"client": "::ffff:192.0.2.255"}, True),
    ("address", "::ffff:192.0.2.0/120", {"client": "192.0.2.255"}, True),
    ("address", "192.0.2.0/24", {"client": "192.0.3.0"}, False),
    ("address", "192.0.2.7", {"client": "192.0.2.7"}, True),
    ("address", ["10.0.0.0/9", "10.128.0.0/9", "::1"], {"client": "10.128.0.1"}, True),
    ("address", ["10.0.0.0/9", "10.128.0.0/9", "::1"], {"client": "::1"}, True),
    ("address", ["10.0.0.0/9", "10.128.0.0/9", "::1"], {"client": "::2"}, False),
    ("header", {"X-A": "1"}, header("2", "1", name=b"x-a"), True),
    ("header", {"X-A": "1", "x-b": {"present": False}}, header("1", name=b"x-a"), True),
    ("header", {"X-A": {"any_of": ["1", "2"]}}, header("2", name=b"x-a"), True),
    ("header", {"X-A": "ä"}, {"headers": [(b"X-A", "ä".encode())]}, True),
    ("device", ["mobile", "tablet"], {"headers": [(b"User-Agent", b"iPad")]}, True),
    ("device", "desktop", {}, True),
    ("body", {"type": "application/json"}, body(b"{}", b"Application/JSON ; charset=x"), True),
    ("body", {"type": "image/*"}, body(b"", b"image/png"), True),
    ("body", {"type": "image/*"}, body(b"", b"images/png"), False),
    ("body", {"type": ["a/b", "c/d"]}, body(b"", b"c/d"), True),
    ("body", {"type": "a/b"}, body(b"", b"a/" + b"b" * 300), False),
    ("body", {"type": "a/b"}, {}, False),
    ("body", {"json": {"/user/plan": "gold"}}, body(b'{"user":{"plan":"gold"}}'), True),
    ("body", {"json": {"/user/plan": "gold"}}, body(b'{"user":{"plan":"iron"}}'), False),
    ("body", {"json": {"/n": 8, "/t": True}}, body(b'{"n":8.0,"t":true}'), True),
    ("body", {"json": {"/n": "null"}}, body(b'{"n":null}'), True),
    ("body", {"json": {"/n": {"present": False}}}, body(b'{"m":1}'), True),
    ("body", {"json": {"/n": {"regex": "^a"}}}, body(b'{"n":"ab"}'), True),
    ("body", {"contains": "needle"}, body(b"hay needle hay"), True),
    ("body", {"contains": "needle"}, body(b"hay needl"), False),
    ("body", {"contains": "needle", "within": 8}, body(b"hay needle hay"), False),
    ("body", {"contains": "needle", "within": 10}, body(b"hay needle hay"), True),
    ("body", {"json": {"/a": 1}, "within": 6}, body(b'{"a":1}'), False),
    ("body", {"json": {"/a": 1}, "within": 7}, body(b'{"a":1}'), True),
    ("body", {"regex": "ne{2}dle$"}, body(b"a needle"), True),
    ("body", {"contains": "x"}, {}, False),
    ("body", {"size": "> 3"}, body(b"1234"), True),
    ("body", {"size": "> 4"}, body(b"1234"), False),
    ("body", {"size": ">= 4"}, body(b"1234"), True),
    ("body", {"size": "<= 4"}, body(b"1234"), True),
    ("body", {"size": "< 4"}, body(b"1234"), False),
    ("body", {"size": "= 4"}, body(b"1234"), True),
    ("body", {"size": ["> 1KiB", "< 1MiB"]}, body(b"", content_length=4096), True),
    ("body", {"size": ["> 1KiB", "< 1MiB"]}, body(b"", content_length=2**40), False),
    ("body", {"size": "< 1"}, {}, True),
    ("body", {"size": "= 4"}, {"body": b"1234", "framing": CHUNKED}, True),
    ("body", {"size": "> 1MiB"}, {"body": b"1", "framing": CHUNKED, "complete": False}, True),
    ("body", {"size": "< 1MiB"}, {"body": b"1", "framing": CHUNKED, "complete": False}, False),
]
TABLE = [
    *(("cookie", value, sent, holds) for value, sent, holds in COOKIES),
    *(("query", value, {"query": sent}, holds) for value, sent, holds in QUERIES),
    *(("path", value, {"path": sent}, holds) for value, sent, holds in PATHS),
    *(("host", value, {"host": sent}, holds) for value, sent, holds in HOSTS),
    *OTHERS,
]


@pytest.mark.parametrize(("key", "value", "sent", "holds"), TABLE)
def test_it_holds(key, value, sent, holds):
    asked = probe(make(key, value).lower()).request(**sent)
    assert asked.find() == (0 if holds else ROUTE_NONE)
    assert asked.scan() == asked.find()


# Real ones, as browsers and crawlers send them; hints: Sec-CH-UA-Mobile, Sec-CH-UA-Platform.
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
AGENTS = [
    (
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/126.0.0.0 Safari/537.36",
        "",
        "desktop",
    ),
    (
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/126.0 Edg/126.0",
        "?0 Windows",
        "desktop",
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0",
        "",
        "desktop",
    ),
    (
        f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/126.0 Safari/537.36",
        "?0 Chrome OS",
        "desktop",
    ),
    ("Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; WOW64; Tablet PC 2.0)", "", "desktop"),
    (
        f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36",
        "",
        "mobile",
    ),
    (
        f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36",
        "?1 Android",
        "mobile",
    ),
    (
        f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/126.0.0.0 Safari/537.36",
        "?0 Android",
        "tablet",
    ),
    (
        f"Mozilla/5.0 (Linux; Android 13; SM-X906C) {WEBKIT} Chrome/126.0 Safari/537.36",
        "",
        "tablet",
    ),
    ("Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", "", "mobile"),
    ("Mozilla/5.0 (Android 13; Tablet; rv:68.0) Gecko/68.0 Firefox/68.0", "", "tablet"),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
        " Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
        "",
        "mobile",
    ),
    (
        "Mozilla/5.0 (iPad; CPU OS 12_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
        " Version/12.1 Mobile/15E148 Safari/604.1",
        "",
        "tablet",
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_6) AppleWebKit/605.1.15 Version/17.0 Safari/605",
        "",
        "desktop",
    ),
    (
        f"Mozilla/5.0 (Linux; Android 9; KFMAWI) {WEBKIT} Silk/98.6.10 like Chrome/98.0 Safari/537.36",
        "",
        "tablet",
    ),
    (
        "Mozilla/5.0 (X11; U; Linux armv7l like Android; en-us) AppleWebKit/531.2+ Kindle/3.0+",
        "",
        "tablet",
    ),
    (
        f"Mozilla/5.0 (Linux; Android 10; CUBOT_X30) {WEBKIT} Chrome/90.0 Mobile Safari/537.36",
        "",
        "mobile",
    ),
    (
        f"Mozilla/5.0 (Linux; Android 11; BRAVIA 4K VH2) {WEBKIT} Chrome/88.0 Safari/537.36",
        "",
        "desktop",
    ),
    (f"Mozilla/5.0 (Linux; Android 7.1.2; AFTS Build/NS6265) {WEBKIT} Chrome/70.0", "", "desktop"),
    (
        "Opera/9.80 (J2ME/MIDP; Opera Mini/9.80/191.308; U; en) Presto/2.12 Version/12.16",
        "",
        "mobile",
    ),
    (
        f"Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 640 LTE) {WEBKIT}"
        " Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15063",
        "",
        "mobile",
    ),
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "", "bot"),
    (
        f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) {WEBKIT} Chrome/126.0 Mobile Safari/537.36"
        " (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "?1 Android",
        "bot",
    ),
    (
        f"Mozilla/5.0 {WEBKIT} (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "",
        "bot",
    ),
    ("Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)", "", "bot"),
    ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", "", "bot"),
    ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", "", "bot"),
    (
        "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
        "",
        "bot",
    ),
    (
        "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
        "",
        "bot",
    ),
    ("TelegramBot (like TwitterBot)", "", "bot"),
    (f"Mozilla/5.0 {WEBKIT}; compatible; GPTBot/1.1; +https://openai.com/gptbot", "", "bot"),
    (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/126.0 Safari/537.36", "", "bot"),
    ("curl/8.5.0", "", "desktop"),
    ("python-requests/2.31.0", "", "desktop"),
    ("", "", "desktop"),
    ("x" * 5000 + " Mobile", "", "desktop"),  # the first 1,024 bytes count
]


@pytest.mark.parametrize(("agent", "hints", "want"), AGENTS)
def test_devices(agent, hints, want):
    mobile, _, platform = hints.partition(" ")
    headers = [(b"User-Agent", agent.encode())]
    if hints:
        headers += [(b"Sec-CH-UA-Mobile", mobile.encode())]
        headers += [(b"Sec-CH-UA-Platform", f'"{platform}"'.encode())]
    asked = probe(make("device", want).lower()).request(headers=headers)
    assert asked.value(Field.FIELD_DEVICE) == want.encode()
    assert asked.find() == 0


def test_a_request_without_an_agent_is_a_desktop():
    assert probe().request().value(Field.FIELD_DEVICE) == b"desktop"


# ---- the body is asked for when it decides, and not before ----

WAITS = [
    ({"contains": "x"}, {"framing": LENGTH, "content_length": 5}, ROUTE_NEEDS_BODY),
    ({"contains": "x"}, {"framing": CHUNKED}, ROUTE_NEEDS_BODY),
    ({"contains": "x"}, {"framing": LENGTH, "content_length": 0}, ROUTE_NONE),
    ({"contains": "x"}, {}, ROUTE_NONE),
    ({"contains": "x"}, {"framing": CHUNKED, "body": b"", "complete": True}, ROUTE_NONE),
    ({"json": {"/a": 1}}, {"framing": CHUNKED}, ROUTE_NEEDS_BODY),
    ({"size": "> 1"}, {"framing": LENGTH, "content_length": 5}, 0),
    ({"size": "> 1"}, {"framing": CHUNKED}, ROUTE_NEEDS_BODY),
    ({"type": "a/b"}, {"framing": CHUNKED}, ROUTE_NONE),
    ({"type": "a/b", "contains": "x"}, {"framing": CHUNKED}, ROUTE_NONE),
]


@pytest.mark.parametrize(("value", "sent", "want"), WAITS)
def test_it_waits_for_the_body(value, sent, want):
    assert probe(make("body", value).lower()).request(**sent).find() == want


# ---- what the ClientHello says ----

H2, BOTH = b"\x02h2", b"\x02h2\x08http/1.1"
HELLOS = [
    ("sni", "a.example", {"sni": b"a.example"}, True),
    ("sni", "A.example.", {"sni": b"a.example"}, True),
    ("sni", "a.example", {"sni": b"b.example"}, False),
    ("sni", "a.example", {"host": b"a.example"}, False),
    ("sni", "a.example", {}, False),
    ("sni", ["x.example", "a.example"], {"sni": b"a.example"}, True),
    ("sni", "*.example", {"sni": b"a.b.example"}, True),
    ("sni", "*.example", {"sni": b"example"}, False),
    ("sni", ["a.b", "*.example"], {"sni": b"a.b"}, True),
    ("sni", {"regex": "^s[0-9]+$"}, {"sni": b"s12"}, True),
    ("sni", {"regex": "^s[0-9]+$"}, {"sni": b"s"}, False),
    ("alpn", "h2", {"alpn": H2}, True),
    ("alpn", "http/1.1", {"alpn": BOTH}, True),
    ("alpn", "h", {"alpn": BOTH}, False),
    ("alpn", "H2", {"alpn": H2}, False),
    ("alpn", "h2", {"alpn": b"\x02\x0a\x0a\x02h2"}, True),  # GREASE stands before it
    ("alpn", ["imap", "h2"], {"alpn": BOTH}, True),
    ("alpn", ["imap", "pop3"], {"alpn": BOTH}, False),
    ("alpn", "h2", {}, False),
    ("alpn", "h2", {"alpn": b""}, False),
    ("alpn", "h2", {"alpn": b"\x03h2"}, False),  # no reader gives it; not a byte beyond is read
]


@pytest.mark.parametrize(("key", "value", "seen", "holds"), HELLOS)
def test_the_client_hello(key, value, seen, holds):
    match = make(key, value)
    assert match.need is Need.CLIENT_HELLO
    asked = probe(match.lower()).request(**seen)
    assert (asked.find() == 0) == (asked.scan() == 0) == holds


def test_an_earlier_route_and_an_earlier_miss_need_no_body():
    payload = make("body", {"contains": "x"})
    videos = make("path", "/videos").lower()
    asked = probe(videos, payload.lower()).request(path=b"/videos/a", framing=CHUNKED)
    assert asked.find() == 0
    assert asked.request(path=b"/b", framing=CHUNKED).find() == ROUTE_NEEDS_BODY


def test_how_much_of_the_body_is_needed():
    assert make("body", {"contains": "x"}).body_prefix() == 16 * 1024
    assert make("body", {"contains": "x", "within": "4KiB"}).body_prefix() == 4096
    assert make("body", {"type": "a/b"}).body_prefix() == 0
    assert make("path", "/").body_prefix() == 0


# ---- mistakes ----

MISTAKES = [
    ("path", "videos/", "write /videos/"),
    ("path", "/videos/*", r"write \{glob: /videos/\*\}"),
    ("path", "/a?b=c", "write /a"),
    ("path", "/a#b", "write /a"),
    ("path", "/a%2", "no path"),
    ("path", "/a\0", "no path"),
    ("path", {}, "no test is named"),
    ("path", {"regex": "a(b"}, "at character 4"),
    ("path", {"regex": ""}, "empty"),
    ("path", {"glob": "a"}, r"write \{glob: /a\}"),
    ("path", {"glob": "/a{b"}, "brace"),
    ("path", {"glob": "/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"}, "more than 64"),
    ("path", {"glob": "/[b-a]"}, "backwards"),
    ("path", {"glob": "/[a"}, r"has no \]"),
    ("host", "*", "leave the host out"),
    ("host", "a.*.b", r"\*.example.com"),
    ("host", "http://a.b/c", "write a.b"),
    ("host", "a.b:80", "write a.b"),
    ("host", "bücher.de", "xn--bcher-kva.de"),
    ("host", "a b", "not a host"),
    ("host", "", "not a host"),
    ("host", [], "too_short"),
    ("host", {}, "write either"),
    ("host", {"name": "a", "regex": "b"}, "write either"),
    ("sni", "a.b:443", "write a.b"),
    ("client_certificate", {}, "nothing is asked"),
    ("client_certificate", {"fingerprint": "12:34"}, "no SHA-256 fingerprint"),
    ("client_certificate", {"verified": "yes"}, "bool"),
    ("sni", {}, "write either a name"),
    ("sni", {"name": "a", "regex": "b"}, "write either a name"),
    ("alpn", "", "no protocol's name"),
    ("alpn", [], "too_short"),
    ("method", "get", "write GET"),
    ("method", "G T", "not a method"),
    ("header", {}, "too_short"),
    ("header", {"": "x"}, "name is empty"),
    ("header", {"X Y": "x"}, "not the name"),
    ("header", {"X-Y": None}, "no value"),
    ("header", {"X-Y": {}}, "no test"),
    ("header", {"X-Y": {"exact": {}}}, "a mapping cannot be compared"),
    ("header", {"X-Y": {"prefix": ""}}, "always hold"),
    ("header", {"X-Y": {"any_of": []}}, "too_short"),
    ("header", {"x-a": 1, "X-A": 2}, "stands twice"),
    ("header", "X-Y", "names no value"),
    ("cookie", {"a;b": 1}, "not the name"),
    ("address", "10.0.0.1/8", "write 10.0.0.0/8"),
    ("address", 10, "not a network"),
    ("device", "phone", "mobile"),
    ("body", {}, "no test"),
    ("body", {"within": 10}, "no test"),
    ("body", {"json": {"user.plan": 1}}, "write /user/plan"),
    ("body", {"json": {"$.user.plan": 1}}, "write /user/plan"),
    ("body", {"json": {"/a~2": 1}}, "~0"),
    ("body", {"json": {"/a" * 17: 1}}, "16 steps"),
    ("body", {"size": "1MiB"}, "> 1MiB"),
    ("body", {"size": "> 1MB"}, "1MiB"),
    ("body", {"type": "text"}, "application/json"),
    ("body", {"type": "a/b; c=d"}, "write e.g. a/b"),
    ("body", {"type": "*/b"}, "not a media type"),
    ("body", {"type": "a/b*"}, r"write a/\*"),
    ("body", {"contains": "x", "within": "1MiB"}, "48KiB"),
    ("body", {"contains": "x", "within": 0}, "48KiB"),
]


@pytest.mark.parametrize(("key", "value", "says"), MISTAKES)
def test_a_mistake_is_told(key, value, says):
    with pytest.raises((ValidationError, ValueError), match=says):
        make(key, value)


# ---- what every match of the registry owes ----


@pytest.mark.parametrize("cls", MATCHES, ids=lambda cls: cls.key)
def test_each_match_keeps_the_contract(cls):
    match = make(cls.key, SAMPLES[cls.key])
    assert isinstance(cls.need, Need)
    assert f"match: {{{cls.key}: " in cls.__doc__
    assert match.lower() == match.lower()
    assert probe(match.lower()).request().find() in (0, ROUTE_NONE)
    assert 0 <= match.body_prefix() <= 48 * 1024


# ---- hostile values stay cheap ----

EVIL = [
    ("(a+)+$", b"/" + b"a" * 8000 + b"!"),
    ("(a|aa)+$", b"/" + b"a" * 8000 + b"!"),
    ("^/(([a-z])+.)+[A-Z]([a-z])+$", b"/" + b"a" * 8000),
    ("(x+x+)+y", b"/" + b"xxxxxxxxx!" * 800 + b"y"),
    ("x*x*x*x*[0-9]", b"/" + (b"x" * 37 + b"!") * 200),
    (".*.*.*.*=.*;", b"/" + b"=" * 8000),
]


@pytest.mark.parametrize(("pattern", "path"), EVIL)
def test_a_catastrophic_regex_is_bounded(pattern, path):
    asked = probe(make("path", {"regex": pattern}).lower()).request(path=path)
    start = time.process_time()
    assert asked.find() == (ROUTE_UNDECIDED if asked.limited() else ROUTE_NONE)
    assert time.process_time() - start < 0.25  # unbounded, the first would outlive us all


def test_a_limit_that_is_hit_is_counted_and_leaves_the_route_undecided():
    asked = probe(make("path", {"regex": "(a+)+$"}).lower()).request(path=b"/" + b"a" * 99 + b"!")
    before = asked.limited()
    assert asked.find() == ROUTE_UNDECIDED
    assert asked.limited() == before + 1


def test_a_glob_is_linear():
    glob = "/" + "*a" * 60 + "**" + "*b" * 40 + "c"
    asked = probe(make("path", {"glob": glob}).lower()).request(path=b"/" + b"ab" * 30_000)
    start = time.process_time()
    assert asked.find() == (ROUTE_UNDECIDED if asked.limited() else ROUTE_NONE)
    assert time.process_time() - start < 0.25


def test_many_values_of_one_name_are_read_once_each():
    asked = probe(make("query", {"a": "x"}).lower(), make("cookie", {"a": "x"}).lower())
    asked.request(query=b"&".join([b"a=1"] * 15_000), **header("; ".join(["a=1"] * 10_000)))
    start = time.process_time()
    assert asked.find() == (ROUTE_UNDECIDED if asked.limited() else ROUTE_NONE)
    assert time.process_time() - start < 0.25
