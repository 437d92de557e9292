"""What this host permits: one question, one line, with the reason; and the compiler's Facts of it.

    probe()        the questions, each answered
    verdicts()     what follows for each plane
    facts()        the same, for the compiler

Each question is tried where trying leaves nothing behind (a map, a program that passes everything,
an attachment to an interface that does not exist), since a version number or a capability alone
tells little: a container may have the one and be forbidden the other.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from fourseven.l4 import interfaces, netlink
from fourseven.l4.bpf.build import ARRAY, Map, Program
from fourseven.l4.bpf.kernel import TCX_EGRESS, XDP, BpfError, Loaded, Table, standing_at
from fourseven.l4.facts import Facts
from fourseven.l4.headers import SKB, XDP_MD
from fourseven.l4.kernel_plan import is_loopback
from fourseven.l4.nftables import plane as nftables
from fourseven.l4.program.skb import SkbWire
from fourseven.l4.program.tables import INDEX
from fourseven.l4.program.xdp import XdpWire

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
NO_INTERFACE = 0x7FFFFFFF  # no host has that many


class Answer(NamedTuple):
    """What was asked, and what came of it."""

    name: str
    permitted: bool
    reason: str


def probe() -> tuple[Answer, ...]:
    """Every question, in the order in which a plane needs them."""
    maps, programs, tcx = _bpf()
    return (
        _capabilities(),
        maps,
        programs,
        tcx,
        _xdp(tcx),
        _nft(),
        *(_forwarding(family) for family in FORWARDING),
    )


def denied(answers: tuple[Answer, ...]) -> str:
    """Why the tcx plane cannot be loaded here; empty when it can."""
    failed = [a for a in answers if a.name in NEEDED and not a.permitted]
    if not failed:
        return ""
    lacking = [a for a in answers if a.name == "capabilities" and not a.permitted]
    first = (lacking or failed)[0]  # what is missing says more than what it led to
    return f"{first.name}: {first.reason}"


def verdicts(answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
    """Of each plane, whether listeners can be served by it here, and why (not)."""
    still = [a for a in answers if a.name.endswith(" forwarding") and not a.permitted]
    refused = _refused(answers)
    found = [_verdict(plane, refused[plane], still) for plane in ("tcx", "nftables", "xdp")]
    return (*found, Answer("relay", True, SERVES["relay"]))


def _refused(answers: tuple[Answer, ...]) -> dict[str, str]:
    """Why a plane cannot be had here, whatever is forwarded; empty where it can."""
    found = {a.name: "" if a.permitted else a.reason for a in answers if a.name in OTHERS}
    if reason := denied(answers):
        found |= {"tcx": reason, "xdp": f"it needs tcx: {reason}"}
    return {"tcx": "", **found}


def _verdict(plane: str, refused: str, still: list[Answer]) -> Answer:
    if refused:
        return Answer(plane, False, refused)
    off = " and ".join(a.name.partition(" ")[0] for a in still)
    if len(still) == len(FORWARDING):
        return Answer(plane, False, f"packets of {off} are not forwarded (see above)")
    rest = f"; not for {off}, whose packets are not forwarded" if still else ""
    return Answer(plane, True, SERVES[plane] + rest)


SERVES = {
    "tcx": "the first choice for a listener that needs only addresses",
    "nftables": "the next one, and the one for servers on this host",
    "xdp": "where the file says plane: xdp; on interfaces whose driver has it (native)",
    "relay": "for everything else; needs no privilege",
}
NEEDED = ("bpf maps", "bpf programs", "tcx")
OTHERS = ("xdp", "nftables")
FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}


def facts() -> Facts:
    """What the compiler is told of this host."""
    refused = _refused(probe())
    cards = {card.link: card for card in interfaces.cards()}
    still = [
        (family, f"packets of IPv{family} are not forwarded; sysctl -w {setting}=1 allows it")
        for family, setting in FORWARDING.items()
        if not forwards(family)
    ]
    return Facts(
        refused=tuple((plane, reason) for plane, reason in refused.items() if reason),
        still=tuple(still),
        own=tuple(own()),
        local=tuple(netlink.locals_()),
        xdp=tuple((one.name, cards[one].driver, cards[one].xdp) for one in standing(cards)),
    )


def own() -> list[int]:
    """The addresses of this host by which others can reach it: what a wildcard bind stands for."""
    found = {address for _, address in netlink.addresses() if not is_loopback(address)}
    return sorted(found)


def standing(links: Iterable[netlink.Interface]) -> list[netlink.Interface]:
    """Where packets of clients and servers arrive: Ethernet, up, and not part of a bridge or bond
    (packets of those are met at the whole)."""
    links = list(links)
    routers = {one.number for one in links if one.kind == "vrf"}
    return [one for one in links if not why_not_before(one, routers)]


def why_not_before(link: netlink.Interface, routers: Collection[int]) -> str:
    """Why no program stands before an interface; empty where one does. `routers`: those of kind
    vrf, by number."""
    if link.hardware != netlink.ETHERNET:
        return "loopback" if link.hardware == netlink.LOOPBACK else "no Ethernet"
    if not link.up:
        return "down"
    return "part of another" if link.master and link.master not in routers else ""


def short(links: Iterable[netlink.Interface]) -> list[int]:
    """The numbers of the interfaces to whose other ends a packet may go straight: of a veth into
    another network namespace, where nothing stands on the way out that it would pass by (a queue,
    a filter, a program of somebody else's)."""
    ends = [
        one.number
        for one in links
        if one.kind == "veth" and one.peer_elsewhere and one.qdisc == "noqueue"
    ]
    queued = netlink.queued() if ends else set()
    return [one for one in ends if one not in queued and not standing_at(one, TCX_EGRESS)]


def forwards(family: int) -> bool:
    """Does any interface pass packets on?"""
    for path in Path(f"/proc/sys/net/ipv{family}/conf").glob("*/forwarding"):
        try:
            if path.parent.name not in ("default", "lo") and path.read_text().strip() != "0":
                return True
        except OSError:
            continue
    return False


def _capabilities() -> Answer:
    try:
        status = Path("/proc/self/status").read_text()
        bits = int(next(x.split()[1] for x in status.splitlines() if x.startswith("CapEff")), 16)
    except (OSError, StopIteration):
        return Answer("capabilities", False, "/proc/self/status does not tell")
    held = {name for name, bit in CAPABILITIES.items() if bits >> bit & 1}
    enough = "CAP_SYS_ADMIN" in held or held >= {"CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF"}
    if enough:
        return Answer("capabilities", True, ", ".join(sorted(held)))
    lacking = ", ".join(sorted(set(CAPABILITIES) - held - {"CAP_SYS_ADMIN"}))
    return Answer("capabilities", False, f"{lacking} missing; start it as root")


def _bpf() -> tuple[Answer, Answer, Answer]:
    """A map, a program that passes everything, and whether tcx is a place to attach it."""
    names = iter(NEEDED)
    done: list[Answer] = []
    try:
        with Table(Map("fourseven_probe", ARRAY, INDEX, INDEX, 1)):
            done.append(Answer(next(names), True, "one was made"))
        asked = Program("fourseven_probe", SKB)
        asked.exit(SkbWire.PASS)
        with Loaded(asked.assemble(), {}) as loaded:
            done.append(Answer(next(names), True, "the verifier takes one for tc"))
            done.append(_tcx(loaded, next(names)))
    except BpfError as error:
        done.append(Answer(next(names), False, error.strerror or str(error)))
    done += [Answer(name, False, "not asked: the one before failed") for name in names]
    return done[0], done[1], done[2]


def _xdp(tcx: Answer) -> Answer:
    """Behind a program on xdp stands one on tcx."""
    if not tcx.permitted:
        return Answer("xdp", False, f"it needs tcx: {tcx.reason}")
    asked = Program("fourseven_probe", XDP_MD)
    asked.exit(XdpWire.PASS)
    try:
        Loaded(asked.assemble(), {}, XDP).close()
    except BpfError as error:
        return Answer("xdp", False, error.strerror or str(error))
    return Answer("xdp", True, "the verifier takes one; an interface may still refuse it")


def _tcx(loaded: Loaded, name: str) -> Answer:
    """A kernel that knows tcx looks for the interface; an older one does not get that far."""
    try:
        loaded.attach(NO_INTERFACE).close()
    except BpfError as error:
        if error.errno == errno.ENODEV:
            return Answer(name, True, "the kernel takes links to it")
        return Answer(name, False, f"{error.strerror}; it needs Linux 6.6")
    return Answer(name, True, "the kernel takes links to it")


def _nft() -> Answer:
    reason = nftables.denied()
    return Answer("nftables", not reason, reason or "the kernel takes rules of every sort")


def _forwarding(family: int) -> Answer:
    name, setting = f"IPv{family} forwarding", FORWARDING[family]
    if forwards(family):
        return Answer(name, True, "on")
    return Answer(name, False, f"off; `sysctl -w {setting}=1` lets packets and answers pass")
