"""The window through which tests look at a worker's timers, with time passed in.

It owns a worker that has a wheel and nothing else: no thread, no descriptor, no clock.
"""

import cython
from cython.cimports.fourseven.worker.probe import TIMERS
from cython.cimports.fourseven.worker.tools import (
    timer_clear,
    timer_put_off,
    timer_set,
    timers_run,
    timers_wait_ms,
)
from cython.cimports.fourseven.worker.worker import WHEEL_TICK_MS
from cython.cimports.libc.stdint import uint64_t


@cython.cclass
class WheelProbe:
    """A wheel of timers 0 to 63, at a time that the test says."""

    def __init__(self, now_ms: uint64_t):
        at: cython.int
        self.worker.wheel = cython.address(self.wheel)
        self.worker.now_ms = now_ms
        self.wheel.tick = now_ms // WHEEL_TICK_MS
        for at in range(TIMERS):
            self.timers[at].fire = fired

    def set(self, number: cython.int, due_ms: uint64_t) -> None:
        self.check_number(number)
        timer_set(cython.address(self.worker), cython.address(self.timers[number]), due_ms)

    def put_off(self, number: cython.int, due_ms: uint64_t) -> None:
        self.check_number(number)
        timer_put_off(cython.address(self.worker), cython.address(self.timers[number]), due_ms)

    def clear(self, number: cython.int) -> None:
        self.check_number(number)
        timer_clear(cython.address(self.worker), cython.address(self.timers[number]))

    def wait_ms(self) -> int:
        """What the loop would sleep."""
        return timers_wait_ms(cython.address(self.worker))

    def run(self, now_ms: uint64_t) -> list:
        """Moves the time on; the numbers of the timers that fired."""
        at: cython.int
        for at in range(TIMERS):
            if self.timers[at].link is cython.NULL:
                self.timers[at].due_ms = 0
        armed = {at for at in range(TIMERS) if self.timers[at].link is not cython.NULL}
        self.worker.now_ms = now_ms
        timers_run(cython.address(self.worker))
        return sorted(at for at in armed if self.timers[at].link is cython.NULL)

    def check_number(self, number):
        if not 0 <= number < TIMERS:
            raise IndexError(number)
        return 0


def fired(worker, timer):
    """The test sees that it is no longer armed."""
