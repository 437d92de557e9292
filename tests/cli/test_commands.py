"""The commands as they are called: what they print, and with which code they end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fourseven.cli.main import COMMANDS, main

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").iterdir())
FINE = "listeners: {a: {bind: ':80', backend: b}}\nbackends: {b: {servers: ['1.2.3.4:80']}}\n"
WARNED = FINE.replace("'1.2.3.4:80'", "{address: '1.2.3.4:80', weight: 0}")
WRONG = FINE.replace("backend: b", "backend: c")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Calls the program in an empty folder; gives (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str):
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return call


def write(text: str, name: str = "f.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


@pytest.mark.parametrize(
    "text,options,code,last",
    [
        (FINE, (), 0, "f.yaml: fine"),
        (WARNED, (), 1, "f.yaml: 1 warning"),
        (WARNED, ("--strict",), 78, "f.yaml: 1 warning"),
        (WRONG, (), 78, "f.yaml: 1 error"),
        ("a: [", (), 78, "f.yaml: 1 error"),
        (WRONG + "wrong: 1\n", (), 78, "f.yaml: 2 errors"),
    ],
)
def test_check_ends_with_a_code(run, text, options, code, last):
    found, out, err = run("check", write(text), *options)
    assert (found, out.splitlines()[-1], err) == (code, last, "")


def test_check_prints_json(run):
    code, out, _ = run("check", write(WRONG), "--format", "json")
    assert code == 78
    assert json.loads(out) == [
        {
            "file": "f.yaml",
            "line": 1,
            "column": 39,
            "path": "listeners.a.backend",
            "text": "there is no backend 'c'; known: b",
            "severity": "error",
        }
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "no-such-file"),
        ("chekc", "f.yaml"),
        ("check", "f.yaml", "--format", "xml"),
        ("explain", "f.yaml", "GET"),
        ("explain", "f.yaml", "GET", "/x"),
        ("explain", "f.yaml", "GET", "http://h:99999/"),
        ("explain", "f.yaml", "GET", "http://h/", "--from", "somewhere"),
        ("explain", "f.yaml", "GET", "http://h/", "--listener", "none"),
        ("explain", "f.yaml", "GET", "http://h:81/"),
        ("explain", "f.yaml", "GET", "http://h/", "--body", "@none"),
    ],
)
def test_wrong_usage_ends_with_2(run, arguments):
    write(FINE)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Error: " in err


def test_a_bad_file_ends_any_command_with_78(run):
    code, out, err = run("explain", write(WRONG))
    assert (code, out) == (78, "")
    assert err == "f.yaml:1:39: listeners.a.backend: there is no backend 'c'; known: b\n"


def test_init_writes_a_file_that_passes_check_and_never_overwrites(run):
    assert run("init")[0] == 0
    assert run("check", "fourseven.yaml") == (0, "fourseven.yaml: fine\n", "")
    code, _, err = run("init")
    assert (code, err) == (1, "fourseven: fourseven.yaml is there already; name another file\n")
    assert run("init", "-")[1] == Path("fourseven.yaml").read_text(encoding="utf-8")


def test_what_the_starting_file_suggests_in_comments_passes_check_too(run):
    run("init")
    text = Path("fourseven.yaml").read_text(encoding="utf-8")
    for line in ("trusted:", "request_id:", "postgres:", "dns:"):
        assert f"# {line}" in text
        text = text.replace(f"# {line}", line)
    text += "  postgres: {servers: [127.0.0.1:5433]}\n  resolvers: {servers: [127.0.0.1:5354]}\n"
    assert run("check", write(text))[:2] == (0, "f.yaml: fine\n")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_pass_check(run, path: Path):
    assert run("check", str(path)) == (0, f"{path}: fine\n", "")


def test_the_schema_is_printed(run):
    code, out, _ = run("config", "schema")
    assert (code, json.loads(out)["title"]) == (0, "fourseven")


def test_every_command_of_the_table_is_there(run):
    _, out, _ = run("--help")
    for name in COMMANDS:
        assert f"{name} " in out
        assert run(name, "--help")[0] == 0


def test_help_loads_nothing_that_it_does_not_need():
    code = (
        "import sys, fourseven.cli.main as m; m.fourseven.get_help(m.click.Context(m.fourseven)); "
    )
    code += (
        "print([n for n in ('pydantic', 'yaml', 'rich', 'fourseven.model') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_checkout_that_is_not_built_says_what_to_do(tmp_path):
    source = Path(__file__).resolve().parents[2] / "src/fourseven"
    shutil.copytree(source, tmp_path / "fourseven", ignore=shutil.ignore_patterns("*.so", "*.c"))
    command = [sys.executable, "-m", "fourseven", "check", "f.yaml"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"fourseven: the native modules in {tmp_path / 'fourseven'} are not built: `make build` in"
        " the checkout, or `pip install .`\n"
    )
