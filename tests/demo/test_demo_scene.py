"""The demo's servers say who they are, and its children end with it."""

import contextlib
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fourseven.demo.authority import issue
from fourseven.demo.ending import PREFIX, Ending
from fourseven.demo.ending import folder as folder_of_a_demo
from fourseven.demo.processes import Child, Failed, stat, tree
from fourseven.demo.scene import LISTENERS, NAMES, SETS, TOUR, curl, demo_file
from fourseven.demo.tour import send


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """name of a set -> ports of its servers."""
    folder = tmp_path_factory.mktemp("servers")
    issue(folder, NAMES)
    with contextlib.ExitStack() as stack:
        found = {}
        for one in SETS:
            command = [sys.executable, "-m", "fourseven.demo.servers"]
            command += [one.kind, one.name, "2"]
            command += [str(folder / f"{one.shows}.pem")] if one.shows else []
            child = Child(command, folder / f"{one.name}.log", speaks=True)
            stack.callback(child.stop)
            found[one.name] = [int(port) for port in child.read_line().split()]
        yield folder, found


# What comes to the other listeners, its server alone could not answer.
DIRECT = [visit for visit in TOUR if visit.listener in ("web", "echo", "datagrams", "vault")]
DIRECT += [visit for visit in TOUR if visit.expected == "vault"]


@pytest.mark.parametrize("visit", DIRECT, ids=lambda visit: visit.title)
def test_each_server_says_who_it_is(servers, visit):
    folder, found = servers
    for number, port in enumerate(found[visit.expected], 1):
        seen = send(visit, {visit.listener: port}, folder)
        assert seen.server == f"{visit.expected}-{number}", seen.status
        assert seen.right


def test_the_wrong_server_is_seen_as_wrong(servers):
    visit = TOUR[0]
    folder, found = servers
    seen = send(visit, {visit.listener: found["billing"][0]}, folder)
    assert not seen.right


def test_a_server_that_is_not_there_is_a_row_and_not_a_traceback():
    seen = send(TOUR[0], {"web": 1}, Path())
    assert not seen.right
    assert seen.status.startswith("ConnectionRefusedError")


def test_the_file_names_every_port(servers):
    ports = dict.fromkeys(LISTENERS, 7)
    folder, found = servers
    text = demo_file(ports, found)
    assert all(f"127.0.0.1:{port}" in text for some in found.values() for port in some)
    assert all(curl(visit, ports, folder).count("7") for visit in TOUR)


def test_a_certificate_of_another_name_is_refused(servers):
    folder, found = servers
    visit = next(one for one in TOUR if one.name == "docs.test")
    seen = send(visit, {"secure": found["vault"][0]}, folder)
    assert not seen.right
    assert "CERTIFICATE_VERIFY_FAILED" in seen.status


# ---- the end ----


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_was_swallowed_is_not_forgotten():
    class Swallows:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)  # raises here, where no exception gets out

    with Ending() as ending:
        with contextlib.suppress(KeyboardInterrupt):
            Swallows()
        assert ending.asked
        with pytest.raises(KeyboardInterrupt):
            ending.check()
        os.kill(os.getpid(), signal.SIGINT)  # a second one raises nothing: it unwinds already
        ending.asked = False
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_end_of_the_block_asks_too():
    with pytest.raises(KeyboardInterrupt), Ending() as ending:
        ending.asked = True


def test_an_end_that_is_waited_for_is_no_failure_while_it_is_announced():
    with Ending() as ending:
        ending.wait(lambda: os.kill(os.getpid(), signal.SIGINT))


def test_folders_of_killed_demos_are_removed(tmp_path):
    root = str(tmp_path)
    with folder_of_a_demo(root) as living:
        dead, fresh = tmp_path / f"{PREFIX}dead", tmp_path / f"{PREFIX}fresh"
        for one in (dead, fresh):
            one.mkdir()
            (one / "file").touch()
        aside = tmp_path / f"{PREFIX}link"
        aside.symlink_to(tmp_path)
        for one in (dead, living):
            os.utime(one, (0, 0))
        with folder_of_a_demo(root) as mine:
            left = {living, fresh, aside, mine}
            assert set(tmp_path.iterdir()) == left
        assert mine not in set(tmp_path.iterdir())


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
        assert ended_within(ended, 30)


def ended_within(pidfd, seconds):
    return bool(select.select([pidfd], [], [], seconds)[0])
