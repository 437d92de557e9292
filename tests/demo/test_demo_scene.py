"""The demo's servers say who they are, and its children end with it."""

import contextlib
import os
import select
import signal
import subprocess
import sys

import pytest

from fourseven.demo.processes import Child, Failed, stat, tree
from fourseven.demo.scene import LISTENERS, SETS, TOUR, curl, demo_file
from fourseven.demo.tour import send


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """name of a set -> ports of its servers."""
    folder = tmp_path_factory.mktemp("servers")
    with contextlib.ExitStack() as stack:
        found = {}
        for one in SETS:
            command = [sys.executable, "-m", "fourseven.demo.servers"]
            child = Child(
                [*command, one.kind, one.name, "2"], folder / f"{one.name}.log", speaks=True
            )
            stack.callback(child.stop)
            found[one.name] = [int(port) for port in child.read_line().split()]
        yield found


@pytest.mark.parametrize("visit", TOUR, ids=lambda visit: visit.title)
def test_each_server_says_who_it_is(servers, visit):
    for number, port in enumerate(servers[visit.expected], 1):
        seen = send(visit, {visit.listener: port})
        assert seen.server == f"{visit.expected}-{number}", seen.status
        assert seen.right


def test_the_wrong_server_is_seen_as_wrong(servers):
    visit = TOUR[0]
    seen = send(visit, {visit.listener: servers["billing"][0]})
    assert not seen.right


def test_a_server_that_is_not_there_is_a_row_and_not_a_traceback():
    seen = send(TOUR[0], {"web": 1})
    assert not seen.right
    assert seen.status.startswith("ConnectionRefusedError")


def test_the_file_names_every_port(servers):
    ports = dict.fromkeys(LISTENERS, 7)
    text = demo_file(ports, servers)
    assert all(f"127.0.0.1:{port}" in text for found in servers.values() for port in found)
    assert all(curl(visit, ports).count("7") for visit in TOUR)


def test_a_child_that_ends_at_once_is_told_with_its_log(tmp_path):
    child = Child(
        [sys.executable, "-c", "import sys; sys.exit('no such luck')"],
        tmp_path / "log",
        speaks=True,
    )
    with pytest.raises(Failed, match="no such luck"):
        child.read_line()
    child.stop()


def test_stop_ends_a_whole_tree_even_one_that_will_not_listen(tmp_path):
    text = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE);"
        "print('here', flush=True); signal.pause()"
    )
    child = Child([sys.executable, "-c", text], tmp_path / "log", speaks=True, patience_seconds=0.2)
    assert child.read_line() == "here"
    pids = child.pids()
    assert len(pids) == 2
    child.stop()
    assert [pid for pid in pids if stat(pid)] == []
    assert tree(pids[0]) == []


def test_a_set_ends_when_its_starter_is_killed(tmp_path):
    text = (
        "import pathlib, sys; from fourseven.demo.processes import Child;"
        "c = Child([sys.executable, '-m', 'fourseven.demo.servers', 'http', 'a', '1'],"
        " pathlib.Path(sys.argv[1]), speaks=True);"
        "c.read_line(); print(c.process.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", text, str(tmp_path / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        pid = int(starter.stdout.readline())
        watch = os.pidfd_open(pid)
        os.kill(starter.pid, signal.SIGKILL)
    with os.fdopen(watch) as ended:
        assert ended_within(ended, 10)


def ended_within(pidfd, seconds):
    return bool(select.select([pidfd], [], [], seconds)[0])
