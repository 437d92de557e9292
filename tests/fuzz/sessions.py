"""The sessions of HTTP/2 as a whole: the engine with one worker and its sockets, turn by turn.

`http2` plays a client by the input, and servers of HTTP/1.1 and 2 in changing moods; in
`http2_servers` the input is what a server of HTTP/2 says to clients of HTTP/1.1 and 2. All of them
are sockets of this very thread: a turn of the worker, then everybody says what he has to say.

An input begins with two bytes of choices; then come records. A record is a frame whose head is
written here (so that a byte more or less does not spoil all that follows), or bytes as they are:

    1sssssss bytes…                    so many bytes as they are
    0ZJ.tttt flags stream size bytes…  a frame of type t; Z: 64 times `size`, all of them zeros, or
                                       in HEADERS and CONTINUATION one field of that size;
                                       J: no turn behind it, so that it comes together with the next

Laws: what we send is frames that HTTP/2 knows and heads that our own strict readers accept; when
all peers are gone, no session, no connection, no stream and no buffer is left, and no memory: a
life that leaves some is lived again, and what is there for the first time only does not count.
"""

import socket
import tempfile

import cython
from cython.cimports.fourseven.control.dataplane import DataPlane
from cython.cimports.fourseven.l7.http import spares_drop
from cython.cimports.fourseven.l7.records import http_of
from cython.cimports.fourseven.l7.session import session_open
from cython.cimports.fourseven.native.atomics import fetch_add_i64
from cython.cimports.fourseven.native.linux import (
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SHUT_WR,
    accept4,
    check,
    close,
    recv,
    send,
    shutdown,
)
from cython.cimports.fourseven.protocols.http1 import read_request, read_response
from cython.cimports.fourseven.worker.tools import buffers_drop
from cython.cimports.fourseven.worker.worker import start, turn, worker_wake
from cython.cimports.libc.stdint import int32_t, uint32_t
from cython.cimports.libc.string import memcpy, memset, strlen
from cython.cimports.sessions import (
    AF_UNIX,
    CLIENT_1,
    CLIENT_2,
    FRAME_MAX,
    HEARD_MAX,
    LIMITS,
    NOWHERE,
    PEERS_MAX,
    SERVER_1,
    SERVER_2,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    STAGE,
    TURNS_MAX,
    Peer,
    Stage,
    Walk,
    allocated,
    socketpair,
)

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads

FILE = """
listeners:
  fuzz:
    bind: 127.0.0.1:1
    http_versions: [1.1, 2]
    streams_max: 8
    routes:
      - {{match: {{path: /2}}, backend: multiplexed}}
      - {{match: {{path: /deny}}, filters: {{respond: {{status: 403, body: "no"}}}}}}
      - {{backend: plain}}
backends:
  plain: {{servers: ["unix:{folder}/plain"], retries: 1}}
  multiplexed: {{protocol: h2, servers: ["unix:{folder}/multiplexed"], retries: 1}}
"""

# What servers of HTTP/1.1 say, one after the other.
ANSWERS = cython.declare(cython.p_const_char[12])
ANSWERS[0] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
ANSWERS[1] = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n11\r\n01234567890123456\r\n0\r\nX-Sum: 1\r\n\r\n"
)
ANSWERS[2] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
ANSWERS[3] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"
ANSWERS[4] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"
ANSWERS[5] = b"HTTP/1.1 nonsense\r\n\r\n"
ANSWERS[6] = b""
ANSWERS[7] = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"
ANSWERS[8] = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ANSWERS[9] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n"
ANSWERS[10] = (
    b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"
)
ANSWERS[11] = b"HTTP/1.0 200 OK\r\n\r\nold"
ANSWER_COUNT = cython.declare(cython.int, 12)
CLOSES = cython.declare(cython.int, 0b100101111000)  # behind these the server closes
LARGE = cython.declare(cython.int, 7)  # behind its head come many zeros

