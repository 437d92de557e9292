# The record of a request, from the worker that served it to whoever writes it down.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session
from fourseven.protocols.message cimport Address, Span
from fourseven.worker.worker cimport Worker

cpdef enum RecordText:
    TEXT_LISTENER = 0
    TEXT_ROUTE = 1
    TEXT_BACKEND = 2
    TEXT_SERVER = 3
    TEXT_METHOD = 4
    TEXT_TARGET = 5
    TEXT_HOST = 6
    TEXT_AGENT = 7
    TEXT_REFERER = 8
    TEXT_ID = 9
    RECORD_TEXTS = 10

cdef struct Record:
    uint32_t size               # of all, its texts included; a multiple of 8
    uint16_t status             # 0: it ended without an answer
    uint8_t reason              # worker.worker.Reason
    uint8_t version             # 10, 11, 20
    uint8_t secure
    uint8_t tries               # further ones, after the first
    uint8_t traced              # trace, span and parent hold
    uint8_t sampled
    Address client
    uint16_t[RECORD_TEXTS] sizes
    uint64_t began_us           # since 1970
    uint64_t total_us
    uint64_t queue_us           # at gates
    uint64_t connect_us         # from the pick of the server to its connection; 0: a kept one
    uint64_t answer_us          # from the request's last byte to the answer's head
    uint64_t bytes_in, bytes_out
    uint8_t[16] trace
    uint8_t[8] span
    uint8_t[8] parent           # all zeros: none

# Where text `which` of a record stands, or nothing.
cdef inline Span record_text(const Record *record, uint32_t which) noexcept nogil:
    cdef const char *at = <const char *> record + sizeof(Record)
    cdef uint32_t i
    cdef Span text
    for i in range(which):
        at += record.sizes[i]
    text.at = at if record.sizes[which] else NULL
    text.size = record.sizes[which]
    return text

# Leaves the record of the stream that ends in the worker's rings; drops it, and counts that, where
# they are full.
cdef void record_stream "fourseven_record_stream"(
    Worker *worker, const Session *session, uint64_t now_ns
) noexcept nogil
cdef void fill_times(Record *record, const Session *session, uint64_t now_ns) noexcept nogil
