"""What the API's answers stand on: the subject, what was derived from its file, and its changes.

Deriving costs: the model is read again from the file's bytes (the engine keeps only the plan), and
a document over thousands of servers takes milliseconds. So the model is read once for each file, in
a thread beside control; and a state is made at most every FRESH_S, however many look at it.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from fourseven.config.load import loads
from fourseven.control.admin import view
from fourseven.control.admin.refusals import Refusal
from fourseven.control.admin.subject import InForce, Subject
from fourseven.model import Config

FRESH_S = 0.2  # nobody sees the difference, and many viewers cost what one costs


class Desk:
    """One for each engine."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._read: tuple[InForce, Config, view.Texts] | None = None
        self._state: tuple[float, InForce, view.State] | None = None
        self._reading = asyncio.Lock()

    def in_force(self) -> InForce:
        force = self.subject.in_force
        if force is None:
            raise Refusal("not-ready", "no file is in force yet")
        return force

    async def config(self) -> tuple[InForce, Config, view.Texts]:
        """The file in force, its model, and its routes in the user's words."""
        async with self._reading:
            force = self.in_force()
            if self._read is None or self._read[0] is not force:
                self._read = await asyncio.to_thread(_derived, force)
            return self._read

    async def state(self) -> view.State:
        force, _, texts = await self.config()
        now = time.monotonic()
        if self._state is None or self._state[1] is not force or now - self._state[0] > FRESH_S:
            made = view.state(
                force,
                texts,
                self.subject.counters(),
                self.subject.seen(),
                changes=self.changes(),
                draining=self.subject.draining,
                sources=self.subject.sources(),
            )
            self._state = now, force, made
        return self._state[2]

    def changes(self) -> list[view.Change]:
        return view.changes_of(self.subject.words())

    def forget(self) -> None:
        """Something was changed: whoever looks next sees it."""
        self._state = None


def _derived(force: InForce) -> tuple[InForce, Config, view.Texts]:
    config = loads(force.raw, force.file)
    return force, config, view.texts_of(config, force.plan)


def encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
