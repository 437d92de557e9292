"""What a plane asks of its worker: timers, buffers, watching, burial, random numbers, time.

Timers are a wheel of 4096 slots, 16 ms each (Varghese and Lauck 1987). Nearly every timeout of a
balancer is put off before it fires, so putting off must cost nothing: the owner writes a later
`due_ms` and the wheel re-files the timer when its old slot comes round.

Buffers are two sizes on free lists, last in first out, so that the hot ones stay in the cache. A
connection holds one only while bytes wait in it: an idle connection costs its record and no more.

Laws: everything here belongs to one thread. A source that was closed may still have an event in
the batch at hand, so `unwatch` mutes it and its memory is freed when the batch is over.
"""

import cython
from cython.cimports.fourseven.native.atomics import count
from cython.cimports.fourseven.native.linux import (
    CLOCK_MONOTONIC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLLET,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    IPPROTO_TCP,
    SO_LINGER,
    SOL_SOCKET,
    TCP_QUICKACK,
    clock_gettime,
    close,
    epoll_ctl,
    epoll_event,
    linger,
    setsockopt,
    timespec,
)
from cython.cimports.fourseven.worker.worker import (
    BUFFER_LARGE,
    BUFFER_SMALL,
    WHEEL_SLOTS,
    WHEEL_TICK_MS,
    Buffer,
    Source,
    Timer,
    Wheel,
)
from cython.cimports.libc.errno import errno
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import free, malloc

# ---- timers ----


