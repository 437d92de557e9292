"""What a machine lacks is said in one line that names the packages."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "prepare.py"


@pytest.fixture
def prepare():
    spec = importlib.util.spec_from_file_location("prepare", TOOL)
    assert spec
    assert spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_what_is_there_is_not_asked_for(prepare):
    assert list(prepare.missing({"stdio.h": "libc6-dev"})) == []


def test_a_missing_header_names_its_package(prepare):
    assert list(prepare.missing({"no/such.h": "libsuch-dev"})) == ["libsuch-dev"]


def test_without_a_compiler_everything_is_missing(prepare, monkeypatch):
    monkeypatch.setattr(prepare.shutil, "which", lambda _: None)
    assert list(prepare.missing({"a.h": "liba-dev"})) == ["gcc", "libc6-dev", "liba-dev"]


def test_who_is_not_root_is_told_in_one_line(prepare, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as left:
        prepare.install(["libpcre2-dev", "python3-dev"])
    assert str(left.value) == "missing system packages: sudo apt install libpcre2-dev python3-dev"


def test_programs_that_tests_run_are_looked_for(prepare, tmp_path, monkeypatch):
    (tmp_path / "here").write_text("")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prepare.wish({"here": "a", "no-such-1": "b", "no-such-2": "b"}) == ["b"]


def test_without_root_the_wish_is_one_line_and_no_failure(prepare, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    prepare.try_to_install(["iperf3", "curl"])
    assert capsys.readouterr().out == (
        "tests or codings are left out without: sudo apt install iperf3 curl\n"
    )


def test_a_failed_wish_is_no_failure(prepare, monkeypatch, capsys):
    def refuse(packages):
        raise SystemExit("no network")

    monkeypatch.setattr(prepare, "install", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(prepare.shutil, "which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(prepare, "Path", lambda _: tmp)
    tmp = _Policy()
    prepare.try_to_install(["iperf3"])
    assert capsys.readouterr().out == "tests or codings are left out: no network\n"
    assert tmp.calls == ["write", "chmod", "unlink"]


class _Policy:
    """Stands for /usr/sbin/policy-rc.d, which is made for the time of an installation."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def exists(self) -> bool:
        return False

    def write_text(self, _: str) -> None:
        self.calls.append("write")

    def chmod(self, _: int) -> None:
        self.calls.append("chmod")

    def unlink(self, missing_ok: bool) -> None:
        self.calls.append("unlink")
