from fourseven.l7.records cimport Stream
from fourseven.snapshot.layout cimport Slot
from fourseven.worker.worker cimport Worker

cdef enum Probe:            # bits of Stream.probe: the circuits that it finds out about
    PROBE_SERVER = 1
    PROBE_BACKEND = 2

# May the stream go to this server? It may be the one that finds out.
cdef bint breaker_lets "fourseven_breaker_lets"(Worker *worker, Stream *stream, Slot *slot) noexcept nogil
# May it go to its backend at all?
cdef bint backend_lets "fourseven_backend_lets"(Worker *worker, Stream *stream) noexcept nogil
# How a try ended. With NULL in stream.backend nothing is judged.
cdef void breaker_said "fourseven_breaker_said"(Worker *worker, Stream *stream, bint good) noexcept nogil
# The stream leaves the server without a word about it.
cdef void breaker_left(Worker *worker, Stream *stream) noexcept nogil
