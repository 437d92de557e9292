"""The machine that was measured, in the words that RESULTS.md opens with, and its isolation.

With root, a run takes a network namespace of its own: nobody else's connections, ports or firewall
rules are in it, and the congestion control can be set for all peers alike without touching the
machine. Without root the run uses the system's loopback and the system's congestion control.
"""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
ISOLATED = "FOURSEVEN_BENCH_ISOLATED"  # set in the environment of the isolated run


def isolated() -> bool:
    """Whether this process runs in a network namespace of its own."""
    return ISOLATED in os.environ


def isolate(congestion: str) -> None:
    """Starts this program anew in a network namespace, when that is possible; else returns."""
    if isolated() or os.geteuid() != 0 or not tools():
        return
    os.environ[ISOLATED] = congestion
    os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])


def tools() -> bool:
    return bool(shutil.which("unshare") and shutil.which("ip"))


def prepare() -> None:
    """Inside the namespace: loopback up, and its routes with the congestion control to use."""
    congestion = os.environ.get(ISOLATED)
    if not congestion:
        return
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if congestion == "system":
        return
    for target in ("127.0.0.0/8", "127.0.0.1"):  # a route's choice binds both ends
        route = ["ip", "route", "replace", "local", target, "dev", "lo", "table", "local"]
        subprocess.run([*route, "congctl", congestion], check=True)


def congestion_in_use() -> str:
    """What a connection over loopback really gets."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        name = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        return name.rstrip(b"\0").decode()


def cores() -> tuple[set[int], set[int]]:
    """The proxy's core and those of the load and the origin; one core is both if it is alone."""
    allowed = sorted(os.sched_getaffinity(0))
    return {allowed[-1]}, set(allowed[:-1][:1] or allowed)


def busy_us() -> float:
    """Time that the measured cores did not rest, in all, so that a neighbour's share is seen."""
    names = {f"cpu{core}" for core in set().union(*cores())}
    busy = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name in names:
            user, nice, system, _idle, _wait, irq, softirq, steal = map(int, ticks[:8])
            busy += user + nice + system + irq + softirq + steal
    return busy * TICK_US


def describe() -> dict[str, str]:
    """What a reader needs to judge the figures."""
    proxy, load = cores()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cores": f"{os.cpu_count()}; proxy on core {min(proxy)}, load and origin on {min(load)}",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": system_name(),
        "python": platform.python_version(),
        "congestion control": congestion_in_use(),
        "network": "loopback in a namespace of its own" if isolated() else "the system's loopback",
        "load average at the start": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return "?"
