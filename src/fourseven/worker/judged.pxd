# What a server did with one try, for those who judge servers by it (control.ejection): an answer, a
# connection, or a failure. Inline: it is on the way of each answer. Whoever calls it says nothing
# of failures that are not the server's (ours, a client's, an idle connection that it closed).
from libc.stdint cimport uint32_t

from fourseven.native.atomics cimport count, fetch_add_u32, load_relaxed_u32, store_relaxed_u32
from fourseven.snapshot.layout cimport Slot
from fourseven.worker.worker cimport SlotCounters, Worker

cdef inline void server_did(Worker *worker, uint32_t number, bint good) noexcept nogil:
    cdef SlotCounters *counters = &worker.slot_counters[number]
    cdef Slot *slot = &worker.shared.slots[number]
    count(&counters.tries, 1)
    if not good:
        count(&counters.errors, 1)
        fetch_add_u32(&slot.errors_row, 1)
    elif load_relaxed_u32(&slot.errors_row):
        store_relaxed_u32(&slot.errors_row, 0)
