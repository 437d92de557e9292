from fourseven.native.openssl cimport SSL_CTX

cdef class Reference:
    cdef SSL_CTX *context

# Contexts of the last snapshot, by what they were made of: any hashable value.
cdef class Contexts:
    cdef dict shown
    cdef dict next
    # The context, of which the caller takes a reference of its own, or NULL.
    cdef SSL_CTX *find(self, tuple made_of) except? NULL
    cdef int keep(self, tuple made_of, SSL_CTX *context) except -1
    cdef int begin(self) except -1
    cdef int turn(self) except -1
