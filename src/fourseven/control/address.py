"""A server's address, as written in the file, in the form that connect(2) takes."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct


def resolve(address: str) -> bytes:
    """`host:port`, `[v6]:port` or `unix:/path` as a struct sockaddr.

    A name is looked up once, here, and the first address is taken. OSError when it has none.
    """
    if address.startswith("unix:"):
        path = os.fsencode(address[5:])
        if len(path) > 107:
            raise OSError(f"{address}: the path of a unix socket has at most 107 bytes")
        return struct.pack("=H", socket.AF_UNIX) + path + b"\0"
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        try:
            found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise OSError(f"{address}: the name does not resolve: {error.strerror}") from None
        ip = ipaddress.ip_address(found[0][4][0])
    if ip.version == 4:
        return (
            struct.pack("=H", socket.AF_INET) + struct.pack("!H", int(port)) + ip.packed + bytes(8)
        )
    return (
        struct.pack("=H", socket.AF_INET6)
        + struct.pack("!HI", int(port), 0)
        + ip.packed
        + struct.pack("=I", 0)
    )
