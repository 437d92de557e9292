"""bpf(2): what is made, pinned, opened again, attached, replaced, run; and what a refusal says."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess

import pytest

from fourseven.l4.bpf.build import (
    ARRAY,
    ARRAY_FOR_EACH_CPU,
    HASH,
    LRU_HASH,
    NO_PREALLOC,
    Map,
    Program,
)
from fourseven.l4.bpf.kernel import (
    GENERIC,
    NATIVE,
    TCX_EGRESS,
    TCX_INGRESS,
    XDP,
    BpfError,
    Link,
    Loaded,
    Table,
    processors,
)
from fourseven.l4.bpf.layout import U32, U64, Struct
from support.network import own_network, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")

SKB = Struct("skb", len=U32)
MD = Struct("xdp_md", data=U32, data_end=U32, meta=U32, ifindex=U32, queue=U32, egress=U32)
KEY = Struct("key", number=U32)
ROW = Struct("row", hits=U64)
XDP_DROP, XDP_PASS = 1, 2
FRAME = bytes(12) + b"\x08\x00" + bytes(50)


@pytest.fixture
def bpffs(tmp_path):
    subprocess.run(["mount", "-t", "bpf", "bpf", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture
def veth():
    """The number of one end of a veth in a network of one's own."""
    with own_network():
        made = ["ip", "link", "add", "name", "left", "type", "veth", "peer", "name", "right"]
        subprocess.run(made, check=True)
        for name in ("left", "right"):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield socket.if_nametoindex("left")


def saying(number: int, hook=TCX_INGRESS) -> Loaded:
    p = Program(f"says_{number}", MD if hook is XDP else SKB)
    p.exit(number)
    return Loaded(p.assemble(), {}, hook)


def counting(form: Map) -> Program:
    p = Program("counting", MD)
    rows = p.map(form.name, form.type, form.key, form.value, form.size)
    row = p.lookup(rows, "row", p.stack("key", KEY))
    with p.when(row.present):
        p.set(row.hits, row.hits + 1)
    p.exit(XDP_DROP)
    return p


@pytest.mark.parametrize("type", [HASH, LRU_HASH])
def test_chunks_are_all_rows(type):
    flags = NO_PREALLOC if type == HASH else 0
    with Table(Map("rows", type, KEY, ROW, 20_000, flags)) as table:
        assert list(table.chunks()) == []
        wanted = {KEY.pack(number=i): ROW.pack(hits=i * i) for i in range(10_000)}
        for key, row in wanted.items():
            table.put(key, row)
        found, calls = {}, 0
        for keys, rows, count in table.chunks(2048):
            assert (len(keys), len(rows)) == (4 * count, 8 * count)
            found |= {keys[4 * i : 4 * i + 4]: rows[8 * i : 8 * i + 8] for i in range(count)}
            calls += 1
        assert found == wanted
        assert calls >= 5


def test_a_pinned_table_is_opened_by_its_name(bpffs):
    form = Map("rows", HASH, KEY, ROW, 8)
    with Table(form) as table:
        table.put(KEY.pack(number=1), ROW.pack(hits=5))
        table.pin(bpffs / "rows")
    with Table(form, bpffs / "rows") as again:
        assert again.get(KEY.pack(number=1)) == {"hits": 5}
    with pytest.raises(BpfError, match="rows has another form"):
        Table(Map("rows", HASH, KEY, ROW, 9), bpffs / "rows")
    with pytest.raises(BpfError, match=r"opening .*nothing: No such file or directory"):
        Table(form, bpffs / "nothing")


def test_rows_for_each_processor_are_added_up():
    form = Map("rows", ARRAY_FOR_EACH_CPU, KEY, ROW, 2)
    with Table(form) as table:
        table.put(KEY.pack(number=1), ROW.pack(hits=3))
        assert table.get(KEY.pack(number=1)) == {"hits": 3 * processors()}
        written = counting(form)
        with Loaded(written.assemble(), {"rows": table}, XDP) as loaded:
            for _ in range(4):
                loaded.run(FRAME)
        assert table.get(KEY.pack(number=0)) == {"hits": 4}
        ((_, rows, count),) = table.chunks()
        assert count == 2
        assert table.row(rows[: table.row_size]) == {"hits": 4}


@pytest.mark.parametrize(
    "hook,flags", [(TCX_INGRESS, 0), (TCX_EGRESS, 0), (XDP, NATIVE), (XDP, GENERIC)]
)
def test_a_link_stands_is_pinned_replaced_and_taken_away(veth, bpffs, hook, flags):
    with saying(XDP_PASS, hook) as one, saying(XDP_DROP, hook) as other:
        with one.attach(veth, hook, flags) as link:
            assert link.interface() == veth
            link.pin(bpffs / "link")
        one.pin(bpffs / "program")
        with Link.open(bpffs / "link") as link:
            link.update(other)
            link.detach()
            assert link.interface() == 0
    with Loaded.open(bpffs / "program", hook) as again:
        assert again.run(FRAME)[0] == XDP_PASS


def test_a_flood_is_received_by_the_interface(veth):
    form = Map("rows", ARRAY, KEY, ROW, 1)
    with Table(form) as table, Loaded(counting(form).assemble(), {"rows": table}, XDP) as loaded:
        loaded.flood(FRAME, veth, 1000)
        assert table.get(KEY.pack(number=0)) == {"hits": 1000}


def test_a_context_reaches_the_program():
    p = Program("len", Struct("xdp_md", data=U32, data_end=U32, meta=U32, ifindex=U32))
    p.exit(p.context.ifindex)
    with own_network(), Loaded(p.assemble(), {}, XDP) as loaded:
        context = struct.pack("=IIIIII", 0, len(FRAME), 0, 1, 0, 0)  # 1: the loopback
        assert loaded.run(FRAME, context)[0] == 1
        assert loaded.nanoseconds(FRAME, 100) >= 0


def test_what_the_kernel_refuses_is_told():
    with saying(0) as one, pytest.raises(BpfError, match="attaching to tcx ingress: ") as told:
        one.attach(0x7FFFFFFF)
    assert told.value.errno == errno.ENODEV
    with pytest.raises(BpfError, match="the map rows: "):
        Table(Map("rows", ARRAY, Struct("key", wide=U64), ROW, 8))
