"""Times, sizes and shares: one table of what is taken, one of what is refused and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven import units

TAKEN = [
    (units.duration_ms, "10s", 10_000),
    (units.duration_ms, "250ms", 250),
    (units.duration_ms, "1.5h", 5_400_000),
    (units.duration_ms, "0.25s", 250),
    (units.duration_ms, "24d", 2_073_600_000),
    (units.duration_ms, "10 s", 10_000),
    (units.duration_ms, 0, 0),
    (units.duration_ms, "0s", 0),
    (units.size_bytes, "64KiB", 65_536),
    (units.size_bytes, "1MiB", 1_048_576),
    (units.size_bytes, "0.5MiB", 524_288),
    (units.size_bytes, 512, 512),
    (units.size_bytes, "512B", 512),
    (units.percentage, "125%", 125),
    (units.share_millionths, "100%", 1_000_000),
    (units.share_millionths, "0.1%", 1_000),
    (units.share_millionths, "0%", 0),
]
REFUSED = [
    (units.share_millionths, 0.01, "0.01 is no share; write e.g. 1%"),
    (
        units.share_millionths,
        "0.00001%",
        "0.00001% is finer than a millionth; write a whole number of it",
    ),
    (units.duration_ms, 10, "10 has no unit; write 10s or 10ms"),
    (units.duration_ms, "10", "10 has no unit; write 10s or 10ms"),
    (units.duration_ms, "10sec", "the unit 'sec' of 10sec is not known; write 10s"),
    (units.duration_ms, "10x", "the unit 'x' of 10x is not known; the units are ms, s, m, h, d"),
    (units.duration_ms, "-1s", "'-1s' is not a time; write 10s, 250ms or 1h"),
    (units.duration_ms, "1_0s", "'1_0s' is not a time; write 10s, 250ms or 1h"),
    (units.duration_ms, "١s", "'١s' is not a time; write 10s, 250ms or 1h"),
    (units.duration_ms, True, "True is not a time; write 10s, 250ms or 1h"),
    (units.duration_ms, None, "None is not a time; write 10s, 250ms or 1h"),
    (units.duration_ms, "0.5ms", "0.5ms is finer than a millisecond; write a whole number of it"),
    (units.duration_ms, "25d", "25d is too long; the longest time is 24d"),
    (units.size_bytes, "64KB", "the unit 'KB' of 64KB is not known; write 64KiB"),
    (units.size_bytes, "1.5", "1.5 is finer than a byte; write a whole number of it"),
    (units.size_bytes, "9000000TiB", "9000000TiB is too large; the largest size is 2^63 - 1 bytes"),
    (units.size_bytes, [1], "[1] is not a size; write 512, 64KiB or 1MiB"),
    (units.percentage, "125", "125 is no percentage; write 125%"),
    (units.percentage, "12.5%", "12.5% is finer than one per cent; write a whole number of it"),
]


@pytest.mark.parametrize("read,text,value", TAKEN)
def test_taken(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize("read,text,why", REFUSED)
def test_refused_with_the_mend(read, text, why):
    with pytest.raises(ValueError) as error:
        read(text)
    assert str(error.value) == why


@given(st.integers(0, units.TIME_MAX_MS))
def test_a_time_is_read_as_it_is_printed(milliseconds):
    assert units.duration_ms(units.format_duration(milliseconds)) == milliseconds


@given(st.integers(0, units.SIZE_MAX))
def test_a_size_is_read_as_it_is_printed(size):
    assert units.size_bytes(units.format_size(size)) == size
