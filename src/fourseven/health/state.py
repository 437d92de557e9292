"""From the results of single checks to whether a server is up.

                fall failures                       rise successes
    UP ──fail──→ GOING_DOWN ──fail──→ DOWN ──ok──→ COMING_UP ──ok──→ UP
     ↑____ok_________│                 ↑____fail________│

One lost packet must not take a server out, and one lucky answer must not bring it back; so it
takes `fall` failures in a row, and `rise` successes. While in doubt (GOING_DOWN, COMING_UP) the
checks come faster. The first result of all decides alone: there is no history that it could upset,
and a balancer that starts beside a dead server should not send it `fall` intervals of traffic.

Laws: no clock, no socket. A server is in use while UP or GOING_DOWN.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a server stands; the values are the words that people see."""

    UNKNOWN = "not checked yet"
    UP = "up"
    GOING_DOWN = "going down"
    DOWN = "down"
    COMING_UP = "coming up"


IN_USE = frozenset({State.UNKNOWN, State.UP, State.GOING_DOWN})
IN_DOUBT = frozenset({State.UNKNOWN, State.GOING_DOWN, State.COMING_UP})

# state -> (after a success, after a failure); reached alone when rise or fall is 1
NEXT = {
    State.UNKNOWN: (State.UP, State.DOWN),
    State.UP: (State.UP, State.GOING_DOWN),
    State.GOING_DOWN: (State.UP, State.GOING_DOWN),
    State.DOWN: (State.COMING_UP, State.DOWN),
    State.COMING_UP: (State.COMING_UP, State.DOWN),
}
SETTLED = {State.GOING_DOWN: State.DOWN, State.COMING_UP: State.UP}


class Judgement:
    """What is known of one server."""

    def __init__(self, rise: int, fall: int) -> None:
        self.rise, self.fall = rise, fall
        self.state = State.UNKNOWN
        self.reason = ""  # of the last failure
        self._streak = 0  # results of the same kind, one after the other

    @property
    def in_use(self) -> bool:
        """May new work go there?"""
        return self.state in IN_USE

    @property
    def in_doubt(self) -> bool:
        """Is the next result worth having soon?"""
        return self.state in IN_DOUBT

    def result(self, failure: str) -> bool:
        """Takes a check's result ("" is a success); True when `in_use` has changed by it."""
        before = self.in_use
        following = NEXT[self.state][bool(failure)]
        self._streak = self._streak + 1 if following is self.state else 1
        needed = self.fall if failure else self.rise
        if following in SETTLED and self._streak >= needed:
            following = SETTLED[following]
        self.state = following
        if failure:
            self.reason = failure
        return self.in_use != before
