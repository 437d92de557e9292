# The system's password hashes (libcrypt), and the threads that ask for them.
cdef extern from "<crypt.h>" nogil:
    struct crypt_data:
        pass
    char *crypt_r(const char *phrase, const char *setting, crypt_data *room)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *options)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_init(pthread_cond_t *condition, const void *options)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
    int pthread_cond_signal(pthread_cond_t *condition)
    int pthread_create(
        pthread_t *thread, const void *options, void *(*run)(void *argument) noexcept nogil, void *argument
    )
    int pthread_detach(pthread_t thread)
