from enum import IntEnum

PROXY_MAX: int
PROXY_V1_MAX: int
PROXY_V2_ROOM: int
UNIQUE_ID_MAX: int

class ProxyResult(IntEnum):
    PROXY_OK = 1
    PROXY_MORE = 0
    PROXY_NONE = -1
    PROXY_MALFORMED = -2
    PROXY_LONG = -3
    PROXY_CHECKSUM = -4

class ProxyClient(IntEnum):
    CLIENT_TLS = 1
    CLIENT_CERTIFICATE = 2
    CLIENT_SESSION = 4