# What clients of HTTP/1.1 ask servers of HTTP/2.
QUESTIONS = cython.declare(cython.p_const_char[4])
QUESTIONS[0] = b"GET /2/ HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\n\r\n"
QUESTIONS[1] = (
    b"POST /2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
)
QUESTIONS[2] = b"HEAD /2/ HTTP/1.1\r\nHost: a\r\n\r\n"
QUESTIONS[3] = (
    b"GET /2/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PREFACE = cython.declare(cython.p_const_char, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
GET_2 = cython.declare(cython.p_const_char, b"\x82\x86\x04\x02/2\x01\x01a")  # HPACK, not indexed
POST_2 = cython.declare(cython.p_const_char, b"\x83\x86\x04\x02/2\x01\x01a")
ZEROS = cython.declare(cython.char[16384])
FIELD = cython.declare(cython.char[16384])  # the payload of HEADERS: one field, however large


def prepare():
    """A data plane whose worker has no thread: its turns are ours."""
    folder = tempfile.mkdtemp(prefix="fourseven-fuzz-")
    held = []
    for at, name in enumerate(("plain", "multiplexed")):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        server.bind(f"{folder}/{name}")
        server.listen(64)
        STAGE.servers[at] = server.fileno()
        held.append(server)
    front = socket.create_server(("127.0.0.1", 0))
    front.setblocking(False)
    config = loads(FILE.format(folder=folder).encode(), "fuzz.yaml")
    plane: DataPlane = DataPlane(1)
    plane.publish(compile_plan(config), {"fuzz": [front.fileno()]})
    held += [front, plane]
    STAGE.worker = plane.workers[0]
    if start(STAGE.worker):
        raise OSError("the worker does not start")
    worker_wake(STAGE.worker)
    turn(STAGE.worker)
    STAGE.listener = cython.address(
        STAGE.worker.listeners[plane.numbers.listeners.taken.popitem()[1]]
    )
    memset(FIELD, 97, 16384)
    LIMITS.head_max = 65536
    LIMITS.headers_max = 256
    LIMITS.target_max = 65536
    return held


HELD = prepare()


# ---- the targets ----


def http2(data, size):
    lived(client_life, data, size)


def http2_servers(data, size):
    lived(server_life, data, size)


def lived(life, data, size):
    """Once; and where more memory is held than before, as often as a leak must show."""
    before: cython.size_t = allocated()
    _again: cython.int
    life(data, size)
    for _again in range(3):
        if allocated() <= before:
            return
        before = allocated()
        life(data, size)
    check(allocated() <= before)


def client_life(data, size):
    """Everything that a client of HTTP/2 may say, to servers in changing moods."""
    stage: cython.pointer[Stage] = cython.address(STAGE)
    client: cython.pointer[Peer]
    _turn: cython.int
    if size < 2:
        return
    stage.mood = cython.cast(cython.uchar, data[1])
    stage.scripted = 0
    stage.deaf = (data[0] >> 3) & 1
    client = enter(stage, CLIENT_2)
    client.deaf = (data[0] >> 1) & 1
    if not data[0] & 1:
        say(client, PREFACE, 24)
        say_frame(client, 4, 0, 0, cython.NULL, 0)
    speak(stage, client, data + 2, size - 2)
    if data[0] & 4 and client.fd >= 0:
        shutdown(client.fd, SHUT_WR)
    for _turn in range(4):
        step(stage)
    curtain(stage)


def server_life(data, size):
    """Everything that a server of HTTP/2 may say, to clients of either kind."""
    stage: cython.pointer[Stage] = cython.address(STAGE)
    client: cython.pointer[Peer]
    server: cython.pointer[Peer]
    at: cython.int
    _turn: cython.int
    if size < 2:
        return
    stage.scripted = 1
    stage.deaf = 0
    for at in range(4):
        if data[1] >> at & 1:
            client = enter(stage, CLIENT_1)
            client.deaf = (data[0] >> 1) & 1
            say(client, QUESTIONS[at], strlen(QUESTIONS[at]))
    client = enter(stage, CLIENT_2)
    say(client, PREFACE, 24)
    say_frame(client, 4, 0, 0, cython.NULL, 0)
    say_frame(client, 1, 5, 1, GET_2, 9)
    say_frame(client, 1, 4, 3, POST_2, 9)
    say_frame(client, 0, 0, 3, b"body", 4)
    for _turn in range(3):
        step(stage)
    server = newest(stage, SERVER_2)
    check(server is not cython.NULL)
    if not data[0] & 1:
        say_frame(server, 4, 0, 0, cython.NULL, 0)
        step(stage)
    speak(stage, server, data + 2, size - 2)
    if data[0] & 4:
        leave(server)
    if data[0] & 8:
        leave(client)
    for _turn in range(4):
        step(stage)
    curtain(stage)


# ---- the stage ----


def enter(stage, kind):
    """A peer comes: a client by a pair of sockets; of a server only the record."""
    ends = cython.declare(cython.int[2])
    peer: cython.pointer[Peer] = cython.address(stage.peers[stage.count])
    check(stage.count < PEERS_MAX)
    stage.count += 1
    peer.kind = kind
    peer.fd = -1
    peer.deaf = 0
    peer.answers = 0
    peer.size = 0
    memset(cython.address(peer.walk), 0, cython.sizeof(Walk))
    if kind == SERVER_2:
        peer.walk.preface = 24
    if kind in (SERVER_1, SERVER_2):
        peer.deaf = stage.deaf
        return peer
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0)
    peer.fd = ends[1]
    fetch_add_i64(cython.address(stage.listener.state.sessions), 1)
    session_open(stage.worker, stage.listener, ends[0], cython.address(NOWHERE), cython.NULL)
    return peer


