"""Every call of the API, one row each: the server routes by it, and the OpenAPI page is made of it.

What a caller needs (Access) stands in the row, so no call can be forgotten when rights are judged;
a change is every row whose need is WRITE.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from fourseven.control.admin import answers, bodies, differences, view
from fourseven.control.admin.access import Access
from fourseven.control.admin.calls import Call
from fourseven.control.admin.desk import Desk

Answer = Callable[[Desk, Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call."""

    method: str
    path: str
    needs: Access
    answer: Answer
    summary: str
    returns: Any = dict[str, Any]  # its type; a text's media type as a str
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    refusals: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.answer.__name__


READ, WRITE, OPEN = Access.READ, Access.WRITE, Access.OPEN
SERVER = "/v1/backends/{backend}/servers/{server}"

OPERATIONS = (
    Operation("GET", "/healthz", OPEN, answers.alive, "Whether control answers.", "text/plain"),
    Operation(
        "GET",
        "/readyz",
        OPEN,
        answers.ready,
        "Whether new connections are taken.",
        "text/plain",
        refusals=("not-ready",),
    ),
    Operation("GET", "/metrics", READ, answers.show_metrics, "For Prometheus.", "text/plain"),
    Operation("GET", "/v1/state", READ, answers.show_state, "Everything at once.", view.State),
    Operation(
        "GET",
        "/v1/listeners",
        READ,
        answers.show_listeners,
        "Every listener, with its routes.",
        list[view.ListenerState],
    ),
    Operation(
        "GET",
        "/v1/listeners/{listener}",
        READ,
        answers.show_listener,
        "One listener.",
        view.ListenerState,
        refusals=("not-found",),
    ),
    Operation(
        "GET",
        "/v1/backends",
        READ,
        answers.show_backends,
        "Every backend, with its servers.",
        list[view.BackendState],
    ),
    Operation(
        "GET",
        "/v1/backends/{backend}",
        READ,
        answers.show_backend,
        "One backend.",
        view.BackendState,
        refusals=("not-found",),
    ),
    Operation(
        "GET",
        SERVER,
        READ,
        answers.show_server,
        "One server.",
        view.ServerState,
        refusals=("not-found",),
    ),
    Operation(
        "GET",
        "/v1/config",
        WRITE,  # a file may hold secrets
        answers.show_config,
        "The file in force, and how each listener is served.",
    ),
    Operation(
        "GET",
        "/v1/diff",
        WRITE,  # it shows values of both files
        answers.show_diff,
        "The file as it is now against the one in force, and that against what runs.",
        differences.Diff,
    ),
    Operation(
        "POST",
        "/v1/explain",
        READ,
        answers.explain,
        "What becomes of a request: the route, why the others not, the server. Nothing is sent.",
        body=bodies.Question,
        refusals=("invalid",),
    ),
    Operation(
        "POST",
        f"{SERVER}/enable",
        WRITE,
        answers.enable,
        "The server takes work again, as the checks allow.",
        view.ServerState,
        query=bodies.Keep,
        refusals=("not-found",),
    ),
    Operation(
        "POST",
        f"{SERVER}/drain",
        WRITE,
        answers.drain,
        "No new work; what runs may finish, and sessions that are kept to it may go on.",
        view.ServerState,
        body=bodies.Drain,
        query=bodies.Keep,
        refusals=("not-found",),
    ),
    Operation(
        "POST",
        f"{SERVER}/maintenance",
        WRITE,
        answers.maintenance,
        "No new work at all, also for sessions that are kept to it; flows in the kernel end.",
        view.ServerState,
        query=bodies.Keep,
        refusals=("not-found",),
    ),
    Operation(
        "PUT",
        f"{SERVER}/weight",
        WRITE,
        answers.weigh,
        "Another weight, or the file's again.",
        view.ServerState,
        body=bodies.Weight,
        query=bodies.Keep,
        refusals=("not-found",),
    ),
    Operation(
        "GET",
        "/v1/changes",
        READ,
        answers.show_changes,
        "What an operator has changed against the file.",
        list[view.Change],
    ),
    Operation(
        "DELETE",
        "/v1/changes",
        WRITE,
        answers.undo_changes,
        "Undoes all of it; says what was undone.",
        list[view.Change],
    ),
)
