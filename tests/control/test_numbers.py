"""Numbers stay with their names, and are used again only when nothing speaks of the old ones."""

import pytest

from fourseven.control.numbers import Numbering, Numbers
from fourseven.plan import BackendPlan, ListenerPlan, Plan, ServerPlan


class Quiet:
    """Nothing is in flight, but at the numbers named."""

    def __init__(self, busy_slots=(), busy_listeners=()):
        self.busy_slots = set(busy_slots)
        self.busy_listeners = set(busy_listeners)

    def slot(self, number):
        return number not in self.busy_slots

    def backend(self, number):
        return True

    def route(self, number):
        return True

    def listener(self, number):
        return number not in self.busy_listeners


def plan_of(listeners=(), servers=()):
    return Plan(
        tuple(
            ListenerPlan(name, (f"tcp://127.0.0.1:{n}",), 0, ()) for n, name in enumerate(listeners)
        ),
        (BackendPlan("b", tuple(ServerPlan(s) for s in servers), "round_robin", 0),),
    )


def test_a_key_keeps_its_number():
    numbers = Numbering("things", 4)
    assert [numbers.take(k) for k in "abca"] == [0, 1, 2, 0]


def test_the_limit_is_an_error_that_names_it():
    numbers = Numbering("servers", 2)
    numbers.take("a"), numbers.take("b")
    with pytest.raises(ValueError, match="more than 2 servers"):
        numbers.take("c")


def test_a_freed_number_is_used_again():
    numbers = Numbering("things", 2)
    numbers.take("a"), numbers.take("b")
    assert numbers.release({"b"}, lambda n: True) == [0]
    assert numbers.take("c") == 0


def test_a_busy_server_keeps_its_slot_after_it_left_the_file():
    numbers = Numbers()
    first, second = (numbers.slot("b", ServerPlan(s)) for s in ("1:1", "2:2"))
    assert numbers.release(plan_of(servers=["1:1"]), Quiet(busy_slots=[second])) == []
    assert numbers.slot("b", ServerPlan("2:2")) == second
    assert numbers.release(plan_of(servers=["1:1"]), Quiet()) == [second]
    assert numbers.slot("b", ServerPlan("1:1")) == first


def test_a_listener_with_sessions_keeps_its_socket_number():
    numbers = Numbers()
    state = numbers.listener_state("old")
    socket = numbers.listener("old", "tcp://127.0.0.1:0", 0)
    numbers.release(plan_of(), Quiet(busy_listeners=[state]))
    numbers.listener_state("new")
    assert numbers.listener("new", "tcp://127.0.0.1:0", 0) != socket
    numbers.release(plan_of(["new"]), Quiet())
    assert "old" not in numbers.states.taken
    numbers.listener_state("third")
    assert numbers.listener("third", "tcp://127.0.0.1:2", 0) == socket


def test_a_socket_that_its_listener_gave_up_keeps_its_number_while_sessions_are_open():
    """They may have come in by that socket, and must not find themselves at another listener."""
    numbers = Numbers()
    state = numbers.listener_state("web")
    numbers.listener("web", "tcp://127.0.0.1:0", 0)
    socket = numbers.listener("web", "tcp://127.0.0.1:9", 0)
    numbers.release(plan_of(["web"]), Quiet(busy_listeners=[state]))
    numbers.listener_state("internal")
    assert numbers.listener("internal", "tcp://127.0.0.1:2", 0) != socket
    numbers.release(plan_of(["web"]), Quiet())
    assert socket in numbers.listeners.free
