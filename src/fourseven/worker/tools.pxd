# What a plane asks of its worker: timers, buffers, registration, burial, random numbers, time.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.worker.worker cimport Buffer, Dead, Source, Timer, Worker

# timers
cdef void timer_set "fourseven_timer_set"(Worker *worker, Timer *timer, uint64_t due_ms) noexcept nogil
cdef void timer_clear "fourseven_timer_clear"(Worker *worker, Timer *timer) noexcept nogil
cdef int32_t timers_wait_ms "fourseven_timers_wait_ms"(Worker *worker) noexcept nogil
cdef void timers_run "fourseven_timers_run"(Worker *worker) noexcept nogil

# buffers; NULL when memory or the limit says no (counted)
cdef Buffer *buffer_large "fourseven_buffer_large"(Worker *worker) noexcept nogil
cdef Buffer *buffer_small "fourseven_buffer_small"(Worker *worker) noexcept nogil
cdef void buffer_free "fourseven_buffer_free"(Worker *worker, Buffer *buffer) noexcept nogil

# Registers the source for both directions, edge-triggered; 0 or an errno.
cdef int32_t watch "fourseven_watch"(Worker *worker, Source *source) noexcept nogil
# Closes the descriptor and mutes the source; its memory must live until the batch is over.
cdef void unwatch "fourseven_unwatch"(Worker *worker, Source *source) noexcept nogil
cdef void bury "fourseven_bury"(Worker *worker, Dead *dead) noexcept nogil

cdef uint64_t random_next "fourseven_random_next"(Worker *worker) noexcept nogil
cdef uint64_t monotonic_ns "fourseven_monotonic_ns"() noexcept nogil
