"""`fourseven flows`: the live flows of the kernel planes, as the kernel has them just now.

    fourseven flows --server 10.0.0.7:5432 --state established --sort bytes --limit 20
    fourseven flows --client 203.0.113.0/24 --format json

They are read from the kernel and not from the running fourseven, so this works while that is busy,
or gone. Filters are judged where the rows are read, so of 400,000 flows the few that are asked for
come at once.
"""

from __future__ import annotations

import heapq
import ipaddress
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from fourseven.cli.run import RUNTIME_DIR
from fourseven.control import remains
from fourseven.errors import FoursevenError
from fourseven.l4 import pins
from fourseven.l4.kernel_plan import MAPPED, TRANSPORTS, End, address_bits
from fourseven.l4.kernel_plane import (
    CLOSED,
    CLOSING,
    ESTABLISHED,
    NEW,
    OPENING,
    FlowFilter,
    FlowRecord,
)
from fourseven.units import format_duration, format_size

STATES = (NEW, OPENING, ESTABLISHED, CLOSING, CLOSED)
LIMIT = 100  # a few screens; --limit 0 shows all
ALL = (1 << 128) - 1
NAMES = {number: name for name, number in TRANSPORTS.items()}
SORTS: dict[str, Callable[[FlowRecord], int]] = {
    "bytes": lambda one: one.bytes_in + one.bytes_out,
    "packets": lambda one: one.packets_in + one.packets_out,
    "age": lambda one: one.age_ms,
    "idle": lambda one: one.idle_ms,
}
Row = tuple[str, FlowRecord]  # the plane that has it


@click.command()
@click.option("--protocol", type=click.Choice(list(TRANSPORTS)))
@click.option("--client", help="An address or a network.")
@click.option("--server", help="An address, or address:port.")
@click.option("--vip", help="The listener's address, or address:port.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES))
@click.option("--older", type=float, default=0, help="Seconds since it began, at least.")
@click.option("--idle", type=float, default=0, help="Seconds without a packet, at least.")
@click.option("--bytes", "size", type=int, default=0, help="Both ways together, at least.")
@click.option("--sort", type=click.Choice(list(SORTS)), help="The largest first.")
@click.option("--limit", type=int, default=LIMIT, show_default=True, help="0: all of them.")
@click.option("--count", is_flag=True, help="Only how many there are.")
@RUNTIME_DIR
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def flows(  # noqa: PLR0917 - click passes each by its name
    protocol: str | None,
    client: str | None,
    server: str | None,
    vip: str | None,
    states: tuple[str, ...],
    older: float,
    idle: float,
    size: int,
    sort: str | None,
    limit: int,
    count: bool,
    runtime_dir: str | None,
    form: str,
) -> None:
    """Lists live flows of the kernel planes. (Connections of the relay are not among them.)"""
    wanted = FlowFilter(
        protocol=TRANSPORTS[protocol] if protocol else None,
        client=network(client) if client else None,
        vip=place(vip) if vip else None,
        server=place(server) if server else None,
        states=frozenset(states),
    )

    def fits(one: FlowRecord) -> bool:
        old = one.age_ms >= older * 1000 and one.idle_ms >= idle * 1000
        return old and one.bytes_in + one.bytes_out >= size

    with ExitStack() as opened:
        found = (row for row in everywhere(runtime_dir, wanted, opened) if fits(row[1]))
        if count:
            print(sum(1 for _ in found))
            return
        rows = chosen(found, sort, limit)
        if form == "json":
            print(json.dumps([as_json(*row) for row in rows], indent=1))
            return
        show(rows)


def everywhere(chosen: str | None, wanted: FlowFilter, opened: ExitStack) -> Iterator[Row]:
    """The flows of each plane that is there."""
    homes = [pins.home_name(Path(chosen).resolve())] if chosen is not None else []
    try:
        for name, plane in remains.look(homes):
            opened.callback(plane.close, remove=False)
            for one in plane.flows(wanted):
                yield name, one
    except PermissionError as error:
        raise FoursevenError(f"the kernel does not tell: {error.strerror}; try as root") from None


def chosen(found: Iterator[Row], sort: str | None, limit: int) -> list[Row]:
    """The largest, or the first that come; a limit keeps memory small whatever there is."""
    if sort is None:
        return list(itertools.islice(found, limit or None))
    if limit:
        return heapq.nlargest(limit, found, key=lambda row: SORTS[sort](row[1]))
    return sorted(found, key=lambda row: SORTS[sort](row[1]), reverse=True)


def network(text: str) -> tuple[int, int]:
    """(address, mask) of 128 bits each."""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise click.UsageError(f"{text!r} is no address and no network") from None
    bits = found.prefixlen + (96 if found.version == 4 else 0)
    address = int(found.network_address) | (MAPPED if found.version == 4 else 0)
    return address, ALL ^ ((1 << 128 - bits) - 1)


def place(text: str) -> End:
    """An address with a port, or 0 for any."""
    for host, port in ((text, "0"), text.rpartition(":")[::2]):
        try:
            return End(address_bits(host.strip("[]")), int(port))
        except ValueError:
            continue
    raise click.UsageError(f"{text!r} is no address; write e.g. 10.0.0.7 or 10.0.0.7:5432")


def as_json(plane: str, one: FlowRecord) -> dict[str, Any]:
    return {
        "plane": plane,
        "protocol": NAMES.get(one.protocol, one.protocol),
        "client": str(one.client),
        "vip": str(one.vip),
        "server": str(one.server),
        "source": str(one.source) if one.source is not None else None,
        "state": one.state,
        "age_ms": one.age_ms,
        "idle_ms": one.idle_ms,
        "packets_in": one.packets_in,
        "bytes_in": one.bytes_in,
        "packets_out": one.packets_out,
        "bytes_out": one.bytes_out,
    }


HEADS = ("proto", "client", "vip", "server", "state", "age", "idle", "in", "out")


def show(rows: list[Row]) -> None:
    """A table as wide as what is in it."""
    shown = [HEADS, *(_cells(one) for _, one in rows)]
    widths = [max(len(row[at]) for row in shown) for at in range(len(HEADS))]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _cells(one: FlowRecord) -> tuple[str, ...]:
    return (
        str(NAMES.get(one.protocol, one.protocol)),
        str(one.client),
        str(one.vip),
        str(one.server),
        one.state,
        format_duration(one.age_ms // 1000 * 1000) if one.age_ms >= 1000 else "<1s",
        format_duration(one.idle_ms // 1000 * 1000) if one.idle_ms >= 1000 else "<1s",
        format_size(one.bytes_in),
        format_size(one.bytes_out),
    )
