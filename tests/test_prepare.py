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
