"""Socket addresses in the one form that rules read: 16 bytes, IPv4 mapped into IPv6.

One form means that an access rule for 10.0.0.0/8 also holds for ::ffff:10.0.0.1.
"""

import cython
from cython.cimports.fourseven.native.linux import (
    AF_INET,
    AF_INET6,
    getsockname,
    ntohs,
    sockaddr,
    sockaddr_in,
    sockaddr_in6,
    sockaddr_storage,
    socklen_t,
)
from cython.cimports.libc.stdint import uint32_t
from cython.cimports.libc.string import memcmp, memcpy, memset


def local_address(fd, address):
    name = cython.declare(sockaddr_storage)
    size: socklen_t = cython.sizeof(sockaddr_storage)
    memset(cython.address(name), 0, cython.sizeof(sockaddr_storage))
    getsockname(
        fd, cython.cast(cython.pointer[sockaddr], cython.address(name)), cython.address(size)
    )
    to_address(cython.address(name), address)


def to_address(name, address):
    v4: cython.pointer[cython.const[sockaddr_in]]
    v6: cython.pointer[cython.const[sockaddr_in6]]
    memset(cython.address(address[0]), 0, cython.sizeof(address[0]))
    if name.ss_family == AF_INET:
        v4 = cython.cast(cython.pointer[cython.const[sockaddr_in]], name)
        address.bytes[10] = 0xFF
        address.bytes[11] = 0xFF
        memcpy(cython.address(address.bytes[12]), cython.address(v4.sin_addr.s_addr), 4)
        address.port = ntohs(v4.sin_port)
    elif name.ss_family == AF_INET6:
        v6 = cython.cast(cython.pointer[cython.const[sockaddr_in6]], name)
        memcpy(cython.address(address.bytes[0]), cython.address(v6.sin6_addr.s6_addr[0]), 16)
        address.port = ntohs(v6.sin6_port)


def cidr_holds(cidr, address):
    whole: uint32_t = cidr.prefix // 8
    rest: uint32_t = cidr.prefix % 8
    mask: uint32_t = 0xFF00 >> rest & 0xFF
    if cidr.prefix > 128 or memcmp(cidr.bytes, address.bytes, whole) != 0:
        return False
    if rest == 0:
        return True
    return (cidr.bytes[whole] ^ address.bytes[whole]) & mask == 0
