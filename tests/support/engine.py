"""The child process: a data plane alone, told what to do line by line on its standard input.

The engine of the product without its supervisor, so that a test sees the counters, and so that a
crash ends this process and not the test run. Each line in is a JSON list (a command and its
arguments); each line out is its JSON answer. End of input stops it.

Law: a counter, a reload or a word about a server is answered when every worker has caught up, so
that a test never reads a moment in which an answer was sent and not yet counted.

usage: python -m support.engine FILE WORKERS FILES_MAX '{"listener": [fd, ...]}'
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load
from fourseven.control.dataplane import DataPlane
from fourseven.health.standing import Order
from support.turns import caught_up

LOADS_MS = 60_000  # reports of this time count


def main() -> None:
    file, workers, files_max, sockets = sys.argv[1:5]
    if int(files_max):
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(files_max), int(files_max)))
    fds: dict[str, list[int]] = json.loads(sockets)
    plan = compile_plan(load(file))
    plane = DataPlane(int(workers))
    plane.start()
    try:
        plane.publish(plan, fds)
        obey(plane, fds)
    finally:
        plane.stop()  # its threads would outlive an exception, and hang the process


def obey(plane: DataPlane, fds: dict[str, list[int]]) -> None:
    """Runs commands until the end of the input."""

    def reload(path: str) -> int:
        plane.publish(compile_plan(load(path)), fds)
        caught_up(plane)
        return plane.reclaim()

    def drain() -> None:
        plane.drain()
        caught_up(plane)

    def counters() -> dict[str, Any]:
        caught_up(plane)
        seen = plane.counters()
        for rows in ("servers", "routes"):
            seen[rows] = {" ".join(key): row for key, row in seen[rows].items()}
        return seen

    def order(backend: str, address: str, usable: bool, persists: bool) -> None:
        plane.order(backend, address, Order(usable=usable, persists=persists))
        caught_up(plane)

    def loads(backend: str, *addresses: str) -> list[float | None]:
        caught_up(plane)
        return plane.loads(plane.slots_of(backend, addresses), LOADS_MS)

    commands = {
        "order": order,
        "loads": loads,
        "counters": counters,
        "busy": plane.busy,
        "drain": drain,
        "rotate_tickets": plane.rotate_tickets,
        "reload": reload,
        "reclaim": plane.reclaim,
    }
    say("ready")
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        say(commands[command](*arguments))


def say(answer: Any) -> None:
    print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main()
