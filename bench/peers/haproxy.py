"""haproxy: one thread, http-reuse always, `defer-accept` as its accept filter.

Routes become two map files (host, path prefix), which is haproxy's own advice for many of them.

With everything on: `cookie insert` and `option httpchk` are what fourseven has; the rate limit is a
stick table of sliding windows by address (no token bucket); metrics come from the exporter that is
built in. The log goes to its standard output, which is a file here, a write for each line: haproxy
has no other way to a file, and a datagram to a syslog daemon costs it as much, and the daemon too.
Its times have milliseconds, and those of `date` seconds.
"""

from __future__ import annotations

from pathlib import Path

from bench import certificate
from bench.peers.peer import Peer, first_line
from bench.works import EVERYTHING as EVERYTHING_ON
from bench.works import GRPC, RELAY, Setup, route_target

TEXT = """\
global
    nbthread 1
    maxconn 15000
    no strict-limits
    tune.comp.maxlevel 5
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

EVERYTHING = """\
global
    nbthread 1
    maxconn 15000
    no strict-limits
    log stdout format raw local0
defaults
    mode http
    timeout client 1h
    timeout server 1h
    timeout connect 5s
    timeout http-keep-alive 1h
    timeout http-request 1h
frontend web
    bind 127.0.0.1:{port} defer-accept backlog 4096
    log global
    log-format '{log}'
    http-request capture req.hdr(host) len 64
    http-request capture req.hdr(user-agent) len 128
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request track-sc0 src table clients
    http-request deny deny_status 429 if {{ sc_http_req_rate(0,clients) gt 1000000 }}
{forwarded}
    default_backend origin
backend clients
    stick-table type ip size 100k expire 10m store http_req_rate(1s)
backend origin
    http-reuse always
    cookie SERVER insert indirect nocache
    option httpchk GET /128
    server first 127.0.0.1:{origin_port} pool-max-conn -1 cookie first check inter 1s
    server second 127.0.0.1:{other_port} pool-max-conn -1 cookie second check inter 1s
"""

LOG = (
    '{"time":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]","client":"%ci","method":"%HM","target":"%HU"'
    ',"host":"%[capture.req.hdr(0),json(utf8s)]","user_agent":"%[capture.req.hdr(1),json(utf8s)]"'
    ',"status":%ST,"bytes_out":%B,"server":"%s","total_ms":%Ta}'
)

# By zlib or by libslz, whichever it was built with; libslz has one level, and a coarse one.
GZIP = """\
    compression algo gzip
    compression type application/octet-stream\
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
        if setup.kind == EVERYTHING_ON:
            ports = {"origin_port": setup.origin_port, "other_port": setup.other_port}
            said = FORWARDED.replace("{scheme}", "http")
            text = EVERYTHING.format(port=setup.port, log=LOG, forwarded=said, **ports)
            return {"haproxy.cfg": text}
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
        command = ["haproxy", "-db", "-f", str(file)]
        if "log stdout" not in file.read_text():  # -q would close it
            return [*command, "-q"]
        return ["sh", "-c", f'exec "$@" >> {file.parent}/access.log', "sh", *command]

    def check(self, file: Path) -> list[str]:
        return ["haproxy", "-c", "-q", "-f", str(file)]

    def version(self) -> str:
        words = first_line(["haproxy", "-v"]).split()
        return f"haproxy/{words[2]}" if len(words) > 2 else "?"


def rules(setup: Setup, folder: Path, relay: bool) -> list[str]:
    scheme = "https" if setup.tls else "http"
    found = [] if relay else [FORWARDED.replace("{scheme}", scheme)]
    found += [GZIP] if setup.gzip else []
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
