"""What a person is told of the nftables plane: why it, what is different, what it cannot do."""

from __future__ import annotations

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.compiler.explain import JHASH, WITHIN, report
from fourseven.config.load import load
from fourseven.l4.facts import Facts

NO_BPF = Facts(refused=(("tcx", "capabilities: CAP_BPF missing"), ("xdp", "no")))


def told(tmp_path, balance: str, plane: str = "auto", back: str = "masquerade"):
    path = tmp_path / "f.yaml"
    path.write_text(f"""\
listeners:
  pg: {{bind: 192.0.2.1:5432, backend: pg, plane: {plane}}}
backends:
  pg: {{servers: [10.0.0.1:5432, 10.0.0.2:5432], balance: {balance}, return_path: {back}}}
""")
    config = load(str(path))
    return report(config, compile_plan(config, NO_BPF))[0]


@pytest.mark.parametrize(
    ("balance", "hashes"),
    [("round_robin", False), ("random", False), ("source_hash", True), ("maglev", True)],
)
def test_it_is_taken_where_ebpf_is_not_permitted(tmp_path, balance, hashes):
    found = told(tmp_path, balance)
    assert found.plane == "nftables"
    assert found.refused == ("tcx: capabilities: CAP_BPF missing",)
    assert WITHIN in found.costs
    assert (JHASH in found.costs) == hashes


@pytest.mark.parametrize(
    ("balance", "back", "reason"),
    [
        (
            "least_requests",
            "masquerade",
            "nftables: it cannot balance by least_requests; it can by "
            "round_robin, random, source_hash, hash, maglev",
        ),
        (
            "round_robin",
            "direct",
            "nftables: it has no return_path direct; it has masquerade, routed",
        ),
    ],
)
def test_what_it_cannot_do_is_said_and_the_next_best_taken(tmp_path, balance, back, reason):
    found = told(tmp_path, balance, back=back)
    assert found.plane == "relay"
    assert reason in found.refused
