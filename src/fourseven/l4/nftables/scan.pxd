cimport cython
from libc.stdint cimport uint8_t, uint32_t


@cython.locals(at=uint32_t, count=uint32_t, size=uint32_t, room=uint32_t, length=uint32_t, kind=uint32_t)
cpdef uint32_t rows(const uint8_t[::1] data, uint8_t[::1] into) except? 0xFFFFFFFF


@cython.locals(found=uint32_t, status=uint32_t, length=uint32_t, kind=uint32_t, i=uint32_t)
cdef uint32_t flow(
    const uint8_t[::1] data, uint32_t at, uint32_t end, uint8_t[::1] into, uint32_t row
) noexcept


@cython.locals(
    found=uint32_t, length=uint32_t, outer=uint32_t, inner=uint32_t, last=uint32_t, size=uint32_t,
    kind=uint32_t,
)
cdef uint32_t ends(
    const uint8_t[::1] data, uint32_t at, uint32_t end, uint8_t[::1] into, uint32_t row,
    uint32_t source, uint32_t destination
) noexcept


@cython.locals(to=uint32_t)
cdef uint32_t address(
    const uint8_t[::1] data, uint32_t at, uint32_t kind, uint32_t size, uint8_t[::1] into,
    uint32_t row, uint32_t source, uint32_t destination
) noexcept


@cython.locals(length=uint32_t, kind=uint32_t)
cdef uint32_t inside(
    const uint8_t[::1] data, uint32_t at, uint32_t end, uint8_t[::1] into, uint32_t row
) noexcept


@cython.locals(length=uint32_t, kind=uint32_t)
cdef uint32_t numbers(
    const uint8_t[::1] data, uint32_t at, uint32_t end, uint8_t[::1] into, uint32_t to,
    uint32_t most
) noexcept


@cython.locals(i=uint32_t)
cdef uint32_t put(
    const uint8_t[::1] data, uint32_t at, uint32_t size, uint8_t[::1] into, uint32_t to
) noexcept
