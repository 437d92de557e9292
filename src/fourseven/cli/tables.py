"""What `status` and `top` print: the process in a line, listeners and servers as tables.

Names and reasons come from files and from servers, so they are printed as text and never as markup;
control signs in them are shown, not sent to the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fourseven.cli.rates import Row, Window
from fourseven.units import format_duration

STATES = {
    "up": "green",
    "starting": "cyan",
    "coming up": "cyan",
    "going down": "yellow",
    "draining": "yellow",
    "drained": "blue",
    "maintenance": "blue",
    "ejected": "red",
    "down": "bold red",
}
NUMBER = {"justify": "right", "no_wrap": True}


def page(window: Window, rows_max: int | None = None) -> RenderableType:
    """Everything; at most so many servers, the busiest."""
    parts: list[RenderableType] = [process(window.after), Text(), listeners(window), Text()]
    if window.after["backends"]:
        parts += [servers(window, rows_max), Text()]
    for text in unserved(window.after):
        parts.append(Text.assemble(("unserved  ", "yellow"), text))
    for one in window.after["changes"]:
        parts.append(Text.assemble(("changed  ", "blue"), change(one)))
    for text in window.after["warnings"]:
        parts.append(Text.assemble(("warning  ", "yellow"), safe(text)))
    return Group(*parts)


def process(state: dict[str, Any]) -> Text:
    found = state["process"]
    up = format_duration(max(int(found["now"] - found["started_at"]), 1) * 1000)
    loaded = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["loaded_at"]))
    words = [
        f"fourseven {found['version']}",
        f"engine {found['pid']}",
        f"{found['workers']} workers",
        f"up {up}",
        f"{found['file']} loaded {loaded}",
        f"{found['memory_bytes'] / 2**20:.0f} MiB",
    ]
    return Text(safe("  ".join([*words, *(["draining"] if found["draining"] else [])])))


def listeners(window: Window) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    table.add_column("listener", no_wrap=True)
    for name in ("address", "layer"):
        table.add_column(name)
    for name in HEADS:
        table.add_column(name, **NUMBER)  # type: ignore[arg-type]
    for row in window.listeners():
        one = row.what
        layer = f"{one['layer']} {one['plane']}" if one["plane"] != "http" else one["layer"]
        where = ", ".join(one["addresses"])
        table.add_row(Text(safe(one["name"]), "bold"), Text(safe(where)), layer, *numbers(row))
    return table


def servers(window: Window, rows_max: int | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    table.add_column("backend", no_wrap=True)
    table.add_column("server", no_wrap=True)
    table.add_column("state")
    table.add_column("weight", **NUMBER)  # type: ignore[arg-type]
    for name in HEADS:
        table.add_column(name, **NUMBER)  # type: ignore[arg-type]
    left = rows_max
    for backend in window.backends():
        one = backend.what
        usable = f"{one['usable']} of {len(one['servers'])} usable"
        if one["circuit_open"]:
            usable += ", circuit open"
        title = Text(safe(one["name"]), "bold")
        table.add_row(title, one["algorithm"], usable, "", *numbers(backend))
        rows = list(window.servers(one["name"]))
        shown = rows if left is None else busiest(rows, left)
        for row in shown:
            table.add_row("", *server(row), *numbers(row))
        if len(shown) < len(rows):
            table.add_row("", Text(f"… and {len(rows) - len(shown)} more", "dim"))
        left = None if left is None else left - len(shown)
    return table


def busiest(rows: list[Row], count: int) -> list[Row]:
    """Those in trouble first, then those with the most work; in the order of the file."""
    ranked = sorted(rows, key=lambda row: (row.what["state"] == "up", -row.failures, -row.work))
    kept = {id(row) for row in ranked[: max(count, 0)]}
    return [row for row in rows if id(row) in kept]


def server(row: Row) -> Iterator[Text]:
    one = row.what
    yield Text(safe(one["address"]))
    state = Text(one["state"], STATES.get(one["state"], ""))
    if one["until"] is not None:
        left_s = max(int(one["until"] - time.time()), 0)
        state.append(f" {left_s}s")
    if one["why"] and one["state"] not in ("up", "draining", "drained", "maintenance"):
        state.append(f"  {safe(one['why'])[:60]}", "dim")
    if one["circuit_open"]:
        state.append("  circuit open", "red")
    yield state
    changed = one["weight"] != one["weight_in_file"]
    text = f"{one['weight']} (file {one['weight_in_file']})" if changed else str(one["weight"])
    yield Text(text, "blue" if changed else "")


HEADS = ("rate", "failed", "p50", "p99", "open", "in", "out")


def numbers(row: Row) -> Iterator[Text]:
    yield Text(f"{rate(row.work)} {row.unit}/s" if row.work else "-")
    yield Text(f"{rate(row.failures)}/s", "red") if row.failures else Text("-")
    mean = f"avg {seconds(row.mean_s)}" if row.mean_s else "-"
    yield Text(seconds(row.p50_s) if row.p50_s is not None else mean)
    yield Text(seconds(row.p99_s))
    yield Text(str(row.open) if row.open else "-")
    yield Text(size(row.bytes_in))
    yield Text(size(row.bytes_out))


def rate(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.1f}k"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 1e-3:
        return f"{value * 1e6:.0f}us"
    return f"{value * 1e3:.1f}ms" if value < 1 else f"{value:.2f}s"


def size(bytes_a_second: float) -> str:
    if not bytes_a_second:
        return "-"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if bytes_a_second >= scale:
            return f"{bytes_a_second / scale:.1f}{unit}/s"
    return f"{bytes_a_second:.0f}B/s"


def unserved(state: dict[str, Any]) -> Iterator[str]:
    """What the kernel planes did not serve, by reason: of each listener, then of each plane."""
    rows: list[tuple[str, dict[str, int]]] = [
        *((one["name"], one["drops"]) for one in state["listeners"]),
        *((f"no listener's ({plane})", row) for plane, row in state["kernel"].items()),
    ]
    for name, row in rows:
        if said := ", ".join(f"{reason} {count}" for reason, count in row.items() if count):
            yield safe(f"{name}  {said}")


def change(one: dict[str, Any]) -> str:
    words = [] if one["word"] is None else [one["word"]]
    words += [] if one["weight"] is None else [f"weight {one['weight']}"]
    kept = "" if one["keep"] else ", until the next reload"
    return safe(f"{one['backend']} {one['server']}: {', '.join(words)}{kept}")


def safe(text: str) -> str:
    """Without signs that would move the cursor."""
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)
