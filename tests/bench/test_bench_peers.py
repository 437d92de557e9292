"""Each peer's configuration is accepted by the peer itself, for each setup that a work names."""

import json
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from bench.features import FEATURES, PLAIN, config, groups, usable
from bench.figures import Memory, Sample
from bench.peers import PEERS
from bench.peers.peer import Peer
from bench.report import text
from bench.watch import lines_missing
from bench.works import WORKS

from fourseven.config.load import load

SETUPS = {work.setup for work in WORKS}
PORTS = {"port": 18_080, "origin_port": 18_081, "grpc_port": 18_081, "other_port": 18_082}
HERE = [peer for peer in PEERS.values() if shutil.which(peer.program) and not peer.missing()]


@pytest.mark.timeout(320)  # ten thousand routes, on a machine that others keep busy
@pytest.mark.parametrize("peer", HERE, ids=lambda peer: peer.name)
@pytest.mark.parametrize(
    "setup", sorted(SETUPS, key=str), ids=lambda s: f"{s.kind}-{s.routes}{s.tls}"
)
def test_a_peer_accepts_its_configuration(peer: Peer, setup, tmp_path):
    file = peer.write(setup.at(**PORTS), tmp_path)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **peer.environment()}
    done = subprocess.run(
        peer.check(file), capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)
def test_a_configuration_names_both_ports(peer: Peer, tmp_path):
    for setup in SETUPS:
        texts = peer.configure(setup.at(**PORTS), tmp_path)
        main = next(iter(texts.values()))
        assert "18080" in main
        assert "18081" in main


def test_a_log_that_lacks_a_request_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.watch.LOG_PATIENCE_SECONDS", 0.0)
    log = tmp_path / "access.log"
    log.write_text('{"status":200}\n' * 3)
    assert lines_missing(log, 3) == ""
    assert log.stat().st_size == 0
    log.write_text('{"status":200}\n' * 2)
    assert lines_missing(log, 3) == "2 lines in the log for 3 requests"


def test_the_files_of_the_features_are_accepted(tmp_path):
    used = [feature for feature in FEATURES if usable(feature)]
    place = SimpleNamespace(port=18_081, other_port=18_082)
    for number, group in enumerate(groups(used)):
        ports = {feature.name: 18_100 + at for at, feature in enumerate(group)}
        file = tmp_path / f"{number}.yaml"
        file.write_text(json.dumps(config(group, {**ports, PLAIN: 18_099}, place)))
        assert load(file).listeners.keys() == {PLAIN, *ports}


def test_the_report_has_the_ratio_and_the_rounds_that_do_not_count():
    def rounds(*cpu):
        return [Sample(1e5, 500, 900, one, "") for one in cpu]

    bad = Sample(1e5, 500, 900, 1.0, "status 7")
    found = {
        "128B": {"fourseven": rounds(8, 8, 8), "nginx": rounds(12, 12, 13), "haproxy": [bad]},
        "10": {"fourseven": rounds(8)},
        "10000": {"fourseven": rounds(8.4)},
        "rate": {"fourseven": rounds(9)},
    }
    direct = [Sample(2e4, 100, 200, 0.0)]
    written = text(
        {"cpu": "a test's"}, WORKS, found, {"fourseven": Memory(1234.0, 3 << 20)}, direct
    )
    assert "| fourseven | 8.0 | 0 % | 100,000 | 0.50 | 0.90 | 1.50 | 1.30 | 1.50 |" in written
    assert "| haproxy | no valid round |" in written
    assert "- 128B, haproxy, round 1: status 7" in written
    assert "fourseven 1.05" in written
    assert "| fourseven | 500 | 900 | 400 | 700 | 9.0 |" in written
    assert "| fourseven | 1,234 | 3.0 |" in written
