from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cpdef enum:
    HEADERS_CAPACITY = 256
    SCRATCH_CAPACITY = 65536

cpdef enum Method:
    METHOD_OTHER = 0
    METHOD_GET = 1
    METHOD_HEAD = 2
    METHOD_POST = 3
    METHOD_PUT = 4
    METHOD_DELETE = 5
    METHOD_OPTIONS = 6
    METHOD_PATCH = 7
    METHOD_CONNECT = 8
    METHOD_TRACE = 9

cpdef enum Framing:
    FRAMING_NONE = 0        # no body
    FRAMING_LENGTH = 1      # content_length bytes
    FRAMING_CHUNKED = 2
    FRAMING_CLOSE = 3       # a response that ends with the connection

cpdef enum KnownHeader:
    HEADER_OTHER = 0
    HEADER_HOST = 1
    HEADER_CONNECTION = 2
    HEADER_KEEP_ALIVE = 3
    HEADER_PROXY_CONNECTION = 4
    HEADER_TE = 5
    HEADER_TRAILER = 6
    HEADER_TRANSFER_ENCODING = 7
    HEADER_UPGRADE = 8
    HEADER_CONTENT_LENGTH = 9
    HEADER_EXPECT = 10
    HEADER_CONTENT_TYPE = 11
    HEADER_CONTENT_ENCODING = 12
    HEADER_COOKIE = 13
    HEADER_SET_COOKIE = 14
    HEADER_USER_AGENT = 15
    HEADER_ACCEPT = 16
    HEADER_ACCEPT_ENCODING = 17
    HEADER_AUTHORIZATION = 18
    HEADER_FORWARDED = 19
    HEADER_X_FORWARDED_FOR = 20
    HEADER_X_FORWARDED_PROTO = 21
    HEADER_X_FORWARDED_HOST = 22
    HEADER_X_FORWARDED_PORT = 23
    HEADER_X_REAL_IP = 24
    HEADER_X_REQUEST_ID = 25
    HEADER_TRACEPARENT = 26
    HEADER_SEC_CH_UA_MOBILE = 27
    HEADER_SEC_CH_UA_PLATFORM = 28
    HEADER_SEC_CH_UA = 29
    HEADER_VIA = 30
    HEADER_DATE = 31
    HEADER_SERVER = 32
    HEADER_LOCATION = 33
    HEADER_HTTP2_SETTINGS = 34
    HEADER_ORIGIN = 35
    HEADER_REFERER = 36
    HEADER_RANGE = 37
    HEADER_ETAG = 38
    HEADER_CACHE_CONTROL = 39
    HEADER_VARY = 40

cpdef enum CertificateFact:
    FACT_SUBJECT = 0
    FACT_ISSUER = 1
    FACT_FINGERPRINT = 2    # SHA-256 in lower hexadecimal digits
    FACT_SERIAL = 3
    FACT_NAMES = 4          # all alternative names with ", " between them
    CERTIFICATE_FACTS = 5

cdef extern from "fourseven/protocols/message.h" nogil:
    ctypedef struct Span:
        const char *at
        uint32_t size

    ctypedef struct ClientCertificate:
        Span[5] facts
        Span *names
        uint32_t name_count

    ctypedef struct Address:
        uint8_t[16] bytes
        uint16_t port

    ctypedef struct Header:
        Span name
        Span value
        uint16_t known
        uint16_t drop

    ctypedef struct Request:
        Span method
        Span target
        Span authority
        Span host
        Span path
        Span query
        Span sni
        Span alpn
        Span body
        uint64_t content_length
        uint32_t head_size
        uint32_t header_count
        uint32_t fault
        uint8_t method_id
        uint8_t version
        uint8_t framing
        uint8_t keep_alive
        uint8_t expect_continue
        uint8_t upgrade
        uint8_t secure
        uint8_t body_complete
        const ClientCertificate *certificate
        Address peer
        Address client
        Address local
        Header[HEADERS_CAPACITY] headers
        char[SCRATCH_CAPACITY] scratch

    ctypedef struct Response:
        Span reason
        uint64_t content_length
        uint32_t head_size
        uint32_t header_count
        uint32_t fault
        uint16_t status
        uint8_t version
        uint8_t framing
        uint8_t keep_alive
        uint8_t upgrade
        Header[HEADERS_CAPACITY] headers
