"""What a feature is: one file that says all about itself.

A match, a filter or a balancing algorithm is a pydantic model: its fields are what a user may
write, its docstring is the reference page, `need` says what the data plane must see for it, and
`lower` gives its compiled form. `registry` lists the classes, one line each; the compiler, the
schema, `check`, `explain` and the contract tests walk that list and know no feature by name.

Laws: a feature decides nothing about layers or planes; it only declares its need. `lower` is pure.
An error is a ValueError whose text says what is wrong and what would be right; the loader adds
where.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from fourseven.plan import Action, Expression, GatePlan, PersistencePlan


class Need(IntEnum):
    """What must be visible to decide; a listener's layer follows from the highest one."""

    ADDRESS = 0  # the 5-tuple: Layer 4
    CLIENT_HELLO = 1  # SNI and ALPN, peeked at: Layer 4 after a look at the first bytes
    BYTES = 2  # the connection ends here and bytes are relayed: a Layer 4 proxy
    REQUEST = 3  # the parsed HTTP request: Layer 7


class Feature(BaseModel):
    """The common part. `shorthand` names the field that a plain value in the file sets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: ClassVar[str]  # the word in the file
    need: ClassVar[Need]
    shorthand: ClassVar[str | None] = None

    @classmethod
    def from_file(cls, value: Any) -> Any:
        """The shorthand (`path: /videos/`) in its long form (`path: {prefix: /videos/}`)."""
        if cls.shorthand is not None and not isinstance(value, dict):
            return {cls.shorthand: value}
        return value


class Match(Feature):
    """A condition of a route: `match: {<key>: ...}`."""

    def lower(self) -> Expression:
        """The rows that decide it."""
        raise NotImplementedError

    def body_prefix(self) -> int:
        """Bytes of the body that must be buffered before this can be decided; 0 for most."""
        return 0


class Reader(Protocol):
    """How a feature reads what stands elsewhere; all of it is looked at again later."""

    def path(self, name: str) -> str:
        """Where it is; a name is relative to the configuration."""

    def file(self, name: str) -> bytes:
        """Its bytes. ValueError says what is wrong."""


class Filter(Feature):
    """A step that a route takes: `filters: [{<key>: ...}]`, in the order of the file."""

    terminal: ClassVar[bool] = False  # it answers itself; the route needs no backend

    def under(self, prefix: bytes | None) -> Filter:  # noqa: ARG002
        """The same step in a route that takes only paths below `prefix`.

        b"" is a route that takes any path, None one of which it cannot be told. ValueError where
        the step has to know it.
        """
        return self

    def request_actions(self) -> tuple[Action, ...]:
        """What is done to the request before it is forwarded (or the answer, if terminal)."""
        return ()

    def gates(self) -> tuple[GatePlan, ...]:
        """What the request must pass before all actions (l7.gates)."""
        return ()

    def backends(self) -> tuple[str, ...]:
        """Backends that the step speaks to by itself, by name; they must stand in the file."""
        return ()

    def tells(self) -> tuple[str, ...]:
        """Headers by which it tells servers who the client is: no client's own ones pass."""
        return ()

    def read(self, reader: Reader) -> Filter:  # noqa: ARG002
        """The same step with what stands in the files that it names."""
        return self

    def response_actions(self) -> tuple[Action, ...]:
        """What is done to the server's answer."""
        return ()


@dataclass(frozen=True, slots=True)
class Picker:
    """The compiled form of an algorithm for one backend; see snapshot.layout.Backend."""

    pick: int  # address of a native pick_fn
    table: Any = None  # array("I") of indexes into the servers, in the order of the file
    hash_field: int = 0
    hash_name: bytes = b""
    hash_prefix_v4: int = 32
    hash_prefix_v6: int = 128
    bounded_load_percent: int = 0


class Check(Feature):
    """A way to ask a server whether it is well: `health: <key>` or `health: {<key>: {...}}`."""

    need: ClassVar[Need] = Need.ADDRESS  # control asks, so no data plane has to see more for it
    alpn: ClassVar[str] = ""  # what it speaks inside TLS; empty: nothing that is agreed on
    only_connects: ClassVar[bool] = False  # that the server accepts is all (health.knock)

    async def ask(self, target: Any) -> None:
        """Returns where the server is well; any exception says why it is not (health.connect).

        `target` is a health.connect.Target. Whoever calls it sets the limit of time.
        """
        raise NotImplementedError


class Persistence(Feature):
    """A way to bring a client back to its server: `persistence: <key>` or `{<key>: {...}}`."""

    def lower(self) -> PersistencePlan:
        """What names a client, and where its server is kept. Without what all kinds share."""
        raise NotImplementedError


class Source(Feature):
    """A place that knows servers: `servers: [{<key>: ...}]`."""

    need: ClassVar[Need] = Need.ADDRESS  # control looks, so no data plane has to see more for it
    single: ClassVar[bool] = False  # it stands for one server, however many addresses it finds

    async def look(self, folder: Any) -> Any:
        """Finds the servers (discovery.found.Look). discovery.found.Unfound says why it cannot.

        `folder` is that of the file, for what is relative to it.
        """
        raise NotImplementedError

    def words(self) -> str:
        """`dns web.internal`, for people."""
        said = self.model_dump()
        return f"{self.key} {said.get('name') or said.get('path') or said.get('host')}"

    def stamp(self, folder: Any) -> Any:  # noqa: ARG002
        """The same as that of the last look: another one would find the same. None: who knows."""
        return None


class Algorithm(Feature):
    """A way to pick a server: `balance: <key>` or `balance: {<key>: {...}}`."""

    def lower(self, servers: Sequence[tuple[str, int]]) -> Picker:
        """`servers` are (address, weight) in the order of the file; weight 0 takes no new work."""
        raise NotImplementedError
