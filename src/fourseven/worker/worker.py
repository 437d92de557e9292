"""A worker: one thread that never holds the GIL, one epoll loop.

A turn: sleep until something is ready, take the current snapshot, run each ready source, run the
timers that are due, bury what was closed. The worker knows sources, timers and planes; it does not
know HTTP, nor what a relay is: a plane is a row of functions, one for each mode of a listener.

Listeners are not told to a worker by messages: when the snapshot has changed, the worker compares
the listeners it names with those it watches. Several workers watch one listening socket with
EPOLLEXCLUSIVE, level-triggered, so the kernel wakes one of them.

Laws: the snapshot of the turn is valid in this turn only. A fatal error is stored and told through
`fatal_fd`; control decides.
"""

import cython
from cython.cimports.fourseven.matching.table import match_scratch_drop, match_scratch_new
from cython.cimports.fourseven.native.atomics import (
    count,
    load_acquire_u32,
    store_release_i32,
    store_release_u32,
)
from cython.cimports.fourseven.native.linux import (
    EFD_CLOEXEC,
    EFD_NONBLOCK,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLLEXCLUSIVE,
    EPOLLIN,
    close,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
    eventfd,
    eventfd_read,
    eventfd_write,
)
from cython.cimports.fourseven.native.pages import pages_drop, pages_new
from cython.cimports.fourseven.protocols.message import Request, Response
from cython.cimports.fourseven.snapshot.cell import acquire, release
from cython.cimports.fourseven.snapshot.layout import (
    BACKENDS_MAX,
    LISTENERS_MAX,
    MODE_NONE,
    MODE_RELAY_UDP,
    ROUTES_MAX,
    SLOTS_MAX,
    Listener,
    Snapshot,
)
from cython.cimports.fourseven.tls.outward import Resumption
from cython.cimports.fourseven.worker.arrival import arrivals_stop
from cython.cimports.fourseven.worker.local import local_address
from cython.cimports.fourseven.worker.ring import ring_drop, ring_new
from cython.cimports.fourseven.worker.secure import resumptions_drop
from cython.cimports.fourseven.worker.tools import (
    buffers_drop,
    monotonic_ns,
    rest,
    timer_clear,
    timers_run,
    timers_wait_ms,
)
from cython.cimports.fourseven.worker.worker import (
    EVENTS_MAX,
    MODES,
    RUNNING,
    STOPPED,
    WHEEL_TICK_MS,
    BackendCounters,
    Dead,
    ListenerCounters,
    RouteCounters,
    SlotCounters,
    Source,
    Wheel,
    Worker,
    WorkerCounters,
    WorkerListener,
)
from cython.cimports.libc.errno import EINTR, errno
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t

# ---- made and dropped by control ----


def worker_new(shared, index, fatal_fd):
    worker: cython.pointer[Worker] = cython.cast(
        cython.pointer[Worker], pages_new(cython.sizeof(Worker))
    )
    worker.shared = shared
    worker.index = index
    worker.fatal_fd = fatal_fd
    worker.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    worker.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    shared.wake_fds[index] = worker.wake_fd
    if worker.epoll_fd < 0 or worker.wake_fd < 0:
        raise OSError(errno, "a worker needs an epoll and an eventfd descriptor")
    worker.wheel = cython.cast(cython.pointer[Wheel], pages_new(cython.sizeof(Wheel)))
    worker.request = cython.cast(cython.pointer[Request], pages_new(cython.sizeof(Request)))
    worker.response = cython.cast(cython.pointer[Response], pages_new(cython.sizeof(Response)))
    worker.counters = cython.cast(
        cython.pointer[WorkerCounters], pages_new(cython.sizeof(WorkerCounters))
    )
    worker.slot_counters = cython.cast(
        cython.pointer[SlotCounters], pages_new(SLOTS_MAX * cython.sizeof(SlotCounters))
    )
    worker.listener_counters = cython.cast(
        cython.pointer[ListenerCounters],
        pages_new(LISTENERS_MAX * cython.sizeof(ListenerCounters)),
    )
    worker.log_ring = ring_new()
    worker.span_ring = ring_new()
    worker.route_counters = cython.cast(
        cython.pointer[RouteCounters], pages_new(ROUTES_MAX * cython.sizeof(RouteCounters))
    )
    worker.backend_counters = cython.cast(
        cython.pointer[BackendCounters], pages_new(BACKENDS_MAX * cython.sizeof(BackendCounters))
    )
    worker.listeners = cython.cast(
        cython.pointer[WorkerListener], pages_new(LISTENERS_MAX * cython.sizeof(WorkerListener))
    )
    worker.resumptions = pages_new(SLOTS_MAX * cython.sizeof(Resumption))
    worker.scratch = match_scratch_new()
    worker.random = (monotonic_ns() ^ (cython.cast(uint64_t, index) << 32)) | 1
    return worker


