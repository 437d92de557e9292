from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t

from fourseven.protocols.message cimport Address, Span

cpdef enum ProxyResult:
    PROXY_OK = 1
    PROXY_MORE = 0          # more bytes are needed
    PROXY_NONE = -1         # the first bytes begin no header
    PROXY_MALFORMED = -2
    PROXY_LONG = -3         # beyond PROXY_MAX
    PROXY_CHECKSUM = -4     # its CRC32c is not that of its bytes

cpdef enum ProxyClient:     # bits: how the client came to the proxy
    CLIENT_TLS = 1
    CLIENT_CERTIFICATE = 2  # it showed one on this connection
    CLIENT_SESSION = 4      # or at the beginning of the TLS session that this one resumes

cpdef enum:
    PROXY_MAX = 8192        # bytes; a client's whole certificate fits, nginx takes 4096
    PROXY_V1_MAX = 107      # by the standard: two IPv6 addresses and ports are 104
    PROXY_V2_ROOM = 1536    # what write_proxy may need: addresses, and five texts of 255 bytes
    UNIQUE_ID_MAX = 128

cdef enum:
    V2_HEAD = 16
    COMMAND_LOCAL = 0
    COMMAND_PROXY = 1
    TLV_HEAD = 3
    TLV_ALPN = 0x01
    TLV_AUTHORITY = 0x02
    TLV_CRC32C = 0x03
    TLV_UNIQUE_ID = 0x05
    TLV_SSL = 0x20
    TLV_SSL_VERSION = 0x21
    TLV_SSL_CN = 0x22
    TLV_SSL_CIPHER = 0x23
    SSL_HEAD = 5            # the client's bits, and what came of its verification
    AUTHORITY_ROOM = 256
    TEXT_ROOM = 48          # an address: 45 bytes at most (RFC 4291 2.2), and a NUL

cdef extern from "<arpa/inet.h>" nogil:
    int AF_INET, AF_INET6
    int inet_pton(int family, const char *text, void *out)
    const char *inet_ntop(int family, const void *address, char *out, unsigned int size)

cdef extern from * nogil:
    """
    #define FOURSEVEN_PROXY_SIGNATURE "\\x0D\\x0A\\x0D\\x0A\\x00\\x0D\\x0A\\x51\\x55\\x49\\x54\\x0A"
    static const uint32_t fourseven_crc32c_nibbles[16] = { /* 0x82F63B78, the polynomial reversed */
        0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
        0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
    };
    """
    const char *SIGNATURE "FOURSEVEN_PROXY_SIGNATURE"
    const uint32_t[16] NIBBLES "fourseven_crc32c_nibbles"

# What a header says. As a reader leaves it, texts point into the bytes that were read, or into
# `authority_text`; a writer takes the same record.
cdef struct ProxyHeader:
    uint32_t size           # bytes of the header; what follows is the client's
    uint8_t version         # 1 or 2
    uint8_t told            # 1: it names IP addresses; else those of the connection hold
    uint8_t client          # bits of ProxyClient
    uint8_t verified        # the client's certificate was found good
    uint8_t tls_told        # the reader's: whether it has seen how the client came
    Address source
    Address destination
    Span authority          # canonical host name that the client asked for
    Span alpn               # one protocol's name
    Span unique_id
    Span tls_version        # TLSv1.3
    Span tls_cipher
    Span common_name        # of the client's certificate
    char[AUTHORITY_ROOM] authority_text

# Reads the header at at[:size], the first bytes of a connection; a ProxyResult.
cdef int32_t read_proxy "fourseven_read_proxy"(
    const char *at, uint32_t size, ProxyHeader *header
) noexcept nogil
# Writes it in that version into out[:PROXY_V2_ROOM]; its size. Texts beyond 255 bytes are left out.
cdef uint32_t write_proxy "fourseven_write_proxy"(
    char *out, uint32_t version, const ProxyHeader *header
) noexcept nogil

cdef uint32_t crc32c "fourseven_crc32c"(uint32_t crc, const char *at, uint32_t size) noexcept nogil

# ---- of proxyproto.py alone ----
# Some bytes of the header that are still to be read.
cdef struct Rest:
    const char *at
    uint32_t size

cdef int32_t read_v1(const char *at, uint32_t size, ProxyHeader *header) noexcept nogil
cdef bint read_v1_line(Rest *line, ProxyHeader *header) noexcept nogil
cdef bint read_word(Rest *line, Rest *word) noexcept nogil
cdef bint read_address(const Rest *word, int family, Address *address) noexcept nogil
cdef bint read_port(const Rest *word, uint16_t *port) noexcept nogil
cdef int32_t read_v2(const char *at, uint32_t size, ProxyHeader *header) noexcept nogil
cdef bint read_ends(uint32_t family, Rest *rest, ProxyHeader *header) noexcept nogil
cdef int32_t read_tlvs(const char *head, Rest *rest, ProxyHeader *header) noexcept nogil
cdef bint take_tlv(Rest *rest, uint32_t *kind, Span *value) noexcept nogil
cdef bint read_tlv(uint32_t kind, const Span *value, ProxyHeader *header) noexcept nogil
cdef bint read_ssl(const Span *value, ProxyHeader *header) noexcept nogil
cdef bint once(Span *place, const Span *value) noexcept nogil
cdef bint checksum_holds(const char *head, uint32_t size, const Span *value) noexcept nogil
cdef uint32_t number(const char *at, uint32_t width) noexcept nogil
cdef bint is_v4(const uint8_t *bytes) noexcept nogil
cdef uint32_t write_v1(char *out, const ProxyHeader *header) noexcept nogil
cdef uint32_t write_v2(char *out, const ProxyHeader *header) noexcept nogil
cdef uint32_t put_text(char *out, const char *text) noexcept nogil
cdef uint32_t put_port(char *out, uint32_t port) noexcept nogil
cdef uint32_t put_number(char *out, uint32_t value, uint32_t width) noexcept nogil
cdef uint32_t put_tlv(char *out, uint32_t kind, const Span *value) noexcept nogil
