"""The data plane as control sees it: start it, publish a plan to it, drain it, stop it.

Control speaks to its workers through memory alone. This class owns that memory: the cell with the
snapshots and the slots, and the workers' records. It is the only place where Python and the worker
threads touch, so what may be done in which order stands here.

Laws: one thread (control) calls it. Workers are joined before any memory goes. The descriptors that
a plan names stay open until a later plan has been published and `reclaim` says 0.
"""

import itertools
import os
import signal
import threading
import time
from array import array

import cython
from cython.cimports.fourseven.compiler.pack import pack
from cython.cimports.fourseven.l4.relay import relay_tcp_plane, relay_udp_plane
from cython.cimports.fourseven.l7.gate_token import tokens_of_unknown_keys
from cython.cimports.fourseven.l7.http import http_plane
from cython.cimports.fourseven.l7.http2 import http2_prepare
from cython.cimports.fourseven.native.atomics import (
    load_acquire_i32,
    load_acquire_i64,
    load_acquire_u32,
    load_i64,
    load_relaxed,
    load_relaxed_u32,
    store_relaxed,
    store_relaxed_u32,
    store_release_u32,
)
from cython.cimports.fourseven.native.linux import close
from cython.cimports.fourseven.snapshot.cell import Cell
from cython.cimports.fourseven.snapshot.layout import (
    MODE_HTTP,
    MODE_RELAY_TCP,
    MODE_RELAY_UDP,
    BackendState,
    Circuit,
    Slot,
    Snapshot,
)
from cython.cimports.fourseven.snapshot.names import Names
from cython.cimports.fourseven.tls.tickets import ring_drop, ring_new, ring_rotate
from cython.cimports.fourseven.worker.secure import secure_prepare
from cython.cimports.fourseven.worker.worker import (
    MODES,
    RUNNING,
    STOPPING,
    BackendCounters,
    ListenerCounters,
    Plane,
    RouteCounters,
    SlotCounters,
    Worker,
    WorkerCounters,
    worker_drop,
    worker_new,
    worker_run,
    worker_wake,
)
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.string import memcpy, memset

from fourseven.control.address import resolve
from fourseven.control.numbers import Numbers
from fourseven.l7.compressed import Skip
from fourseven.observe.log import AccessLog
from fourseven.observe.spans import Spans
from fourseven.protocols.http1 import Fault
from fourseven.worker.secure import TlsFault
from fourseven.worker.worker import Reason


