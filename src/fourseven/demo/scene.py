"""What the demo shows: the sets of servers, the file, and the requests with where they must go.

Plain data and one function that writes the file. The expectation stands beside each request, so the
demo is also a check: a row whose server is of another set is a failure, not a curiosity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@dataclass(frozen=True, slots=True)
class ServerSet:
    """One backend of the file and the process that serves it."""

    name: str
    kind: str  # servers.KINDS
    count: int = 2
    shows: str = ""  # whose certificate it shows, where it ends TLS itself


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of the tour, and the set of servers that must answer it."""

    title: str
    listener: str
    expected: str
    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    name: str = ""  # TLS: the name that is asked for, and must be proven
    http2: bool = False

    @property
    def host(self) -> str:
        return self.name or HOST


HOST = "demo.example.test"
NAMES = ("shop.test", "docs.test", "vault.test")
SETS = (
    ServerSet("videos", "http"),
    ServerSet("billing", "http"),
    ServerSet("mobile", "http"),
    ServerSet("web", "http"),
    ServerSet("vault", "https", shows="vault.test"),
    ServerSet("echo", "tcp"),
    ServerSet("datagrams", "udp"),
)

LISTENERS = ("web", "secure", "plain", "echo", "datagrams")


def _web(title: str, expected: str, path: str, agent: str = DESKTOP, document: str = "") -> Visit:
    """A visit to the web's listener; with a document it posts it as JSON."""
    headers = [("User-Agent", agent)]
    if document:
        headers.append(("Content-Type", "application/json"))
    method = "POST" if document else "GET"
    return Visit(title, "web", expected, method, path, tuple(headers), document.encode())


AGENT = (("User-Agent", DESKTOP),)


def _secure(title: str, expected: str, path: str, name: str, http2: bool = False) -> Visit:
    """A visit to the TLS listener, whose certificate must be that of the name."""
    return Visit(title, "secure", expected, path=path, headers=AGENT, name=name, http2=http2)


TOUR = (
    _web("GET /videos/cats.mp4", "videos", "/videos/cats.mp4"),
    _web("GET /videos/dogs.mp4", "videos", "/videos/dogs.mp4"),
    _web("GET /videosX (another segment)", "web", "/videosX"),
    _web("GET /billing/7", "billing", "/billing/7"),
    _web("GET / from a phone", "mobile", "/", PHONE),
    _web("GET /billing/7 from a phone", "billing", "/billing/7", PHONE),
    _web('POST {"kind": "invoice"}', "billing", "/documents", document='{"kind": "invoice"}'),
    _web('POST {"kind": "note"}', "web", "/documents", document='{"kind": "note"}'),
    _web("GET / from a desktop", "web", "/"),
    Visit("GET http://shop.test/", "plain", "redirect", headers=AGENT, name="shop.test"),
    _secure("GET https://shop.test/videos/cats.mp4", "videos", "/videos/cats.mp4", "shop.test"),
    _secure("the same by HTTP/2", "videos", "/videos/cats.mp4", "shop.test", http2=True),
    _secure("GET https://docs.test/ by HTTP/2", "web", "/", "docs.test", http2=True),
    _secure("GET https://vault.test/", "vault", "/", "vault.test"),
    Visit("TCP: hello", "echo", "echo", body=b"hello"),
    Visit("TCP: hello, anew", "echo", "echo", body=b"hello"),
    Visit("UDP: ping", "datagrams", "datagrams", body=b"ping"),
)

FILE = """\
# fourseven's demo: one file, Layer 7 and Layer 4.
workers: 1

listeners:
  web:                              # its routes look into requests: Layer 7
    bind: 127.0.0.1:{web}
    routes:                         # the first match wins
      - {{match: {{path: /videos/}}, backend: videos}}
      - {{match: {{path: /billing/}}, backend: billing}}
      - {{match: {{device: mobile}}, backend: mobile}}
      - match:
          method: POST
          body: {{json: {{/kind: invoice}}}}     # in the payload
        backend: billing
      - {{backend: web}}

  secure:                           # HTTPS, and HTTP/2 with every client that speaks it
    bind: 127.0.0.1:{secure}
    tls: {{certificates: [shop.test.pem, docs.test.pem]}}   # the name that is asked for chooses
    routes:
      - {{match: {{sni: vault.test}}, tls: passthrough, backend: vault}}   # ends at its server
      - {{match: {{path: /videos/}}, backend: videos}}
      - {{backend: web}}

  plain:                            # who comes without TLS is sent there
    bind: 127.0.0.1:{plain}
    routes: [{{filters: [{{redirect: {{scheme: https, port: {secure}, status: 308}}}}]}}]

  echo: {{bind: 127.0.0.1:{echo}, backend: echo}}   # addresses suffice: Layer 4
  datagrams: {{bind: udp://127.0.0.1:{datagrams}, backend: datagrams}}

backends:
"""


def demo_file(ports: Mapping[str, int], servers: Mapping[str, Sequence[int]]) -> str:
    """The file: listeners on `ports`, each backend with the servers that run."""
    lines = [
        f"  {name}: {{servers: [{', '.join(f'127.0.0.1:{port}' for port in found)}]}}"
        for name, found in servers.items()
    ]
    return FILE.format(**ports) + "\n".join(lines) + "\n"


def curl(visit: Visit, ports: Mapping[str, int], folder: Path) -> str:
    """The command line that sends the same by hand."""
    port = ports[visit.listener]
    if visit.listener == "echo":
        return f"printf {visit.body.decode()} | nc -N 127.0.0.1 {port}"
    if visit.listener == "datagrams":
        return f"printf {visit.body.decode()} | nc -u -w1 127.0.0.1 {port}"
    parts = ["curl -i"]
    if visit.body:
        parts.append(f"--json '{visit.body.decode()}'")
    if dict(visit.headers)["User-Agent"] == PHONE:
        parts.append("-A 'Mozilla/5.0 (iPhone) Mobile'")
    if visit.name:
        scheme = "https" if visit.listener == "secure" else "http"
        parts += [f"--cacert {folder}/ca.pem"] if scheme == "https" else []
        parts += ["--http1.1"] if scheme == "https" and not visit.http2 else []
        parts.append(f"--resolve {visit.name}:{port}:127.0.0.1")
        return " ".join([*parts, f"{scheme}://{visit.name}:{port}{visit.path}"])
    return " ".join([*parts, f"http://127.0.0.1:{port}{visit.path}"])
