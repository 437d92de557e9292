"""The origin: the server behind every proxy, an nginx of its own on the load's core.

It answers 128 bytes from its configuration and larger answers from a file in memory by sendfile.
Another port of it stands for a second server. On a third one it speaks HTTP/2 without TLS, and
answers one gRPC call: a message and trailers.
Two more paths prove that a comparison is fair: /headers says which headers the proxy added, and
/status counts connections, so that a proxy that opens a new one for each request is found out.
"""

from __future__ import annotations

import tempfile
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from fourseven.demo.processes import Child, free_port

SMALL = b"x" * 128
CALL = "/bench.Echo/Say"
MESSAGE = b"\0\0\0\0\x0b\x0a\x09fourseven"  # gRPC: not compressed, 11 bytes, a string in them
LARGE_SIZES = (1 << 16, 1 << 20)

TEXT = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 19900;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    open_file_cache max=16 inactive=1h;
    open_file_cache_valid 1h;
    server {{
        listen {address}:{port} backlog=4096;
        listen {address}:{other_port} backlog=4096;
        root {folder}/files;
        location / {{ return 200 "{small}"; }}
{large}
        location = /status {{ stub_status; }}
        location = /headers {{
            return 200 "$http_x_forwarded_for $http_x_forwarded_proto $http_x_forwarded_host";
        }}
    }}
    server {{
        listen {address}:{grpc_port} http2 backlog=4096;
        root {folder}/files;
        location / {{ return 404; }}
        location = {call} {{
            default_type application/grpc;
            add_trailer grpc-status 0;
            ssi on;  # takes the Content-Length away, which no server of gRPC sends
            ssi_types application/grpc;
            error_page 405 =200 {call};
        }}
    }}
}}
"""


class Origin:
    """A running origin. Use it as a context."""

    def __init__(self, cores: Iterable[int], address: str = "127.0.0.1", port: int = 0) -> None:
        memory = Path("/dev/shm")
        self.scratch = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        folder = Path(self.scratch.name)
        folder.chmod(0o755)  # nginx's worker is another user when root starts it
        (folder / "files").mkdir()
        for size in LARGE_SIZES:
            (folder / "files" / str(size)).write_bytes(body(size))
        answer = folder / "files" / CALL.strip("/")
        answer.parent.mkdir()
        answer.write_bytes(MESSAGE)
        self.port, self.grpc_port = port or free_port(), free_port()
        self.other_port = free_port()
        file = folder / "nginx.conf"
        large = "\n".join(f"        location = /{size} {{ }}" for size in LARGE_SIZES)
        place = {"address": address, "port": self.port, "grpc_port": self.grpc_port}
        place["other_port"] = self.other_port
        texts = {"small": SMALL.decode(), "large": large, "call": CALL}
        file.write_text(TEXT.format(folder=folder, **place, **texts))
        command = ["nginx", "-p", str(folder), "-c", str(file)]
        self.server = Child(command, folder / "log", cores=cores)

    def __enter__(self) -> Self:
        try:
            self.server.wait_for_port(self.port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self.scratch.cleanup()

    def counts(self) -> tuple[int, int]:
        """Connections accepted and requests answered so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=5) as answer:
            accepted, _, requests = answer.read().split(b"\n")[2].split()
        return int(accepted), int(requests)


def body(size: int) -> bytes:
    """The answer of that size; no two blocks of a large one are alike, so a lost one shows."""
    if size == len(SMALL):
        return SMALL
    return b"".join(b"%015d\n" % at for at in range(0, size, 16))
