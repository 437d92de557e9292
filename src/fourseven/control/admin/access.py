"""Who may call: the same user by the unix socket, or who shows a token; and no other site's page.

A browser brings dangers of its own. It sends what any page tells it to, and a name that an attacker
owns can be made to lead here (DNS rebinding). So, for every call, also by the unix socket (which
`ssh -L` brings to a browser):

    Host            an IP address, localhost, or a name from the file: a page of another name fails
    Origin          none, or our own
    Sec-Fetch-Site  none, or same-origin; only pages and files may be opened by a link elsewhere
    Content-Type    application/json where something changes: no HTML form can send that

Tokens are compared by their digests in constant time, and all of them each time. They come in a
header that no browser sends by itself, so there is no cookie that could be abused.

Law: pure. The request comes as plain values, the answer is a Refusal or nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping
from enum import IntEnum
from hashlib import sha256

from fourseven.control.admin.refusals import Refusal
from fourseven.plan import AdminPlan


class Access(IntEnum):
    """What a call needs, and what a caller has."""

    OPEN = 0
    READ = 1
    WRITE = 2


def verify_browser(headers: Mapping[str, str], needed: Access, hosts: Collection[str]) -> None:
    """Refusal where a page of another site may be behind it. Names of `headers` in any case."""
    host = headers.get("Host", "")
    if not _ours(host, hosts):
        raise Refusal("host", f"{host!r} is not one of this API's names; see admin.hosts")
    origin = headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise Refusal("origin", f"a page of {origin} may not call this API")
    if needed is not Access.OPEN and headers.get("Sec-Fetch-Site", "none") not in OWN_SITE:
        raise Refusal("origin", "a page of another site may not call this API")


OWN_SITE = ("none", "same-origin")


def verify_token(said: str | None, needed: Access, plan: AdminPlan) -> None:
    """Refusal unless the Authorization header shows a token that may do this."""
    if needed is Access.OPEN:
        return
    granted = _granted(said or "", plan)
    if granted is Access.OPEN:
        raise Refusal("unauthorized", "send Authorization: Bearer <token>", **ASKS)
    if granted < needed:
        raise Refusal("forbidden", "this token may look and not change; use the other one")


ASKS = {"WWW-Authenticate": 'Bearer realm="fourseven"'}


def _granted(said: str, plan: AdminPlan) -> Access:
    scheme, _, token = said.partition(" ")
    shown = sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
    granted = Access.OPEN
    for known, access in ((plan.read_token, Access.READ), (plan.token, Access.WRITE)):
        same = hmac.compare_digest(shown, sha256(known).digest())
        if same and known and scheme.lower() == "bearer":
            granted = access
    return granted


def _ours(host: str, names: Collection[str]) -> bool:
    name = host.lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name in ("localhost", *names):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
