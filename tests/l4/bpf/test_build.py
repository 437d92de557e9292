"""The builder: what it refuses and where, how it reads, and that the machine computes what Python
would."""

from __future__ import annotations

import random
import sys

import pytest

from fourseven.l4.bpf.build import ARRAY, HASH, SHARED, Program
from fourseven.l4.bpf.kernel import BpfError, Loaded, Table
from fourseven.l4.bpf.layout import BE16, BE32, U8, U16, U32, U64, Array, BuildError, Header, Struct
from support.network import why_not

CONTEXT = Struct("context", len=U32, rest=Array(U32, 18), data=U32, data_end=U32)
HEAD = Header("head", kind=U8, port=BE16, size=BE32, tail=U8)
KEY = Struct("key", port=BE16, spare=U16, number=U32)
ROW = Struct("row", hits=U64, small=U32, spare=U32)
PASS = 0

needs_kernel = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")


def begin() -> Program:
    return Program("test", CONTEXT)


INDEX = Struct("index", number=U32)


# ---- what is refused, in the words of the one who wrote it ----


def python_if(p):
    if p.context.len == 3:
        p.exit(PASS)


def orders(p):
    head = p.packet("head", 0, HEAD, PASS)
    p.when(head.port == p.context.len).__enter__()


def counting_on_the_wire(p):
    head = p.packet("head", 0, HEAD, PASS)
    p.let("x", head.port + 1)


def less_on_the_wire(p):
    head = p.packet("head", 0, HEAD, PASS)
    p.when(head.port < 1024).__enter__()


def too_wide(p):
    x = p.let("x", 1, U8)
    p.set(x, p.context.len)


def too_big(p):
    p.let("x", p.context.len.to(U8) & 256)


def unknown_field(p):
    p.let("x", p.context.lenght)


def unchecked(p):
    rows = p.map("rows", HASH, KEY, ROW, 8)
    row = p.lookup(rows, "row", p.stack("key", KEY))
    p.let("x", row.hits)


def unchecked_otherwise(p):
    rows = p.map("rows", HASH, KEY, ROW, 8)
    row = p.lookup(rows, "row", p.stack("key", KEY))
    with p.when(row.present):
        p.add(row.hits, 1)
    p.add(row.hits, 1)


def wrong_key(p):
    rows = p.map("rows", HASH, KEY, ROW, 8)
    p.lookup(rows, "row", p.stack("key", ROW))


def stale(p):
    head = p.packet("head", 0, HEAD, PASS)
    p.call("skb_pull_data", p.context, 20)
    p.let("x", head.kind)


def stale_after_a_block(p):
    head = p.packet("head", 0, HEAD, PASS)
    with p.when(p.context.len == 3):
        p.call("skb_pull_data", p.context, 20)
    p.let("x", head.kind)


def unreachable(p):
    p.exit(PASS)
    p.let("x", 1)


def runs_off(p):
    with p.when(p.context.len == 3):
        p.exit(PASS)
    p.assemble()


def outlived(p):
    with p.when(p.context.len == 3):
        x = p.let("x", 1)
    p.let("y", x)


def outlived_struct(p):
    with p.scope():
        key = p.stack("key", KEY)
    p.set(key.number, 1)  # somebody else's place by now


def outlived_address(p):
    with p.when(p.context.len == 1):
        row = p.stack("row", ROW)
    p.do("skb_pull_data", p.context, row.hits.address)


def stack_full(p):
    for i in range(70):
        p.stack(f"s{i}", KEY)


def lonely_otherwise(p):
    with p.otherwise():
        p.exit(PASS)


def unwritten_function(p):
    p.invoke("grow", 1, name="x")


def function_runs_off(p):
    with p.function("grow", U64) as (given,):
        p.let("x", given + 1)


def function_sees_outside(p):
    for _ in range(4):
        outer = p.let("outer", 1)  # the last one stands on the stack, which is not the function's
    with p.function("grow", U64) as (given,):
        p.exit(given + outer)


def bits_of_a_short_field(p):
    rows = p.map("rows", HASH, KEY, KEY, 8)
    row = p.lookup(rows, "row", p.stack("key", KEY))
    with p.when(row.present):
        p.set_bits(row.port, 1)


def wrong_arguments(p):
    p.call("ktime_get_ns", 1)