def worker_drop(worker):
    close(worker.epoll_fd)
    close(worker.wake_fd)
    buffers_drop(worker)
    match_scratch_drop(worker.scratch)
    pages_drop(worker.wheel, cython.sizeof(Wheel))
    pages_drop(worker.request, cython.sizeof(Request))
    pages_drop(worker.response, cython.sizeof(Response))
    pages_drop(worker.counters, cython.sizeof(WorkerCounters))
    pages_drop(worker.slot_counters, SLOTS_MAX * cython.sizeof(SlotCounters))
    pages_drop(worker.listener_counters, LISTENERS_MAX * cython.sizeof(ListenerCounters))
    ring_drop(worker.log_ring)
    ring_drop(worker.span_ring)
    pages_drop(worker.route_counters, ROUTES_MAX * cython.sizeof(RouteCounters))
    pages_drop(worker.backend_counters, BACKENDS_MAX * cython.sizeof(BackendCounters))
    pages_drop(worker.listeners, LISTENERS_MAX * cython.sizeof(WorkerListener))
    resumptions_drop(worker)
    pages_drop(worker.resumptions, SLOTS_MAX * cython.sizeof(Resumption))
    pages_drop(worker, cython.sizeof(Worker))


def worker_wake(worker):
    eventfd_write(worker.wake_fd, 1)


# ---- the thread ----


def worker_run(worker):
    error: int32_t = start(worker)
    if error != 0:
        fail(worker, error)
    while error == 0 and load_acquire_u32(cython.address(worker.state)) == RUNNING:
        error = turn(worker)
    stop(worker)
    release(worker.seen)
    store_release_u32(cython.address(worker.state), STOPPED)


def start(worker):
    event = cython.declare(epoll_event)
    mode: cython.int
    error: int32_t
    set_time(worker)
    worker.wheel.tick = worker.now_ms // WHEEL_TICK_MS
    worker.wake.fd = worker.wake_fd
    worker.wake.ready = woken
    event.events = EPOLLIN
    event.data.ptr = cython.address(worker.wake)
    if epoll_ctl(worker.epoll_fd, EPOLL_CTL_ADD, worker.wake_fd, cython.address(event)) < 0:
        return errno
    for mode in range(MODES):
        if worker.planes[mode] is not cython.NULL:
            error = worker.planes[mode].start(worker)
            if error != 0:
                return error
    return 0


def stop(worker):
    mode: cython.int
    arrivals_stop(worker)
    for mode in range(MODES):
        if worker.planes[mode] is not cython.NULL:
            worker.planes[mode].stop(worker)
    bury_all(worker)
    for mode in range(MODES):
        if worker.planes[mode] is not cython.NULL and worker.planes[mode].drop is not cython.NULL:
            worker.planes[mode].drop(worker)


def fail(worker, error):
    store_release_i32(cython.address(worker.fatal), error)
    eventfd_write(worker.fatal_fd, 1)


def turn(worker):
    events = cython.declare(epoll_event[EVENTS_MAX])
    source: cython.pointer[Source]
    again: cython.pointer[Source]
    at: cython.int
    wait_ms: int32_t = 0 if worker.again is not cython.NULL else timers_wait_ms(worker)
    release(worker.seen)
    ready: cython.int = epoll_wait(worker.epoll_fd, events, EVENTS_MAX, wait_ms)
    if ready < 0 and errno == EINTR:
        # We were stopped and continued. What has come meanwhile goes before the timers that ran
        # out: whoever has kept his time is not to pay for ours.
        ready = epoll_wait(worker.epoll_fd, events, EVENTS_MAX, 0)
    if ready < 0 and errno != EINTR:
        fail(worker, errno)
        return errno
    set_time(worker)
    take_snapshot(worker)
    count(cython.address(worker.counters.turns), 1)
    again = worker.again
    worker.again = cython.NULL
    while again is not cython.NULL:
        source = again
        again = source.again
        source.queued = 0
        source.ready(worker, source, 0)
    for at in range(ready):
        source = cython.cast(cython.pointer[Source], events[at].data.ptr)
        source.ready(worker, source, events[at].events)
    timers_run(worker)
    while worker.late is not cython.NULL:
        source = worker.late
        worker.late = source.again
        source.queued = 0
        source.ready(worker, source, 0)
    bury_all(worker)
    return 0


def set_time(worker):
    worker.now_ns = monotonic_ns()
    worker.now_ms = worker.now_ns // 1000000


