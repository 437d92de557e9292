"""What the host permits: every question is answered, and trying leaves nothing behind."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fourseven.cli.kernel import l4
from fourseven.cli.probe import probe as command
from fourseven.l4 import host, interfaces
from fourseven.l4.bpf.kernel import BpfError
from support.network import own_network, why_not
from support.opened import left, opened

FILE = """\
listeners:
  pg: {bind: 10.9.0.1:5432, backend: pg}
  any: {bind: 0.0.0.0:80, backend: pg}
backends:
  pg: {return_path: routed, servers: [10.0.0.1:5432, 10.0.0.2:5432], balance: maglev}
"""


def test_each_question_has_a_line_and_a_reason():
    before = opened()
    shown = CliRunner().invoke(command).output
    system, permitted, planes, codings, interfaces = shown.split("\n\n")
    assert system == f"Linux {os.uname().release} {os.uname().machine}, user {os.geteuid()}"
    parts = [part.splitlines()[1:] for part in (permitted, planes, codings)]
    assert [len(part) for part in parts] == [len(host.probe()), 4, 3]
    for line in itertools.chain(*parts):
        assert line[2:6].strip() in ("yes", "no")
        assert line[24:]
    assert any(line.endswith("no: loopback") for line in interfaces.splitlines())
    assert not left(before)
    told = json.loads(CliRunner().invoke(command, ["--format", "json"]).output)
    assert [one["name"] for one in told["answers"]][:4] == ["capabilities", *host.NEEDED]
    assert [one["name"] for one in told["planes"]] == ["tcx", "nftables", "xdp", "relay"]
    assert told["planes"][-1]["permitted"]
    assert told["kernel"]["release"] == os.uname().release


ALL = tuple(host.Answer(name, True, "yes") for name in ("capabilities", *host.NEEDED, *host.OTHERS))
ON = tuple(host.Answer(f"IPv{n} forwarding", True, "on") for n in (4, 6))
OFF = tuple(one._replace(permitted=False) for one in ON)


@pytest.mark.parametrize(
    ("answers", "planes", "said"),
    [
        ((*ALL, *ON), {"tcx", "nftables", "xdp", "relay"}, "tcx: the first choice for"),
        ((*ALL, ON[0], OFF[1]), {"tcx", "nftables", "xdp", "relay"}, "; not for IPv6, whose"),
        ((*ALL, *OFF), {"relay"}, "tcx: packets of IPv4 and IPv6 are not forwarded"),
        ((*ALL[:3], ALL[3]._replace(permitted=False, reason="too old"), *ALL[4:], *ON),
         {"nftables", "relay"}, "xdp: it needs tcx: tcx: too old"),
    ],
)  # fmt: skip
def test_what_follows_for_each_plane(answers, planes, said):
    verdicts = host.verdicts(answers)
    assert {one.name for one in verdicts if one.permitted} == planes
    assert said in "\n".join(f"{one.name}: {one.reason}" for one in verdicts)


needs_root = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")


@needs_root
def test_interfaces_are_told_with_their_driver_and_offloads():
    with own_network():
        for line in (
            "link add one type veth peer name two",
            "link set one up",
            "link set two up",
            "link add bridge type bridge",
            "link set two master bridge",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        found = {card.link.name: card for card in interfaces.cards()}
        assert set(found) == {"lo", "one", "two", "bridge"}
        one = found["one"]
        assert (one.driver, one.xdp, found["bridge"].xdp) == ("veth", "native", "generic")
        assert one.offloads["tso"]
        assert not one.offloads["lro"]
        subprocess.run(["ethtool", "-K", "one", "tso", "off", "gro", "on"], check=True)
        changed = {card.link.name: card for card in interfaces.cards()}["one"].offloads
        assert changed == one.offloads | {"tso": False, "gro": True}
        shown = CliRunner().invoke(command).output.splitlines()
        ends = {line.split()[0]: line for line in shown if line.startswith("  ")}
        assert ends["one"].endswith("yes")
        assert ends["two"].endswith("no: part of another")
        assert ends["bridge"].endswith("no: down")
        assert host.facts().xdp == (("one", "veth", "native"),)


def unprivileged(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of ours by somebody who may do nothing."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
    own = [*(drop if os.geteuid() == 0 else []), sys.executable, "-m", "fourseven", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(own, capture_output=True, text=True, env=environment, timeout=60)


def test_without_privilege_one_line_says_what_is_missing_and_what_is_taken(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_text(
        "listeners: {web: {bind: 10.9.0.1:80, backend: web}}\nbackends: {web: {servers: ['10.0.0.1:80']}}\n"
    )
    said = json.loads(unprivileged("probe", "--format", "json").stdout)
    assert {one["name"] for one in said["planes"] if one["permitted"]} == {"relay"}
    assert said["interfaces"]
    shown = unprivileged("explain", str(file)).stdout
    assert "layer     L4, plane relay" in shown
    (tcx,) = [line for line in shown.splitlines() if " tcx: " in line]
    assert tcx.split("tcx: ")[1].startswith("capabilities: CAP_")
    assert tcx.endswith("missing; start it as root")
    file.write_text(file.read_text().replace("backend: web}", "backend: web, plane: tcx}"))
    refused = unprivileged("explain", str(file))
    assert refused.returncode != 0
    (line,) = refused.stderr.splitlines()
    assert "tcx cannot serve this listener: capabilities: CAP_" in line


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
    here = FILE.replace("10.9.0.1:5432, backend", "127.0.0.1:5432, backend")
    file.write_text(here.replace("any: {", "any: {protocol: http, "))
    refused = CliRunner().invoke(l4, [*arguments, str(file)])
    assert refused.exit_code == 1
    assert "\n  any: protocol: http" in str(refused.exception)
    assert "pg: tcx: only this host itself comes to tcp://127.0.0.1:5432" in str(refused.exception)
