cdef void *pages_new(size_t size) except NULL
cdef void *pages_try "fourseven_pages_try"(size_t size) noexcept nogil    # NULL when memory says no
cdef void pages_drop(void *at, size_t size) noexcept nogil
