"""A chaos.peer in a process of its own, as tests hold it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]


class PeerProcess:
    """Started at once, at any port or at the one that it had; ended by its id."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, 0
        self.rise()

    def rise(self) -> None:
        command = [sys.executable, "-m", "chaos.peer", self.name, str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.read())

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def say(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def tell(self) -> dict[str, Any]:
        """Its counts; the peaks begin anew."""
        self.say("tell")
        told: dict[str, Any] = json.loads(self.read())
        return told

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
