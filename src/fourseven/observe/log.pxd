from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.l7.output cimport Output
from fourseven.native.linux cimport sockaddr_storage, socklen_t
from fourseven.observe.lines cimport Pieces
from fourseven.l7.record cimport Record
from fourseven.protocols.message cimport Span
from fourseven.worker.ring cimport Ring
from fourseven.worker.worker cimport REASONS_MAX

cpdef enum:
    LOG_ROOM = 524288       # one write
    LINE_MAX = 262144       # four texts of 8 KiB (l7.stream.TEXT_MAX), each byte as \u00HH, and the rest
    LOG_RINGS_MAX = 64      # snapshot.layout.WORKERS_MAX

# A change that control hands over. Records that stood in a ring before it go the old way.
cdef struct News:
    News *before            # that nobody has taken yet
    Pieces *pieces          # NULL: as before
    int32_t fd
    uint64_t marks[LOG_RINGS_MAX]   # where each ring was written to

# What the log's thread runs on. Written by control: news, stopping.
cdef struct Log:
    Ring *rings[LOG_RINGS_MAX]
    uint32_t ring_count
    Pieces *pieces          # in force; the thread's
    News *news              # atomic: to be used from now on; NULL: nothing new
    int32_t fd              # in force; the thread's. -1: records are thrown away
    sockaddr_storage peer   # of syslog; to it we connect again when it is started anew
    socklen_t peer_size     # 0: no socket
    uint32_t stopping       # atomic
    uint64_t lines, failed  # the thread counts, control reads: written lines, and lost ones
    Span reasons[REASONS_MAX]
    char *room

cdef class AccessLog:
    cdef Log log
    cdef object thread
    cdef bytes reasons      # what log.reasons points to
    cdef int name_reasons(self) except -1
    cdef int hand_over(self, Pieces *pieces, int fd) except -1

cdef void log_run "fourseven_log_run"(Log *log) noexcept nogil
cdef bint log_turn(Log *log) noexcept nogil
cdef uint64_t take_news(Log *log) noexcept nogil
cdef uint64_t follow(Log *log, News *news) noexcept nogil
cdef void news_free(News *news) noexcept nogil
cdef void write_record(Log *log, Output *to, const Record *record, uint64_t *waiting) noexcept nogil
# All that stands in this ring before `until`; how many records.
cdef uint64_t write_ring(Log *log, Ring *ring, uint64_t until) noexcept nogil
cdef bint send_line(Log *log, Output *to) noexcept nogil
cdef void flush(Log *log, Output *to, uint64_t lines) noexcept nogil
# (LineField, LineMode, literal) in the order of the line, in memory of their own.
cdef Pieces *build(list rows, bint datagrams) except NULL
cdef void pieces_free(Pieces *pieces) noexcept nogil
