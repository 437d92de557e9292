"""Makes up HTTP/1 conversations: what is meant, and one of the many ways to write it down.

From a seed comes a list of messages (the meaning), and for each a spelling: the case of names, the
white space around values, the order of fields, dot segments in a path, the sizes of chunks, their
extensions and trailers, and needless escapes. All spellings are right by RFC 9112, so a reader must
find the meaning in each of them, however the bytes are split on their way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

NONE, LENGTH, CHUNKED, CLOSE = range(4)  # as protocols.message.Framing
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"BREW", b"M-SEARCH"]
METHOD_IDS = {name: number for number, name in enumerate(METHODS[:7], 1)}
SEGMENTS = [
    b"a",
    b"videos",
    b"x.y",
    b"~me",
    b"-_",
    b"%20b",
    b"%C3%A9",
    b"a;b=c",
    b"v1",
    b"...",
    b"%25",
]
TOKEN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^`|~"
VISIBLE = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))


@dataclass(slots=True)
class Meaning:
    """What a message says, however it is spelt."""

    framing: int
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)  # our own, by lower-case name
    method: bytes = b"GET"
    path: bytes = b"/"
    query: bytes | None = None
    host: bytes = b"a"
    keep_alive: bool = True
    status: int = 200


def token(random: Random, most: int = 12) -> bytes:
    return bytes(random.choices(TOKEN, k=random.randint(1, most)))


def value(random: Random) -> bytes:
    """A field's value: words apart by one or more blanks."""
    words = [
        bytes(random.choices(VISIBLE, k=random.randint(1, 9))) for _ in range(random.randint(0, 4))
    ]
    return random.choice([b" ", b"\t", b"  "]).join(words)


def spaces(random: Random) -> bytes:
    return random.choice([b"", b" ", b" ", b"\t", b" \t "])


def case(random: Random, name: bytes) -> bytes:
    return random.choice([name, name.lower(), name.upper(), name.title()])


def own_fields(random: Random) -> list[tuple[bytes, bytes]]:
    return [(b"x-own-" + token(random).lower(), value(random)) for _ in range(random.randint(0, 8))]


def body(random: Random) -> bytes:
    size = random.choice([0, 1, 2, 15, 16, 17, 255, 256, 1000, 5000])
    if random.random() < 0.3:
        return (b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n" * 9)[:size]
    return random.randbytes(size)


def path(random: Random) -> bytes:
    return b"/" + b"/".join(random.choices(SEGMENTS, k=random.randint(0, 4)))


def spell_path(random: Random, canonical: bytes) -> bytes:
    """The same path with segments that cancel out, and needless escapes."""
    spelt = []
    for segment in canonical[1:].split(b"/"):
        spelt += [b"."] * (random.random() < 0.15)
        spelt += [b""] * (random.random() < 0.15)
        spelt += [b"gone", random.choice([b"..", b"%2e%2E"])] * (random.random() < 0.15)
        plain = segment.isalnum() and random.random() < 0.3
        spelt.append(b"".join(b"%%%02x" % byte for byte in segment) if plain else segment)
    return b"/" + b"/".join(spelt)


def meaning(random: Random, answers: bytes | None = None) -> Meaning:
    """A request; or the answer to a request of this method."""
    made = Meaning(random.choice([NONE, LENGTH, CHUNKED]), fields=own_fields(random))
    made.body = body(random) if made.framing != NONE else b""
    if made.framing == CHUNKED and random.random() < 0.3:
        made.trailers = [(b"x-sum-" + token(random).lower(), value(random))]
    if answers is None:
        made.method = random.choice(METHODS)
        made.path = path(random)
        made.query = random.choice([None, b"", b"a=b", b"x=%2f../&y=//", b"?"])
        made.host = random.choice([b"a", b"example.com", b"a.b-c.d", b"127.0.0.1", b"[::1]"])
    else:
        made.status = random.choice([200, 201, 204, 206, 301, 304, 404, 500, 503])
        if answers == b"HEAD" or made.status in (204, 304):
            made.framing, made.body, made.trailers = NONE, b"", []
        elif made.framing == NONE:
            made.framing = CLOSE
    made.keep_alive = made.framing != CLOSE and random.random() < 0.8
    return made


def spell(random: Random, made: Meaning, answer: bool) -> bytes:
    """One way to write it down."""
    lines = list(made.fields)
    if made.framing == LENGTH:
        lines.append((b"Content-Length", b"%d" % len(made.body)))
    if made.framing == CHUNKED:
        lines.append((b"Transfer-Encoding", random.choice([b"chunked", b"Chunked", b"CHUNKED"])))
    if not answer:
        port = random.choice([b"", b"", b":80", b":8080"])
        lines.append((b"Host", random.choice([made.host, made.host.upper()]) + port))
    if not made.keep_alive:
        lines.append((b"Connection", random.choice([b"close", b"Close", b"x-other, close"])))
    random.shuffle(lines)
    head = b"".join(
        case(random, name) + b":" + spaces(random) + said + spaces(random) + b"\r\n"
        for name, said in lines
    )
    return start_line(random, made, answer) + b"\r\n" + head + b"\r\n" + spell_body(random, made)


def start_line(random: Random, made: Meaning, answer: bool) -> bytes:
    if answer:
        return b"HTTP/1.1 %d %s" % (made.status, random.choice([b"", b"OK", b"Not so good"]))
    query = b"" if made.query is None else b"?" + made.query
    return b"%s %s HTTP/1.1" % (made.method, spell_path(random, made.path) + query)


def spell_body(random: Random, made: Meaning) -> bytes:
    if made.framing != CHUNKED:
        return made.body
    spelt, at = bytearray(), 0
    while at < len(made.body):
        size = random.randint(1, random.choice([1, 10, 300, 5000]))
        chunk = made.body[at : at + size]
        at += size
        number = random.choice([b"%x", b"%X", b"00%x"]) % len(chunk)
        spelt += number + extension(random) + b"\r\n" + chunk + b"\r\n"
    spelt += random.choice([b"0", b"00"]) + extension(random) + b"\r\n"
    for name, said in made.trailers:
        spelt += case(random, name) + b": " + said + b"\r\n"
    return bytes(spelt) + b"\r\n"


def extension(random: Random) -> bytes:
    return random.choice([b"", b"", b"", b";a", b";a=b", b';a="b c"', b";a=b;c"])


def split(random: Random, data: bytes) -> list[bytes]:
    """The data in pieces, as a network might deliver it."""
    most = max(random.choice([1, 3, 17, 200, 5000]), len(data) // 200)  # few enough to be quick
    pieces, at = [], 0
    while at < len(data):
        size = random.randint(1, most)
        pieces.append(data[at : at + size])
        at += size
    return pieces