REFUSED = [
    (python_if, "is not known while the program is built; use p.when"),
    (orders, "the byte orders differ; write .host()"),
    (counting_on_the_wire, "+ on head.port of kind be16: write .host() first"),
    (less_on_the_wire, "< on head.port of kind be16: write .host() first"),
    (too_wide, "context.len of kind u32 does not fit into x of kind u8; write .to(U8)"),
    (too_big, "0x100 does not fit into u8"),
    (unknown_field, "context has no field 'lenght'; it has len, rest, data, data_end"),
    (unchecked, "row may be missing; ask row.present first"),
    (unchecked_otherwise, "row may be missing; ask row.present first"),
    (wrong_key, "key is row; the map takes key"),
    (stale, "head is stale: skb_pull_data may have moved the packet"),
    (stale_after_a_block, "head is stale: skb_pull_data may have moved the packet"),
    (unreachable, "never reached: the program has left before"),
    (runs_off, "test runs off its end; the last statement is an exit"),
    (outlived, "x ended with the block that it was made in"),
    (outlived_struct, "key ended with the block that it was made in"),
    (outlived_address, "row.hits ended with the block that it was made in"),
    (stack_full, "the stack has 512 bytes"),
    (lonely_otherwise, "otherwise() stands right after a when(…) block"),
    (unwritten_function, "the function grow is not written yet"),
    (function_runs_off, "grow runs off its end; the last statement is an exit"),
    (function_sees_outside, "outer ended with the block that it was made in"),
    (bits_of_a_short_field, "row.port is be16: bits are set in a u32 or u64"),
    (wrong_arguments, "the helper ktime_get_ns takes 0 arguments"),
]


@pytest.mark.parametrize("wrong,said", REFUSED, ids=lambda x: getattr(x, "__name__", ""))
def test_what_is_wrong_is_refused_when_it_is_written(wrong, said):
    with pytest.raises(BuildError) as told:
        wrong(begin())
    assert said in str(told.value)


def test_the_line_is_named():
    p = begin()
    p.exit(PASS)
    with pytest.raises(BuildError, match=r"test_build\.py:\d+: never reached"):
        p.let("x", 1)


@pytest.mark.parametrize(
    "fields,said",
    [
        ({"a": U8, "b": U32}, "s.b would stand at 1, unaligned; say the padding"),
        ({"a": U32, "b": U8}, "s ends at 5, unaligned; say the padding"),
        ({"address": U32}, "s.address: a pointer has that name for something else"),
    ],
)
def test_a_struct_has_no_hidden_bytes(fields, said):
    with pytest.raises(BuildError) as told:
        Struct("s", **fields)
    assert str(told.value) == said


def test_a_struct_packs_and_unpacks():
    made = KEY.pack(port=80, number=7)
    assert made[:4] == b"\0\x50\0\0"
    assert KEY.unpack(made) == {"port": 80, "spare": 0, "number": 7}


def test_a_header_is_good_where_the_block_that_moved_the_packet_has_left():
    p = begin()
    head = p.packet("head", 0, HEAD, PASS)
    with p.when(p.context.len == 3):
        p.call("skb_pull_data", p.context, 20)
        p.exit(PASS)
    p.let("x", head.kind)


# ---- how it reads ----


def test_a_listing_reads_like_the_program():
    p = begin()
    head = p.packet("head", 2, HEAD, PASS)
    with p.when(head.port == 80):
        p.exit(7)
    p.exit(PASS)
    lines = p.assemble().listing().splitlines()
    assert any(x.endswith("with p.when(head.port == 80):") for x in lines)
    assert any("if head ends inside the packet" in x and "→" in x for x in lines)
    assert any(x.endswith("r0 = head.port") for x in lines)


# ---- the machine ----


def ran(p: Program, packet: bytes = bytes(64)) -> int:
    tables = {name: Table(form) for name, form in p.maps.items()}
    try:
        with Loaded(p.assemble(), tables) as loaded:
            return loaded.run(packet)[0]
    finally:
        for table in tables.values():
            table.close()


def modulo(a, b):
    """RFC 9669 4.1: by zero leaves it as it is."""
    return a if isinstance(b, int) and b == 0 else a % b


OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "%": lambda a, b: modulo(a, b),
}


