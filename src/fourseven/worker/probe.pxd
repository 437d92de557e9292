from fourseven.worker.worker cimport Timer, Wheel, Worker

cdef enum:
    TIMERS = 64

cdef class WheelProbe:
    cdef Worker worker
    cdef Wheel wheel
    cdef Timer timers[TIMERS]
    cdef int check_number(self, int number) except -1

cdef void fired(Worker *worker, Timer *timer) noexcept nogil
