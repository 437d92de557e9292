"""A byte there and back: what is counted, and how it ends."""

import json
import socket
import struct
import subprocess
import sys
import threading

import pytest

from fourseven.demo.bounce import answer, round_trips

DEMO = [sys.executable, "-m", "fourseven.demo.traffic"]


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
        yield near, far


def served(far, bytes_in_all=None):
    """Sends every byte back, or only so many and closes."""

    def serve():
        with far:
            if bytes_in_all is None:
                answer(far.fileno())
            for _ in range(bytes_in_all or 0):
                far.sendall(far.recv(1))
            far.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_each_round_trip_has_its_time(pair):
    near, far = pair
    thread = served(far)
    taken = round_trips(near.fileno(), 0.02)
    near.shutdown(socket.SHUT_WR)
    thread.join()
    assert taken
    assert all(one > 0 for one in taken)


def test_an_end_before_its_time_is_an_error(pair):
    near, far = pair
    thread = served(far, 3)
    with pytest.raises(OSError, match="the connection broke"):
        round_trips(near.fileno(), 60.0)
    thread.join()


def test_an_answer_that_does_not_come_is_an_error(pair):
    near, _ = pair
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 1000))
    with pytest.raises(BlockingIOError):
        round_trips(near.fileno(), 60.0)


def test_both_ends_as_programs():
    echo = subprocess.Popen([*DEMO, "echo"], stdout=subprocess.PIPE, text=True)
    try:
        command = [*DEMO, "bounce", "127.0.0.1", echo.stdout.readline().strip()]
        said = subprocess.check_output([*command, "--seconds", "0.05"], timeout=60)
    finally:
        echo.kill()
        echo.communicate()
    found = json.loads(said)
    assert found["count"] > 0
    assert found["p50_us"] > 0
