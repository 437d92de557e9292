"""The PROXY protocol with nginx and HAProxy: they understand us, and we them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scenarios.test_proxy_protocol import ASK, FROM_US, V1, http
from support.front import Stage
from support.nowhere import held_port
from support.relay import until
from support.wire import Wire

PROGRAMS = {
    "nginx": """
daemon off; pid {folder}/pid; error_log stderr; events {{}}
http {{ access_log off;
  client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
  uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
  server {{ listen {host}:{port} proxy_protocol reuseport;
    return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr"; }} }}
""",
    "haproxy": """
defaults
  mode http
  timeout client 9s
  timeout server 9s
  timeout connect 9s
frontend in
  bind {host}:{port} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst]"
frontend out
  bind {host}:{entry}
  default_backend back
backend back
  server one {behind} send-proxy-v2
""",
}


def program(name: str, folder: Path, **more: Any) -> subprocess.Popen[bytes]:
    """nginx or haproxy with this configuration."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: sudo apt install {name}")
    file = folder / f"{name}.conf"
    file.write_text(PROGRAMS[name].format(folder=folder, **more))
    command = [found, "-c", str(file)] if name == "nginx" else [found, "-db", "-f", str(file)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """Two that nobody else gets; the programs share them with us."""
    with held_port() as one, held_port() as other:
        yield one, other


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_others_understand_us(
    stage: Stage, tmp_path: Path, ports: tuple[int, int], name: str, version: str
):
    port, entry = ports
    running = program(
        name, tmp_path, host="127.0.0.1", port=port, entry=entry, behind="127.0.0.1:1"
    )
    try:
        balancer = stage.balancer(http(f"127.0.0.1:{port}", version, proxy_protocol=FROM_US))

        def served() -> bool:
            with balancer.wire() as wire:
                answer = wire.send(V1, ASK).read()
                return answer.body == b"192.0.2.7 40000 198.51.100.1"

        until(served, name)
    finally:
        running.terminate()
        running.wait(20)


def test_we_understand_haproxy(stage: Stage, tmp_path: Path, ports: tuple[int, int]):
    front = stage.front(proxy_protocol=FROM_US)
    host, port = front.balancer.address
    other, entry = ports
    more = {"host": host, "port": other, "entry": entry, "behind": f"{host}:{port}"}
    running = program("haproxy", tmp_path, **more)
    try:

        def served() -> bool:
            with contextlib.suppress(OSError), Wire((host, entry), source="127.0.0.9") as wire:
                return wire.send(ASK).read().status == 200
            return False

        until(served, "haproxy")
    finally:
        running.terminate()
        running.wait(20)
    assert front.server.requests[-1].get("x-forwarded-for") == b"127.0.0.9"
