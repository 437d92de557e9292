"""The flow table against a set: what was put in is there, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.l4.probe import Flows

ADDRESSES = [bytes(16), bytes(15) + b"\1", b"\1" + bytes(15), bytes(10) + b"\xff\xff\x7f\0\0\1"]
keys = st.tuples(
    st.sampled_from(ADDRESSES), st.sampled_from([0, 1, 256, 53, 65_535]), st.sampled_from(ADDRESSES)
)


@given(st.lists(st.tuples(st.sampled_from("+-?"), keys), max_size=200), st.integers(0, 2**64 - 1))
def test_it_is_a_set(steps, seed):
    table, model = Flows(1, seed), set()
    for step, key in steps:
        assert table.has(*key) == (key in model)
        if step == "+" and key not in model:
            table.add(*key)
            model.add(key)
        if step == "-" and key in model:
            table.remove(*key)
            model.discard(key)
        assert table.count() == len(model)
    assert sum(table.buckets()) == len(model)


@pytest.mark.parametrize(("flows_max", "buckets"), [(0, 64), (64, 64), (65, 128), (65_536, 65_536)])
def test_size(flows_max, buckets):
    assert len(Flows(flows_max, 1).buckets()) == buckets


@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_no_long_chains(seed):
    """One client with all its ports, and a net of clients with one port."""
    table = Flows(4096, seed)
    for port in range(2048):
        table.add(ADDRESSES[1], port, ADDRESSES[3])
    for number in range(2048):
        table.add(bytes(12) + number.to_bytes(4, "big"), 53, ADDRESSES[3])
    assert max(table.buckets()) <= 9


def test_the_seed_decides_who_shares_a_bucket():
    """Ports chosen to collide under one seed are scattered under another."""

    def bucket(seed, port):
        table = Flows(64, seed)
        table.add(ADDRESSES[1], port, ADDRESSES[3])
        return table.buckets().index(1)

    chosen = [port for port in range(3000) if bucket(7, port) == 0][:30]
    assert len({bucket(8, port) for port in chosen}) > 15
