"""Messages with open descriptors between the supervisor and an engine.

A message is a JSON object in a frame: its length, the number of descriptors that belong to it, the
text. Descriptors travel beside the bytes (SCM_RIGHTS) in the order of their messages, at most 253
in one system call, so a message with more spreads them over its first bytes. Nothing blocks: what
the socket does not take waits here.

Laws: `send` duplicates the descriptors, so the caller may close its own at once. `received` owns
those that it is given. After `closed` nothing more comes.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, Any]

FDS_AT_ONCE = 253  # SCM_MAX_FD of Linux
FRAME_MAX = 64 << 20  # far above any file that is read; more is a fault of ours, not a message
_HEAD = struct.Struct("!II")


class Channel:
    """One end. Belongs to the running asyncio loop."""

    def __init__(
        self,
        sock: socket.socket,
        received: Callable[[Message, list[int]], None],
        closed: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._received = received
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._in = bytearray()
        self._in_fds: deque[int] = deque()
        self._out: deque[tuple[memoryview, list[int]]] = deque()
        sock.setblocking(False)
        self._loop.add_reader(sock, self._read)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queues a message; it is lost in silence when the other end is gone."""
        if self._sock.fileno() < 0:
            return
        text = json.dumps(message).encode()
        frame = memoryview(_HEAD.pack(len(text), len(fds)) + text)
        copies = [os.dup(fd) for fd in fds]
        batches = [copies[at : at + FDS_AT_ONCE] for at in range(0, len(copies), FDS_AT_ONCE)]
        for batch in batches[:-1]:  # they arrive in the order in which they leave
            self._out.append((frame[:1], batch))
            frame = frame[1:]
        self._out.append((frame, batches[-1] if batches else []))
        self._write()

    def drain(self) -> None:
        """Takes in all that has come, now; for a peer that has ended."""
        while self._sock.fileno() >= 0 and self._read():
            pass

    def close(self) -> None:
        """Ends it from this side; `closed` is not called."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        unsent = [fd for _, fds in self._out for fd in fds]
        for fd in [*unsent, *self._in_fds]:
            os.close(fd)
        self._out.clear()
        self._in_fds.clear()

    def _lost(self) -> None:
        self.close()
        self._closed()

    def _write(self) -> None:
        while self._out:
            data, fds = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._write)
                return
            except OSError:
                return  # the reader sees the end, after what was sent to us before it
            for fd in fds:
                os.close(fd)
            self._out.popleft()
            if sent < len(data):
                self._out.appendleft((data[sent:], []))
        self._loop.remove_writer(self._sock)

    def _read(self) -> bool:
        """One read. Says whether there may be more."""
        try:
            data, rights, _, _ = self._sock.recvmsg(
                1 << 18, socket.CMSG_SPACE(FDS_AT_ONCE * 4), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError:
            data, rights = b"", []
        for level, kind, raw in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(raw[: len(raw) - len(raw) % fds.itemsize])
                self._in_fds.extend(fds)
        self._in += data
        while (frame := self._next_frame()) is not None:
            self._received(*frame)
        if not data and self._sock.fileno() >= 0:
            self._lost()
        return bool(data)

    def _next_frame(self) -> tuple[Message, list[int]] | None:
        if len(self._in) < _HEAD.size:
            return None
        size, count = _HEAD.unpack_from(self._in)
        if size > FRAME_MAX:
            raise ValueError(f"a message of {size} bytes")
        if len(self._in) < _HEAD.size + size or len(self._in_fds) < count:
            return None
        text = bytes(self._in[_HEAD.size : _HEAD.size + size])
        del self._in[: _HEAD.size + size]
        return json.loads(text), [self._in_fds.popleft() for _ in range(count)]