def grown(chance: random.Random, leaves: list, depth: int):
    """A tree of operations: as the program says it, and as Python computes it, modulo 2**32."""
    if depth == 0 or chance.random() < 0.2:
        value, number = chance.choice(leaves)
        return value, number
    left, a = grown(chance, leaves, depth - 1)
    op = chance.choice(list(OPERATIONS))
    if chance.random() < 0.3:
        number = chance.choice([1, 255, 65535, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
        return OPERATIONS[op](left, number), OPERATIONS[op](a, number) % 2**32
    right, b = grown(chance, leaves, depth - 1)
    return OPERATIONS[op](left, right), OPERATIONS[op](a, b) % 2**32


@needs_kernel
@pytest.mark.parametrize("seed", range(40))
def test_expressions_are_what_python_says(seed):
    chance = random.Random(seed)
    p = begin()
    leaves = []
    for i in range(6):  # three in registers, the rest on the stack
        number = chance.choice([0, 1, 0xFFFFFFFF, chance.randrange(2**32)])
        leaves.append((p.let(f"x{i}", number, U32), number))
    for _ in range(10):
        value, number = grown(chance, leaves, 3)
        with p.when(value != number):
            p.exit(1)
        with p.when((value == number) & ((value < number) | (value > number))):
            p.exit(2)
        target, _ = leaves.pop(0)
        p.set(target, value)  # which may read the target itself
        leaves.append((target, number))
    p.exit(0)
    assert ran(p) == 0


@needs_kernel
@pytest.mark.parametrize("a,b", [(a, b) for a in range(3) for b in range(3)])
def test_conditions_and_blocks(a, b):
    p = begin()
    x, y = p.let("x", a), p.let("y", b)
    out = p.let("out", 0)
    with p.when(((x == 1) | (y == 2)) & ((x != 0) | (y >= 1))):
        p.set(out, out + 1)
        with p.when(x < y):
            p.set(out, out + 2)
        with p.otherwise():
            p.set(out, out + 4)
    with p.otherwise():
        with p.when(x > 1):
            p.exit(40)
        p.set(out, 50)
    p.exit(out.to(U32))
    if (a == 1 or b == 2) and (a != 0 or b >= 1):
        wanted = 1 + (2 if a < b else 4)
    else:
        wanted = 40 if a > 1 else 50
    assert ran(p) == wanted


@needs_kernel
def test_fields_of_a_packet_and_rows_of_a_map():
    p = begin()
    rows = p.map("rows", HASH, KEY, ROW, 8)
    head = p.packet("head", 14, HEAD, 99)
    key, row = p.stack("key", KEY), p.stack("row", ROW)
    p.set(key.port, head.port)
    p.set(row.hits, 5)
    p.update(rows, key, row)
    found = p.lookup(rows, "found", key)
    with p.when(found.missing):
        p.exit(98)
    before = p.fetch_add("before", found.hits, head.size.host())
    p.exit((before * 1000 + found.hits).to(U32))
    packet = bytes(14) + HEAD.pack(kind=1, port=80, size=0x00000102) + bytes(40)
    assert ran(p, packet) == 5 * 1000 + 5 + 0x102


@needs_kernel
def test_the_verifiers_refusal_is_told_by_the_line():
    p = begin()
    key = p.stack("key", KEY)
    p.call("csum_diff", key.address, 400, key.address, 400, 0)
    p.exit(PASS)
    with pytest.raises(BpfError) as told:
        ran(p)
    assert "test_build.py" in str(told.value)
    assert 'p.call("csum_diff", key.address, 400' in str(told.value)


@needs_kernel
def test_a_table_puts_gets_walks_and_removes():
    from fourseven.l4.bpf.build import Map

    with Table(Map("rows", HASH, KEY, ROW, 8)) as table:
        keys = [KEY.pack(port=80, number=i) for i in range(5)]
        for i, key in enumerate(keys):
            table.put(key, ROW.pack(hits=i))
        assert sorted(table.keys()) == sorted(keys)
        assert table.get(keys[3]) == {"hits": 3, "small": 0, "spare": 0}
        assert table.remove(keys[3])
        assert not table.remove(keys[3])
        assert table.get(keys[3]) is None


@needs_kernel
def test_what_is_forgotten_stays_what_it_is():
    p = begin()
    x = p.let("x", 77, U32)
    p.set(x, p.forgotten(x, p.context.len))
    p.exit(x)
    assert ran(p) == 77


REFUSALS = [  # the end of a verifier's log, and what is told of it
    ("1: (85) call tail_call#12\n2: (7b) ...\nR0 !read_ok\nprocessed 3 insns\n", "R0 !read_ok"),
    ("2: (7b) ...\nR1=ctx() R10=fp0\nmath between pkt pointer and R2\n", "math between"),
    ("2: (7b) ...\nBPF program is too large. Processed 1000001 insn\n", "too large"),
    ("2: (7b) ...\nR0_w=scalar() R6=ctx()\nprocessed 3 insns\n", "it gives no reason"),
]


@pytest.mark.parametrize(("log", "why"), REFUSALS)
def test_a_log_is_told_by_its_reason(log, why):
    p = begin()
    p.let("x", p.context.len)
    p.exit(PASS)
    told = p.assemble().explain(log)
    assert told.startswith("the kernel refuses test at test_build.py:")
    assert why in told


# ---- functions, and steps that are whole ----


@needs_kernel
def test_a_function_is_there_once_and_has_registers_of_its_own():
    p = begin()
    with p.function("halved", U64) as (number,):
        p.exit((number >> 1).to(U32))
    with p.function("unused", U64) as (number,):
        p.exit(number.to(U32))
    with p.function("sum", KEY, U64) as (key, more):
        half = p.invoke("halved", more, name="half")
        kept = p.stack("kept", KEY)
        p.set(kept.number, key.number)
        p.exit((half + kept.number + key.port.host()).to(U32))
    mine = [p.let(f"mine{i}", 100 * i) for i in range(6)]
    key = p.stack("key", KEY)
    p.set(key.number, 7)
    p.set(key.port, 20)
    total = p.let("total", 0)
    for i in range(3):
        p.set(total, total + p.invoke("sum", key.address, 10 * i, name=f"call{i}"))
    for one in mine:
        p.set(total, total + one)
    p.exit(total.to(U32))
    assembled = p.assemble()
    assert assembled.listing().count("r0 = sum(") == 3
    assert "unused" not in assembled.listing()
    assert ran(p) == 1500 + sum(5 * i + 27 for i in range(3))


@needs_kernel
def test_bits_and_swaps_are_whole_and_say_what_was_there():
    p = begin()
    rows = p.map("rows", ARRAY, INDEX, ROW, 1, SHARED)
    row = p.lookup(rows, "row", p.stack("at", INDEX))
    with p.when(row.missing):
        p.exit(1)
    p.set(row.small, 0b1100)
    p.set(row.hits, 1 << 40)
    p.set_bits(row.small, 0b0001)
    p.keep_bits(row.small, 0b0101)
    p.turn_bits(row.small, 0b1111)
    p.set_bits(row.hits, p.let("high", 1 << 41))
    p.keep_bits(row.hits, p.let("kept", 1 << 41))
    ten, other = p.let("ten", 10, U32), p.let("other", 11, U32)
    first = p.swap_if("first", row.small, ten, other)
    second = p.swap_if("second", row.small, ten, p.let("new", 12, U32))
    p.exit((first << 8 | second).to(U32))
    with Table(rows) as table:
        with Loaded(p.assemble(), {"rows": table}) as loaded:
            assert loaded.run(bytes(64))[0] == 10 << 8 | 11
        raw = table.memory()
        assert ROW.unpack(raw[: ROW.size]) == {"hits": 1 << 41, "small": 11, "spare": 0}
        raw[:8] = (5).to_bytes(8, sys.byteorder)  # and the other way
        assert table.get(bytes(4))["hits"] == 5
        raw.close()


def the_only_row(p):
    p.only(p.map("rows", ARRAY, INDEX, ROW, 2), "row")


def looked_again(p):
    rows = p.map("rows", HASH, KEY, ROW, 8)
    key = p.stack("key", KEY)
    row = p.lookup(rows, "row", key)
    with p.when(row.present):
        p.look_again(row, rows, key)
        p.let("x", row.hits)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(the_only_row, "rows is no array of one row"), (looked_again, "may be missing")],
)
def test_a_row_that_may_not_be_there_is_no_row(wrong, said):
    with pytest.raises(BuildError, match=said):
        wrong(begin())


