"""`fourseven flows`: the live flows of the kernel planes, as the kernel has them just now.

    fourseven flows --server 10.0.0.7:5432 --state established --sort bytes --limit 20
    fourseven flows --client 203.0.113.0/24 --format json

They are read from the kernel and not from the running fourseven, so this works while that is busy,
or gone. Filters are judged where the rows are read, so of 400,000 flows the few that are asked for
come at once.
"""

from __future__ import annotations

import ipaddress
import itertools
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click

from fourseven.cli.run import RUNTIME_DIR
from fourseven.control import remains
from fourseven.errors import FoursevenError
from fourseven.l4 import lines, pins, records
from fourseven.l4.kernel_plan import MAPPED, TRANSPORTS, End, address_bits
from fourseven.l4.kernel_plane import (
    CLOSED,
    CLOSING,
    ESTABLISHED,
    NEW,
    OPENING,
    FlowFilter,
)

STATES = (NEW, OPENING, ESTABLISHED, CLOSING, CLOSED)
LIMIT = 100  # a few screens; --limit 0 shows all
ALL = (1 << 128) - 1
SIZE = records.FORM.size
PAGE = 4096  # flows that are written at once
Rows = tuple[str, bytes]  # the plane that has them, and their records


@click.command()
@click.option("--protocol", type=click.Choice(list(TRANSPORTS)))
@click.option("--client", help="An address or a network.")
@click.option("--server", help="An address, or address:port.")
@click.option("--vip", help="The listener's address, or address:port.")
@click.option("--state", "states", multiple=True, type=click.Choice(STATES))
@click.option("--older", type=float, default=0, help="Seconds since it began, at least.")
@click.option("--idle", type=float, default=0, help="Seconds without a packet, at least.")
@click.option("--bytes", "size", type=int, default=0, help="Both ways together, at least.")
@click.option("--sort", type=click.Choice(list(records.SORTS)), help="The largest first.")
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
        older_ms=round(older * 1000),
        idle_ms=round(idle * 1000),
        bytes_least=size,
    )
    with ExitStack() as opened:
        found = everywhere(runtime_dir, wanted, opened)
        if count:
            print(sum(len(some) // SIZE for _, some in found))
            return
        rows = chosen(found, sort, limit)
        for page in as_json(rows) if form == "json" else as_table(rows):
            click.echo(page, nl=False)


def everywhere(chosen: str | None, wanted: FlowFilter, opened: ExitStack) -> Iterator[Rows]:
    """The flows of each plane that is there, many at a time."""
    homes = [pins.home_name(Path(chosen).resolve())] if chosen is not None else []
    try:
        for name, plane in remains.look(homes):
            opened.callback(plane.close, remove=False)
            for some in plane.records(wanted):
                yield name, some
    except PermissionError as error:
        raise FoursevenError(f"the kernel does not tell: {error.strerror}; try as root") from None


def chosen(found: Iterator[Rows], sort: str | None, limit: int) -> list[Rows]:
    """The largest of all, or the first that come; a limit keeps memory small whatever there is."""
    kept: list[Rows] = []
    if sort is None:
        left = limit
        for plane, some in found:
            kept.append((plane, some[: left * SIZE] if limit else some))
            left -= len(some) // SIZE
            if limit and left <= 0:
                break
        return kept
    for plane, some in found:
        best = records.largest(some, sort, limit)
        kept.append((plane, best))
        if limit and len(kept) * limit > PAGE:
            kept = merged(kept, sort, limit)
    return merged(kept, sort, limit)


def merged(kept: list[Rows], sort: str, limit: int) -> list[Rows]:
    """The largest of several, in order; those of one plane that follow each other together."""
    planes = [plane for plane, some in kept for _ in range(0, len(some), SIZE)]
    every = b"".join(some for _, some in kept)
    order = records.order(every, sort, limit)
    return [
        (plane, b"".join(every[at * SIZE : (at + 1) * SIZE] for at in some))
        for plane, some in itertools.groupby(order, key=planes.__getitem__)
    ]


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


def pages(rows: list[Rows]) -> Iterator[Rows]:
    for plane, some in rows:
        for at in range(0, len(some), PAGE * SIZE):
            yield plane, some[at : at + PAGE * SIZE]


def as_json(rows: list[Rows]) -> Iterator[bytes]:
    """A list with a flow a line."""
    into = bytearray(PAGE * (lines.LINE_MAX + 2))
    before = b"[\n"
    for plane, some in pages(rows):
        used = lines.json(some, plane.encode(), into)
        yield before + memoryview(into)[: used - 2]  # without the last comma
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


HEADS = ("proto", "client", "vip", "server", "state", "age", "idle", "in", "out")


def as_table(rows: list[Rows]) -> Iterator[bytes]:
    """As wide as what is in it."""
    widths = array("I", map(len, HEADS))
    for _, some in pages(rows):
        lines.measure(some, widths)
    cells = (cell.ljust(width) for cell, width in zip(HEADS, widths, strict=True))
    yield "  ".join(cells).rstrip().encode() + b"\n"
    into = bytearray((PAGE + 1) * (sum(widths) + 2 * len(HEADS)) + lines.LINE_MAX)
    for _, some in pages(rows):
        yield bytes(memoryview(into)[: lines.text(some, widths, into)])
