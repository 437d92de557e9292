# What a plane asks of its worker: timers, buffers, registration, burial, random numbers, time.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.worker.worker cimport Buffer, Dead, Source, Timer, Worker, WorkerListener

cpdef enum:
    BUFFERS_LARGE_MAX = 8192    # each worker: 0.5 GiB at the very worst; beyond, new work is refused
    BUFFERS_SMALL_MAX = 131072  # each worker: 0.5 GiB; more heads than descriptors
    FREE_LARGE_MAX = 64         # kept warm; the rest goes back to the system
    FREE_SMALL_MAX = 1024
    REST_MS = 100               # long enough for a descriptor to come free, short enough not to show

cdef extern from *:
    """
    #define FOURSEVEN_NS_PER_S 1000000000ull
    #define FOURSEVEN_RANDOM_FACTOR 0x2545F4914F6CDD1Dull /* Vigna 2014, table of multipliers */
    """
    uint64_t NS_PER_S "FOURSEVEN_NS_PER_S"
    uint64_t RANDOM_FACTOR "FOURSEVEN_RANDOM_FACTOR"
    int trailing_zeros "__builtin_ctzll"(uint64_t word) noexcept nogil

# timers
cdef void timer_set "fourseven_timer_set"(Worker *worker, Timer *timer, uint64_t due_ms) noexcept nogil
cdef void timer_clear "fourseven_timer_clear"(Worker *worker, Timer *timer) noexcept nogil
# Moves a deadline; nearly free when it moves to later.
cdef void timer_put_off "fourseven_timer_put_off"(Worker *worker, Timer *timer, uint64_t due_ms) noexcept nogil
cdef int32_t timers_wait_ms "fourseven_timers_wait_ms"(Worker *worker) noexcept nogil
cdef void timers_run "fourseven_timers_run"(Worker *worker) noexcept nogil
cdef void run_slot(Worker *worker, uint32_t at) noexcept nogil

# buffers; NULL when memory or the limit says no (counted)
cdef Buffer *buffer_large "fourseven_buffer_large"(Worker *worker) noexcept nogil
cdef Buffer *buffer_small "fourseven_buffer_small"(Worker *worker) noexcept nogil
cdef void buffer_free "fourseven_buffer_free"(Worker *worker, Buffer *buffer) noexcept nogil
cdef Buffer *buffer_new(Worker *worker, uint32_t capacity, uint32_t large) noexcept nogil
cdef void buffers_drop(Worker *worker) noexcept nogil

# Registers the source for both directions, edge-triggered; 0 or an errno.
cdef int32_t watch "fourseven_watch"(Worker *worker, Source *source) noexcept nogil
# Closes the descriptor and mutes the source; its memory must live until the batch is over.
cdef void unwatch "fourseven_unwatch"(Worker *worker, Source *source) noexcept nogil
cdef void muted(Worker *worker, Source *source, uint32_t events) noexcept nogil
# The close that follows is a reset.
cdef void acknowledge "fourseven_acknowledge"(int32_t fd) noexcept nogil
cdef void reset_on_close "fourseven_reset_on_close"(int32_t fd) noexcept nogil
# Runs the source again in the next turn, with no events: it gave way to others.
cdef void run_again "fourseven_run_again"(Worker *worker, Source *source) noexcept nogil
# Runs the source once more at the end of this turn, with no events: what it has to write is joined.
cdef void run_late "fourseven_run_late"(Worker *worker, Source *source) noexcept nogil
# A listener that can't accept (no descriptors left) rests for a moment.
cdef void rest "fourseven_listener_rest"(Worker *worker, WorkerListener *listener) noexcept nogil
cdef void bury "fourseven_bury"(Worker *worker, Dead *dead) noexcept nogil

cdef uint64_t random_next "fourseven_random_next"(Worker *worker) noexcept nogil
cdef uint64_t monotonic_ns "fourseven_monotonic_ns"() noexcept nogil
