from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.snapshot.layout cimport Persistence, ServerName

cpdef enum:
    ROWS = 8    # in a set: a scan of three cache lines; with fewer, sets overflow unevenly

# A client and its server. Words of one row may come from two writers: `name` says so.
cdef struct Row:
    uint64_t key        # of the client; 0: empty
    uint64_t name       # ServerName.first, xor key
    uint64_t until_ms   # monotonic

# The entry of a server by its name; NULL where no server of the backend is called so.
cdef const ServerName *name_find "fourseven_name_find"(
    const Persistence *persistence, uint64_t first, uint64_t second, bint whole
) noexcept nogil
# The client's server, as an index into backend.slots; -1 where the table does not know it.
cdef int32_t table_find "fourseven_table_find"(
    const Persistence *persistence, uint64_t key, uint64_t now_ms
) noexcept nogil
# Writes the client's server down.
cdef void table_put "fourseven_table_put"(
    const Persistence *persistence, uint64_t key, uint32_t at, uint64_t now_ms
) noexcept nogil
cdef Row *set_of(const Persistence *persistence, uint64_t key) noexcept nogil
