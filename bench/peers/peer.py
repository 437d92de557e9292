"""What the benchmark asks of a proxy.

A peer turns a setup into the text of its configuration and names the command that serves it. All
are configured alike: one worker, HTTP/1.1 with keep-alive on both sides, X-Forwarded-For, -Proto
and -Host added, no access log, no limit that the load would meet, and the congestion control of the
system. Where a peer has a switch that makes it faster at a work (accept filters, splicing), it is
on, if it was faster when measured; each file says which.

With everything on (works.EVERYTHING) each has what comes nearest, and says what is not alike: two
servers that are checked once a second, a client that is led back to its server by a cookie, a rate
limit by the client's address that nobody meets, metrics that are read once a second, and an access
log, `access.log` in its folder, of one JSON object for each request with the same fields.

Laws: `configure` is pure. Starting, pinning and measuring are not a peer's business.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from bench import certificate
from bench.works import Setup


class Peer(ABC):
    """One proxy."""

    name: str
    program: str
    packages: tuple[str, ...] = ()  # Debian's names

    @abstractmethod
    def configure(self, setup: Setup, folder: Path) -> dict[str, str]:
        """File name → text; the first one is the file that the command is given."""

    @abstractmethod
    def command(self, file: Path) -> list[str]:
        """Serves the file in the foreground."""

    @abstractmethod
    def check(self, file: Path) -> list[str]:
        """Ends with 0 when the file is right."""

    @abstractmethod
    def version(self) -> str:
        """As the program says it, in a few words."""

    def metrics(self, setup: Setup, folder: Path) -> tuple[str, str]:  # noqa: ARG002
        """With everything on: the port or unix socket at which its metrics are read; the path."""
        return str(setup.port), "/metrics"

    def cookie(self, told: str) -> str:
        """The Cookie line of a client that was told this by Set-Cookie."""
        return told.partition(";")[0].strip()

    def environment(self) -> dict[str, str]:
        return {}

    def missing(self) -> str:
        """Why this peer cannot run here, in one line; installs it first when root may."""
        if shutil.which(self.program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
            install(self.packages)
        if shutil.which(self.program) is None:
            return f"{self.program} is not installed: sudo apt install {' '.join(self.packages)}"
        return ""

    def write(self, setup: Setup, folder: Path) -> Path:
        """Writes the configuration; gives the file that the command is given."""
        texts = self.configure(setup, folder)
        if setup.tls:
            texts[certificate.FILE] = certificate.pem()
        for name, text in texts.items():
            (folder / name).write_text(text)
        return folder / next(iter(texts))


def install(packages: tuple[str, ...]) -> None:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "install", "-y", *packages], env=environment, check=False, **quiet)


def first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return lines[0] if lines else "?"