@cython.cclass
class DataPlane:
    """The workers and all memory that they share with control."""

    def __cinit__(self, workers: cython.int):
        at: cython.int
        mode: cython.int
        planes = cython.declare(cython.pointer[cython.const[Plane]][MODES])
        self.cell = Cell(workers)
        secure_prepare()
        http2_prepare()
        self.tickets = ring_new()
        self.cell.shared.tickets = self.tickets
        self.names = Names()
        self.cell.shared.names = cython.address(self.names.table)
        self.fatal_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.numbers = Numbers()
        self.threads = []
        for mode in range(MODES):
            planes[mode] = cython.NULL
        planes[cython.cast(cython.int, MODE_HTTP)] = http_plane()
        planes[cython.cast(cython.int, MODE_RELAY_TCP)] = relay_tcp_plane()
        planes[cython.cast(cython.int, MODE_RELAY_UDP)] = relay_udp_plane()
        for at in range(workers):
            self.workers[at] = worker_new(self.cell.shared, at, self.fatal_fd)
            self.workers[at].seen = cython.address(self.cell.seen[at])
            for mode in range(MODES):
                self.workers[at].planes[mode] = planes[mode]
            self.worker_count = at + 1
        log_rings = []
        span_rings = []
        for at in range(workers):
            log_rings.append(cython.cast(cython.size_t, self.workers[at].log_ring))
            span_rings.append(cython.cast(cython.size_t, self.workers[at].span_ring))
        self.log = AccessLog(log_rings)
        self.spans = Spans(span_rings)

    def __dealloc__(self):
        at: cython.int
        for at in range(self.worker_count):
            worker_drop(self.workers[at])
        ring_drop(self.tickets)
        if self.fatal_fd > 0:
            close(self.fatal_fd)  # the kernel's: at the program's end Python's modules are gone

    def start(self) -> None:
        """Starts the threads; they block every signal, for signals belong to control."""
        at: cython.int
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for at in range(self.worker_count):
                thread = threading.Thread(
                    target=enter,
                    args=(cython.cast(cython.size_t, self.workers[at]),),
                    name=f"worker-{at}",
                )
                thread.start()
                self.threads.append(thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def publish(self, plan, fds, out=frozenset()) -> None:
        """Makes the plan the current one. Servers in `out`, (backend, address), begin unusable.

        `fds` gives for each listener's name its sockets: one for each TCP bind, and one for each
        worker for a UDP bind, in the order of `bind`. ValueError or OSError (a server's name that
        does not resolve) leave everything as it was.
        """
        at: cython.int
        snapshot: cython.pointer[Snapshot]
        sockets = {
            one.name: by_bind(one, fds[one.name], self.worker_count) for one in plan.listeners
        }
        addresses = {
            (backend.name, server.address): resolve(server.address)
            for backend in plan.backends
            for server in backend.servers
        }
        snapshot = pack(plan, self.numbers, sockets, self.generation + 1, self.cell.shared)
        for backend in plan.backends:
            self.set_backend(self.numbers.backend(backend.name), backend)
            for server in backend.servers:
                number = self.numbers.slot(backend.name, server)
                key = (backend.name, server.address)
                self.set_server(number, (server, addresses[key], key not in out))
                self.cell.shared.slots[number].backend = self.numbers.backend(backend.name)
        self.names.use(self.numbers)
        self.generation += 1
        self.cell.swap(snapshot)
        self.plan = plan
        self.wake()

    def set_backend(self, number, backend):
        """What control knows of a backend, into its state."""
        state: cython.pointer[BackendState] = cython.address(self.cell.shared.backends[number])
        most = backend.resilience.connections_max if backend.resilience is not None else 0
        store_relaxed_u32(cython.address(state.idle_share), most // self.worker_count)
        return 0

    def set_server(self, number, server):
        """What control knows of a server, into its slot."""
        slot: cython.pointer[Slot] = cython.address(self.cell.shared.slots[number])
        said, sockaddr, usable = server
        raw: bytes = sockaddr
        at: cython.p_const_char = raw
        store_relaxed_u32(cython.address(slot.max_in_flight), said.max_in_flight)
        share = said.max_connections // self.worker_count if said.max_connections else 0
        store_relaxed_u32(cython.address(slot.idle_share), share)
        store_relaxed_u32(cython.address(slot.connections_max), said.max_connections)
        if slot.sockaddr_size == 0:
            memset(cython.address(slot.sockaddr[0]), 0, 112)
            memcpy(cython.address(slot.sockaddr[0]), at, len(raw))
            slot.sockaddr_size = len(raw)
            store_relaxed_u32(cython.address(slot.cut), 0)
            store_release_u32(cython.address(slot.usable), usable)
        return 0

    def order(self, backend: str, address: str, order) -> None:
        """What a server of the current plan may do from now on (health.standing.Order); what runs
        there goes on, but for Layer 4's connections and flows where they are to be cut."""
        number = self.numbers.slots.taken[backend, address]
        slot: cython.pointer[Slot] = cython.address(self.cell.shared.slots[number])
        spared = 1024 - 1024 * order.share // 1000
        store_relaxed_u32(cython.address(slot.share), spared)
        store_relaxed_u32(cython.address(slot.persists), order.persists)
        store_release_u32(cython.address(slot.usable), order.usable)
        if order.cut == load_relaxed_u32(cython.address(slot.cut)):
            return
        store_relaxed_u32(cython.address(slot.cut), order.cut)
        if order.cut:
            said = load_relaxed_u32(cython.address(self.cell.shared.cuts)) + 1
            store_release_u32(cython.address(self.cell.shared.cuts), said & 0xFFFFFFFF)
            self.wake()

    def in_flight(self, backend: str, address: str) -> int:
        """Requests (L7) or connections (L4) at a server just now; 0 for one that is not known."""
        number = self.numbers.slots.taken.get((backend, address), -1)
        if number < 0:
            return 0
        return load_i64(cython.address(self.cell.shared.slots[number].in_flight))

    # ---- what those ask who judge servers by their answers (control.ejection) ----

    def slots_of(self, backend: str, addresses):
        """Slot numbers of servers of the current plan."""
        return array("I", [self.numbers.slots.taken[backend, one] for one in addresses])

    def failing(self, slots: cython.uint[::1], in_a_row: cython.uint) -> list:
        """Places of those that had so many errors, one after the other, and nothing good since."""
        at: cython.Py_ssize_t
        slot: cython.pointer[Slot]
        found = []
        for at in range(slots.shape[0]):
            slot = cython.address(self.cell.shared.slots[slots[at]])
            if load_relaxed_u32(cython.address(slot.errors_row)) >= in_a_row:
                found.append(at)
        return found

    def forgive(self, slot: cython.uint) -> None:
        """Its errors in a row are over."""
        store_relaxed_u32(cython.address(self.cell.shared.slots[slot].errors_row), 0)

    def tally(
        self,
        slots: cython.uint[::1],
        before: cython.ulonglong[::1],
        window: cython.double[::1],
        kept: cython.double,
    ) -> None:
        """What was counted since the last time, added to windows that keep a part of theirs.

        Three numbers for each server: answers, errors among them, and the sum of their response
        times in nanoseconds. `before` is what was counted then, and is now.
        """
        at: cython.Py_ssize_t
        i: cython.Py_ssize_t
        counted = cython.declare(uint64_t[3])
        for at in range(slots.shape[0]):
            tally_of(self, slots[at], cython.address(counted[0]))
            for i in range(3):
                window[3 * at + i] = window[3 * at + i] * kept + (counted[i] - before[3 * at + i])
                before[3 * at + i] = counted[i]

    def loads(self, slots: cython.uint[::1], expires_ms: cython.longlong) -> list:
        """How busy each server says it is (1: as much as it can do); None: it says nothing, or has
        not for this time."""
        at: cython.Py_ssize_t
        heard_ms: cython.longlong
        slot: cython.pointer[Slot]
        now_ms: cython.longlong = time.monotonic_ns() // 1_000_000
        found: list = []
        for at in range(slots.shape[0]):
            slot = cython.address(self.cell.shared.slots[slots[at]])
            heard_ms = load_relaxed(cython.address(slot.load_at_ms))
            if heard_ms == 0 or heard_ms + expires_ms < now_ms:
                found.append(None)
            else:
                found.append(load_relaxed_u32(cython.address(slot.load)) / 1024.0)
        return found

    def use_secret(self, secret: bytes) -> None:
        """What signs cookies where the file has no secret; before the first plan."""
        self.numbers.secrets = (secret,)

    def rotate_tickets(self) -> None:
        """A new key for TLS tickets; those of the last two stay good."""
        ring_rotate(self.tickets)

    def wake(self) -> None:
        """Makes every worker begin a turn, so that it takes the current snapshot."""
        at: cython.int
        for at in range(self.worker_count):
            worker_wake(self.workers[at])

    def turns(self) -> list:
        """How many turns each worker has begun; all it did in those before is done, and counted."""
        at: cython.int
        begun: list = []
        for at in range(self.worker_count):
            begun.append(load_relaxed(cython.address(self.workers[at].counters.turns)))
        return begun

    def reclaim(self) -> int:
        """Frees what no worker can see any more; says how many snapshots still wait."""
        slot: cython.pointer[Slot]
        waiting = self.cell.reclaim()
        if waiting == 0 and self.plan is not None:
            self.names.free_retired()
            for number in self.numbers.release(self.plan, self):
                slot = cython.address(self.cell.shared.slots[number])
                store_release_u32(cython.address(slot.usable), 0)
                slot.sockaddr_size = 0
                store_relaxed_u32(cython.address(slot.share), 0)
                store_relaxed_u32(cython.address(slot.persists), 0)
                store_relaxed_u32(cython.address(slot.errors_row), 0)
                store_relaxed(cython.address(slot.ewma_ns), 0)
                store_relaxed(cython.address(slot.load_at_ms), 0)
                close_circuit(cython.address(slot.circuit))
                # pooled connections of the old server are closed, not used
                store_relaxed_u32(cython.address(slot.generation), slot.generation + 1)
        return waiting

    def slot(self, number: cython.int) -> bool:
        """Whether nothing is in flight at this slot."""
        return load_i64(cython.address(self.cell.shared.slots[number].in_flight)) == 0

    def backend(self, number: cython.int) -> bool:
        """Whether nothing is in flight at this backend."""
        return load_i64(cython.address(self.cell.shared.backends[number].in_flight)) == 0

    def listener(self, number: cython.int) -> bool:
        """Whether no session is open at this listener."""
        return load_i64(cython.address(self.cell.shared.listeners[number].sessions)) == 0

    def route(self, number: cython.int) -> bool:
        """Whether no request speaks of this route any more."""
        at: cython.int
        begun: cython.longlong = 0
        for at in range(self.worker_count):
            counters = cython.address(self.workers[at].route_counters[number])
            begun += load_relaxed(cython.address(counters.begun))
            begun -= load_relaxed(cython.address(counters.ended))
        return begun == 0

    def drain(self) -> None:
        """Accept nothing more, close what is idle, let the rest finish."""
        store_release_u32(cython.address(self.cell.shared.draining), 1)
        self.wake()

    def busy(self) -> int:
        """Sessions that a drain still waits for, over all workers."""
        at: cython.int
        busy: cython.longlong = 0
        for at in range(self.worker_count):
            counters = self.workers[at].counters
            busy += load_relaxed(cython.address(counters.sessions_opened))
            busy -= load_relaxed(cython.address(counters.sessions_closed))
            busy += load_relaxed(cython.address(counters.arrivals))
        return busy

    def unknown_keys(self) -> int:
        """Tokens that named a key which their set does not hold, since the start."""
        return tokens_of_unknown_keys()

    def stop(self) -> None:
        """Cuts what is left and joins the threads."""
        at: cython.int
        for at in range(self.worker_count):
            if load_acquire_u32(cython.address(self.workers[at].state)) == RUNNING:
                store_release_u32(cython.address(self.workers[at].state), STOPPING)
        self.wake()
        for thread in self.threads:
            thread.join()
        self.threads = []
        self.log.stop()

    def counters(self) -> dict:
        """What has been counted since the start, summed over the workers.

        `{"workers": {...}, "listeners": {name: {...}}, "routes": {(listener, route): {...}},
        "backends": {name: {...}}, "servers": {(backend, address): {...}}}`; the names are those of
        worker.h. A server also has `in_flight`, `ewma_ns` and `circuit_open` (1: it is, or waits
        for the request that finds out), a backend `in_flight`, `waiting` (in its queue) and
        `retrying` (on the budget's account), the workers `filters_held` (requests that a filter
        counts as its own, each as often as there are such), a listener `sessions`; `reasons` of a
        route are by name, those that have occurred.

        The parts are not of one moment, but of one order: what is in flight is read before what has
        been counted, of the backends before the workers. So where nothing was in flight when it was
        asked for, the totals hold all that had ended until then.
        """
        backends = {
            key: backend_counters(self, n) for key, n in self.numbers.backends.taken.items()
        }
        servers = {key: server_counters(self, n) for key, n in self.numbers.slots.taken.items()}
        routes = {key: route_counters(self, n) for key, n in self.numbers.routes.taken.items()}
        workers: dict = {}
        counted: dict
        now = cython.declare(WorkerCounters)
        at: cython.int
        accepted: list = []
        for at in range(self.worker_count):
            read_words(
                cython.address(now), self.workers[at].counters, cython.sizeof(WorkerCounters)
            )
            counted = now
            accepted.append(counted["accepted"])
            add(workers, counted)
        if workers:
            workers["accepted_by_worker"] = accepted
            workers["filters_held"] = self.numbers.kept.held()
            name_rows(workers)
        listeners: dict = {}
        for (name, _, _), number in self.numbers.listeners.taken.items():
            add_listener(self, listeners.setdefault(name, {}), number)
        for name, number in self.numbers.states.taken.items():
            at = number
            listeners.setdefault(name, {})["sessions"] = load_i64(
                cython.address(self.cell.shared.listeners[at].sessions)
            )
        return {
            "workers": workers,
            "listeners": listeners,
            "routes": routes,
            "backends": backends,
            "servers": servers,
        }

    def fatal(self) -> int:
        """The errno of a worker that could not go on, or 0."""
        at: cython.int
        for at in range(self.worker_count):
            error = load_acquire_i32(cython.address(self.workers[at].fatal))
            if error:
                return error
        return 0


def name_rows(workers: dict) -> None:
    """What is counted by kind has the kinds' names."""
    for row, prefix, kinds, first in (
        ("faults", "FAULT_", Fault, 0),
        ("uncompressed", "SKIP_", Skip, 1),
        ("tls_faults", "TLS_", TlsFault, 0),
        ("tls_server_faults", "TLS_", TlsFault, 0),
    ):
        names = [kind.name.removeprefix(prefix).lower() for kind in kinds]
        workers[row] = dict(itertools.islice(zip(names, workers[row], strict=False), first, None))


@cython.cfunc
@cython.exceptval(check=False)
def tally_of(plane: DataPlane, slot: cython.uint, sums: cython.pointer[uint64_t]) -> cython.void:
    """Answers, errors and nanoseconds of a slot, over all workers."""
    at: cython.int
    sums[0] = sums[1] = sums[2] = 0
    for at in range(plane.worker_count):
        counters = cython.address(plane.workers[at].slot_counters[slot])
        sums[0] += load_relaxed(cython.address(counters.tries))
        sums[1] += load_relaxed(cython.address(counters.errors))
        sums[2] += load_relaxed(cython.address(counters.latency_ns))


@cython.cfunc
@cython.exceptval(check=False)
def is_open(circuit: cython.pointer[Circuit]) -> cython.int:
    """Half open counts as open: it has not proved that all is well."""
    return load_relaxed(cython.address(circuit.open_until_ms)) != 0


@cython.cfunc
@cython.exceptval(check=False)
def close_circuit(circuit: cython.pointer[Circuit]) -> cython.void:
    """It is another's from now on."""
    store_relaxed(cython.address(circuit.open_until_ms), 0)
    store_relaxed(cython.address(circuit.window_ms), 0)
    store_relaxed_u32(cython.address(circuit.probing), 0)


@cython.cfunc
def add_listener(plane: DataPlane, sums: dict, number: cython.int):
    at: cython.int
    now = cython.declare(ListenerCounters)
    size: cython.size_t = cython.sizeof(ListenerCounters)
    memset(cython.address(now), 0, size)
    for at in range(plane.worker_count):
        counters = cython.address(plane.workers[at].listener_counters[number])
        add_words(cython.address(now), counters, size)
    add(sums, now)


@cython.cfunc
def server_counters(plane: DataPlane, number: cython.int) -> dict:
    at: cython.int
    slot: cython.pointer[Slot] = cython.address(plane.cell.shared.slots[number])
    now = cython.declare(SlotCounters)
    size: cython.size_t = cython.sizeof(SlotCounters)
    in_flight: cython.longlong = load_acquire_i64(cython.address(slot.in_flight))
    sums: dict
    memset(cython.address(now), 0, size)
    for at in range(plane.worker_count):
        counters = cython.address(plane.workers[at].slot_counters[number])
        add_words(cython.address(now), counters, size)
    sums = now
    sums["in_flight"] = in_flight
    sums["circuit_open"] = is_open(cython.address(slot.circuit))
    sums["ewma_ns"] = load_relaxed(cython.address(slot.ewma_ns))
    return sums


@cython.cfunc
def route_counters(plane: DataPlane, number: cython.int) -> dict:
    """One that nobody has asked for says so alone: a file may have ten thousand."""
    at: cython.int
    now = cython.declare(RouteCounters)
    size: cython.size_t = cython.sizeof(RouteCounters)
    sums: dict
    memset(cython.address(now), 0, size)
    for at in range(plane.worker_count):
        counters = cython.address(plane.workers[at].route_counters[number])
        add_words(cython.address(now), counters, size)
    if now.begun == 0:
        return {"begun": 0, "ended": 0}
    sums = now
    sums["reasons"] = {
        reason.name.removeprefix("REASON_").lower(): sums["reasons"][reason]
        for reason in Reason
        if sums["reasons"][reason]
    }
    return sums


@cython.cfunc
def backend_counters(plane: DataPlane, number: cython.int) -> dict:
    at: cython.int
    now = cython.declare(BackendCounters)
    size: cython.size_t = cython.sizeof(BackendCounters)
    state: cython.pointer[BackendState] = cython.address(plane.cell.shared.backends[number])
    in_flight: cython.longlong = load_acquire_i64(cython.address(state.in_flight))
    waiting: cython.longlong = load_acquire_i64(cython.address(state.waiting))
    retrying: cython.longlong = load_acquire_i64(cython.address(state.retrying))
    sums: dict
    memset(cython.address(now), 0, size)
    for at in range(plane.worker_count):
        counters = cython.address(plane.workers[at].backend_counters[number])
        add_words(cython.address(now), counters, size)
    sums = now
    sums["in_flight"] = in_flight
    sums["waiting"] = waiting
    sums["retrying"] = retrying
    sums["circuit_open"] = is_open(cython.address(state.circuit))
    return sums


@cython.cfunc
@cython.exceptval(check=False)
def add_words(to: cython.p_void, words: cython.p_void, size: cython.size_t) -> cython.void:
    """Adds counters that their worker goes on counting: word by word, each of them whole."""
    sums: cython.pointer[uint64_t] = cython.cast(cython.pointer[uint64_t], to)
    counted: cython.pointer[uint64_t] = cython.cast(cython.pointer[uint64_t], words)
    at: cython.size_t
    for at in range(size // 8):
        sums[at] += load_relaxed(cython.address(counted[at]))


@cython.cfunc
@cython.exceptval(check=False)
def read_words(to: cython.p_void, words: cython.p_void, size: cython.size_t) -> cython.void:
    """A copy of counters that their worker goes on counting: word by word, each of them whole."""
    copied: cython.pointer[uint64_t] = cython.cast(cython.pointer[uint64_t], to)
    counted: cython.pointer[uint64_t] = cython.cast(cython.pointer[uint64_t], words)
    at: cython.size_t
    for at in range(size // 8):
        copied[at] = load_relaxed(cython.address(counted[at]))


def add(sums: dict, counted: dict) -> None:
    """Adds a record's words to the sums; a record's list is added element by element."""
    for name, value in counted.items():
        if isinstance(value, list):
            before = sums.get(name, [0] * len(value))
            sums[name] = [a + b for a, b in zip(before, value, strict=True)]
        else:
            sums[name] = sums.get(name, 0) + value


def enter(worker: cython.size_t) -> None:
    """The thread: it leaves Python's world until it is stopped."""
    with cython.nogil:
        worker_run(cython.cast(cython.pointer[Worker], worker))


def by_bind(listener, fds: list, workers: int) -> list:
    """The listener's flat list of sockets, as one list for each bind."""
    left = list(fds)
    sockets = []
    for bind in listener.bind:
        count = workers if bind.startswith("udp://") else 1
        if len(left) < count:
            raise ValueError(f"listener {listener.name}: {len(fds)} sockets are too few")
        sockets.append(left[:count])
        left = left[count:]
    return sockets
