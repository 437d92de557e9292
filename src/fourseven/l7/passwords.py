"""Passwords against their hashes, off the workers: a good hash is slow, and a worker never waits.

A worker hands a check over and asks again later whether it is done. A few threads of their own, all
native and begun with the first check, work the queue off in its order.

Laws: the queue is bounded, so a flood of wrong passwords costs these threads and nothing else. A
check belongs to the queue and to who asked; who leaves first says so, and the other one frees it.
Hashes are compared in constant time, and a password is wiped once it is checked. What libcrypt
knows is taken: bcrypt, SHA-crypt, yescrypt, scrypt.
"""

import cython
from cython.cimports.fourseven.l7.passwords import (
    CHECKED_BAD,
    CHECKED_GOOD,
    CHECKED_NOT,
    HASH_MAX,
    PASSWORD_MAX,
    THREADS,
    WAITING_MAX,
    Check,
    Queue,
)
from cython.cimports.fourseven.native.crypt import (
    crypt_data,
    crypt_r,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_cond_wait,
    pthread_create,
    pthread_detach,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    pthread_t,
)
from cython.cimports.fourseven.native.openssl import CRYPTO_memcmp, OPENSSL_cleanse
from cython.cimports.libc.stdint import int32_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy, strlen

QUEUE = cython.declare(Queue)


def passwords_prepare():
    pthread_mutex_init(cython.address(QUEUE.lock), cython.NULL)
    pthread_cond_init(cython.address(QUEUE.come), cython.NULL)


def password_check(hash, password):
    check: cython.pointer[Check] = cython.NULL
    if hash.size > HASH_MAX or password.size > PASSWORD_MAX:
        return check
    pthread_mutex_lock(cython.address(QUEUE.lock))
    if QUEUE.waiting < WAITING_MAX and threads_run():
        check = cython.cast(cython.pointer[Check], calloc(1, cython.sizeof(Check)))
    if check is not cython.NULL:
        memcpy(cython.address(check.hash[0]), hash.at, hash.size)
        memcpy(cython.address(check.password[0]), password.at, password.size)
        if QUEUE.last is cython.NULL:
            QUEUE.first = check
        else:
            QUEUE.last.next = check
        QUEUE.last = check
        QUEUE.waiting += 1
        pthread_cond_signal(cython.address(QUEUE.come))
    pthread_mutex_unlock(cython.address(QUEUE.lock))
    return check


def threads_run():
    """Begun when first needed: most files have no passwords."""
    thread: pthread_t = 0
    while QUEUE.threads < THREADS:
        if pthread_create(cython.address(thread), cython.NULL, serve, cython.NULL) != 0:
            break
        pthread_detach(thread)
        QUEUE.threads += 1
    return QUEUE.threads > 0


def password_state(check):
    state: int32_t
    pthread_mutex_lock(cython.address(QUEUE.lock))
    state = check.state
    pthread_mutex_unlock(cython.address(QUEUE.lock))
    return state


def password_leave(check):
    done: cython.bint
    pthread_mutex_lock(cython.address(QUEUE.lock))
    done = check.state != CHECKED_NOT
    check.left = 1
    pthread_mutex_unlock(cython.address(QUEUE.lock))
    if done:
        wipe(check)


def serve(argument):
    """A thread's life: it ends with the process."""
    check: cython.pointer[Check]
    room: cython.pointer[crypt_data] = cython.cast(
        cython.pointer[crypt_data], calloc(1, cython.sizeof(crypt_data))
    )
    while True:
        pthread_mutex_lock(cython.address(QUEUE.lock))
        while QUEUE.first is cython.NULL:
            pthread_cond_wait(cython.address(QUEUE.come), cython.address(QUEUE.lock))
        check = QUEUE.first
        QUEUE.first = check.next
        if QUEUE.first is cython.NULL:
            QUEUE.last = cython.NULL
        QUEUE.waiting -= 1
        left: cython.bint = check.left
        pthread_mutex_unlock(cython.address(QUEUE.lock))
        state: int32_t = CHECKED_BAD
        if not left and room is not cython.NULL and hash_fits(check, room):
            state = CHECKED_GOOD
        OPENSSL_cleanse(cython.address(check.password[0]), cython.sizeof(check.password))
        pthread_mutex_lock(cython.address(QUEUE.lock))
        check.state = state
        left = check.left
        pthread_mutex_unlock(cython.address(QUEUE.lock))
        if left:
            wipe(check)
    return cython.NULL


def hash_fits(check, room):
    size: cython.size_t = strlen(cython.address(check.hash[0]))
    made: cython.p_char = crypt_r(
        cython.address(check.password[0]), cython.address(check.hash[0]), room
    )
    if made is cython.NULL or strlen(made) != size:
        return False
    return CRYPTO_memcmp(made, cython.address(check.hash[0]), size) == 0


def wipe(check):
    OPENSSL_cleanse(check, cython.sizeof(Check))
    free(check)
