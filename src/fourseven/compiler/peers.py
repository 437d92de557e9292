"""Whom a server must prove to be, when TLS is spoken to it.

The name that is verified is the file's, else the host name by which the server is known (its own,
or the one by which it was found), else its IP address; the certificate must then hold that address.
SNI is the same name; an address is never sent as SNI (RFC 6066 3).

Law: nobody is taken at less than a name. A server that has none is refused here.
"""

from __future__ import annotations

import hashlib
import ipaddress

from fourseven.plan import PeerPlan, PeerRule, ServerPlan


def peer_of(rule: PeerRule, server: ServerPlan) -> PeerPlan:
    """ValueError where there is no name to verify."""
    unix = server.address.startswith("unix:")
    own = "" if unix else server.address.rpartition(":")[0].strip("[]")
    host = rule.name or server.name or own
    if not host:
        raise ValueError(
            f"{server.address} has no host name to verify; give the name that its certificate"
            " stands for, e.g. name: a.example.com"
        )
    address = is_address(host)
    sni = rule.sni or ("" if address else host)
    whole = b"\0".join([rule.common, host.encode(), sni.encode(), server.address.encode()])
    number = int.from_bytes(hashlib.sha256(whole).digest()[:8], "big")
    return PeerPlan(host.encode(), address, sni.encode(), number or 1)  # 0: no TLS


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
