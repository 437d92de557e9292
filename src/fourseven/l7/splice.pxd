from libc.stdint cimport int32_t

from fourseven.l7.records cimport Http, Pipe, Session, Upstream
from fourseven.worker.worker cimport Worker

# Moves the rest of a response's body; 1: more may follow at once, 0: it must wait,
# -1: the server failed, -2: the client is gone, -3: there is no pipe to be had.
cdef int32_t splice_step "fourseven_splice_step"(Worker *worker, Session *session) noexcept nogil
# Gives the pipe back, if there is one.
cdef void pipe_release "fourseven_pipe_release"(Worker *worker, Upstream *upstream) noexcept nogil
cdef void pipes_drop(Http *http) noexcept nogil

cdef Pipe *pipe_take(Worker *worker) noexcept nogil
cdef Pipe *pipe_new() noexcept nogil
cdef void pipe_close(Pipe *pipe) noexcept nogil
cdef int32_t fill(Worker *worker, Session *session) noexcept nogil
cdef int32_t empty(Worker *worker, Session *session) noexcept nogil
