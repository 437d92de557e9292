"""`fourseven demo` from outside: what it prints, and that nothing is left, however it ends."""

import os
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

from fourseven.demo.scene import SETS, TOUR

MARK = "FOURSEVEN_TEST_MARK"  # inherited by all that the demo starts, so that it can be found
PATIENCE_SECONDS = 60


class Demo:
    """A running demo whose family can be counted."""

    def __init__(self, *arguments):
        self.mark = uuid.uuid4().hex
        self.text = ""
        environment = {**os.environ, MARK: self.mark, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
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


@pytest.fixture
def demo():
    started = []

    def start(*arguments):
        started.append(Demo(*arguments))
        return started[-1]

    yield start
    for one in started:
        for pid in one.family():
            os.kill(pid, signal.SIGKILL)
        one.process.stdout.close()
        one.process.wait()


def rows(text):
    """The cells of every table row, rows of one record joined line by line."""
    return [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("│")
    ]


def test_the_demo_shows_where_each_request_went_and_what_it_costs(demo):
    run = demo("--quick")
    text = run.read_until("make bench")
    assert run.end() == 0, run.text
    assert run.family() == []
    first = [row for row in rows(text) if row[0]]
    for visit in TOUR:
        row = next(row for row in first if row[0] == visit.title)
        assert re.fullmatch(visit.expected + r"-\d", row[2]), row
        assert row[1].startswith("L7" if visit.listener == "web" else "L4"), row
        assert row[3], row
    for name in ("what is inspected", "routing basis", "flexibility"):
        assert any(row[0] == name for row in first)
    for name, form in {
        "requests a second, one worker": r"[\d,]+",
        "CPU time per request": r"\d+\.\d µs",
        "added latency, p50 at 5,000/s": r"[+-]\d+ µs",
        "added latency, p99 at 5,000/s": r"[+-]\d+ µs",
        "memory per resting connection": r"-?[\d,]+ bytes",
    }.items():
        cells = next(row for row in first if row[0] == name)[1:]
        assert all(re.fullmatch(form, cell) for cell in cells), cells
    assert "requests failed" not in text


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
    with urllib.request.urlopen(url, timeout=10) as answer:
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
