cimport cython

cdef double QUEUE, SMOOTHING, LONG_WINDOWS, WARM_WINDOWS


@cython.locals(weight=double)
cpdef double long_latency(double long_ns, double short_ns, double windows, double tolerance) noexcept nogil


@cython.locals(gradient=double)
cpdef double next_limit(
    double limit, double short_ns, double long_ns, double in_flight, double tolerance, double low, double high
) noexcept nogil
