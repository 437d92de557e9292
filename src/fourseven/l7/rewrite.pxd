from libc.stdint cimport int32_t, uint32_t

from fourseven.l7.context cimport HeadContext
from fourseven.l7.output cimport Output
from fourseven.l7.templates cimport Values
from fourseven.protocols.message cimport Request, Span
from fourseven.snapshot.layout cimport Action

cpdef enum:
    REWRITE_REFUSED = -3    # the new path is none that we would have accepted from a client

# Writes the path that the server gets: the request's, as the route's rewrites leave it.
# 0, or REWRITE_REFUSED.
cdef int32_t put_path "fourseven_put_path"(
    Output *out, const Request *request, const HeadContext *context
) noexcept nogil

# 1: written; 0: it does not fit this path; or REWRITE_REFUSED.
cdef int32_t put_rewrite(
    Output *out, const Action *action, const Span *path, Values *values
) noexcept nogil
cdef int32_t put_regex(Output *out, const Action *action, const Span *path, Values *values) noexcept nogil
cdef int32_t put_prefix(Output *out, const Action *action, const Span *path, Values *values) noexcept nogil

# What stands behind the prefix, from its slash on; at == NULL where the path is not below it.
# An empty prefix is a prefix of everything.
cdef Span rest_of "fourseven_rest_of"(const Span *path, const Span *prefix) noexcept nogil

# Brings a new path into canonical form, in place; its size, or REWRITE_REFUSED.
cdef int32_t settle "fourseven_settle"(char *at, uint32_t size, uint32_t relax) noexcept nogil
cdef bint climbs(const char *at, uint32_t size) noexcept nogil
