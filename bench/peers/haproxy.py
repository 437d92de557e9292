"""haproxy: one thread, http-reuse always, `defer-accept` as its accept filter.

Routes become two map files (host, path prefix), which is haproxy's own advice for many of them.
"""

from __future__ import annotations

from pathlib import Path

from bench import certificate
from bench.peers.peer import Peer, first_line
from bench.works import GRPC, RELAY, Setup, route_target

TEXT = """\
global
    nbthread 1
    maxconn 15000
    no strict-limits
defaults
    mode {mode}
    timeout client 1h
    timeout server 1h
    timeout connect 5s
    timeout http-keep-alive 1h
    timeout http-request 1h
frontend web
    bind 127.0.0.1:{port} {tls} {defer} backlog 4096
{rules}
backend origin
{reuse}
    server origin 127.0.0.1:{origin_port} {server}
"""

FORWARDED = """\
    option forwardfor
    http-request set-header X-Forwarded-Proto {scheme}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]\
"""


class Haproxy(Peer):
    name = "haproxy"
    program = "haproxy"
    packages = ("haproxy",)

    def configure(self, setup: Setup, folder: Path) -> dict[str, str]:
        relay, grpc = setup.kind == RELAY, setup.kind == GRPC
        text = TEXT.format(
            mode="tcp" if relay else "http",
            port=setup.port,
            tls=f"ssl crt {folder / certificate.FILE} alpn h2,http/1.1" if setup.tls else "",
            defer="" if relay else "defer-accept",
            rules="\n".join(rules(setup, folder, relay)),
            reuse="" if relay else "    http-reuse always",
            origin_port=setup.grpc_port if grpc else setup.origin_port,
            server="" if relay else "pool-max-conn -1" + (" proto h2" if grpc else ""),
        )
        return {"haproxy.cfg": text, **maps(setup)}

    def command(self, file: Path) -> list[str]:
        return ["haproxy", "-db", "-q", "-f", str(file)]

    def check(self, file: Path) -> list[str]:
        return ["haproxy", "-c", "-q", "-f", str(file)]

    def version(self) -> str:
        words = first_line(["haproxy", "-v"]).split()
        return f"haproxy/{words[2]}" if len(words) > 2 else "?"


def rules(setup: Setup, folder: Path, relay: bool) -> list[str]:
    scheme = "https" if setup.tls else "http"
    found = [] if relay else [FORWARDED.replace("{scheme}", scheme)]
    if not setup.routes:
        return [*found, "    default_backend origin"]
    host = f"req.hdr(host),lower,map_str({folder}/hosts.map)"
    path = f"path,map_beg({folder}/paths.map)"
    found.append(f"    use_backend %[{host}] if {{ {host} -m found }}")
    found.append(f"    use_backend %[{path}] if {{ {path} -m found }}")
    return found


def maps(setup: Setup) -> dict[str, str]:
    if not setup.routes:
        return {}
    hosts = [route_target(number)[0] for number in range(1, setup.routes, 2)]
    paths = [f"/section-{number}/" for number in range(0, setup.routes, 2)]
    return {
        "hosts.map": "".join(f"{host} origin\n" for host in hosts),
        "paths.map": "".join(f"{path} origin\n" for path in paths),
    }
