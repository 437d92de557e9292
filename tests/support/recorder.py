"""A server that records exactly what reached it, and answers as its script says.

It is the judge of "what we refuse never reaches a server, and what we forward means the same to
us and to the server": every byte of every connection is kept, and is read by a strict reader of
its own. Whatever that reader would have to guess at is written down as a fault of the sender.

A script is a function (conversation, request): it is called when a request's head is there, with
the body not yet read, and may do anything with the socket: answer early, late, wrongly, by a part,
or leave. Scripts are found by path; the default one reads the body and answers with the server's
name. Law: a script waits for an event through `hold`, so that `settle` knows it is at rest.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable

from support.nowhere import claim
from support.wire import (
    OPEN,
    WAIT_S,
    AnswerError,
    EndedError,
    Message,
    Stream,
    parse_head,
    read_chunked,
)

REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21\x22\x24-\x7e]+ HTTP/1\.1")
HOLD_S = 3 * WAIT_S  # Whoever waits for what a server holds gives up before it goes on by itself.
HEAD_MAX = 128 * 1024  # More than the balancer may ever send.


class RequestError(AnswerError):
    """What reached the server can be read in more than one way, or in none."""


class Conversation(Stream):
    """One connection that the balancer opened to this server."""

    def __init__(self, recorder: Recorder, connected: socket.socket) -> None:
        super().__init__(connected)
        self.recorder = recorder
        self.received = bytearray()
        self.requests: list[Message] = []  # whole ones
        self.heads: list[Message] = []  # also those whose body never came whole
        self.faults: list[str] = []
        self.resting = False  # waits for bytes or for an event, and holds none
        self.awaited = threading.Event()  # the event of `hold`
        self.finished = threading.Event()

    def receive(self) -> bytes:
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        self.resting = True  # Only while nothing has been taken from the socket: see `settle`.
        poll.poll()
        self.resting = False
        data = self.socket.recv(262_144)
        self.received += data
        return data

    def hold(self, event: threading.Event, within_s: float = HOLD_S) -> bool:
        """Waits for the test to say go."""
        self.awaited = event
        self.resting = True
        came = event.wait(within_s)
        self.resting = False
        self.awaited = threading.Event()
        return came

    def rests(self) -> bool:
        """First what wakes its thread, then the thread: who took the bytes in between is at work."""
        called = self.awaited.is_set() or readable(self.socket)
        return self.finished.is_set() or (not called and self.resting)

    def read_head(self) -> Message | None:
        """The next request's head, or None where the connection ended between requests."""
        try:
            head = self.take_until(b"\r\n\r\n")
        except EndedError:
            return None
        start, headers = parse_head(head, RequestError)
        if REQUEST_LINE.fullmatch(start) is None:
            raise RequestError(f"a malformed request line {start!r}")
        request = Message(start, headers)
        if len(request.all("host")) != 1:
            raise RequestError(f"not exactly one Host: {headers}")
        request.framing = framing_of(request)
        self.heads.append(request)
        return request

    def read_body(self, request: Message) -> bytes:
        """The body, once; with it the request counts as having reached the server."""
        if any(each is request for each in self.requests):
            return request.body
        if request.framing == "chunked":
            request.body, request.trailers = read_chunked(self)
        elif request.framing == "length":
            request.body = self.take(int(request.all("content-length")[0]))
        self.requests.append(request)
        return request.body

    def answer(
        self, body: bytes = b"", status: bytes = b"200 OK", headers: bytes = b"", rest: bytes = b""
    ) -> None:
        """An answer with a Content-Length."""
        head = b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status, headers, len(body))
        self.send(head + body + rest)

    def greet(self) -> None:
        """What comes before the first request; an OSError ends the connection."""

    def serve(self) -> None:
        """Reads requests and runs their scripts until the connection ends."""
        while (request := self.read_head()) is not None:
            self.recorder.script_for(request)(self, request)
            if self.socket.fileno() < 0:
                return
            self.read_body(request)


Script = Callable[[Conversation, Message], None]


