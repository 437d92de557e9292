from fourseven.snapshot.layout cimport Circuit, Resilience
from fourseven.worker.worker cimport Worker

# May one go there? `probes` is set where it is the one that finds out; it then gives
# `circuit.probing` back, by circuit_said or by itself.
cdef bint circuit_lets "fourseven_circuit_lets"(
    Worker *worker, Circuit *circuit, bint *probes
) noexcept nogil
# How a try ended; true when the circuit has opened by it.
cdef bint circuit_said "fourseven_circuit_said"(
    Worker *worker, Circuit *circuit, const Resilience *rules, bint probes, bint good
) noexcept nogil
cdef void open_circuit(Worker *worker, Circuit *circuit, const Resilience *rules) noexcept nogil
