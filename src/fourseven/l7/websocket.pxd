from libc.stdint cimport uint32_t

cpdef enum:
    ACCEPT_SIZE = 28        # 20 bytes in base64
    KEY_MAX = 64            # an honest key has 24 letters

# What a server would answer to this Sec-WebSocket-Key (RFC 6455 4.2.2); False for a key that is none.
cdef bint websocket_accept "fourseven_websocket_accept"(
    const char *key, uint32_t size, char *to
) noexcept nogil
