"""One engine process, as the supervisor sees it.

Starts `python -m fourseven.control.engine` with one end of a channel, answers its wish for sockets,
and says when it has ended. What is said on the channel:

    to the engine                           from the engine
    load   id file content words secret     open     id wants          (listener, bind, copies)
    opened id problems shares + sockets     loaded   id wants problems ... the file is in force
    drain  deadline_ms keep                 refused  id kind problems  the old one stays in force
    reopen                                  draining                   it takes no new connections
    ping                                    pong
                                            words    words             what an operator has said

`wants` names every socket of the file; `shares` names those that come with the message, which are
the ones that this engine does not have yet. `words` is what an operator has said of servers: an
engine hands it out at each change, and takes it from its first `load`. `secret` signs cookies where
the file has none.

Laws: a question has one answer, `loaded`, `refused`, or the engine's end. An engine has its own
session, so that a Ctrl-C in a terminal reaches the supervisor alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from fourseven.control import logs
from fourseven.control.channel import Channel, Message
from fourseven.control.sockets import Sockets, Want

# Thousands of routes take seconds. Beyond this an engine hangs; it may well serve on, so it lives.
ANSWER_TIMEOUT_S = 100.0


class Child:
    """A running engine. `ended` is called once, with the child, after its end; `told` when it hands
    out what an operator has said."""

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sockets,
        ended: Callable[[Child], None],
        told: Callable[[Child], None] = lambda _: None,
    ) -> None:
        self._sockets = sockets
        self._ended = ended
        self._told = told
        self.secret = ""  # of cookies, in hexadecimal digits
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Message] | None = None
        self._question = 0
        self._has: set[str] = set()  # keys of the sockets that were sent and are in use
        self.words: list[Any] = []  # control.servers.Servers.words
        self.wants: tuple[Want, ...] = ()  # what the file in force, or being loaded, needs
        self.draining = asyncio.Event()
        self.pong = asyncio.Event()
        self.started = self._loop.time()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [*command, "--channel", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.channel = Channel(ours, self._received, lambda: None)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._pidfd >= 0

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def load(self, file: str, raw: bytes) -> Message:
        """Puts a file in force. The answer is `loaded`, `refused` or `ended`."""
        if not self.alive:
            return {"type": "ended"}
        self._answer = self._loop.create_future()
        self._question += 1
        content = raw.decode("latin-1")  # every byte has a character, and JSON carries those
        load = {"type": "load", "id": self._question, "file": file, "content": content}
        self.channel.send({**load, "words": self.words, "secret": self.secret})
        before = self.wants, set(self._has)
        try:
            answer = await asyncio.wait_for(self._answer, ANSWER_TIMEOUT_S)
        except TimeoutError:
            self._question += 1  # whatever it still says of this one comes too late
            problem = f"the engine did not answer within {ANSWER_TIMEOUT_S:g} s"
            answer = {"type": "refused", "kind": "fault", "problems": [problem]}
        if answer["type"] == "refused":
            self.wants, self._has = before
        return answer

    def drain(self, deadline_ms: int, keep: bool) -> None:
        """keep: what it has in the kernel goes on; its successor has it."""
        self.channel.send({"type": "drain", "deadline_ms": deadline_ms, "keep": keep})

    def reopen(self) -> None:
        """Its access log is to be opened anew."""
        self.channel.send({"type": "reopen"})

    def kill(self) -> None:
        if self.alive:
            self._process.kill()

    def _received(self, message: Message, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)  # an engine has nothing to give
        match message["type"]:
            case "open" if message["id"] == self._question:
                self._open(message)
            case "loaded" | "refused" if message["id"] == self._question:
                self._resolve(message)
            case "draining":
                self.draining.set()
            case "words":
                self.words = message["words"]
                self._told(self)
            case "pong":
                self.pong.set()

    def _open(self, message: Message) -> None:
        wants = tuple(Want(*want) for want in message["wants"])
        problems = self._sockets.open(wants)
        reply: Message = {"type": "opened", "id": message["id"], "problems": problems, "shares": []}
        fds: list[int] = []
        if not problems:
            self.wants = wants
            self._has &= {want.key for want in wants}
            for want in wants:
                if want.key not in self._has:
                    socks = self._sockets[want.key].socks
                    fds += [sock.fileno() for sock in socks]
                    reply["shares"].append([want.key, len(socks)])
                    self._has.add(want.key)
        self.channel.send(reply, fds)

    def _resolve(self, message: Message) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    def _exited(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._process.wait()
        self.channel.drain()  # its last words
        self.channel.close()
        self.draining.set()
        self._resolve({"type": "ended"})
        logs.say("engine.ended", pid=self.pid, how=self.ending)
        self._ended(self)
