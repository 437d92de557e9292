from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fourseven.native.arena cimport Arena
from fourseven.native.openssl cimport SSL, SSL_CTX, SSL_SESSION
from fourseven.protocols.message cimport Span

# The last ticket of a server, for the next connection of one worker to it.
cdef struct Resumption:
    SSL_SESSION *session
    uint64_t identity

# The app data of a connection: where its next ticket goes, and under which identity it was given.
cdef struct Keeping:
    Resumption *place
    uint64_t identity

# What one server must prove to be.
cdef struct TlsPeer:
    uint32_t slot
    uint8_t is_address      # `name` is an IP address
    Span name               # with a zero behind it; verified
    Span sni                # likewise; absent: none is sent
    uint64_t identity       # another one: other settings, so neither tickets nor connections are good

# How a backend's servers are spoken to.
cdef struct TlsOutward:
    SSL_CTX *context
    TlsPeer *peers          # [peer_count] in the order of the file
    uint32_t peer_count
    Span protocols          # ALPN, as on the wire; absent: the plane's own
    uint8_t verified        # 0: the file has relaxed it, with a warning

# From plan.OutwardPlan; `slots` are the servers' numbers. ValueError says what OpenSSL does not take.
cdef TlsOutward *outward_build(Arena *arena, plan, list slots) except NULL
# The index of this slot among the peers, or peer_count.
cdef uint32_t peer_at "fourseven_outward_peer"(const TlsOutward *outward, uint32_t slot) noexcept nogil
# What a connection to this slot must have been made under; 0 for a slot that is not there.
cdef uint64_t outward_identity "fourseven_outward_identity"(
    const TlsOutward *outward, uint32_t slot
) noexcept nogil

cdef SSL_CTX *client_context(plan) except NULL
cdef int set_up(SSL_CTX *context, plan) except -1
cdef int keep_session "fourseven_keep_session"(SSL *ssl, SSL_SESSION *session) noexcept nogil
