"""The one place where the two halves meet: publish, acquire, retire.

Control swaps a pointer; workers load it once a turn. The question is when the old snapshot may be
freed. Each worker writes down the epoch of its turn (or OFFLINE while it sleeps in the kernel), and
control moves the epoch on with each publish. When every worker is OFFLINE or has begun a turn in a
later epoch, none can hold the old pointer: quiescent-state reclamation, no lock, no counter on the
hot path.

One thing outlives a turn: a request between its routing and the end of its response head needs the
very route that chose its server. Such a stream pins its snapshot (a count for each worker). A pin
can only be taken while the worker holds the snapshot, so once the epoch has passed, pins only fall.

Laws: the worker stores `seen` before it loads the pointer, both sequentially consistent, or control
could free between the two. Control alone publishes, retires and frees.

Source: McKenney and Slingwine 1998 (RCU); Hart et al. 2007 (QSBR).
"""

import cython
from cython.cimports.fourseven.native.arena import Arena, arena_drop
from cython.cimports.fourseven.native.atomics import (
    fetch_add_seq,
    load_acquire_i64,
    load_seq,
    store_release,
    store_seq,
)
from cython.cimports.fourseven.native.linux import aligned_alloc
from cython.cimports.fourseven.native.pages import pages_drop, pages_new
from cython.cimports.fourseven.snapshot.cell import OFFLINE, Retired, Seen, Shared
from cython.cimports.fourseven.snapshot.layout import (
    BACKENDS_MAX,
    LISTENERS_MAX,
    SLOTS_MAX,
    WORKERS_MAX,
    BackendState,
    ListenerState,
    Slot,
    Snapshot,
)
from cython.cimports.fourseven.snapshot.pointer import exchange_snapshot, load_snapshot
from cython.cimports.libc.stdint import uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memset


def acquire(shared, seen):
    store_seq(cython.address(seen.epoch), load_seq(cython.address(shared.epoch)))
    return load_snapshot(cython.address(shared.current))


def release(seen):
    store_release(cython.address(seen.epoch), OFFLINE)


@cython.cclass
class Cell:
    """Owns the shared words, the slots and every snapshot that is still in use."""

    def __cinit__(self, worker_count: cython.int):
        if not 1 <= worker_count <= WORKERS_MAX:
            raise ValueError(f"a data plane has 1 to {WORKERS_MAX} workers")
        self.shared = cython.cast(cython.pointer[Shared], lines(cython.sizeof(Shared)))
        self.seen = cython.cast(cython.pointer[Seen], lines(worker_count * cython.sizeof(Seen)))
        self.worker_count = worker_count
        self.shared.epoch = 1
        self.shared.slots = cython.cast(
            cython.pointer[Slot], pages_new(SLOTS_MAX * cython.sizeof(Slot))
        )
        self.shared.backends = cython.cast(
            cython.pointer[BackendState], pages_new(BACKENDS_MAX * cython.sizeof(BackendState))
        )
        self.shared.listeners = cython.cast(
            cython.pointer[ListenerState], pages_new(LISTENERS_MAX * cython.sizeof(ListenerState))
        )

    def __dealloc__(self):
        """The workers must have stopped."""
        node: cython.pointer[Retired] = self.retired
        after: cython.pointer[Retired]
        while node is not cython.NULL:
            after = node.next
            drop(node.snapshot)
            free(node)
            node = after
        if self.shared is not cython.NULL:
            drop(self.shared.current)
            pages_drop(self.shared.slots, SLOTS_MAX * cython.sizeof(Slot))
            pages_drop(self.shared.backends, BACKENDS_MAX * cython.sizeof(BackendState))
            pages_drop(self.shared.listeners, LISTENERS_MAX * cython.sizeof(ListenerState))
            free(self.shared)
        free(self.seen)

    def swap(self, snapshot):
        """Makes the snapshot current; the old one waits until no worker can see it."""
        node: cython.pointer[Retired] = cython.cast(
            cython.pointer[Retired], calloc(1, cython.sizeof(Retired))
        )
        if node is cython.NULL:
            raise MemoryError
        node.snapshot = exchange_snapshot(cython.address(self.shared.current), snapshot)
        node.epoch = fetch_add_seq(cython.address(self.shared.epoch), 1) + 1
        node.next = self.retired
        self.retired = node
        self.retired_count += 1
        return 0

    def oldest_seen(self):
        at: cython.int
        seen: uint64_t
        oldest: uint64_t = load_seq(cython.address(self.shared.epoch))
        for at in range(self.worker_count):
            seen = load_seq(cython.address(self.seen[at].epoch))
            if seen != OFFLINE and seen < oldest:
                oldest = seen
        return oldest

    def pinned(self, snapshot):
        at: cython.int
        if snapshot is cython.NULL:
            return False
        for at in range(self.worker_count):
            if load_acquire_i64(cython.address(snapshot.pins[at].count)) != 0:
                return True
        return False

    def reclaim(self) -> int:
        """Frees what no worker can see any more; says how many still wait."""
        oldest: uint64_t = self.oldest_seen()
        link: cython.pointer[cython.pointer[Retired]] = cython.address(self.retired)
        node: cython.pointer[Retired]
        while link[0] is not cython.NULL:
            node = link[0]
            if node.epoch <= oldest and not self.pinned(node.snapshot):
                link[0] = node.next
                drop(node.snapshot)
                free(node)
                self.retired_count -= 1
            else:
                link = cython.address(node.next)
        return self.retired_count


@cython.cfunc
def lines(size: cython.size_t) -> cython.p_void:
    """Zeroed memory on a cache line."""
    whole: cython.size_t = (size + 63) // 64 * 64
    memory: cython.p_void = aligned_alloc(64, whole)
    if memory is cython.NULL:
        raise MemoryError
    return memset(memory, 0, whole)


@cython.cfunc
@cython.exceptval(check=False)
def drop(snapshot: cython.pointer[Snapshot]) -> cython.void:
    if snapshot is not cython.NULL:
        arena_drop(cython.cast(cython.pointer[Arena], snapshot.arena))
