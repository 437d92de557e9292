"""An engine without a data plane, for tests of the supervisor: the file's content is its script.

serve            asks for a socket, and accepts and answers with its own process id
recall SERVER    serves where it is told what was said of this server, and a key; else it refuses
remember WORD    serves, and tells the supervisor WORD, unless it was told so by it
refuse TEXT      the file is wrong
greedy           asks for a socket that cannot be had
crash            ends while it loads
stubborn         serves, and does not end when it is told to drain
brief            serves, and crashes when somebody connects
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from fourseven.control.channel import Channel, Message

BINDS = {"greedy": [["web", "tcp://192.0.2.1:9", 1]]}
SERVE = [["web", "tcp://127.0.0.1:0", 1]]


class FakeEngine:
    def __init__(self, sock: socket.socket) -> None:
        self.script = ""
        self.wants = SERVE
        self.listening: socket.socket | None = None
        self.done = asyncio.Event()
        self.channel = Channel(sock, self.received, self.done.set)

    def received(self, message: Message, fds: list[int]) -> None:
        getattr(self, message["type"])(message, fds)

    def load(self, message: Message, fds: list[int]) -> None:
        self.script, _, text = message["content"].strip().partition(" ")
        if self.script == "crash":
            os._exit(3)
        if self.script == "refuse":
            problems = [f"{message['file']}:1:1: {text}"]
            self.say("refused", message, kind="config", problems=problems)
            return
        if self.script == "recall":
            told = [word[1] for word in message["words"]], len(message["secret"])
            if told != ([text], 64):
                self.say("refused", message, kind="config", problems=[str(told)])
                return
        if self.script == "remember" and message["words"] != [text]:
            self.channel.send({"type": "words", "words": [text]})
            self.script = "told"
        self.say("open", message, wants=BINDS.get(self.script, SERVE))

    def opened(self, message: Message, fds: list[int]) -> None:
        if message["problems"]:
            self.say("refused", message, kind="sockets", problems=message["problems"])
            return
        if fds:
            self.listening = socket.socket(fileno=fds[0])
            asyncio.get_running_loop().add_reader(self.listening, self.accept)
        self.say("loaded", message, problems=[], shutdown_timeout_ms=200)

    def accept(self) -> None:
        assert self.listening is not None
        client, _ = self.listening.accept()
        if self.script == "brief":
            os._exit(3)
        client.sendall(b"%d" % (0 if self.script == "remember" else os.getpid()))
        client.close()

    def drain(self, message: Message, fds: list[int]) -> None:
        self.channel.send({"type": "draining"})
        if self.script != "stubborn":
            self.done.set()

    def ping(self, message: Message, fds: list[int]) -> None:
        self.channel.send({"type": "pong"})

    def say(self, said: str, question: Message, /, **more: object) -> None:
        self.channel.send({"type": said, "id": question["id"], **more})


async def main() -> None:
    await FakeEngine(socket.socket(fileno=int(sys.argv[-1]))).done.wait()


if __name__ == "__main__":
    asyncio.run(main())
