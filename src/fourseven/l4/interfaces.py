"""What the interfaces of this host can do: driver, offloads, and how an xdp program would stand.

    cards()     each interface, with all that; asked of ethtool and netlink, with no privilege

A driver says which parts of XDP it has (`native`: the program runs in the driver, and frames can be
sent on from there); where it has none the kernel runs the program itself on each packet that it has
already made (`generic`), which saves nothing over tcx. A kernel before 6.3 does not tell: then it
is `unknown` until somebody tries.

Law: looks, and changes nothing.

Sources: linux/ethtool.h, Documentation/netlink/specs/netdev.yaml.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import NamedTuple

from fourseven.l4 import netlink

SIOCETHTOOL, DRIVER = 0x8946, 3  # ETHTOOL_GDRVINFO
OFFLOADS = {  # by ethtool's own names: which question, and which bit of the answer
    "gro": (0x2B, 1),  # packets of one flow are put together on their way in
    "lro": (0x25, 1 << 15),  # … by the card, which cannot be undone: not for what is forwarded
    "tso": (0x1E, 1),
    "gso": (0x23, 1),
    "rx": (0x14, 1),  # checksums are judged, and made, by the card
    "tx": (0x16, 1),
}
CONTROL, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 16, 3, 1, 2  # GENL_ID_CTRL, CTRL_CMD_*, CTRL_ATTR_*
DEVICE_GET, DEVICE, FEATURES = 1, 1, 3  # NETDEV_CMD_DEV_GET, NETDEV_A_DEV_*
GENERIC_NETLINK = 16  # NETLINK_GENERIC
BASIC, REDIRECT, TARGET = 1, 2, 4  # NETDEV_XDP_ACT_*
NATIVE, GENERIC, UNKNOWN = "native", "generic", "unknown"


class Card(NamedTuple):
    """One interface."""

    link: netlink.Interface
    driver: str  # "" where there is none to ask
    offloads: dict[str, bool]  # by the names above; what cannot be asked is not there
    xdp: str  # native, generic, unknown
    takes_frames: bool | None  # may frames be sent out by it from xdp? None: unknown


def cards() -> list[Card]:
    """Each interface, by its number."""
    features = xdp_features()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        return [
            Card(one, driver(asking, one.name), offloads(asking, one.name), *_xdp(features, one))
            for one in sorted(netlink.links())
        ]


def _xdp(features: dict[int, int] | None, link: netlink.Interface) -> tuple[str, bool | None]:
    if features is None:
        return UNKNOWN, None
    has = features.get(link.number, 0)
    return NATIVE if has & (BASIC | REDIRECT) == BASIC | REDIRECT else GENERIC, bool(has & TARGET)


def driver(asking: socket.socket, name: str) -> str:
    told = _asked(asking, name, struct.pack("=I192x", DRIVER))
    return told[4:36].partition(b"\0")[0].decode("ascii", "replace") if told else ""


def offloads(asking: socket.socket, name: str) -> dict[str, bool]:
    """Those that can be asked about."""
    found = {}
    for offload, (question, bit) in OFFLOADS.items():
        if told := _asked(asking, name, struct.pack("=II", question, 0)):
            found[offload] = bool(struct.unpack("=II", told)[1] & bit)
    return found


def _asked(asking: socket.socket, name: str, question: bytes) -> bytes:
    """ethtool's answer; empty where the interface has none."""
    room = array.array("B", question)
    request = struct.pack("=16sQ16x", name.encode(), room.buffer_info()[0])
    try:
        fcntl.ioctl(asking, SIOCETHTOOL, request)
    except OSError:
        return b""
    return room.tobytes()


def xdp_features() -> dict[int, int] | None:
    """By interface number, what its driver has of XDP; None: this kernel does not tell."""
    try:
        family = _family(b"netdev")
        return dict(_features(family)) if family else None
    except OSError:
        return None


def _family(name: bytes) -> int:
    """The number of a generic netlink family; 0: this kernel has none of that name."""
    question = struct.pack("=BBxx", GET_FAMILY, 1)
    for body in netlink.dump(CONTROL, question, GENERIC_NETLINK):
        said = dict(netlink.attributes(body[4:]))
        if said.get(FAMILY_NAME, b"").rstrip(b"\0") == name:
            return int(struct.unpack("=H", said[FAMILY_ID])[0])
    return 0


def _features(family: int) -> list[tuple[int, int]]:
    found = []
    for body in netlink.dump(family, struct.pack("=BBxx", DEVICE_GET, 1), GENERIC_NETLINK):
        said = dict(netlink.attributes(body[4:]))
        if DEVICE in said and FEATURES in said:
            (number,) = struct.unpack("=I", said[DEVICE])
            found.append((number, int(struct.unpack("=Q", said[FEATURES])[0])))
    return found