def newest(stage, kind):
    at: uint32_t
    found: cython.pointer[Peer] = cython.NULL
    for at in range(stage.count):
        if stage.peers[at].kind == kind and stage.peers[at].fd >= 0:
            found = cython.address(stage.peers[at])
    return found


def step(stage):
    """One turn of the worker, and what everybody says to it."""
    at: uint32_t
    worker_wake(stage.worker)
    check(turn(stage.worker) == 0)
    return_spares(stage.worker)
    admit(stage, SERVER_1)
    admit(stage, SERVER_2)
    for at in range(stage.count):
        if stage.peers[at].fd >= 0 and not stage.peers[at].deaf:
            attend(stage, cython.address(stage.peers[at]))


def return_spares(worker):
    """Records and buffers that wait for their next use, to the system: it sees who still reads them."""
    spares_drop(http_of(worker))
    buffers_drop(worker)


def admit(stage, kind):
    """Connections that the engine has made to our servers."""
    peer: cython.pointer[Peer]
    fd: cython.int = 0
    while fd >= 0:
        fd = accept4(
            stage.servers[kind - SERVER_1], cython.NULL, cython.NULL, SOCK_NONBLOCK | SOCK_CLOEXEC
        )
        if fd < 0:
            return
        if stage.count == PEERS_MAX:
            close(fd)
            continue
        peer = enter(stage, kind)
        peer.fd = fd
        if kind == SERVER_2 and not stage.scripted:
            say_frame(peer, 4, 0, 0, cython.NULL, 0)


def attend(stage, peer):
    """Reads what has come for it and judges it; a server answers."""
    room = cython.declare(cython.char[16384])
    size: cython.Py_ssize_t = 1
    before: uint32_t
    kept: uint32_t
    while size > 0 and peer.fd >= 0:
        size = recv(peer.fd, room, 16384, MSG_DONTWAIT)
        if size <= 0:
            break
        before = peer.walk.frames
        kept = min(cython.cast(uint32_t, size), cython.cast(uint32_t, HEARD_MAX) - peer.size)
        memcpy(cython.address(peer.heard[peer.size]), room, kept)
        peer.size += kept
        if peer.kind == SERVER_1 or peer.kind == CLIENT_1:
            check_text(peer)
        elif peer.kind == SERVER_2 or peer.heard[0] != b"H":  # H: it did not begin HTTP/2
            walk(peer, room, cython.cast(uint32_t, size))
        if peer.kind == SERVER_1:
            reply(stage, peer)
        elif peer.kind == SERVER_2 and not stage.scripted and before == 0:
            say_frame(peer, 4, 1, 0, cython.NULL, 0)
    if size == 0:
        leave(peer)


def reply(stage, peer):
    """The next answer of the mood, whatever was asked."""
    which: cython.int = cython.cast(cython.int, (stage.mood + peer.answers) % ANSWER_COUNT)
    _turn: cython.int
    peer.answers += 1
    say(peer, ANSWERS[which], strlen(ANSWERS[which]))
    if which == LARGE:
        for _turn in range(8):
            say(peer, ZEROS, 16384)
    if CLOSES >> which & 1:
        leave(peer)


def curtain(stage):
    """The clients go, a little later the servers (a tunnel waits for both); nothing may be left."""
    counters = stage.worker.counters
    at: uint32_t
    leave_all(stage, CLIENT_1)
    leave_all(stage, CLIENT_2)
    step(stage)
    step(stage)
    leave_all(stage, SERVER_1)
    leave_all(stage, SERVER_2)
    at = 0
    while (
        counters.sessions_opened != counters.sessions_closed
        or http_of(stage.worker).trunks is not cython.NULL
        or counters.upstream_idle
    ):
        check(at < TURNS_MAX)
        step(stage)
        leave_all(stage, SERVER_1)  # who was connected to meanwhile
        leave_all(stage, SERVER_2)
        at += 1
    check(http_of(stage.worker).sessions is cython.NULL)
    check(counters.buffers_large == 0 and counters.buffers_small == 0)
    check(stage.listener.state.sessions == 0)
    for at in range(2):
        check(stage.worker.shared.slots[at].in_flight == 0)
        check(stage.worker.shared.backends[at].in_flight == 0)
    stage.count = 0


def leave_all(stage, kind):
    at: uint32_t
    for at in range(stage.count):
        if stage.peers[at].kind == kind:
            leave(cython.address(stage.peers[at]))


def leave(peer):
    if peer.fd >= 0:
        close(peer.fd)
    peer.fd = -1


# ---- what is said ----


