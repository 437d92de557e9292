"""What is decided at the TLS ClientHello, and what that forbids.

A listener looks at the hello when one of its routes asks for `sni` or `alpn`, or says
`tls: passthrough`, or when a backend knows clients by that name. There are two kinds:

    without `tls`    every route is decided at the hello, and TLS goes on to the server
    with `tls`       routes that say `tls: passthrough` go on as they are; for the others TLS ends

In the second, whether TLS ends is decided before any request can be seen. The first match wins all
the same: the routes down to the last one with `passthrough` are asked at the hello, in the order of
the file. So each of them must be one that the hello decides; one that needs the request may only
stand behind them. If the hello chooses a route without `passthrough`, or none of them, TLS ends
and the request is routed as always.

Where a proxy in front has ended TLS, its PROXY header tells the names, and there is no hello to
look at: a listener without `tls` that needs the request.

Law: pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fourseven.features import Need
from fourseven.forms import MatchForm
from fourseven.model import Listener

Path = tuple[str | int, ...]


class Conflict(NamedTuple):
    """What cannot be served, and the mend; the path is below the listener."""

    path: Path
    text: str


def looks_at_hello(listener: Listener, need: Need, by_backend: bool = False) -> bool:
    """Must the ClientHello be there before a connection is served? `by_backend`: a backend asks for
    the name in it (persistence: sni)."""
    if listener.tls is None and need is Need.REQUEST:
        return False
    return by_backend or any(
        route.tls == "passthrough" or Need.CLIENT_HELLO in _needs(route.match)
        for route in listener.all_routes
    )


def hello_routes(listener: Listener) -> int:
    """With `tls`: so many of the first routes say at the hello whether TLS ends."""
    if listener.tls is None:
        return 0
    routes = listener.all_routes
    return max((i + 1 for i, route in enumerate(routes) if route.tls == "passthrough"), default=0)


def hello_conflicts(listener: Listener, need: Need, by_backend: bool = False) -> Iterator[Conflict]:
    """Routes that contradict each other about the hello."""
    if listener.tls is None and need is Need.REQUEST:
        yield from _hidden(listener)
        if by_backend and listener.proxy_protocol is None:
            text = "a backend knows clients by the name that TLS asks for, and here is none; give "
            text += "the listener tls, or the backend another persistence"
            yield Conflict((), text)
        return
    first = hello_routes(listener)
    for i, route in enumerate(listener.all_routes[:first]):
        if max(_needs(route.match), default=Need.ADDRESS) <= Need.CLIENT_HELLO:
            if route.tls == "passthrough" and route.filters:
                text = "a filter works on requests, which TLS hides where it is passed through; "
                text += "remove the filters, or tls: passthrough"
                yield Conflict(("routes", i, "filters"), text)
        elif route.tls == "passthrough":
            text = "TLS that is passed through hides the request; match sni, alpn or address alone"
            yield Conflict(("routes", i, "match"), text)
        else:
            text = f"routes[{first - 1}] passes TLS through, which is decided before any request "
            text += "can be seen; put this route behind it"
            yield Conflict(("routes", i, "match"), text)


def _hidden(listener: Listener) -> Iterator[Conflict]:
    """Without `tls` here the requests of a TLS client are hidden, and others send no hello."""
    for i, route in enumerate(listener.all_routes):
        mend = "give the listener tls, or remove what needs the request"
        if route.tls == "passthrough":
            text = (
                f"TLS that is passed through hides the requests that this listener looks at; {mend}"
            )
            yield Conflict(("routes", i, "tls"), text)
        elif Need.CLIENT_HELLO in _needs(route.match) and listener.proxy_protocol is None:
            text = f"sni and alpn are seen in TLS alone, and there a request is hidden; {mend}"
            yield Conflict(("routes", i, "match"), text)


def _needs(match: MatchForm | None) -> set[Need]:
    return {feature.need for feature in match.everything()} if match is not None else set()