def woken(worker, source, events):
    value: uint64_t = 0
    mode: cython.int
    eventfd_read(source.fd, cython.address(value))
    for mode in range(MODES):
        if worker.planes[mode] is not cython.NULL and worker.planes[mode].woken is not cython.NULL:
            worker.planes[mode].woken(worker)


def bury_all(worker):
    dead: cython.pointer[Dead] = worker.dead
    after: cython.pointer[Dead]
    worker.dead = cython.NULL
    while dead is not cython.NULL:
        after = dead.next
        dead.bury(worker, dead)
        dead = after


# ---- the snapshot and its listeners ----


def take_snapshot(worker):
    snapshot: cython.pointer[Snapshot] = acquire(worker.shared, worker.seen)
    worker.snapshot = snapshot
    if snapshot is not cython.NULL and snapshot.generation != worker.generation:
        worker.generation = snapshot.generation
        set_listeners(worker, snapshot)
    if worker.draining == 0 and load_acquire_u32(cython.address(worker.shared.draining)):
        drain(worker)


def drain(worker):
    at: cython.int
    mode: cython.int
    worker.draining = 1
    for at in range(LISTENERS_MAX):
        if worker.listeners[at].open:
            shut(worker, cython.address(worker.listeners[at]))
    for mode in range(MODES):
        if worker.planes[mode] is not cython.NULL:
            worker.planes[mode].drain(worker)


def set_listeners(worker, snapshot):
    at: uint32_t
    plan: cython.pointer[Listener]
    listener: cython.pointer[WorkerListener]
    for at in range(snapshot.listener_count):
        plan = cython.address(snapshot.listeners[at])
        listener = cython.address(worker.listeners[plan.number])
        listener.plan = plan
        listener.generation = snapshot.generation
        # Given up and taken up again between two of our turns: the same number, another socket.
        if listener.open and own_fd(worker, plan) != listener.source.fd:
            shut(worker, listener)
    # What goes before what comes: a listener that changes its mode has another number and the same
    # socket, which epoll knows but once.
    for at in range(LISTENERS_MAX):
        listener = cython.address(worker.listeners[at])
        if listener.plan is not cython.NULL and listener.generation != snapshot.generation:
            shut(worker, listener)
            listener.plan = cython.NULL
    for at in range(snapshot.listener_count):
        plan = cython.address(snapshot.listeners[at])
        listener = cython.address(worker.listeners[plan.number])
        if not listener.open and not worker.draining and plan.mode < MODE_NONE:
            open_listener(worker, listener)


def own_fd(worker, plan):
    """This worker's socket of the listener, or -1."""
    at: uint32_t = worker.index if plan.mode == MODE_RELAY_UDP else 0
    return plan.fds[at] if at < plan.fd_count else -1


def open_listener(worker, listener):
    plan: cython.pointer[cython.const[Listener]] = listener.plan
    fd: int32_t = own_fd(worker, plan)
    if fd < 0 or worker.planes[plan.mode] is cython.NULL:
        return
    listener.source.fd = fd
    listener.source.ready = listener_ready
    listener.retry.fire = listener_retry
    listener.worker = worker
    listener.number = plan.number
    listener.mode = plan.mode
    listener.state = cython.address(worker.shared.listeners[plan.state])
    listener.counters = cython.address(worker.listener_counters[plan.number])
    local_address(listener.source.fd, cython.address(listener.local))
    if worker.planes[plan.mode].open(worker, listener) != 0:
        count(cython.address(worker.counters.accept_errors), 1)
        return
    listener.open = 1
    listen(worker, listener)


def listen(worker, listener):
    event = cython.declare(epoll_event)
    event.events = EPOLLIN | EPOLLEXCLUSIVE
    event.data.ptr = listener
    if not epoll_ctl(worker.epoll_fd, EPOLL_CTL_ADD, listener.source.fd, cython.address(event)):
        listener.source.registered = 1
    else:
        rest(worker, listener)  # the kernel has no room for it now: later again


def shut(worker, listener):
    event = cython.declare(epoll_event)
    if not listener.open:
        return
    event.events = 0
    if listener.source.registered:
        epoll_ctl(worker.epoll_fd, EPOLL_CTL_DEL, listener.source.fd, cython.address(event))
    timer_clear(worker, cython.address(listener.retry))
    listener.source.registered = 0
    listener.open = 0
    worker.planes[listener.mode].shut(worker, listener)


def listener_ready(worker, source, events):
    listener: cython.pointer[WorkerListener] = cython.cast(cython.pointer[WorkerListener], source)
    if listener.open and listener.plan is not cython.NULL:
        worker.planes[listener.mode].accept(worker, listener)


def listener_retry(worker, timer):
    listener: cython.pointer[WorkerListener] = retried(timer)
    if listener.open:
        listen(worker, listener)
