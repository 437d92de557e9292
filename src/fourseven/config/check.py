"""What makes a file whose form is right unusable: names that lead nowhere, rules nobody can keep.

One function for each rule, all in the table ERRORS. What is merely doubtful stands in
warnings.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fourseven.addresses import bind_parts, spread
from fourseven.compiler.layer import decide
from fourseven.compiler.prefix import prefix_of
from fourseven.compiler.ranges import width
from fourseven.compiler.routes import expression
from fourseven.config.tree import Document, Step
from fourseven.errors import Problem, did_you_mean
from fourseven.model import Config, Route

Path = tuple[Step, ...]


def unknown_backends(document: Document) -> list[Problem]:
    """Each name of a backend that is not there, even where the rest of the file is malformed."""
    known = document.data.get("backends", {})
    if not isinstance(known, dict):
        return []
    names = {str(name) for name in known}
    return [
        document.problem(
            path, f"there is no backend {name!r}; {did_you_mean(name, names)}", at_key=key
        )
        for path, name, key in _references(document.data)
        if name not in names
    ]


def _references(data: Any) -> Iterator[tuple[Path, str, bool]]:
    """(path, backend's name, whether that is a key) of each mention, in values of any shape."""
    for name, listener in _items(_get(data, "listeners")):
        at: Path = ("listeners", name)
        yield from _named(listener, at)
        routes = _get(listener, "routes")
        for i, route in enumerate(routes if isinstance(routes, list) else ()):
            yield from _named(route, (*at, "routes", i))


def _named(owner: Any, at: Path) -> Iterator[tuple[Path, str, bool]]:
    for key in ("backend", "fallback"):
        one = _get(owner, key)
        if isinstance(one, str):
            yield (*at, key), one, False
    for name, _ in _items(_get(owner, "backends")):
        yield (*at, "backends", name), name, True


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def unknown_backends_of_filters(config: Config) -> Iterator[Problem]:
    """A filter may ask a backend by itself."""
    for path, backend in _asked_by_filters(config):
        if backend not in config.backends:
            what = f"there is no backend {backend!r}; {did_you_mean(backend, set(config.backends))}"
            yield config.problem(path, what)


def _asked_by_filters(config: Config) -> Iterator[tuple[Path, str]]:
    return (
        (("listeners", name, "routes", i, "filters", j), backend)
        for name, listener in config.listeners.items()
        for i, route in enumerate(listener.routes)
        for j, form in enumerate(route.filters)
        for backend in form.feature.backends()
    )


def errors_of(config: Config) -> list[Problem]:
    """What makes a well-formed file unusable."""
    return [problem for rule in ERRORS for problem in rule(config)]


def same_bind_twice(config: Config) -> Iterator[Problem]:
    """Two listeners cannot have one socket; an address of all takes that of each."""
    seen: dict[str, list[tuple[str, str]]] = {}
    for name, i, bind in _binds(config):
        group = seen.setdefault(_socket_group(bind), [])
        for other, owner in group:
            if _overlap(bind, other):
                what = f"{bind} is taken by {other} of listener {owner!r}; give one another port"
                yield config.problem(("listeners", name, "bind", i), what)
        group.append((bind, name))


def admin_on_a_listener(config: Config) -> Iterator[Problem]:
    """The admin API needs a socket of its own."""
    for i, bind in enumerate(config.admin.bind):
        for name, _, other in _binds(config):
            if _socket_group(bind) == _socket_group(other) and _overlap(bind, other):
                what = f"{bind} is taken by {other} of listener {name!r}; give one another port"
                yield config.problem(("admin", "bind", i), what)


def _binds(config: Config) -> Iterator[tuple[str, int, str]]:
    """(listener, index, bind); without port 0, since each gets a free port of its own."""
    for name, listener in config.listeners.items():
        spelt = ((i, bind) for i, said in enumerate(listener.bind) for bind in spread(said))
        for i, bind in spelt:
            if bind.startswith("unix:") or bind_parts(bind)[2]:
                yield name, i, bind


def _socket_group(bind: str) -> str:
    """What two binds share when they can overlap at all."""
    if bind.startswith("unix:"):
        return bind
    transport, _, port = bind_parts(bind)
    return f"{transport}:{port}"


def _overlap(one: str, other: str) -> bool:
    if one == other:
        return True
    if one.startswith("unix:"):
        return False
    hosts = {bind_parts(one)[1], bind_parts(other)[1]}
    if "::" in hosts:
        return True  # [::] takes IPv4 too
    return "0.0.0.0" in hosts and not any(":" in host for host in hosts)


def layer_cannot_be(config: Config) -> Iterator[Problem]:
    """What a listener's rules need must be what its protocol and its socket can give."""
    for name in config.listeners:
        for conflict in decide(config, name).conflicts:
            yield config.problem(("listeners", name, *conflict.path), conflict.text)


def range_without_its_like(config: Config) -> Iterator[Problem]:
    """Servers with a range of ports need a listener that binds as many, each to its own."""
    for name, backend in config.backends.items():
        most = width(server.address for server in backend.servers)
        for i, server in enumerate(backend.servers):
            ports = len(spread(server.address))
            if 1 < ports != most:
                what = f"{server.address} has {ports} ports, and another server here {most}; "
                path = ("backends", name, "servers", i)
                yield config.problem(path, what + "make the ranges equally long")
    for name, listener in config.listeners.items():
        led = dict.fromkeys(b for r in listener.all_routes for b in r.reaches)
        for backend in (config.backends[b] for b in led if b in config.backends):
            yield from _too_few_binds(config, name, width(s.address for s in backend.servers))


def _too_few_binds(config: Config, name: str, ports: int) -> Iterator[Problem]:
    for i, bind in enumerate(config.listeners[name].bind):
        if ports > 1 and len(spread(bind)) != ports:
            what = f"{bind} is {len(spread(bind))} ports, and a server of its backend has {ports}"
            path = ("listeners", name, "bind", i)
            yield config.problem(path, f"{what}; bind to a range of {ports}")


def same_name_twice(config: Config) -> Iterator[Problem]:
    """Logs, metrics and explain tell routes apart by their names."""
    for name, listener in config.listeners.items():
        seen: dict[str, int] = {}
        for i, route in enumerate(listener.routes):
            if route.name is None:
                continue
            first = seen.setdefault(route.name, i)
            if first != i:
                what = f"routes[{first}] is called {route.name!r} too; give one another name"
                yield config.problem(("listeners", name, "routes", i, "name"), what)


def filter_cannot_be(config: Config) -> Iterator[Problem]:
    """A filter that takes the route's prefix off needs a route that has one."""
    for name, listener in config.listeners.items():
        for i, route in enumerate(listener.routes):
            yield from _filters_below(config, route, ("listeners", name, "routes", i))


def _filters_below(config: Config, route: Route, at: Path) -> Iterator[Problem]:
    if not route.filters:
        return
    below = prefix_of(expression(route.match)) if route.match is not None else b""
    for j, form in enumerate(route.filters):
        try:
            form.feature.under(below)
        except ValueError as refused:
            yield config.problem((*at, "filters", j, form.feature.key), str(refused))


Rule = Callable[[Config], Iterator[Problem]]
ERRORS: tuple[Rule, ...] = (
    same_bind_twice,
    admin_on_a_listener,
    range_without_its_like,
    same_name_twice,
    layer_cannot_be,
    filter_cannot_be,
    unknown_backends_of_filters,
)
