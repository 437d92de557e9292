"""`fourseven demo` from outside: what it prints, and that nothing is left, however it ends."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

from fourseven.demo.scene import SETS, TOUR
from fourseven.demo.show import TOO_LITTLE
from support.network import needs_lab

MARK = "FOURSEVEN_TEST_MARK"  # inherited by all that the demo starts, so that it can be found
PATIENCE_SECONDS = 300  # of a machine that others keep busy
pytestmark = pytest.mark.timeout(5 * PATIENCE_SECONDS)


class Demo:
    """A running demo whose family can be counted."""

    def __init__(self, *arguments):
        self.mark = uuid.uuid4().hex
        self.text = ""
        # A killed demo leaves its folder for the next one to remove: here, in one that goes.
        self.folder = tempfile.TemporaryDirectory(prefix="fourseven-test-")
        environment = {**os.environ, MARK: self.mark, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
        environment["TMPDIR"] = self.folder.name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fourseven", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
        )

    def read_until(self, words):
        """Reads its output until the words have come or it has ended."""
        until = time.monotonic() + PATIENCE_SECONDS
        output = self.process.stdout
        while words not in self.text and time.monotonic() < until:
            if not select.select([output], [], [], 1)[0]:
                continue
            data = os.read(output.fileno(), 65_536)
            if not data:
                break
            self.text += data.decode()
        assert words in self.text, self.text
        return self.text

    def end(self):
        self.text += self.process.stdout.read().decode()
        return self.process.wait(PATIENCE_SECONDS)

    def balancer_of(self, plane):
        """The process id of the balancer that serves by a kernel plane, once it does."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            for pid in self.family():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    files = [Path(os.fsdecode(word)) for word in words if word.endswith(b".yaml")]
                    logs = [file.with_suffix(".log") for file in files if file.stem == plane]
                    if logs and "engine.ready" in logs[0].read_text():
                        return pid
            time.sleep(0.02)
        raise AssertionError(f"{plane} never served")

    def networks(self):
        """The numbers of the network namespaces that it made."""
        family = networks(Path(f"/proc/{pid}") for pid in self.family())
        return family - networks([Path("/proc/self")])

    def family(self):
        """Every living process that has the mark."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                marked = f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes()
                dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if marked and not dead:
                found.append(int(entry.name))
        return found


def networks(processes):
    found = set()
    for process in processes:
        with contextlib.suppress(OSError):
            found.add(os.stat(process / "ns/net").st_ino)
    return found


def numbers(pins):
    """Of the network namespaces that have pins there."""
    return {int(one.name.partition("-")[0]) for one in pins.glob("*")}


@pytest.fixture
def demo():
    started = []

    def start(*arguments):
        started.append(Demo(*arguments))
        return started[-1]

    yield start
    for one in started:
        sweep(one)


def sweep(run):
    for pid in run.family():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.process.stdout.close()
    run.process.wait()
    until = time.monotonic() + PATIENCE_SECONDS
    while run.family() and time.monotonic() < until:  # who writes there yet
        time.sleep(0.02)
    run.folder.cleanup()


def rows(text):
    """The cells of every table row, rows of one record joined line by line."""
    return [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("│")
    ]


@pytest.fixture(scope="module")
def shown():
    """What one demo printed that ran to its end. On a busy machine figures may prove nothing, as it
    says itself; then another one is looked at."""
    for _ in range(3):
        run = Demo("--quick")
        try:
            text = run.read_until("make bench")
            assert run.end() == 0, run.text
            assert run.family() == []
        finally:
            sweep(run)
        if "requests failed" not in text and kernel_is_below(text):
            break
    return text


def kernel_is_below(text):
    """Nothing that a kernel plane serves reaches a process; True where there is none."""
    found = {row[0]: row[1:] for row in rows(text)}
    own = [float(cell.split()[0]) for cell in found["CPU time per request"]]
    path = [float(cell.split()[0]) for cell in found["the same with client and origin"]]
    if len(own) < 4:
        return True
    return max(own[:2]) < min(own[2:]) / 4 and max(path[:2]) < min(path[2:])


def test_the_demo_shows_where_each_request_went_and_what_it_costs(shown):
    text = shown
    first = [row for row in rows(text) if row[0]]
    for visit in TOUR:
        row = next(row for row in first if row[0] == visit.title)
        assert re.fullmatch(visit.expected + r"-\d+", row[2]), row
        lower = visit.listener in ("echo", "datagrams") or visit.expected == "vault"
        assert row[1].startswith("L4" if lower else "L7"), row
        assert row[3], row
    for name in ("what is inspected", "routing basis", "flexibility"):
        assert any(row[0] == name for row in first)
    for name, form in {
        "requests a second, one worker": r"[\d,]+",
        "CPU time per request": r"\d+\.\d µs",
        "the same with client and origin": r"\d+\.\d µs",
        "added latency, p50 at 5,000/s": rf"\+\d+ µs|{TOO_LITTLE}",
        "added latency, p99 at 5,000/s": rf"\+\d+ µs|{TOO_LITTLE}",
        "memory per resting connection": rf"[\d,]+ bytes|in the kernel|{TOO_LITTLE}",
    }.items():
        cells = next(row for row in first if row[0] == name)[1:]
        assert all(re.fullmatch(form, cell) for cell in cells), cells
    assert "requests failed" not in text


@needs_lab()
def test_where_root_permits_the_kernel_planes_are_in_the_table(shown):
    header = next(line for line in shown.splitlines() if "Layer 7 (HTTP)" in line)
    titles = [cell.strip() for cell in header.split("┃")[1:-1]]
    assert titles[1:] == [
        "Layer 4 (kernel: tcx)",
        "Layer 4 (kernel: nftables)",
        "Layer 4 (relay)",
        "Layer 7 (HTTP)",
    ]
    assert kernel_is_below(shown), shown


@needs_lab()
@pytest.mark.parametrize(
    "plane,number",
    [
        ("tcx", signal.SIGINT),
        ("tcx", signal.SIGTERM),
        ("tcx", signal.SIGKILL),
        ("nftables", signal.SIGKILL),
    ],
)
def test_a_signal_while_a_kernel_plane_serves_leaves_nothing(demo, plane, number):
    pins = "sys/fs/bpf/fourseven"
    for _ in range(3):
        run = demo("--quick")
        run.read_until("Where each request went")
        balancer = run.balancer_of(plane)
        run.process.send_signal(signal.SIGSTOP)  # it goes no further while it is looked at
        spaces = run.networks()
        if numbers(Path(f"/proc/{balancer}/root", pins)) & spaces:
            break  # else we waited for our turn until that plane was measured
        sweep(run)
    assert numbers(Path(f"/proc/{balancer}/root", pins)) & spaces
    assert len(spaces) >= 2  # the client's is empty between two loads
    assert not spaces & numbers(Path("/", pins))  # while they live these are nobody else's
    run.process.send_signal(number)
    run.process.send_signal(signal.SIGCONT)
    until = time.monotonic() + PATIENCE_SECONDS
    while run.family() and time.monotonic() < until:
        time.sleep(0.02)
    assert run.family() == []  # and so no namespace: it has no name, and nobody is in it
    assert run.end() == (-number if number == signal.SIGKILL else 130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_leaves_nothing(demo, number):
    run = demo()
    run.read_until("Where each request went")  # it is about to measure
    assert len(run.family()) > len(SETS)
    run.process.send_signal(number)
    assert run.end() == 130
    assert run.family() == []
    assert "Traceback" not in run.text


def test_keep_leaves_it_running_until_it_is_ended(demo):
    run = demo("--quick", "--keep")
    text = run.read_until("Ctrl-C ends it")
    url = re.search(r"curl -i (http://\S+/videos/cats\.mp4)", text)[1]
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.headers["X-Served-By"].startswith("videos-")
    assert Path(re.search(r"It still runs, from (\S+\.yaml)", text)[1]).exists()
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert run.family() == []


def test_even_a_killed_demo_leaves_nothing(demo):
    run = demo("--quick", "--keep")
    run.read_until("Ctrl-C ends it")
    family = run.family()
    watches = [os.pidfd_open(pid) for pid in family]
    run.process.kill()
    until = time.monotonic() + PATIENCE_SECONDS
    for watch in watches:
        assert select.select([watch], [], [], until - time.monotonic())[0]
        os.close(watch)
    assert run.family() == []