@needs_kernel
def test_the_only_row_needs_no_lookup_and_a_second_lookup_takes_the_place_of_the_first():
    p = begin()
    rows, one = p.map("rows", ARRAY, INDEX, ROW, 4), p.map("one", ARRAY, INDEX, ROW, 1)
    at = p.stack("at", INDEX)
    row = p.nowhere(rows, "row")
    with p.when(row.present):
        p.exit(98)
    p.look_again(row, rows, at)
    with p.when(row.present):
        p.set(row.small, 5)
    for number, wanted in ((3, 7), (4, 0)):
        p.set(at.number, number)
        p.look_again(row, rows, at)
        with p.when(row.present):
            p.set(row.small, wanted)
    only = p.only(one, "only")
    p.set(only.hits, only.hits + 3)
    with p.when(row.present):  # there is no fourth
        p.exit(99)
    p.exit(only.hits.to(U32))
    with Table(rows) as table, Table(one) as single:
        with Loaded(p.assemble(), {"rows": table, "one": single}) as loaded:
            assert [loaded.run(bytes(64))[0] for _ in range(2)] == [3, 6]
        small = [table.get(INDEX.pack(number=i))["small"] for i in range(4)]
        assert small == [5, 0, 0, 7]


def test_what_was_just_put_away_is_not_fetched_again_but_past_a_label_it_is():
    p = begin()
    taken = [p.let(f"taken{i}", i, U32) for i in range(3)]  # the registers
    x = p.let("x", p.context.len)
    p.set(x, x + 1)
    with p.when(x == 5):
        p.set(x, taken[1])
    p.exit(x.to(U32))
    lines = [line.split("  ")[-1] for line in p.assemble().listing().splitlines()]
    assert lines.count("r0 = x") == 1, lines  # before the exit, where two ways meet
    assert lines.count("x = r0") == 3
