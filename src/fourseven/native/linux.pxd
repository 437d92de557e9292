# The Linux calls that native modules make. Only what is called stands here.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<sys/epoll.h>" nogil:
    int EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET, EPOLLEXCLUSIVE
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    union epoll_data:
        void *ptr
        int fd
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll_fd, epoll_event *events, int size, int wait_ms)

cdef extern from "<sys/eventfd.h>" nogil:
    int EFD_NONBLOCK, EFD_CLOEXEC
    int eventfd(unsigned int initial, int flags)
    int eventfd_read(int fd, uint64_t *value)
    int eventfd_write(int fd, uint64_t value)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "fourseven/native/calls.h" nogil:
    ssize_t recv "fourseven_recv"(int fd, void *buffer, size_t size, int flags)
    ssize_t send "fourseven_send"(int fd, const void *buffer, size_t size, int flags)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    int AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_CLOEXEC
    int SOL_SOCKET, SO_ERROR, SO_LINGER, SO_KEEPALIVE, SHUT_RD, SHUT_WR, SHUT_RDWR
    int MSG_NOSIGNAL, MSG_MORE, MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC
    int socket(int family, int kind, int protocol)
    int accept4(int fd, sockaddr *address, socklen_t *size, int flags)
    int connect(int fd, const sockaddr *address, socklen_t size)
    int shutdown(int fd, int how)
    int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
    int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
    int getsockname(int fd, sockaddr *address, socklen_t *size)
    int getpeername(int fd, sockaddr *address, socklen_t *size)
    ssize_t recvfrom(int fd, void *buffer, size_t size, int flags, sockaddr *address, socklen_t *address_size)
    ssize_t sendto(int fd, const void *buffer, size_t size, int flags, const sockaddr *address, socklen_t address_size)
    ssize_t recvmsg(int fd, msghdr *message, int flags)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *part)
    unsigned char *CMSG_DATA(cmsghdr *part)
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, timespec *wait)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)
    struct linger:
        int l_onoff
        int l_linger

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        uint8_t[16] s6_addr
    struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    struct in_pktinfo:
        int ipi_ifindex
        in_addr ipi_spec_dst
        in_addr ipi_addr
    struct in6_pktinfo:
        in6_addr ipi6_addr
        unsigned int ipi6_ifindex
    int IP_PKTINFO, IPV6_PKTINFO, IPV6_RECVPKTINFO
    uint16_t ntohs(uint16_t value)
    uint16_t htons(uint16_t value)

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_NODELAY, TCP_DEFER_ACCEPT, TCP_QUICKACK

cdef extern from "<fcntl.h>" nogil:
    int SPLICE_F_MOVE, SPLICE_F_NONBLOCK, SPLICE_F_MORE, F_SETPIPE_SZ, F_GETPIPE_SZ, O_NONBLOCK, O_CLOEXEC
    ssize_t splice(int source, void *source_offset, int sink, void *sink_offset, size_t size, unsigned int flags)
    int fcntl(int fd, int command, ...)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    int pipe2(int *ends, int flags)
    ssize_t write(int fd, const void *at, size_t size)

cdef extern from "<time.h>" nogil:
    int CLOCK_MONOTONIC, CLOCK_REALTIME
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    int nanosleep(const timespec *time, timespec *left)

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "<sys/mman.h>" nogil:
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE
    void *MAP_FAILED
    void *mmap(void *at, size_t size, int protection, int flags, int fd, long offset)
    int munmap(void *at, size_t size)

cdef extern from "<assert.h>" nogil:
    void check "assert"(bint holds)

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *at, size_t size, unsigned int flags)

cdef extern from "<sched.h>" nogil:
    int sched_yield()
