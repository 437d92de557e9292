"""What single results amount to: each trace is one server's life."""

from __future__ import annotations

import pytest

from fourseven.health.state import IN_USE, Judgement, State

UP, GOING, DOWN, COMING = State.UP, State.GOING_DOWN, State.DOWN, State.COMING_UP
TRACES = {  # (rise, fall): results (+ well, - not) and the states after each
    "the first success decides": (2, 3, "+", [UP]),
    "the first failure decides": (2, 3, "-", [DOWN]),
    "one failure is only doubt": (2, 3, "+-+", [UP, GOING, UP]),
    "three in a row are needed": (2, 3, "+---", [UP, GOING, GOING, DOWN]),
    "a success between begins anew": (2, 3, "+--+---", [UP, GOING, GOING, UP, GOING, GOING, DOWN]),
    "two in a row bring it back": (2, 3, "-++", [DOWN, COMING, UP]),
    "a failure between does not": (2, 3, "-+-++", [DOWN, COMING, DOWN, COMING, UP]),
    "one of each is at once": (1, 1, "+-+-", [UP, DOWN, UP, DOWN]),
    "down stays down": (3, 1, "---++", [DOWN, DOWN, DOWN, COMING, COMING]),
    "up stays up": (1, 2, "+++-", [UP, UP, UP, GOING]),
}


@pytest.mark.parametrize("name", TRACES)
def test_trace(name):
    rise, fall, results, wanted = TRACES[name]
    judged = Judgement(rise, fall)
    assert judged.in_use
    assert judged.in_doubt
    states = []
    for result in results:
        before = judged.in_use
        changed = judged.result("" if result == "+" else "why not")
        assert changed == (judged.in_use != before)
        assert judged.in_use == (judged.state in IN_USE)
        states.append(judged.state)
    assert states == wanted
    assert judged.reason == ("why not" if "-" in results else "")
