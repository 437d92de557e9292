"""The commands that speak to a fourseven that runs, as an operator calls them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from admin.conftest import config
from fourseven.cli.main import fourseven
from fourseven.errors import FoursevenError
from support.service import Service


@pytest.fixture
def run(service, api):
    """Calls a command; (exit code, what it printed)."""

    def call(*arguments: str) -> tuple[int, str]:
        where = ["--runtime-dir", str(service.runtime)]
        result = CliRunner().invoke(fourseven, [*arguments, *where])
        if isinstance(result.exception, FoursevenError):
            return 1, str(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result.exit_code, result.output

    return call


def test_status_shows_listeners_backends_and_servers(service, run):
    for _ in range(3):
        service.get(service.address("web"), "/x")
    code, text = run("status", "--window", "0")
    assert code == 0
    lines = text.splitlines()
    assert lines[0].startswith("fourseven ")
    assert any(line.startswith("web") and " L7 " in line for line in lines)
    assert any(line.startswith("plain") and "L4 relay" in line for line in lines)
    assert any(line.startswith("all") and "2 of 2 usable" in line for line in lines)
    for server in service.servers:
        assert any(server in line and " up " in line for line in lines)


def test_status_is_the_state_for_programs(service, run):
    code, text = run("status", "--json")
    found = json.loads(text)
    assert (code, found["supervisor"]["engine"]) == (0, service.engine())
    assert [one["name"] for one in found["listeners"]] == ["web", "plain"]


def test_top_prints_once_without_a_terminal(run):
    code, text = run("top", "--interval", "0.25")
    assert code == 0
    assert "2 of 2 usable" in text


def test_top_in_a_terminal_ends_with_q(service):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fourseven", "top", "--runtime-dir", str(service.runtime)]
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120", "PYTHONPATH": path}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        seen = b""
        while b"usable" not in seen:
            seen += os.read(ours, 65536)
        os.write(ours, b"q")
        while True:
            try:
                if not os.read(ours, 65536):
                    break
            except OSError:  # the other end is closed
                break
        assert process.wait(30) == 0
    os.close(ours)


def test_a_server_is_drained_and_enabled(service, run):
    server = service.servers[0]
    assert run("drain", "all", server, "--wait") == (
        0,
        f"all {server}: draining, weight 1\nall {server}: drained, weight 1\n",
    )
    assert run("maintenance", "all", server) == (0, f"all {server}: maintenance, weight 1\n")
    assert run("enable", "all", server) == (0, f"all {server}: up, weight 1\n")


def test_a_weight_is_given_and_taken_back(service, run):
    server = service.servers[0]
    assert run("weight", "all", server, "5") == (0, f"all {server}: up, weight 5\n")
    assert run("weight", "all", server, "file") == (0, f"all {server}: up, weight 1\n")
    assert run("weight", "all", server, "heavy")[0] == 2


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("drain", "none", "x:1"), "there is no backend 'none'; known: all"),
        (("drain", "all", "x:1"), "there is no server 'x:1' in 'all'; known: "),
        (("weight", "all", "x:1", "5"), "there is no server 'x:1' in 'all'"),
    ],
)
def test_what_is_not_there_is_said(service, run, arguments, said):
    code, told = run(*arguments)
    assert code == 1
    assert told.startswith(said)
    assert all(one in told for one in service.servers) or "backend" in told


def test_diff_tells_file_from_file_and_from_what_runs(service, run):
    assert run("diff")[0] == 0
    server = service.servers[0]
    run("drain", "all", server, "--until-reload")
    run("weight", "all", service.servers[1], "9")
    changed = config(*service.servers, "127.0.0.1:1")
    changed["backends"]["all"]["balance"] = "random"
    del changed["listeners"]["plain"]
    service.write(changed)
    try:
        code, text = run("diff")
        lines = text.splitlines()
        assert code == 1
        assert lines[0].endswith("the file has changed; `fourseven reload` puts it in force")
        assert set(lines[1:]) == {
            '  - listeners.plain: {"backend": "all", "bind": "127.0.0.1:0"}',
            "  + backends.all.balance: random",
            "  + backends.all.servers.127.0.0.1:1: 127.0.0.1:1",
            f"  ! backends.all.servers.{server}: state enable → drain (until the next reload)",
            f"  ! backends.all.servers.{service.servers[1]}: weight 1 → 9",
        }
        service.write("listeners: [")
        code, text = run("diff")
        assert code == 1
        assert "has errors" in text
        assert re.search(r"fourseven\.yaml:\d+:\d+: ", text)
    finally:
        service.write(config(*service.servers))


def test_without_a_fourseven_that_runs_it_says_so(tmp_path):
    result = CliRunner().invoke(fourseven, ["status", "--runtime-dir", str(tmp_path)])
    assert "no running fourseven" in str(result.exception)


def test_status_works_while_the_engine_is_away(tmp_path):
    with Service("crash", wait=False, folder=Path(tmp_path)) as service:
        service.wait()  # a file that nobody can serve: it never ran, and says so
        result = CliRunner().invoke(fourseven, ["status", "--runtime-dir", str(service.runtime)])
    assert isinstance(result.exception, FoursevenError)
