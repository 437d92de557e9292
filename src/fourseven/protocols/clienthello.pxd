from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t

from fourseven.protocols.message cimport Span

cpdef enum HelloResult:
    HELLO_OK = 1
    HELLO_MORE = 0          # more bytes are needed
    HELLO_NOT_TLS = -1      # the first bytes begin no TLS record of a handshake
    HELLO_MALFORMED = -2
    HELLO_LONG = -3         # beyond HELLO_MAX or RECORDS_MAX

cpdef enum:
    HELLO_MAX = 16384       # bytes of the message; a browser with post-quantum keys sends < 2500
    RECORDS_MAX = 32        # over which it may be spread; each call walks them anew
    VERSIONS_MAX = 127      # all that the extension's one byte of length can hold

cdef enum:
    RECORD_HEAD = 5
    RECORD_MAX = 16384      # RFC 8446 5.1
    RECORD_HANDSHAKE = 22
    MESSAGE_HEAD = 4
    MESSAGE_CLIENT_HELLO = 1
    EXTENSION_SERVER_NAME = 0
    EXTENSION_ALPN = 16
    EXTENSION_TICKET = 35
    EXTENSION_VERSIONS = 43
    SEEN_SERVER_NAME = 1
    SEEN_ALPN = 2
    SEEN_VERSIONS = 4
    SEEN_TICKET = 8
    SNI_ROOM = 256

cdef struct ClientHello:
    Span sni                # canonical host name; absent when the client names none
    Span alpn               # the protocols: of each one byte of length, then the name; may be absent
    Span session            # the ID of a session that it would take up again; empty: none
    Span ticket             # ... or the ticket (TLS 1.2), which names it
    uint32_t size           # bytes of the records that hold the message
    uint32_t version_count
    uint16_t[VERSIONS_MAX] versions     # as offered, GREASE too; the legacy one where none are listed
    uint8_t seen            # extensions so far
    char[SNI_ROOM] sni_text
    char[HELLO_MAX] scratch  # the message, when it is spread over records

# Some bytes of the message that are still to be read.
cdef struct Block:
    const char *at
    uint32_t size

# Reads the ClientHello at at[:size], the first bytes of a connection; a HelloResult. The spans
# point into the buffer or into `hello`. Called anew with all bytes when more have come.
cdef int32_t read_client_hello "fourseven_read_client_hello"(
    const char *at, uint32_t size, ClientHello *hello
) noexcept nogil

cdef int32_t gather(const char *at, uint32_t size, ClientHello *hello, Block *message) noexcept nogil
cdef int32_t check_record(const char *at, uint32_t size) noexcept nogil
cdef int32_t message_size(const char *at, uint32_t size) noexcept nogil
cdef int32_t read_message(Block *message, ClientHello *hello) noexcept nogil
cdef bint read_extension(uint32_t kind, Block *block, ClientHello *hello) noexcept nogil
cdef bint read_server_name(Block *block, ClientHello *hello) noexcept nogil
cdef bint read_protocols(Block *block, ClientHello *hello) noexcept nogil
cdef bint read_versions(Block *block, ClientHello *hello) noexcept nogil
cdef bint take(Block *block, uint32_t width, uint32_t *number) noexcept nogil
cdef bint take_block(Block *block, uint32_t width, uint32_t least, Block *inner) noexcept nogil
