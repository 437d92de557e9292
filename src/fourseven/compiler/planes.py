"""Which plane serves each listener: the cheapest that can do it, and that the host permits.

A listener that needs only addresses is offered to the planes in the order of PREFERRED; the first
that can serve it does, and each before it leaves its reason. The relay takes what is left: it needs
nothing. Where the file names a plane there is no choice: it serves, or the file is refused with the
reason.

A kernel plane has the relay beside it on each bind that this host has the address of: clients on
this host come to no interface, and what a plane passes on is served there. A bind without the
address (packets to it are merely routed here) has no socket: `unheard`.

Law: pure. Two halves of a refusal: what the plane cannot do (certain), and what the host does not
permit (by Facts).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fourseven.addresses import bind_parts
from fourseven.l4.abilities import ABILITIES
from fourseven.l4.facts import Facts
from fourseven.l4.kernel_plan import address_bits, is_wildcard, unfit
from fourseven.plan import BackendPlan, ListenerPlan

PREFERRED = ("tcx", "nftables")
ON_REQUEST = {
    "xdp": "only where plane: xdp asks for it; it pays on a physical interface, with small packets",
}
OFF = "kernel.plane: off"
XDP_STANDS = {
    "native": "the program runs in the driver",
    "generic": "the driver has no XDP; the program meets packets made already, no faster than tcx",
    "unknown": "whether the driver has XDP, this kernel does not tell",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The plane of one listener, and why no other."""

    plane: str
    refused: tuple[str, ...]  # "tcx: why"
    conflict: str  # why the plane that was asked for cannot be; empty: it can


def choose(
    listener: ListenerPlan, backends: dict[str, BackendPlan], wish: str, facts: Facts
) -> Choice:
    """The plane for a listener that needs only addresses. `wish`: what the file says; off: none."""
    if wish in ABILITIES:
        if facts.asked:
            reason = why_not(listener, backends, wish, facts)
        else:  # the best is hoped
            reason = unfit(listener, backends, ABILITIES[wish])
        return Choice("relay" if reason else wish, (f"{wish}: {reason}",) if reason else (), reason)
    if wish == "relay":
        return Choice("relay", (), "")
    refused: list[str] = []
    for plane in PREFERRED:
        reason = OFF if wish == "off" else why_not(listener, backends, plane, facts)
        if not reason:
            return Choice(plane, tuple(refused), "")
        refused.append(f"{plane}: {reason}")
    return Choice("relay", (*refused, *(f"{name}: {why}" for name, why in ON_REQUEST.items())), "")


def why_not(
    listener: ListenerPlan, backends: dict[str, BackendPlan], plane: str, facts: Facts
) -> str:
    """Why a plane does not serve a listener on this host; empty where it can. First what lies in
    the file, then who we are, then what a setting mends: each is in vain before the one above."""
    forwarding = replace(facts, still=())
    return (
        unfit(listener, backends, ABILITIES[plane], forwarding)
        or facts.why_not(plane)
        or unfit(listener, backends, ABILITIES[plane], facts)
    )


def can(listener: ListenerPlan, backends: dict[str, BackendPlan], plane: str) -> bool:
    """Could the plane serve the listener on a host that permits all?"""
    return not unfit(listener, backends, ABILITIES[plane])


def with_plane(listener: ListenerPlan, choice: Choice, facts: Facts) -> ListenerPlan:
    """The listener as it is served."""
    unheard = tuple(_unheard(listener, facts)) if choice.plane in ABILITIES else ()
    notes = tuple(_notes(facts)) if choice.plane == "xdp" else ()
    return replace(
        listener, plane=choice.plane, refused=choice.refused, unheard=unheard, notes=notes
    )


def _notes(facts: Facts) -> Iterator[str]:
    """How xdp would stand where packets arrive."""
    for name, driver, how in facts.xdp:
        yield f"{name} ({driver or 'no driver'}): {XDP_STANDS[how]}"


def _unheard(listener: ListenerPlan, facts: Facts) -> Iterator[str]:
    if not facts.asked:
        return
    for bind in listener.bind:
        address = address_bits(bind_parts(bind)[1])
        if not is_wildcard(address) and not facts.is_local(address):
            yield bind
