"""Picking tables on their way into the kernel: looked up, spread over rows, never out of bounds."""

from __future__ import annotations

import struct
from array import array

import pytest

from fourseven.l4 import places

ROWS = 8


@pytest.mark.parametrize(
    "table,numbers,wanted",
    [
        ((), [], []),
        ((0,), [7], [7]),
        ((1, 0, 1, 2), [4, 0xFFFFFFFF, 9], [0xFFFFFFFF, 4, 0xFFFFFFFF, 9]),
    ],
)
def test_each_place_gets_its_servers_number(table, numbers, wanted):
    into = array("I", bytes(4 * len(table)))
    places.gather(table, array("I", numbers), into)
    assert list(into) == wanted


@pytest.mark.parametrize(
    "table,numbers,room,error",
    [
        ((0, 2), 2, 2, IndexError),
        ((-1,), 2, 1, OverflowError),
        ((1 << 64,), 2, 1, OverflowError),
        ((0,), 1, 2, IndexError),
        ((0, 0), 1, 1, IndexError),
    ],
)
def test_a_place_of_no_server_is_refused(table, numbers, room, error):
    with pytest.raises(error):
        places.gather(table, array("I", range(numbers)), array("I", bytes(4 * room)))


@pytest.mark.parametrize("first,count", [(0, 8), (3, 5), (7, 1), (8, 0), (0, 0), (2, 3)])
def test_numbers_become_rows_and_touch_no_other(first, count):
    rows = bytearray(b"\xee" * 8 * ROWS)
    numbers = list(range(100, 100 + count))
    places.spread(struct.pack(f"={count}I", *numbers), rows, first)
    found = [struct.unpack_from("=I", rows, 8 * i)[0] for i in range(ROWS)]
    assert found[first : first + count] == numbers
    assert {*found[:first], *found[first + count :]} <= {0xEEEEEEEE}


@pytest.mark.parametrize("first,count", [(0, 9), (8, 1), (4, 5), ((1 << 64) - 1, 2), (9, 0)])
def test_what_does_not_fit_is_refused_before_anything_is_written(first, count):
    rows = bytearray(8 * ROWS)
    with pytest.raises(IndexError):
        places.spread(b"\xff" * 4 * count, rows, first)
    assert not any(rows)
