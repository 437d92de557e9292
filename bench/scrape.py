"""What a look costs the process that balances: /metrics and /v1/state with many servers.

    scrape.py [SERVERS] [ROUTES]       1,000 and 100 if left out

A real fourseven with that many servers, none of which is asked anything. For each call: how long it
takes, its size, and the processor time that it took from control's thread. The workers never wait
for it: they hold no lock that control takes.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / place) for place in ("tests", "src")]
from support.api import Api  # noqa: E402
from support.service import Service  # noqa: E402

ROUNDS = 10


def config(servers: int, routes: int) -> dict:
    each = max(servers // 10, 1)
    backends = {
        f"backend-{at}": {"servers": [f"10.{at}.{n // 250}.{n % 250 + 1}:80" for n in range(each)]}
        for at in range(10)
    }
    lines = [
        {"name": f"route-{at}", "match": {"path": f"/p{at}/"}, "backend": f"backend-{at % 10}"}
        for at in range(routes)
    ]
    return {"listeners": {"web": {"protocol": "http", "routes": lines}}, "backends": backends}


def ticks_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(servers: int, routes: int) -> None:
    with Service(config(servers, routes)) as service:
        api, pid = Api(service.runtime / "admin.sock"), service.engine()
        print(f"{servers} servers, {routes} routes; medians of {ROUNDS}")
        for path in ("/metrics", "/v1/state"):
            api.ask("GET", path)
            took, size, before = [], 0, ticks_s(pid)
            for _ in range(ROUNDS):
                began = time.perf_counter()
                size = len(api.ask("GET", path).body)
                took.append(time.perf_counter() - began)
                time.sleep(0.25)  # beyond what a state is kept
            cpu_ms = (ticks_s(pid) - before) * 1000 / ROUNDS
            median_ms = sorted(took)[ROUNDS // 2] * 1000
            print(f"{path:<10} {median_ms:7.1f} ms  cpu {cpu_ms:6.1f} ms  {size / 1024:8.0f} KiB")


if __name__ == "__main__":
    said = [int(word) for word in sys.argv[1:]]
    main(*said, *(1000, 100)[len(said) :])
