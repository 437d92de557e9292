"""Times, sizes and shares as a person writes them: 250ms, 64KiB, 125%.

Each is parsed once, when the file is read; from there on the unit stands in the name
(`idle_timeout_ms`, `head_max`, `bounded_load_percent`) and the value is an int.

Laws: strict. A time has a unit, since a bare 10 has been read as seconds by one and as
milliseconds by the other too often; only 0 needs none. A size in bytes may be bare. Sizes count
in 1024s and say so (KiB): KB is refused, since half of the world reads it as 1000. Digits are
ASCII. Fractions are allowed where the result is whole (1.5s, 0.5MiB).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """What one kind of quantity may be written in."""

    noun: str
    example: str
    finest: str
    units: dict[str, int]
    mistaken: dict[str, str]  # what people write -> what they mean


TIME_MAX_MS = 2**31 - 1  # 24 days; a timer wheel and epoll_wait count in 32 bits
SIZE_MAX = 2**63 - 1  # what a Content-Length may say

TIME_PATTERN = r"^(0|[0-9]+(\.[0-9]+)?(ms|s|m|h|d))$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB|TiB)?$"
PERCENT_PATTERN = r"^[0-9]+%$"
SHARE_PATTERN = r"^[0-9]+(\.[0-9]+)?%$"

_NUMBER = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)[ ]?([A-Za-z/%]*)", re.ASCII)
TIME = Kind(
    "a time",
    "10s, 250ms or 1h",
    "a millisecond",
    {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000},
    {
        **dict.fromkeys(("sec", "secs", "second", "seconds", "S"), "s"),
        **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
        **dict.fromkeys(("hour", "hours", "H"), "h"),
        **dict.fromkeys(("day", "days", "D"), "d"),
        **dict.fromkeys(("msec", "millis", "MS"), "ms"),
    },
)
SIZE = Kind(
    "a size",
    "512, 64KiB or 1MiB",
    "a byte",
    {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40},
    {
        **dict.fromkeys(("K", "k", "KB", "kB", "kb", "kib", "KIB", "Ki"), "KiB"),
        **dict.fromkeys(("M", "m", "MB", "mb", "mib", "MIB", "Mi"), "MiB"),
        **dict.fromkeys(("G", "g", "GB", "gb", "gib", "GIB", "Gi"), "GiB"),
        "b": "B",
    },
)
PERCENT = Kind("a percentage", "125%", "one per cent", {"%": 1}, {})

SHARE = Kind("a share", "5%", "a millionth", {"%": 10_000}, {})


def duration_ms(value: Any) -> int:
    """Milliseconds of `10s`, `250ms`, `1.5h`, `0`. A ValueError says what would be right."""
    milliseconds = long_duration_ms(value)
    if milliseconds > TIME_MAX_MS:
        raise ValueError(f"{value} is too long; the longest time is 24d")
    return milliseconds


def long_duration_ms(value: Any) -> int:
    """The same for what others keep to, `365d`: no timer of ours waits for it."""
    if value in (0, "0") and not isinstance(value, bool):
        return 0
    number, unit = _split(value, TIME)
    if unit == "":
        raise ValueError(f"{value} has no unit; write {value}s or {value}ms")
    return _scaled(value, number, unit, TIME)


def size_bytes(value: Any) -> int:
    """Bytes of `64KiB`, `1.5MiB`, `512`. A ValueError says what would be right."""
    number, unit = _split(value, SIZE)
    size = _scaled(value, number, unit or "B", SIZE)
    if size > SIZE_MAX:
        raise ValueError(f"{value} is too large; the largest size is 2^63 - 1 bytes")
    return size


def percentage(value: Any) -> int:
    """The 125 of `125%`. A ValueError says what would be right."""
    number, unit = _split(value, PERCENT)
    if unit == "":
        raise ValueError(f"{value} is no percentage; write {_plain(number)}%")
    return _scaled(value, number, unit, PERCENT)


def share_millionths(value: Any) -> int:
    """The 5,000 of `0.5%`, in a share of the requests. A ValueError says what would be right."""
    number, unit = _split(value, SHARE)
    if unit == "":
        raise ValueError(f"{value} is no share; write e.g. {_plain(number * 100)}%")
    return _scaled(value, number, unit, SHARE)


def format_duration(milliseconds: int) -> str:
    """The shortest exact form: 90000 is 90s, 3600000 is 1h, 0 is 0."""
    return _format(milliseconds, TIME.units)


def format_size(size: int) -> str:
    """The shortest exact form: 32768 is 32KiB, 0 is 0."""
    return _format(size, SIZE.units)


def _split(value: Any, kind: Kind) -> tuple[Fraction, str]:
    """The number and the unit behind it, not yet judged."""
    found = None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        found = _NUMBER.fullmatch(str(value))
    if found is None:
        raise ValueError(f"{_shown(value)} is not {kind.noun}; write {kind.example}")
    return Fraction(found[1]), found[2]


def _scaled(value: Any, number: Fraction, unit: str, kind: Kind) -> int:
    """The number in the smallest unit, whole, or a ValueError."""
    if unit not in kind.units:
        right = kind.mistaken.get(unit)
        known = ", ".join(kind.units)
        mend = f"write {_plain(number)}{right}" if right else f"the units are {known}"
        raise ValueError(f"the unit {unit!r} of {value} is not known; {mend}")
    scaled = number * kind.units[unit]
    if scaled.denominator != 1:
        raise ValueError(f"{value} is finer than {kind.finest}; write a whole number of it")
    return int(scaled)


def _format(amount: int, units: dict[str, int]) -> str:
    for name, scale in reversed(units.items()):
        if amount and amount % scale == 0:
            return f"{amount // scale}{name}"
    return "0"


def _plain(number: Fraction) -> str:
    return str(number.numerator) if number.denominator == 1 else str(float(number))


def _shown(value: Any) -> str:
    """The value as in the file, cut so that an error stays one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
