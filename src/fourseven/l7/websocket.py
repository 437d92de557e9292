"""The handshake of WebSocket, where the versions of HTTP on its two sides differ.

In HTTP/2 the stream itself is the promise that the server speaks WebSocket (RFC 8441); in HTTP/1.1
it is a value computed from the client's key. A client of HTTP/1.1 in front of a server of HTTP/2
still waits for that value, so it is computed here. SHA-1 protects nothing in it.
"""

import cython
from cython.cimports.fourseven.l7.websocket import KEY_MAX
from cython.cimports.fourseven.native.openssl import SHA1, EVP_EncodeBlock
from cython.cimports.libc.string import memcpy


def websocket_accept(key, size, to):
    text = cython.declare(cython.uchar[100])  # KEY_MAX and the 36 letters below
    digest = cython.declare(cython.uchar[20])
    letters = cython.declare(cython.uchar[32])
    if size == 0 or size > KEY_MAX:
        return False
    memcpy(text, key, size)
    memcpy(text + size, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36)
    SHA1(text, size + 36, digest)
    EVP_EncodeBlock(letters, digest, 20)
    memcpy(to, letters, 28)
    return True
