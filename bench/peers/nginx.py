"""nginx: one worker, upstream keep-alive, no temporary files; buffers as installed, or larger.

`listen … deferred` is its accept filter, the one that fourseven uses too. Routes become prefix
locations and server names, which nginx keeps in a tree and in a hash.

With everything on: active checks and `sticky` are sold, not given away, so it has passive checks
(max_fails) and, as the nearest, `userid` (a cookie of its own for each client) with a consistent
hash of it; limit_req is the like of a token bucket; the metrics are the few of stub_status; the log
is written through a buffer of 64 KiB.
"""

from __future__ import annotations

from pathlib import Path

from bench import certificate
from bench.peers.peer import Peer, first_line
from bench.works import EVERYTHING as EVERYTHING_ON
from bench.works import GRPC, RELAY, Setup, route_target

MODULES = Path("/usr/lib/nginx/modules")

FRAME = """\
{load}daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 19000; }}
{body}
"""

HTTP_BODY = """\
http {{
    access_log off;
    server_tokens off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/octet-stream;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    server_names_hash_max_size 65536;
    server_names_hash_bucket_size 128;
    variables_hash_max_size 4096;
    upstream origin {{
        server 127.0.0.1:{origin};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 3600s;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_max_temp_file_size 0;
    grpc_set_header Host $http_host;
    grpc_set_header X-Forwarded-For $remote_addr;
    grpc_set_header X-Forwarded-Proto $scheme;
    grpc_set_header X-Forwarded-Host $http_host;
{buffers}
{servers}
}}
"""

EVERYTHING = """\
    userid on;
    userid_name visitor;
    limit_req_zone $binary_remote_addr zone=clients:10m rate=1000000r/s;
    log_format object escape=json {log};
    upstream controlled {{
        hash $uid_got$uid_set consistent;
        server 127.0.0.1:{origin_port} max_fails=3 fail_timeout=10s;
        server 127.0.0.1:{other_port} max_fails=3 fail_timeout=10s;
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 3600s;
    }}
    server {{
        listen 127.0.0.1:{port} default_server deferred backlog=4096;
        access_log {folder}/access.log object buffer=64k flush=1s;
        limit_req zone=clients burst=1000000 nodelay;
        location / {{ proxy_pass http://controlled; }}
        location = /metrics {{ stub_status; }}
    }}
"""

LOG = (
    """'{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method",'"""
    """ '"target":"$request_uri","host":"$http_host","user_agent":"$http_user_agent",'"""
    """ '"status":$status,"bytes_out":$bytes_sent,"server":"$upstream_addr",'"""
    """ '"total_s":$request_time}'"""
)

GZIP = """\
    gzip on;
    gzip_comp_level 5;
    gzip_types application/octet-stream;
    gzip_proxied any;
"""

# By default eight of 4 KiB a connection. More saves it system calls, and costs memory.
BUFFERS = """\
    proxy_buffer_size 16k;
    proxy_buffers 16 32k;
    proxy_busy_buffers_size 256k;
"""

STREAM_BODY = """\
stream {{
    access_log off;
    upstream origin {{ server 127.0.0.1:{origin_port}; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_pass origin;
        proxy_timeout 3600s;
    }}
}}
"""


class Nginx(Peer):
    name = "nginx"
    program = "nginx"
    packages = ("nginx-core", "libnginx-mod-stream")

    def configure(self, setup: Setup, folder: Path) -> dict[str, str]:
        body = STREAM_BODY if setup.kind == RELAY else HTTP_BODY
        text = FRAME.format(
            load=stream_module() if setup.kind == RELAY else "",
            files=19_900,
            folder=folder,
            body=body.format(
                folder=folder,
                port=setup.port,
                origin_port=setup.origin_port,
                origin=setup.grpc_port if setup.kind == GRPC else setup.origin_port,
                buffers=(BUFFERS if setup.buffers else "") + (GZIP if setup.gzip else ""),
                servers="\n".join([*secured(setup, folder), *servers(setup, folder)]),
            ),
        )
        return {"nginx.conf": text}

    def command(self, file: Path) -> list[str]:
        return ["nginx", "-p", str(file.parent), "-c", str(file)]

    def check(self, file: Path) -> list[str]:
        return ["nginx", "-t", "-q", "-p", str(file.parent), "-c", str(file)]

    def version(self) -> str:
        return first_line(["nginx", "-v"]).partition(": ")[2]


def stream_module() -> str:
    """Debian builds the stream module apart; elsewhere it may be in the program."""
    module = MODULES / "ngx_stream_module.so"
    return f"load_module {module};\n" if module.exists() else ""


def secured(setup: Setup, folder: Path) -> list[str]:
    """Its session cache is off by default; tickets are on, as with the others."""
    if not setup.tls:
        return []
    file = folder / certificate.FILE
    keys = f"    ssl_certificate {file};\n    ssl_certificate_key {file};"
    return [keys, "    ssl_protocols TLSv1.2 TLSv1.3;"]


def servers(setup: Setup, folder: Path) -> list[str]:
    if setup.kind == EVERYTHING_ON:
        ports = {"origin_port": setup.origin_port, "other_port": setup.other_port}
        return [EVERYTHING.format(folder=folder, port=setup.port, log=LOG, **ports)]
    listen = f"listen 127.0.0.1:{setup.port}" + (" ssl http2" if setup.tls else "")
    passing = "grpc_pass grpc://origin" if setup.kind == GRPC else "proxy_pass http://origin"
    rest = "return 404" if setup.routes else passing
    by_host, locations = [], [f"location / {{ {rest}; }}"]
    for number in range(setup.routes):
        host, _ = route_target(number)
        if number % 2:
            rule = "location /cart/ { proxy_pass http://origin; }"
            by_host.append(f"server {{ {listen}; server_name {host}; {rule} }}")
        else:
            locations.append(f"location /section-{number}/ {{ proxy_pass http://origin; }}")
    main = f"{listen} default_server deferred backlog=4096;"
    return [f"server {{ {main}", *locations, "}", *by_host]
