"""Messages and descriptors arrive whole, in order, and nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import socket

from fourseven.control.channel import FDS_AT_ONCE, Channel


class End:
    """One end, with what came to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.messages: asyncio.Queue = asyncio.Queue()
        self.closed = asyncio.Event()
        self.channel = Channel(
            sock, lambda m, fds: self.messages.put_nowait((m, fds)), self.closed.set
        )


def pair() -> tuple[End, End]:
    left, right = socket.socketpair()
    return End(left), End(right)


def open_fds() -> set[str]:
    gc.collect()  # what other tests have left to it is closed now, not amid this one
    return set(os.listdir("/proc/self/fd"))


def test_messages_of_every_size_in_order():
    async def play():
        left, right = pair()
        sent = [{"n": n, "text": "é" * size} for n, size in enumerate([0, 1, 70_000, 3_000_000, 5])]
        for message in sent:
            left.channel.send(message)
        assert [(await right.messages.get()) for _ in sent] == [(m, []) for m in sent]
        right.channel.send({"back": True})
        assert await left.messages.get() == ({"back": True}, [])
        left.channel.close()
        await right.closed.wait()

    asyncio.run(play())


def test_descriptors_belong_to_their_message_however_many():
    async def play():
        left, right = pair()
        read_end, write_end = os.pipe()
        counts = [0, 1, FDS_AT_ONCE, 0, FDS_AT_ONCE + 1, 3 * FDS_AT_ONCE + 7, 2]
        for number, count in enumerate(counts):
            left.channel.send({"n": number}, [write_end] * count)
        wanted = os.fstat(write_end).st_ino
        for number, count in enumerate(counts):
            message, fds = await right.messages.get()
            assert message == {"n": number}
            assert [os.fstat(fd).st_ino for fd in fds] == [wanted] * count
            assert not any(os.get_inheritable(fd) for fd in fds)
            for fd in fds:
                os.close(fd)
        for fd in (read_end, write_end):
            os.close(fd)
        left.channel.close()
        right.channel.close()

    before = open_fds()
    asyncio.run(play())
    assert open_fds() == before


def test_descriptors_keep_their_order_however_many():
    async def play():
        left, right = pair()
        files = [os.memfd_create(str(number)) for number in range(2 * FDS_AT_ONCE + 9)]
        wanted = [os.fstat(fd).st_ino for fd in files]
        left.channel.send({}, files)
        _, fds = await right.messages.get()
        assert [os.fstat(fd).st_ino for fd in fds] == wanted
        for fd in (*fds, *files):
            os.close(fd)
        left.channel.close()
        right.channel.close()

    asyncio.run(play())


def test_what_cannot_be_sent_any_more_leaks_nothing():
    async def play():
        left, right = pair()
        for _ in range(3):
            left.channel.send({"text": "x" * 2_000_000}, [0, 0])
        right.channel.close()
        await left.closed.wait()
        left.channel.send({"too": "late"}, [0])
        left.channel.close()

    before = open_fds()
    asyncio.run(play())
    assert open_fds() == before


def test_last_words_are_heard_after_the_end():
    async def play():
        left, right = pair()
        left.channel.send({"last": "words"})
        left.channel.close()
        right.channel.drain()
        assert right.messages.get_nowait() == ({"last": "words"}, [])
        assert right.closed.is_set()

    asyncio.run(play())
