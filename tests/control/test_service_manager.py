"""systemd's protocols, the runtime directory, and the form of a log line."""

from __future__ import annotations

import json
import logging
import os
import socket
from pathlib import Path

import pytest

from fourseven.control import logs, runtime
from fourseven.control.notify import Notifier, activated
from fourseven.errors import FoursevenError

# ---- notify ----


def hear(tmp_path: Path, abstract: bool) -> tuple[socket.socket, str]:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    name = f"@fourseven-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    sock.bind("\0" + name[1:] if abstract else name)
    sock.settimeout(5)
    return sock, name


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_said_and_the_variable_is_taken_away(tmp_path, abstract):
    sock, name = hear(tmp_path, abstract)
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "HOME": "/"}
    notifier = Notifier(environ)
    assert environ == {"HOME": "/"}
    assert notifier.watchdog_s == 1.5
    notifier.ready("2 sockets")
    assert sock.recv(999) == b"READY=1\nSTATUS=2 sockets"
    notifier.reloading()
    assert sock.recv(999).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    notifier.alive()
    assert sock.recv(999) == b"WATCHDOG=1"
    notifier.stopping("draining")
    assert sock.recv(999) == b"STOPPING=1\nSTATUS=draining"
    sock.close()
    notifier.alive()  # nobody listens: no failure


def test_without_systemd_nothing_is_said_and_another_process_watchdog_is_not_ours():
    assert Notifier({}).watchdog_s is None
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    Notifier({}).ready("")


@pytest.mark.parametrize("pid", ["", "1", "x"])
def test_sockets_for_another_process_are_left(pid):
    environ = {"LISTEN_PID": pid, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
    assert activated(environ) == []
    assert environ == {}


# ---- the runtime directory ----


def test_one_runs_in_a_directory_and_a_clean_end_leaves_nothing(tmp_path):
    one = runtime.make(str(tmp_path / "run"))
    one.claim()
    assert one.path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(FoursevenError, match=f"process {os.getpid()}.*runs with"):
        runtime.make(str(tmp_path / "run")).claim()
    one.remember(b"\xff\x00 bytes", Path("a.yaml"))
    one.release()
    assert list(one.path.iterdir()) == []
    again = runtime.make(str(tmp_path / "run"))
    again.claim()
    again.release()


def test_what_was_in_force_is_remembered_byte_for_byte_under_its_name(tmp_path):
    one = runtime.make(str(tmp_path))
    raw = bytes(range(256))
    assert one.remembered(Path("a.yaml")) is None
    one.remember(raw, Path("a.yaml"))
    assert one.remembered(Path("a.yaml")) == raw
    assert one.remembered(Path("b.yaml")) is None
    (tmp_path / "last-good.json").write_text("{half")
    assert one.remembered(Path("a.yaml")) is None


def test_a_directory_that_others_may_write_is_refused(tmp_path):
    (tmp_path / "open").mkdir(mode=0o700)
    (tmp_path / "open").chmod(0o770)
    with pytest.raises(FoursevenError, match=r"open to others.*chmod 700"):
        runtime.make(str(tmp_path / "open"))
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(FoursevenError, match="not a directory"):
        runtime.make(str(tmp_path / "link"))


def test_a_directory_whose_name_is_too_long_for_a_socket_is_refused(tmp_path):
    with pytest.raises(FoursevenError, match="too long"):
        runtime.make(str(tmp_path / ("d" * 100)))


def test_a_directory_of_somebody_else_in_a_shared_place_is_refused(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path).chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if (tmp_path / "run").stat().st_uid else 4321)
    assert "belongs to user" in runtime.unsafe(tmp_path / "run")


def test_the_places_in_their_order(monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    wanted = ["/run/a", "/run/user/7/fourseven", "/run/fourseven", "/tmp/fourseven-7"]
    assert [str(path) for path in runtime.candidates(None)] == wanted
    assert [str(path) for path in runtime.candidates("x")] == ["x"]


def test_nobody_runs(tmp_path):
    with pytest.raises(FoursevenError, match=r"no running fourseven in .*--runtime-dir"):
        runtime.find(str(tmp_path))


# ---- log lines ----


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("web", "web"),
        (3, "3"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a "quote"', json.dumps('a "quote"')),
        ("line\nend", '"line\\nend"'),
        ("a=b", '"a=b"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("日本", "日本"),
    ],
)
def test_a_value_stays_one_value(value, text):
    assert logs.quoted(value) == text


def test_a_line_is_a_line():
    record = logging.LogRecord("fourseven", logging.WARNING, "", 0, "part.what", (), None)
    record.fields = {"a": 1, "b": "x\ny"}
    record.created, record.msecs = 0.25, 250.0
    line = logs.Line().format(record)
    assert line == '1970-01-01T00:00:00.250Z warning part.what a=1 b="x\\ny"'
