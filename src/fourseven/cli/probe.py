"""`fourseven probe`: what this host permits, each in one line with the reason.

First the questions that were tried, then what follows for each plane, then the interfaces: driver,
offloads, how an xdp program would stand there, and whether fourseven's would stand there at all.
Between them: which codings of answers this build has.
"""

from __future__ import annotations

import json
import os
from typing import Any

import click

from fourseven.filters.compress import PACKAGES
from fourseven.l4 import host
from fourseven.l4.interfaces import Card, cards
from fourseven.protocols.coding import built


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text")
def probe(form: str) -> None:
    """Says what the kernel planes find on this host."""
    answers = host.probe()
    verdicts = host.verdicts(answers)
    system = os.uname()
    rows = [row(card) for card in with_reasons()]
    if form == "json":
        found = {
            "kernel": {
                "name": system.sysname,
                "release": system.release,
                "machine": system.machine,
            },
            "answers": [answer._asdict() for answer in answers],
            "planes": [verdict._asdict() for verdict in verdicts],
            "codings": [coding._asdict() for coding in codings()],
            "interfaces": rows,
        }
        print(json.dumps(found, indent=2))
        return
    print(f"{system.sysname} {system.release} {system.machine}, user {os.geteuid()}")
    for title, said in (("permitted", answers), ("planes", verdicts), ("codings", codings())):
        print(f"\n{title}")
        for one in said:
            print(f"  {'yes' if one.permitted else 'no':<4} {one.name:<16} {one.reason}")
    print("\ninterfaces")
    table([HEADS, *(cells(one) for one in rows)])


def codings() -> tuple[host.Answer, ...]:
    """What the filter `compress` has in this build."""
    here = built()
    absent = {name: package for name, package in PACKAGES.items() if name not in here}
    return (
        *(host.Answer(name, True, f"built in: {version}") for name, version in here.items()),
        *(
            host.Answer(name, False, f"not built in; install {package} and build again")
            for name, package in absent.items()
        ),
    )


def with_reasons() -> list[tuple[Card, str]]:
    """Each interface, and why no program would stand before it."""
    found = cards()
    routers = {card.link.number for card in found if card.link.kind == "vrf"}
    return [(card, host.why_not_before(card.link, routers)) for card in found]


def row(said: tuple[Card, str]) -> dict[str, Any]:
    card, why_not = said
    return {
        "name": card.link.name,
        "kind": card.link.kind,
        "driver": card.driver,
        "offloads": card.offloads,
        "xdp": card.xdp,
        "takes_frames": card.takes_frames,
        "served": not why_not,
        "why_not": why_not,
    }


HEADS = ("name", "driver", "xdp", "offloads", "served by tcx and xdp")


def cells(one: dict[str, Any]) -> tuple[str, ...]:
    on = [name for name, is_on in one["offloads"].items() if is_on]
    xdp = one["xdp"] + (", takes frames" if one["takes_frames"] else "")
    return (
        one["name"],
        one["driver"] or one["kind"] or "-",
        xdp,
        " ".join(on) or "none",
        f"no: {one['why_not']}" if one["why_not"] else "yes",
    )


def table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(one[at]) for one in rows) for at in range(len(HEADS))]
    for one in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True))
        print("  " + line.rstrip())
