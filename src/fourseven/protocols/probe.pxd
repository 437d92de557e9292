from libc.stdint cimport uint32_t

from fourseven.protocols.http1 cimport HeadLimits
from fourseven.protocols.message cimport Address, Header, Request, Response, Span

cdef char *exact_copy(bytes data, Py_ssize_t size) except NULL
cdef object text_of(Span span)
cdef tuple address_of(Address address)
cdef Address packed_end(tuple end) except *
cdef Span span_of(bytes text) noexcept
cdef list fields_of(const Header *headers, uint32_t count)
cdef dict request_of(const Request *request)
cdef dict response_of(const Response *response)
