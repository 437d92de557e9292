"""`fourseven drain`, `enable`, `maintenance` and `weight`: a word about one server, at once.

    fourseven drain web 10.0.0.1:8080 --deadline 5m --wait
    fourseven weight web 10.0.0.1:8080 10
    fourseven weight web 10.0.0.1:8080 file

What is said holds until it is unsaid, also over reloads and upgrades; with --until-reload it ends
when the file is loaded again. `fourseven diff` lists all of it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from fourseven.cli.run import RUNTIME_DIR
from fourseven.cli.tables import safe
from fourseven.control import runtime
from fourseven.control.admin.client import Client, server_path
from fourseven.units import duration_ms

LOOK_S = 0.25
BACKEND = click.argument("backend")
SERVER = click.argument("server")
UNTIL_RELOAD = click.option(
    "--until-reload", is_flag=True, help="The change ends when the file is loaded again."
)


def _told(
    runtime_dir: str | None, method: str, path: str, body: dict[str, Any], until_reload: bool
) -> dict[str, Any]:
    client = Client(runtime.find(runtime_dir).admin)
    keep = "false" if until_reload else "true"
    found: dict[str, Any] = client.send(method, f"{path}?keep={keep}", body)
    return found


def _say(backend: str, one: dict[str, Any]) -> None:
    print(safe(f"{backend} {one['address']}: {one['state']}, weight {one['weight']}"))


def _time(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return duration_ms(value) / 1000
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@BACKEND
@SERVER
@click.option(
    "--deadline", callback=_time, help="How long kept sessions may go on, e.g. 5m; else for ever."
)
@click.option("--wait", is_flag=True, help="Returns when nothing is in flight at it any more.")
@UNTIL_RELOAD
@RUNTIME_DIR
def drain(  # noqa: PLR0917 - click passes each by its name
    backend: str,
    server: str,
    deadline: float | None,
    wait: bool,
    until_reload: bool,
    runtime_dir: str | None,
) -> None:
    """Gives SERVER of BACKEND no new work; what runs there may finish."""
    path = server_path(backend, server)
    body = {} if deadline is None else {"deadline_s": deadline}
    one = _told(runtime_dir, "POST", f"{path}/drain", body, until_reload)
    _say(backend, one)
    if not wait:
        return
    client = Client(runtime.find(runtime_dir).admin)
    while one["state"] == "draining":
        time.sleep(LOOK_S)
        one = client.get(path)
    _say(backend, one)
    sys.exit(0 if one["state"] == "drained" else 1)  # 1: somebody has said otherwise meanwhile


def _word(word: str, help: str) -> Callable[..., None]:
    @click.command(name=word, help=help)
    @BACKEND
    @SERVER
    @UNTIL_RELOAD
    @RUNTIME_DIR
    def command(backend: str, server: str, until_reload: bool, runtime_dir: str | None) -> None:
        path = f"{server_path(backend, server)}/{word}"
        _say(backend, _told(runtime_dir, "POST", path, {}, until_reload))

    return command


enable = _word("enable", "Lets SERVER of BACKEND have work again, as its checks allow.")
maintenance = _word(
    "maintenance",
    "Gives SERVER of BACKEND no work at all, not even from sessions that are kept to it.",
)


@click.command()
@BACKEND
@SERVER
@click.argument("weight")
@UNTIL_RELOAD
@RUNTIME_DIR
def weight(
    backend: str, server: str, weight: str, until_reload: bool, runtime_dir: str | None
) -> None:
    """Gives SERVER of BACKEND another WEIGHT (a number, or `file` for the file's)."""
    if weight != "file" and not (weight.isascii() and weight.isdigit()):
        raise click.UsageError(f"{weight!r} is no weight; write a number, or file")
    body = {"weight": None if weight == "file" else int(weight)}
    path = f"{server_path(backend, server)}/weight"
    _say(backend, _told(runtime_dir, "PUT", path, body, until_reload))
