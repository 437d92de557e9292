"""What the host permits: every question is answered, and trying leaves nothing behind."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from fourseven.cli.kernel import l4
from fourseven.cli.probe import probe as command
from fourseven.l4 import host
from fourseven.l4.bpf.kernel import BpfError

FILE = """\
listeners:
  pg: {bind: 10.9.0.1:5432, backend: pg}
  any: {bind: 0.0.0.0:80, backend: pg}
backends:
  pg: {return_path: routed, servers: [10.0.0.1:5432, 10.0.0.2:5432], balance: maglev}
"""


def test_each_question_has_a_line_and_a_reason():
    before = sorted(os.listdir("/proc/self/fd"))
    shown = CliRunner().invoke(command).output.splitlines()
    assert len(shown) == len(host.probe()) == 8
    assert all(line[:4].strip() in ("yes", "no") and line[22:] for line in shown)
    assert sorted(os.listdir("/proc/self/fd")) == before
    told = json.loads(CliRunner().invoke(command, ["--format", "json"]).output)
    assert [one["name"] for one in told][:4] == ["capabilities", *host.NEEDED]


def test_a_host_that_forbids_it_is_told_once(monkeypatch):
    def forbidden(form):
        raise BpfError(1, "the map fourseven_probe: Operation not permitted")

    monkeypatch.setattr(host, "Table", forbidden)
    monkeypatch.setattr(host, "_capabilities", lambda: host.Answer("capabilities", True, "all"))
    answers = {a.name: a for a in host.probe()}
    assert [answers[name].permitted for name in host.NEEDED] == [False] * 3
    assert answers["tcx"].reason == "not asked: the one before failed"
    said = host.denied(tuple(answers.values()))
    assert said == "bpf maps: the map fourseven_probe: Operation not permitted"


@pytest.mark.parametrize(
    "capable,programs,said",
    [
        (True, True, ""),
        (False, True, ""),  # what works is permitted, whatever the capabilities say
        (True, False, "bpf programs: no"),
        (False, False, "capabilities: CAP_BPF missing"),
    ],
)
def test_the_reason_is_the_one_that_can_be_mended(capable, programs, said):
    answers = (
        host.Answer("capabilities", capable, "CAP_BPF missing"),
        host.Answer("bpf maps", True, "yes"),
        host.Answer("bpf programs", programs, "no"),
    )
    assert host.denied(answers) == said


def test_a_kernel_without_tcx(monkeypatch):
    class Old:
        def attach(self, _interface):
            raise BpfError(22, "attaching to tcx ingress: Invalid argument")

    answer = host._tcx(Old(), "tcx")
    assert not answer.permitted
    assert answer.reason == "attaching to tcx ingress: Invalid argument; it needs Linux 6.6"


def test_dump_prints_the_program_of_a_file(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_text(FILE)
    shown = CliRunner().invoke(l4, ["dump", str(file)])
    assert shown.exit_code == 0
    assert "eth" in shown.output
    assert "; decide.py:" in shown.output
    assert "fib_lookup" in shown.output
    assert "0x86dd" not in shown.output  # no IPv6 in the file, none in the program


@pytest.mark.parametrize("arguments", [["dump"], ["run", "-i", "lo"]])
def test_a_file_that_the_kernel_cannot_serve(tmp_path, arguments, monkeypatch):
    monkeypatch.setattr("signal.pthread_sigmask", lambda *_: None)
    file = tmp_path / "f.yaml"
    lines = FILE.replace("10.9.0.1:5432, backend", "127.0.0.1:5432, backend").splitlines()
    file.write_text("\n".join(line for line in lines if not line.startswith("  any:")))
    refused = CliRunner().invoke(l4, [*arguments, str(file)])
    assert refused.exit_code == 1
    assert "pg: tcx: only this host itself comes to tcp://127.0.0.1:5432" in str(refused.exception)
