"""What an engine that drains still holds open."""

from __future__ import annotations

import asyncio
import os
import socket

from fourseven.control.engine import Engine


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_only_the_sockets_that_flows_answer_from_stay_open():
    async def let_go() -> None:
        ours, theirs = socket.socketpair()
        engine = Engine(ours, lambda workers: None)
        with theirs, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp = socket.socket()
            engine._fds = {"tcp://127.0.0.1:1": [tcp.detach()], "udp://127.0.0.1:1": [udp.fileno()]}
            fds = dict(engine._fds)
            engine._let_go()
            assert not is_open(fds["tcp://127.0.0.1:1"][0])
            assert is_open(udp.fileno())
        engine._channel.close()

    asyncio.run(let_go())