def say(peer, at, size):
    if peer.fd >= 0 and size > 0:
        send(peer.fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT)


def speak(stage, peer, data, size):
    at: uint32_t = 0
    while at < size:
        at += record(stage, peer, data + at, size - at)


def record(stage, peer, data, size):
    """One record of the script; how many bytes it has."""
    kind: cython.uchar = data[0]
    length: uint32_t
    if kind & 0x80:
        length = min(cython.cast(uint32_t, kind & 0x7F), size - 1)
        say(peer, data + 1, length)
        step(stage)
        return 1 + length
    if size < 4:
        return size
    length = cython.cast(cython.uchar, data[3])
    if kind & 0x40:
        say_frame(
            peer,
            kind & 15,
            data[1],
            cython.cast(cython.uchar, data[2]),
            field_of(64 * length) if kind & 15 in (1, 9) else ZEROS,
            64 * length,
        )
        length = 0
    else:
        length = min(length, size - 4)
        say_frame(peer, kind & 15, data[1], cython.cast(cython.uchar, data[2]), data + 4, length)
    if not kind & 0x20:
        step(stage)
    return 4 + length


def field_of(size):
    """`x: aaa…`, a literal that is not indexed (RFC 7541 6.2.2), of so many bytes in all."""
    FIELD[0] = 0
    FIELD[1] = 1
    FIELD[2] = b"x"
    if size <= 128:
        FIELD[3] = cython.cast(cython.char, size - 4)
        FIELD[4] = FIELD[5] = 97
    else:  # a number of three bytes: 127, and the rest in twice seven bits
        FIELD[3] = 127
        FIELD[4] = cython.cast(cython.char, ((size - 6 - 127) & 127) | 128)
        FIELD[5] = cython.cast(cython.char, (size - 6 - 127) >> 7)
    return FIELD


def say_frame(peer, kind, flags, stream, at, size):
    head = cython.declare(cython.uchar[9])
    memset(head, 0, 9)
    head[1] = (size >> 8) & 255
    head[2] = size & 255
    head[3] = kind
    head[4] = flags
    head[8] = stream & 255
    say(peer, cython.cast(cython.p_const_char, cython.cast(cython.p_void, head)), 9)
    say(peer, at, size)


# ---- what is heard ----


def walk(peer, at, size):
    """The frames of a stream of bytes that may be cut anywhere."""
    seen: cython.pointer[Walk] = cython.address(peer.walk)
    step_size: uint32_t
    i: uint32_t = 0
    while i < size:
        if seen.preface > 0:
            check(at[i] == PREFACE[24 - seen.preface])
            seen.preface -= 1
            i += 1
        elif seen.left > 0:
            step_size = min(seen.left, size - i)
            seen.left -= step_size
            i += step_size
        else:
            seen.head[seen.have] = cython.cast(cython.uchar, at[i])
            seen.have += 1
            i += 1
            if seen.have == 9:
                check_frame(peer)


def check_frame(peer):
    """A frame that this side may send; a server that follows no script answers a request."""
    seen: cython.pointer[Walk] = cython.address(peer.walk)
    kind: cython.int = seen.head[3]
    stream: uint32_t = 0
    i: cython.int
    for i in range(5, 9):
        stream = (stream << 8) | seen.head[i]
    seen.left = (seen.head[0] << 16) | (seen.head[1] << 8) | seen.head[2]
    seen.have = 0
    seen.frames += 1
    check(seen.left <= FRAME_MAX and seen.head[5] < 128)
    check(kind <= 9 and kind != 2 and kind != 5)  # neither PRIORITY nor PUSH_PROMISE
    check(seen.frames > 1 or kind == 4 or kind == 7)  # SETTINGS first, or a GOAWAY at once
    if kind == 0 or kind == 1 or kind == 9:
        check(stream & 1)
    elif kind == 3:
        check(stream != 0)  # a pushed one is even
    elif kind != 8:
        check(stream == 0)
    if kind == 1 and peer.kind == SERVER_2 and not STAGE.scripted and seen.head[4] & 4:
        say_frame(peer, 1, 4, stream, b"\x88", 1)
        say_frame(peer, 0, 0, stream, b"hello", 5)
        say_frame(peer, 1, 5, stream, b"\x00\x01x\x01y", 5)


def check_text(peer):
    """The first head that it hears is one that a strict reader accepts."""
    scanned: uint32_t = 0
    result: int32_t
    if peer.kind == SERVER_1:
        result = read_request(
            peer.heard,
            peer.size,
            cython.address(scanned),
            cython.address(LIMITS),
            STAGE.worker.request,
        )
    else:
        result = read_response(
            peer.heard,
            peer.size,
            cython.address(scanned),
            cython.address(LIMITS),
            1,
            STAGE.worker.response,
        )
    check(result >= 0)
