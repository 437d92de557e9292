"""fourseven, as a user runs it: `fourseven run FILE`, one worker, defaults otherwise.

It may keep as many upstream connections as nginx here: a thousand streams at once need them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from bench import certificate
from bench.peers.peer import Peer
from bench.works import GRPC, RELAY, Setup, route_target

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Fourseven(Peer):
    name = "fourseven"
    program = sys.executable

    def configure(self, setup: Setup, folder: Path) -> dict[str, str]:  # noqa: ARG002
        lines = ["workers: 1", "listeners:", "  web:", f"    bind: 127.0.0.1:{setup.port}"]
        lines += [f"    tls: {{certificates: [{certificate.FILE}]}}"] if setup.tls else []
        if setup.kind == RELAY:
            lines.append("    backend: origin")
        else:
            lines += ["    protocol: http", "    routes:"]
            lines += [f"      - {route(number)}" for number in range(setup.routes)]
            lines += [] if setup.routes else ["      - {backend: origin}"]
        port = setup.grpc_port if setup.kind == GRPC else setup.origin_port
        lines += ["backends:", "  origin:", f"    servers: [127.0.0.1:{port}]"]
        lines += ["    idle_max: 1024"]  # as many as nginx may keep
        lines += ["    protocol: h2"] if setup.kind == GRPC else []
        return {"fourseven.yaml": "\n".join(lines) + "\n"}

    def command(self, file: Path) -> list[str]:
        return [sys.executable, "-m", "fourseven", "run", str(file), "--runtime-dir", f"{file}.run"]

    def check(self, file: Path) -> list[str]:
        return [sys.executable, "-m", "fourseven", "check", str(file)]

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(SOURCE)}

    def missing(self) -> str:
        sys.path.insert(0, str(SOURCE))
        try:
            found = importlib.util.find_spec("fourseven.__main__")
        finally:
            sys.path.remove(str(SOURCE))
        return "" if found else "fourseven cannot be started: fourseven/__main__.py is missing"

    def version(self) -> str:
        text = (SOURCE / "fourseven" / "__init__.py").read_text()
        return "fourseven/" + text.partition('__version__ = "')[2].partition('"')[0]


def route(number: int) -> str:
    host, path = route_target(number)
    key = f"host: {host}, path: /cart/" if number % 2 else f"path: {path.removesuffix('128')}"
    return f"{{match: {{{key}}}, backend: origin}}"