def framing_of(request: Message) -> str:
    """How the body is framed, where there is exactly one way to read it."""
    lengths, codings = request.all("content-length"), request.all("transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise RequestError(f"more than one framing: {request.headers}")
    if codings and codings[0].lower() != b"chunked":
        raise RequestError(f"an unknown coding: {request.headers}")
    if lengths and re.fullmatch(rb"0|[1-9][0-9]{0,17}", lengths[0]) is None:
        raise RequestError(f"a doubtful length: {request.headers}")
    return "chunked" if codings else "length" if lengths else "none"


class Recorder:
    """The server: a listening socket, a thread for each connection, and the record."""

    kind = Conversation

    def __init__(self, name: str = "server", host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.scripts: dict[bytes, Script] = {}  # by path; b"" is the default
        self.conversations: list[Conversation] = []
        self.changed = threading.Condition()
        self.listening = socket.create_server((host, port), backlog=1024, reuse_port=True)
        self.host, self.port = self.listening.getsockname()[:2]
        self.place = claim(host, self.port).detach()
        self.address = f"{host}:{self.port}"
        self.stopping = False
        self.accepting = False
        self.thread = threading.Thread(target=self.accept, name=f"{name}:{self.port}")
        self.thread.start()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def accept(self) -> None:
        poll = select.poll()
        poll.register(self.listening, select.POLLIN)
        while not self.stopping:
            self.accepting = False
            poll.poll()
            self.accepting = True
            if self.stopping:
                return
            connected, _ = self.listening.accept()
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conversation = self.kind(self, connected)
            self.conversations.append(conversation)
            threading.Thread(target=self.converse, args=(conversation,), daemon=True).start()
            self.tell()

    def converse(self, conversation: Conversation) -> None:
        try:
            conversation.greet()
            conversation.serve()
        except EndedError:
            pass  # The record shows how far it came: in `heads`, and not in `requests`.
        except RequestError as error:
            conversation.faults.append(str(error))
        except AnswerError as error:
            conversation.faults.append(str(error))
        except OSError:
            pass
        finally:
            conversation.socket.close()
            conversation.finished.set()
            self.tell()

    def script_for(self, request: Message) -> Script:
        self.tell()
        default = self.scripts.get(b"", whole_answer)
        return self.scripts.get(request.target.split(b"?")[0], default)

    def tell(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def on(self, path: bytes, script: Script) -> Recorder:
        """Runs the script for requests of exactly this path; b"" for all that have none."""
        self.scripts[path] = script
        return self

    # ---- the record ----

    @property
    def requests(self) -> list[Message]:
        """Every whole request, connection by connection."""
        return [request for each in list(self.conversations) for request in each.requests]

    @property
    def heads(self) -> list[Message]:
        return [head for each in list(self.conversations) for head in each.heads]

    @property
    def faults(self) -> list[str]:
        return [fault for each in list(self.conversations) for fault in each.faults]

    @property
    def received(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(bytes(each.received) for each in list(self.conversations))

    def open(self) -> list[Conversation]:
        """Connections that have not ended yet."""
        return [each for each in list(self.conversations) if not each.finished.is_set()]

    def gone(self, path: bytes = b"/x") -> bool:
        """Every connection that asked for this path has ended, and there was one."""
        asked = [each for each in list(self.conversations) if path in targets(each)]
        return bool(asked) and all(each.finished.is_set() for each in asked)

    def wait(self, holds: Callable[[], object], within_s: float = WAIT_S) -> None:
        """Waits until the record shows it; fails loudly when it never does."""
        until = time.monotonic() + within_s
        while not holds():
            with self.changed:
                self.changed.wait(0.02)  # A step, since bytes come without a notice.
            assert time.monotonic() < until, f"never happened; {self.name} saw {self.received!r}"

    def settle(self) -> None:
        """Returns once every byte that has arrived is in the record."""
        self.wait(self.rests)

    def rests(self) -> bool:
        if readable(self.listening) or self.accepting:
            return False
        return all(each.rests() for each in list(self.conversations))

    def forget(self) -> None:
        """Starts a new record; connections that are still open stay in it, emptied."""
        self.settle()
        self.conversations = self.open()
        for each in self.conversations:
            each.received.clear()
            each.requests.clear()
            each.heads.clear()

    def stop(self) -> None:
        """Hangs up on everybody and ends; the port is nobody's until this object is gone."""
        self.stopping = True
        with socket.create_connection((self.host, self.port)):
            self.thread.join(WAIT_S)
        self.listening.close()
        self.cut()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            os.close(self.place)

    def cut(self) -> None:
        """Ends all open connections."""
        for each in self.open():
            try:
                each.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def targets(conversation: Conversation) -> list[bytes]:
    return [head.target for head in list(conversation.heads)]


def readable(watched: socket.socket) -> bool:
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return False  # closed just now


# ---- scripts that many tests use ----


def whole_answer(conversation: Conversation, request: Message) -> None:
    """Reads the body and answers 200 with the server's name (no body to a HEAD)."""
    conversation.read_body(request)
    name = conversation.recorder.name.encode()
    if request.method == b"HEAD":
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name))
    else:
        conversation.answer(name)


def raw(answer: bytes, then: str = OPEN) -> Script:
    """Reads the body and answers with exactly these bytes; `then` closed hangs up."""

    def script(conversation: Conversation, request: Message) -> None:
        conversation.read_body(request)
        conversation.send(answer)
        if then != OPEN:
            conversation.finish()
            conversation.read_to_end()
            conversation.close()

    return script
