"""Clients of the real world through a TLS listener: openssl, curl, h2load, websockets, Chromium."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.sync.server import serve

from support.balancer import site
from support.front import Front, Stage
from support.tls import Authority

NAME = "a.example"
PAGE = "<!doctype html><p id=p>none</p><script>addEventListener('load', () => setTimeout(() => { document.getElementById('p').textContent = 'spoke ' + performance.getEntriesByType('navigation')[0].nextHopProtocol }))</script>"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; tools/prepare.py installs it as root")
    return found


def run(command: list[str], **more) -> str:
    done = subprocess.run(command, capture_output=True, timeout=240, check=False, **more)
    return (done.stdout + done.stderr).decode(errors="replace")


@pytest.fixture
def front(stage: Stage, authority: Authority) -> Front:
    page = {"filters": {"respond": {"body": PAGE, "content_type": "text/html"}}}
    routes = [{"match": {"path": "/page"}, **page}, {"backend": "all"}]
    certificate = authority.issue("real.pem", NAME)
    return stage.front(routes=routes, tls={"certificates": [certificate]})


def test_openssl_comes_back_with_its_ticket(front: Front, authority: Authority, tmp_path):
    address = "{}:{}".format(*front.balancer.address)
    common = [program("openssl"), "s_client", "-connect", address, "-servername", NAME]
    common += ["-CAfile", str(authority.pem), "-alpn", "h2,http/1.1", "-verify_return_error"]
    for version in ("-tls1_2", "-tls1_3"):
        kept = str(tmp_path / f"session{version}")
        said = [f"GET /x HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n".encode(), b""]
        plain = [*common[:-3], "-verify_return_error", version, "-ign_eof"]
        first = run([*plain, "-sess_out", kept], input=said[0])
        assert "New, TLSv1" in first
        assert "HTTP/1.1 200 OK" in first
        assert "Reused, TLSv1" in run([*plain, "-sess_in", kept], input=said[0])
    assert "ALPN protocol: h2" in run([*common, "-tls1_3"], input=b"")


def test_curl_by_http2(front: Front, authority: Authority):
    host, port = front.balancer.address
    command = [program("curl"), "-sS", "--noproxy", "*", "--http2", "--cacert", str(authority.pem)]
    command += ["--resolve", f"{NAME}:{port}:{host}", "-w", " %{http_version} %{http_code}"]
    assert run([*command, f"https://{NAME}:{port}/x"]) == "server 2 200"


def test_h2load(front: Front):
    host, port = front.balancer.address
    command = [program("h2load"), "-n", "2000", "-c", "4", "-m", "50"]
    said = run([*command, f"--connect-to={host}:{port}", f"https://{NAME}:{port}/x"])
    assert "Application protocol: h2" in said
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said


def test_websockets_over_tls(stage: Stage, authority: Authority):
    certificate = authority.issue("real.pem", NAME)
    with serve(lambda one: [one.send(m) for m in one], "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            port = server.socket.getsockname()[1]
            config = {"tls": {"certificates": [certificate]}}
            balancer = stage.balancer(site(f"127.0.0.1:{port}", **config))
            plain = socket.create_connection(balancer.address, timeout=20)
            with connect(f"wss://{NAME}/chat", ssl=authority.context(), sock=plain) as one:
                for message in ("hello", "x" * 300_000, b"\0\xff"):
                    one.send(message)
                    assert one.recv(timeout=20) == message
        finally:
            server.shutdown()
            thread.join()


def test_chromium_by_http2(front: Front, tmp_path: Path):
    """Its own word for the protocol that it spoke."""
    _, port = front.balancer.address
    command = [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'user'}"]
    command += ["--ignore-certificate-errors", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
    command += ["--virtual-time-budget=3000", "--dump-dom", f"https://{NAME}:{port}/page"]
    said = run(command, env={**os.environ, "HOME": str(tmp_path)})
    found = re.search(r"spoke [\w./]+", said)
    assert found is not None, said[-2000:]
    assert found[0] == "spoke h2"
