"""The wheel against a plain dictionary of due times, over random days in the life of a worker."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fourseven.worker.probe import WheelProbe

TICK_MS = 16
START_MS = 1_000_000

numbers = st.integers(0, 63)
# Mostly near, sometimes beyond one round of the wheel (65 s), sometimes in the past.
delays = st.one_of(st.integers(0, 500), st.integers(0, 200_000), st.integers(-1000, 0))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), numbers, delays),
        st.tuples(st.just("put_off"), numbers, delays),
        st.tuples(st.just("clear"), numbers, st.just(0)),
        st.tuples(
            st.just("run"), st.just(0), st.one_of(st.integers(0, 40), st.integers(0, 90_000))
        ),
    ),
    max_size=60,
)


@settings(max_examples=400, deadline=None)
@given(steps)
def test_each_timer_fires_once_and_never_early(script):
    wheel = WheelProbe(START_MS)
    now = START_MS
    due: dict[int, int] = {}
    for action, number, amount in script:
        if action == "run":
            now += amount
            fired = wheel.run(now)
            early = [n for n in fired if due[n] > now]
            late = [n for n, at in due.items() if n not in fired and at + 2 * TICK_MS <= now]
            assert not early, f"fired before their time: {early}"
            assert not late, f"more than two ticks late: {late}"
            for n in fired:
                del due[n]
        elif action == "clear":
            wheel.clear(number)
            due.pop(number, None)
        else:
            getattr(wheel, action)(number, now + amount)
            due[number] = max(now, now + amount)


def test_sleeps_until_the_next_timer_and_no_longer():
    wheel = WheelProbe(START_MS)
    assert wheel.wait_ms() == -1
    wheel.set(1, START_MS + 100)
    assert 100 <= wheel.wait_ms() < 100 + 2 * TICK_MS
    wheel.set(2, START_MS + 20)
    assert 20 <= wheel.wait_ms() < 20 + 2 * TICK_MS


def test_a_timer_beyond_one_round_waits_for_its_round():
    wheel = WheelProbe(START_MS)
    wheel.set(1, START_MS + 150_000)
    assert wheel.run(START_MS + 70_000) == []
    assert wheel.run(START_MS + 140_000) == []
    assert wheel.run(START_MS + 150_100) == [1]


def test_putting_off_to_earlier_moves_it():
    wheel = WheelProbe(START_MS)
    wheel.set(1, START_MS + 60_000)
    wheel.put_off(1, START_MS + 50)
    assert wheel.run(START_MS + 100) == [1]


def test_a_machine_that_slept_fires_all_that_is_due():
    wheel = WheelProbe(START_MS)
    for number in range(10):
        wheel.set(number, START_MS + number * 1000)
    assert wheel.run(START_MS + 3_600_000) == list(range(10))
