"""What is measured by itself: the time of a change, the control plane at rest, a flood of SYNs.

change   one server of 1,000 behind an address is another: how long the rows take (by the call
         that every change ends in), and how long it is from SIGHUP, when the file is read and
         checked anew, to a new connection that meets the other server
rest     CPU time over some quiet seconds, memory of the processes, and of the kernel's tables
flood    SYNs from nobody, while connections that stand echo and honest new ones come
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.l4.flood import Flood
from bench.l4.results import MET, MISSED, Extra, Results
from bench.l4.stage import SPEAKS, Stage
from bench.l4.ways import ECHO, HTTP, SERVERS, VIP, OursMany
from bench.l4.works import BY_HAND, CHANGE_MS, HAPROXY, MASQUERADE, TCX
from fourseven.cli.kernel import planned
from fourseven.demo.processes import Failed
from fourseven.l4.standalone import Standalone
from support.lab import BALANCER, ROUTED

CHANGES, APPLIED = 5, 15
REST_SECONDS = 3.0
FLOOD_RATE, FLOOD_SECONDS = 100_000, 4.0
PATIENCE_SECONDS = 20.0


ONE_VIP = OursMany("", "tcx", ROUTED, vips=0)
ALL = OursMany("", "tcx", ROUTED)


def change(stages: dict[str, Stage], results: Results, quick: bool) -> None:
    rounds, edits = (2, 2) if quick else (APPLIED, CHANGES)
    stage = stages.get(TCX)
    if stage is None:
        return
    for way, title in ((ONE_VIP, "one server of 1,000"), (ALL, "the same beside 1,000 addresses")):
        took = [1000 * seconds for seconds in applied(stage, way, rounds)]
        verdict = MET if median(took) <= CHANGE_MS else MISSED
        bars = (f"≤ {CHANGE_MS} ms", verdict) if way is ONE_VIP else ()
        said = f"{median(took):.1f} ms (worst of {rounds}: {max(took):.1f})"
        results.extras.append(Extra(f"{title} is another: until its rows stand", said, *bars))
    took = [1000 * met(stage) for _ in range(edits)]
    edit = "one server of 1,000 is another, by an edit of the file and SIGHUP"
    results.extras.append(Extra(edit, f"{median(took):.0f} ms (worst of {edits}: {max(took):.0f})"))


def changed(way: OursMany, turn: int) -> tuple[str, str]:
    """The file with another server for `echo`, and that server."""
    server = SERVERS[turn % 2]
    text = way.text()
    both = ", ".join(f'"{at}:{ECHO}"' for at in SERVERS)
    assert both in text
    return text.replace(both, f'"{server}:{ECHO}"'), server


def applied(stage: Stage, way: OursMany, rounds: int) -> list[float]:
    """Seconds that a change's rows take, in tables of this process's own: a server of the 1,000
    behind the address of `http` is another, and comes back."""
    file = stage.lab.folder / "change.yaml"
    plans = []
    for server in SERVERS:
        here, there = (f'"{name}:{HTTP}"' for name in (way.servers("http")[3], server))
        file.write_text(way.text().replace(here, there))
        plans.append(planned(str(file)))
    took = []
    with stage.lab.inside(BALANCER), Standalone(plans[0]) as path:
        for turn in range(rounds):
            begun = time.monotonic()
            path.apply(plans[1 - turn % 2])
            took.append(time.monotonic() - begun)
    return took


def met(stage: Stage) -> float:
    """Seconds from SIGHUP until a new connection meets the new server."""
    assert stage.process is not None
    text, server = changed(ONE_VIP, 1 - SERVERS.index(who_answers(stage)))
    (stage.lab.folder / "fourseven.yaml").write_text(text)
    begun = time.monotonic()
    stage.process.process.send_signal(signal.SIGHUP)
    while who_answers(stage) != server:
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise Failed(f"after {PATIENCE_SECONDS} s, {server} is not met")
    return time.monotonic() - begun


def who_answers(stage: Stage) -> str:
    with stage.lab.inside("client"), socket.socket() as made:
        made.settimeout(5)
        with contextlib.suppress(OSError):
            made.connect((VIP, ECHO))
            return made.recv(100).decode().strip()
    return ""


def rest(stages: dict[str, Stage], results: Results, quick: bool) -> None:
    for name, stage in stages.items():
        if stage.process is None or not hasattr(stage.way, "text"):
            continue
        seconds = 1.0 if quick else REST_SECONDS
        before = stage.process.cpu_us()
        time.sleep(seconds)
        share = (stage.process.cpu_us() - before) / (1e4 * seconds)
        memory, tables = stage.process.memory() / 2**20, kernel_memory(stage) / 2**20
        said = f"{share:.2f} % of a core, {memory:.0f} MiB, tables in the kernel {tables:.0f} MiB"
        results.extras.append(Extra(f"{name}, at rest", said))


def kernel_memory(stage: Stage) -> int:
    """Bytes of the maps that the balancer's processes hold, each counted once."""
    assert stage.process is not None
    maps: dict[str, int] = {}
    for pid in stage.process.pids():
        for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                rows = dict(line.split(":", 1) for line in entry.read_text().splitlines())
                if "map_id" in rows:
                    maps[rows["map_id"]] = int(rows["memlock"])
    return sum(maps.values())


def flood(stages: dict[str, Stage], results: Results, quick: bool) -> None:
    for name in (TCX, MASQUERADE, BY_HAND, HAPROXY):
        if name in stages:
            seconds = 1.5 if quick else FLOOD_SECONDS
            said = flooded(stages[name], seconds)
            results.extras.append(Extra(f"{name}, under a flood", said))


def flooded(stage: Stage, seconds: float) -> str:
    command = [sys.executable, "-m", "support.lab_load", VIP, str(ECHO), "--patience", "5"]
    child = stage.lab.start("client", *command, **SPEAKS)
    try:
        if child.read_line() != "ready":
            raise Failed(child.log_tail())
        with Flood(stage.lab, (VIP, ECHO), FLOOD_RATE) as stream:
            time.sleep(seconds)
        assert child.process.stdin is not None
        child.process.stdin.close()
        found = json.loads(child.read_line())
    finally:
        child.stop()
        stage.lab.children.remove(child)
    broken, failed = sum(found["broken"].values()), sum(found["failed"].values())
    return (
        f"{stream.sent / stream.seconds:,.0f} SYNs a second; {broken} of {found['established']} "
        f"established broken, longest echo {found['longest_ms']:.0f} ms; {failed} of "
        f"{found['new']} honest new failed, longest {found['longest_new_ms']:.0f} ms"
    )


EXTRA: dict[str, Callable[[dict[str, Stage], Results, bool], None]] = {
    "change": change,
    "rest": rest,
    "flood": flood,
}
