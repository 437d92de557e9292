from libc.stdint cimport uint32_t, uint64_t

from fourseven.l7.records cimport Stream
from fourseven.snapshot.layout cimport Resilience, Slot
from fourseven.worker.worker cimport Worker

# May the stream go to this server? It may be the one that finds out.
cdef bint breaker_lets "fourseven_breaker_lets"(Worker *worker, Stream *stream, Slot *slot) noexcept nogil
# How a try ended. With NULL in stream.backend nothing is judged.
cdef void breaker_said "fourseven_breaker_said"(Worker *worker, Stream *stream, bint good) noexcept nogil
# The stream leaves the server without a word about it.
cdef void breaker_left(Worker *worker, Stream *stream) noexcept nogil
cdef void open_circuit(Worker *worker, const Stream *stream, Slot *slot, const Resilience *rules) noexcept nogil
