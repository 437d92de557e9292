"""How long it takes to list a large table: `fourseven flows` over 400,000 flows, the whole command.

    python bench/l4/listing.py [--flows 400000] [--repeat 5]

A balancer in a lab gets two datagrams from each of so many clients that nobody has (flood.py), so
its table holds that many flows. Then the command is run as an administrator would, its output read
to the end: seconds that passed, and those of a processor (which tell more where the machine has
other things to do), the shortest of several, with Python's start and the imports in them, which a
listing of nobody tells by itself. It is no bar of the issue.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "tests")]

from bench.l4.flood import Flood  # noqa: E402
from bench.l4.frames import UDP  # noqa: E402
from support.lab import BALANCER, RUN, VIPS, Lab, server_address  # noqa: E402

V4 = socket.AF_INET
PORT = 7000
RATE = 100_000  # datagrams a second: what a receiver takes without losses
PATIENCE_S = 300.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
COMMANDS = {
    "all": ("flows", "--limit", "0"),
    "all, as JSON": ("flows", "--limit", "0", "--format", "json"),
    "all, the largest first": ("flows", "--limit", "0", "--sort", "bytes"),
    "the hundred oldest": ("flows", "--sort", "age"),
    "of one address": ("flows", "--client", "198.18.0.7", "--limit", "0"),
    "of nobody": ("flows", "--client", "192.0.2.7"),
    "how many": ("flows", "--count"),
}
FILE = """\
kernel: {{flows_max: {room}}}
shutdown_timeout: 1s
listeners:
  crowd: {{bind: "udp://{vip}:{port}", backend: all, plane: tcx, idle_timeout: 1h}}
backends:
  all: {{servers: ["{server}:{port}"], return_path: routed}}
"""


def fourseven(lab: Lab, words: tuple[str, ...]) -> bytes:
    with lab.inside(BALANCER):
        return subprocess.run(
            [*RUN, *words], env=ENVIRONMENT, check=True, capture_output=True
        ).stdout


def fill(lab: Lab, wanted: int) -> int:
    """Until there are so many; how many there are."""
    until, found = time.monotonic() + PATIENCE_S, 0
    with Flood(lab, (VIPS[V4], PORT), RATE, UDP) as crowd:
        while found < wanted:
            time.sleep(max(0.2, (2 * wanted - crowd.sent) / RATE))
            found = int(fourseven(lab, COMMANDS["how many"]))
            if time.monotonic() > until:
                raise SystemExit(f"{found:,} flows, and no more come")
    return found


def timed(lab: Lab, words: tuple[str, ...]) -> tuple[float, float, int, int]:
    """Seconds, seconds of a processor, lines and bytes."""
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    said = fourseven(lab, words)
    after, whole = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - begun
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return whole, computed, said.count(b"\n"), len(said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flows", type=int, default=400_000)
    parser.add_argument("--repeat", type=int, default=5, help="the shortest of so many")
    options = parser.parse_args()
    with Lab() as lab:
        lab.serve(1, V4)
        text = FILE.format(
            room=2 * options.flows, vip=VIPS[V4], port=PORT, server=server_address(1, V4)
        )
        lab.service(text)
        print(f"{fill(lab, options.flows):,} flows")
        for name, words in COMMANDS.items():
            spent = [timed(lab, words) for _ in range(options.repeat)]
            whole, computed, lines, size = (min(one) for one in zip(*spent, strict=True))
            said = f"{lines:9,} lines {size:12,} B"
            print(f"{name:24} {whole:6.2f} s {computed:6.2f} s {said}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
