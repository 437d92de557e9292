"""fourseven, as a user runs it: `fourseven run FILE`, one worker, defaults otherwise.

It may keep as many upstream connections as nginx here: a thousand streams at once need them.

With everything on: `EVERYTHING`. Metrics are read from the admin API's unix socket.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from bench import certificate
from bench.peers.peer import Peer
from bench.works import EVERYTHING as EVERYTHING_ON
from bench.works import GRPC, RELAY, Setup, route_target

# Of all fields of the log those that the others can say too.
EVERYTHING = """\
workers: 1
access_log:
  to: {folder}/access.log
  format: json
  fields: [{fields}]
listeners:
  web:
    bind: 127.0.0.1:{port}
    protocol: http
    routes:
      - backend: origin
        filters: [{{rate_limit: {{rate: 1000000/s, by: client}}}}]
backends:
  origin:
    servers: [127.0.0.1:{origin_port}, 127.0.0.1:{other_port}]
    health: {{http: /128, interval: 1s}}
    persistence: cookie
    idle_max: 1024
"""
FIELDS = "time, client, method, target, host, user_agent, status, bytes_out, server, total_ms"

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Fourseven(Peer):
    name = "fourseven"
    program = sys.executable

    def configure(self, setup: Setup, folder: Path) -> dict[str, str]:
        if setup.kind == EVERYTHING_ON:
            ports = {"origin_port": setup.origin_port, "other_port": setup.other_port}
            text = EVERYTHING.format(folder=folder, port=setup.port, fields=FIELDS, **ports)
            return {"fourseven.yaml": text}
        lines = ["workers: 1", "listeners:", "  web:", f"    bind: 127.0.0.1:{setup.port}"]
        lines += [f"    tls: {{certificates: [{certificate.FILE}]}}"] if setup.tls else []
        if setup.kind == RELAY:
            lines.append("    backend: origin")
        else:
            lines += ["    protocol: http", "    routes:"]
            lines += [f"      - {route(number)}" for number in range(setup.routes)]
            lines += [] if setup.routes else [f"      - {{backend: origin{filters(setup)}}}"]
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

    def metrics(self, setup: Setup, folder: Path) -> tuple[str, str]:  # noqa: ARG002
        return f"{folder / 'fourseven.yaml'}.run/admin.sock", "/metrics"

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


def filters(setup: Setup) -> str:
    if not setup.gzip:
        return ""
    said = "codings: gzip, levels: {gzip: 5}, types: application/octet-stream"
    return f", filters: [{{compress: {{{said}}}}}]"


def route(number: int) -> str:
    host, path = route_target(number)
    key = f"host: {host}, path: /cart/" if number % 2 else f"path: {path.removesuffix('128')}"
    return f"{{match: {{{key}}}, backend: origin}}"
