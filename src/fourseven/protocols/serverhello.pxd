from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.protocols.message cimport Span

# What a call has found; after the last three it finds nothing more.
cpdef enum FlightEvent:
    FLIGHT_MORE = 0         # all bytes are used up
    FLIGHT_HELLO = 1        # the ServerHello: version and session
    FLIGHT_TICKET = 2       # a ticket for the client: ticket
    FLIGHT_OVER = 3         # what follows is encrypted, or an alert
    FLIGHT_BROKEN = -1      # no handshake of TLS
    FLIGHT_LONG = -2        # beyond FLIGHT_MAX, or a hello beyond MESSAGE_ROOM

cpdef enum:
    FLIGHT_MAX = 262144     # bytes that are looked at; certificates of a server come to < 20,000
    MESSAGE_ROOM = 4096     # of a hello or a ticket; hellos with post-quantum keys have 1,200 bytes, tickets 200

cdef enum:
    MESSAGE_SERVER_HELLO = 2
    MESSAGE_NEW_TICKET = 4
    RECORD_CHANGE_CIPHER = 20
    RECORD_ALERT = 21
    TLS_1_3 = 0x0304
    SESSION_MAX = 32        # RFC 5246 7.4.1.2

# What a server says until its words are encrypted, as far as it has come.
cdef struct ServerFlight:
    int32_t ended           # the event that was the last; 0: none so far
    uint32_t heard          # bytes
    uint32_t head_had       # of the record's head
    uint32_t record_left    # bytes of the record that are still to come
    uint32_t message_had    # of the message, its head included
    uint32_t message_size   # ... of how many; 0: its head is not whole
    uint32_t version        # chosen by the server; 0 before its hello
    Span session            # its ID, in `room`, until the next call; empty: none
    Span ticket             # as above
    uint8_t[5] head
    char[MESSAGE_ROOM] room  # the message, where it is one that is read

# Reads on at at[:size], bytes that follow those of the last call; a FlightEvent. `used`: how many
# were read; call again with the rest after FLIGHT_HELLO and FLIGHT_TICKET. Begin with zeros.
cdef int32_t read_flight "fourseven_read_flight"(
    ServerFlight *flight, const char *at, uint32_t size, uint32_t *used
) noexcept nogil

cdef int32_t read_head(ServerFlight *flight) noexcept nogil
cdef int32_t read_part(ServerFlight *flight, const char *at, uint32_t size) noexcept nogil
cdef int32_t end_message(ServerFlight *flight) noexcept nogil
cdef int32_t read_hello(ServerFlight *flight) noexcept nogil
cdef int32_t read_ticket(ServerFlight *flight) noexcept nogil
