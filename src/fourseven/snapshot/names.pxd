from libc.stdint cimport uint32_t

# A name as a worker may copy it at any time: a size, and its bytes (UTF-8, escaped as in JSON).
cdef struct NameText:
    uint32_t size
    char at[1]

# By stable number; NULL: nobody has it.
cdef struct NameTable:
    NameText **routes           # [ROUTES_MAX]
    NameText **backends         # [BACKENDS_MAX]
    NameText **slots            # [SLOTS_MAX]

cdef class Names:
    cdef NameTable table
    cdef dict known             # (kind, number) -> name
    cdef list retired           # texts that a worker may be reading
    cdef int set(self, NameText **at, kind, uint32_t number, str name) except -1

cdef NameText **table(size_t count) except NULL
