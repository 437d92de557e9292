"""The planes of the relay: what a worker runs for a listener of Layer 4 in user space."""

import cython
from cython.cimports.fourseven.l4 import relay_tcp, relay_udp


def relay_tcp_plane():
    return cython.address(relay_tcp.PLANE)


def relay_udp_plane():
    return cython.address(relay_udp.PLANE)
