"""The planes of the relay: what a worker runs for a listener of Layer 4 in user space."""

import cython
from cython.cimports.fourseven.l4 import relay_tcp, relay_udp
from cython.cimports.fourseven.l4.relay_cut import cut_flows, cut_sessions


def relay_tcp_plane():
    relay_tcp.PLANE.woken = cut_sessions
    return cython.address(relay_tcp.PLANE)


def relay_udp_plane():
    relay_udp.PLANE.woken = cut_flows
    return cython.address(relay_udp.PLANE)