def timer_set(worker, timer, due_ms):
    wheel: cython.pointer[Wheel] = worker.wheel
    tick: uint64_t = (due_ms + WHEEL_TICK_MS - 1) // WHEEL_TICK_MS
    at: uint32_t
    timer_clear(worker, timer)
    if tick <= wheel.tick:
        tick = wheel.tick + 1
    at = cython.cast(uint32_t, tick % WHEEL_SLOTS)
    timer.due_ms = due_ms
    timer.next = wheel.slots[at]
    timer.link = cython.address(wheel.slots[at])
    if timer.next is not cython.NULL:
        timer.next.link = cython.address(timer.next)
    wheel.slots[at] = timer
    wheel.occupied[at // 64] |= cython.cast(uint64_t, 1) << (at % 64)


def timer_clear(worker, timer):
    if timer.link is cython.NULL:
        return
    timer.link[0] = timer.next
    if timer.next is not cython.NULL:
        timer.next.link = timer.link
    timer.link = cython.NULL
    timer.next = cython.NULL


def timer_put_off(worker, timer, due_ms):
    if timer.link is not cython.NULL and due_ms >= timer.due_ms:
        timer.due_ms = due_ms
    else:
        timer_set(worker, timer, due_ms)


def timers_wait_ms(worker):
    """Milliseconds until the next slot with a timer, at most one round of the wheel; -1 if none."""
    wheel: cython.pointer[Wheel] = worker.wheel
    step: uint32_t = 0
    at: uint32_t
    word: uint64_t
    due_ms: uint64_t
    while step < WHEEL_SLOTS:
        at = cython.cast(uint32_t, (wheel.tick + 1 + step) % WHEEL_SLOTS)
        word = wheel.occupied[at // 64] >> (at % 64)
        if word == 0:
            step += 64 - at % 64
            continue
        step += trailing_zeros(word)
        due_ms = (wheel.tick + 1 + step) * WHEEL_TICK_MS
        return 0 if due_ms <= worker.now_ms else cython.cast(int32_t, due_ms - worker.now_ms)
    return -1


def timers_run(worker):
    wheel: cython.pointer[Wheel] = worker.wheel
    now: uint64_t = worker.now_ms // WHEEL_TICK_MS
    if now > wheel.tick + WHEEL_SLOTS:
        wheel.tick = now - WHEEL_SLOTS  # the machine slept: one round visits every slot
    while wheel.tick < now:
        wheel.tick += 1
        run_slot(worker, cython.cast(uint32_t, wheel.tick % WHEEL_SLOTS))


def run_slot(worker, at):
    wheel: cython.pointer[Wheel] = worker.wheel
    bit: uint64_t = cython.cast(uint64_t, 1) << (at % 64)
    due: cython.pointer[Timer] = cython.NULL
    timer: cython.pointer[Timer]
    if not wheel.occupied[at // 64] & bit:
        return
    due = wheel.slots[at]
    wheel.slots[at] = cython.NULL
    wheel.occupied[at // 64] &= ~bit
    if due is not cython.NULL:
        due.link = cython.address(due)
    while due is not cython.NULL:  # firing one may clear any other of them
        timer = due
        timer_clear(worker, timer)
        if timer.due_ms > worker.now_ms:
            timer_set(worker, timer, timer.due_ms)
        else:
            timer.fire(worker, timer)


# ---- buffers ----


def buffer_large(worker):
    buffer: cython.pointer[Buffer] = worker.free_large
    if buffer is not cython.NULL:
        worker.free_large = buffer.next
        worker.free_large_count -= 1
    else:
        if worker.counters.buffers_large >= BUFFERS_LARGE_MAX:
            count(cython.address(worker.counters.memory_refused), 1)
            return cython.NULL
        buffer = buffer_new(worker, BUFFER_LARGE, 1)
        if buffer is cython.NULL:
            return buffer
    count(cython.address(worker.counters.buffers_large), 1)
    buffer.start = 0
    buffer.end = 0
    return buffer


def buffer_small(worker):
    buffer: cython.pointer[Buffer] = worker.free_small
    if buffer is not cython.NULL:
        worker.free_small = buffer.next
        worker.free_small_count -= 1
    else:
        if worker.counters.buffers_small >= BUFFERS_SMALL_MAX:
            count(cython.address(worker.counters.memory_refused), 1)
            return cython.NULL
        buffer = buffer_new(worker, BUFFER_SMALL, 0)
        if buffer is cython.NULL:
            return buffer
    count(cython.address(worker.counters.buffers_small), 1)
    buffer.start = 0
    buffer.end = 0
    return buffer


def buffer_new(worker, capacity, large):
    whole: cython.size_t = cython.sizeof(Buffer) + capacity
    buffer: cython.pointer[Buffer] = cython.cast(cython.pointer[Buffer], malloc(whole))
    if buffer is cython.NULL:
        count(cython.address(worker.counters.memory_refused), 1)
        return buffer
    buffer.at = cython.cast(cython.p_char, buffer) + cython.sizeof(Buffer)
    buffer.capacity = capacity
    buffer.large = large
    return buffer


def buffer_free(worker, buffer):
    if buffer is cython.NULL:
        return
    if buffer.large:
        count(cython.address(worker.counters.buffers_large), cython.cast(uint64_t, -1))
        if worker.free_large_count >= FREE_LARGE_MAX:
            free(buffer)
            return
        buffer.next = worker.free_large
        worker.free_large = buffer
        worker.free_large_count += 1
        return
    count(cython.address(worker.counters.buffers_small), cython.cast(uint64_t, -1))
    if worker.free_small_count >= FREE_SMALL_MAX:
        free(buffer)
        return
    buffer.next = worker.free_small
    worker.free_small = buffer
    worker.free_small_count += 1


def buffers_drop(worker):
    """Gives the free lists back to the system."""
    buffer: cython.pointer[Buffer]
    while worker.free_large is not cython.NULL:
        buffer = worker.free_large
        worker.free_large = buffer.next
        free(buffer)
    while worker.free_small is not cython.NULL:
        buffer = worker.free_small
        worker.free_small = buffer.next
        free(buffer)
    worker.free_large_count = 0
    worker.free_small_count = 0


# ---- sources ----


def watch(worker, source):
    event = cython.declare(epoll_event)
    if source.registered:
        return 0
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
    event.data.ptr = source
    if epoll_ctl(worker.epoll_fd, EPOLL_CTL_ADD, source.fd, cython.address(event)) < 0:
        return errno
    source.registered = 1
    return 0


def unwatch(worker, source):
    link: cython.pointer[cython.pointer[Source]] = cython.address(worker.again)
    if source.queued == 2:
        link = cython.address(worker.late)
    if source.fd >= 0:
        close(source.fd)  # epoll forgets it by itself
    source.fd = -1
    source.registered = 0
    source.ready = muted
    if not source.queued:
        return
    while link[0] is not cython.NULL:
        if link[0] == source:
            link[0] = source.again
            break
        link = cython.address(link[0].again)
    source.queued = 0


def muted(worker, source, events):
    """The owner has closed it in this very batch."""


def reset_on_close(fd):
    """An orderly end would look like an empty answer."""
    now: linger
    now.l_onoff = 1
    now.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, cython.address(now), cython.sizeof(linger))


def acknowledge(fd):
    """What has come is acknowledged now, and not after the kernel's 40 ms."""
    one: cython.int = 1
    setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, cython.address(one), cython.sizeof(one))


def run_again(worker, source):
    if source.queued:
        return
    source.queued = 1
    source.again = worker.again
    worker.again = source


def run_late(worker, source):
    if source.queued:
        return
    source.queued = 2
    source.again = worker.late
    worker.late = source


def rest(worker, listener):
    event = cython.declare(epoll_event)
    event.events = 0
    if listener.source.registered:
        epoll_ctl(worker.epoll_fd, EPOLL_CTL_DEL, listener.source.fd, cython.address(event))
        listener.source.registered = 0
    timer_set(worker, cython.address(listener.retry), worker.now_ms + REST_MS)


def bury(worker, dead):
    dead.next = worker.dead
    worker.dead = dead


# ---- numbers and time ----


def random_next(worker):
    """xorshift64*: quick, good enough to spread load, and no secret depends on it."""
    x: uint64_t = worker.random
    x ^= x >> 12
    x ^= x << 25
    x ^= x >> 27
    worker.random = x
    return x * RANDOM_FACTOR


def monotonic_ns():
    now = cython.declare(timespec)
    clock_gettime(CLOCK_MONOTONIC, cython.address(now))
    return cython.cast(uint64_t, now.tv_sec) * NS_PER_S + cython.cast(uint64_t, now.tv_nsec)
