"""A question to `explain`: the bytes that a client would send, and the listener that they reach.

The command line and the admin API ask in the same words, and both get their answer from `trial`.
A ValueError says, in one line, what is wrong with the question.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from fourseven.addresses import bind_parts
from fourseven.control.trial import Asked, Verdict, judge
from fourseven.plan import ListenerPlan, Plan
from fourseven.snapshot.layout import ListenerMode


def verdict_on(
    plan: Plan,
    question: Asked,
    url: str,
    *,
    wanted: str | None = None,
    sni: str | None = None,
    alpn: Sequence[str] = (),
    certificate: bytes = b"",
) -> Verdict:
    """What becomes of a question at the listener that its URL, or `wanted`, names."""
    listener = listener_for(plan, url, wanted)
    name = _name_of(url) if sni is None else sni.lower()
    return judge(
        plan, listener, replace(question, sni=name, alpn=tuple(alpn), certificate=certificate)
    )


def asked(
    method: str, url: str, headers: Sequence[str], client: str, content: bytes | None
) -> Asked:
    """The bytes that a client would send. What is odd in them is left for the reader to judge."""
    try:
        ipaddress.ip_address(client)
    except ValueError:
        raise ValueError(f"--from {client!r} is no IP address; write e.g. 203.0.113.9") from None
    split = urlsplit(url)
    if not split.netloc:
        raise ValueError(f"{url!r} is no URL; write e.g. http://example.com/path")
    target = url.partition("://")[2].removeprefix(split.netloc).partition("#")[0]
    lines = [f"{method} {target if target.startswith('/') else '/' + target} HTTP/1.1"]
    named = {line.partition(":")[0].strip().lower() for line in headers}
    if "host" not in named:
        lines.append(f"Host: {split.netloc}")
    if content is not None and not named & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(content)}")
    head = "\r\n".join([*lines, *headers, "", ""])
    return Asked(head.encode("utf-8", "surrogateescape"), content or b"", client)


def _name_of(url: str) -> str:
    """The name that a client of this URL asks for; none without TLS, and none for an address."""
    split = urlsplit(url)
    host = split.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host if split.scheme == "https" else ""
    return ""


def listener_for(plan: Plan, url: str, wanted: str | None) -> ListenerPlan:
    """The listener that is named, or that is bound to the URL's port, or the only one."""
    if wanted is not None:
        for listener in plan.listeners:
            if listener.name == wanted:
                return listener
        raise ValueError(f"there is no listener {wanted!r}; {_names(plan)}")
    try:
        split = urlsplit(url)
        port = split.port or (443 if split.scheme == "https" else 80)
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from None
    bound = [one for one in plan.listeners if port in _ports(one)]
    http = [one for one in plan.listeners if one.mode == ListenerMode.MODE_HTTP]
    for candidates in (bound, http):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(f"no listener is bound to port {port}; add --listener NAME: {_names(plan)}")


def _ports(listener: ListenerPlan) -> set[int]:
    return {bind_parts(bind)[2] for bind in listener.bind if bind.startswith("tcp:")}


def _names(plan: Plan) -> str:
    return "there are " + ", ".join(listener.name for listener in plan.listeners)
