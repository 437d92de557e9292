from libc.stdint cimport int32_t, uint32_t

from fourseven.native.crypt cimport crypt_data, pthread_cond_t, pthread_mutex_t
from fourseven.protocols.message cimport Span

cpdef enum:
    HASH_MAX = 255
    PASSWORD_MAX = 255      # bcrypt looks at 72; longer ones would only make SHA-crypt slow
    WAITING_MAX = 64        # at 50 ms each, who comes last waits two seconds
    THREADS = 2             # the workers' cores are for requests

cpdef enum Checked:
    CHECKED_NOT = 0
    CHECKED_GOOD = 1
    CHECKED_BAD = 2

cdef struct Check:
    Check *next
    int32_t state           # Checked
    uint32_t left           # who asked is gone
    char hash[HASH_MAX + 1]
    char password[PASSWORD_MAX + 1]

cdef struct Queue:
    pthread_mutex_t lock
    pthread_cond_t come
    Check *first
    Check *last
    uint32_t waiting
    uint32_t threads

cdef void passwords_prepare() noexcept nogil
# A check under way; NULL: the queue is full, or there is no memory. It must be left.
cdef Check *password_check "fourseven_password_check"(const Span *hash, const Span *password) noexcept nogil
cdef int32_t password_state "fourseven_password_state"(Check *check) noexcept nogil
cdef void password_leave "fourseven_password_leave"(Check *check) noexcept nogil

cdef bint threads_run() noexcept nogil
cdef void *serve(void *argument) noexcept nogil
cdef bint hash_fits(Check *check, crypt_data *room) noexcept nogil
cdef void wipe(Check *check) noexcept nogil
