/* recv and send without libc's wrappers.
 *
 * In a process with threads libc makes each of them a cancellation point: two atomic operations on the
 * thread's state around the system call. No thread of ours is ever cancelled, and a request makes four
 * of these calls. Elsewhere than on x86-64, and under a sanitizer (which must see what recv writes),
 * they are libc's.
 *
 * As libc's: the result, or -1 and errno.
 */
#ifndef FOURSEVEN_NATIVE_CALLS_H
#define FOURSEVEN_NATIVE_CALLS_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define FOURSEVEN_CALLS_OF_LIBC 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__) || \
    defined(__ILP32__)
#define FOURSEVEN_CALLS_OF_LIBC 1
#endif

#ifdef FOURSEVEN_CALLS_OF_LIBC
#define fourseven_recv recv
#define fourseven_send send
#else
static inline ssize_t fourseven_six(
    long number, int fd, const void *at, size_t size, int flags
) {
    register long r10 __asm__("r10") = flags;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    long result;
    __asm__ volatile(
        "syscall"
        : "=a"(result)
        : "a"(number), "D"((long)fd), "S"(at), "d"(size), "r"(r10), "r"(r8), "r"(r9)
        : "rcx", "r11", "memory"
    );
    if (result < 0) {
        errno = (int)-result;
        return -1;
    }
    return (ssize_t)result;
}

static inline ssize_t fourseven_recv(int fd, void *buffer, size_t size, int flags) {
    return fourseven_six(SYS_recvfrom, fd, buffer, size, flags);
}

static inline ssize_t fourseven_send(int fd, const void *buffer, size_t size, int flags) {
    return fourseven_six(SYS_sendto, fd, buffer, size, flags);
}
#endif

#endif
