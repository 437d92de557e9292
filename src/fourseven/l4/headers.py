"""The headers of a packet, and the structs that the kernel hands over, as layouts.

Sources: RFC 791, RFC 792, RFC 8200, RFC 4443, RFC 9293, RFC 768; include/uapi/linux/bpf.h for the
kernel's.
"""

from __future__ import annotations

from fourseven.l4.bpf.layout import BE16, BE32, U8, U16, U32, U64, Array, Header, Struct

ETHERNET = Header("ethernet", to=Array(U8, 6), source=Array(U8, 6), protocol=BE16)
LINK = ETHERNET.size
HARDWARE = Header("hardware", words=Array(U32, 3))  # both addresses of it, at once
IPV4 = Header(
    "ipv4",
    version_length=U8,
    tos=U8,
    length=BE16,
    id=BE16,
    fragment=BE16,
    ttl=U8,
    protocol=U8,
    checksum=BE16,
    source=Array(BE32, 1),
    destination=Array(BE32, 1),
)
IPV6 = Header(
    "ipv6",
    version=BE32,
    length=BE16,
    following=U8,
    hops=U8,
    source=Array(BE32, 4),
    destination=Array(BE32, 4),
)
TCP_HEADER = Header(
    "tcp",
    source=BE16,
    destination=BE16,
    sequence=BE32,
    acknowledged=BE32,
    offset=U8,
    flags=U8,
    window=BE16,
    checksum=BE16,
    urgent=BE16,
)
UDP_HEADER = Header("udp", source=BE16, destination=BE16, length=BE16, checksum=BE16)
ICMP = Header("icmp", type=U8, code=U8, checksum=BE16, unused=BE16, mtu=BE16)  # IPv4: RFC 1191
ICMP6 = Header("icmp6", type=U8, code=U8, checksum=BE16, mtu=BE32)
EXTENSION = Header("extension", following=U8, length=U8, rest=Array(U8, 6))  # RFC 8200 4
FRAGMENT = Header("fragment", following=U8, spare=U8, offset=BE16, id=BE32)
PORTS = Header("ports", source=BE16, destination=BE16)
# The same ends as the fewest words: of a key or a row, which begin with them; of a header of IP, of
# one of TCP or UDP. What is read as such a word must have been written as one: a processor waits
# for two halves that it has only just put away.
ENDS = {
    4: Header("ends4", words=Array(U64, 1), ports=U32),
    6: Header("ends6", words=Array(U64, 4), ports=U32),
}
IP_ENDS = {
    4: Header("ip_ends4", before=Array(U32, 3), words=Array(U64, 1)),
    6: Header("ip_ends6", before=U64, words=Array(U64, 4)),
}
BOTH_PORTS = Header("both_ports", ports=U32)

SKB = Struct(
    "__sk_buff",
    len=U32,
    pkt_type=U32,
    mark=U32,
    queue_mapping=U32,
    protocol=U32,
    vlan_present=U32,
    vlan_tci=U32,
    vlan_proto=U32,
    priority=U32,
    ingress_ifindex=U32,
    ifindex=U32,
    tc_index=U32,
    cb=Array(U32, 5),
    hash=U32,
    tc_classid=U32,
    data=U32,
    data_end=U32,
    napi_id=U32,
    family=U32,
    remote_ip4=U32,
    local_ip4=U32,
    remote_ip6=Array(U32, 4),
    local_ip6=Array(U32, 4),
    remote_port=U32,
    local_port=U32,
    data_meta=U32,
    flow_keys=Array(U32, 2),
    tstamp=Array(U32, 2),
    wire_len=U32,
    gso_segs=U32,
    sk=Array(U32, 2),
    gso_size=U32,
)
XDP_MD = Struct(
    "xdp_md",
    data=U32,
    data_end=U32,
    data_meta=U32,
    ingress_ifindex=U32,
    rx_queue_index=U32,
    egress_ifindex=U32,
)
FIB = Struct(  # struct bpf_fib_lookup
    "fib",
    family=U8,
    protocol=U8,
    source_port=BE16,
    destination_port=BE16,
    length=U16,  # in: what must fit; out: what fits
    interface=U32,
    tos=U32,
    source=Array(BE32, 4),
    destination=Array(BE32, 4),
    vlan=U32,
    near=Array(U16, 3),  # hardware addresses: ours, the neighbour's
    neighbour=Array(U16, 3),
)
NEXT = Struct("next", family=U32, hop=Array(BE32, 4))  # struct bpf_redir_neigh
FRAME = Struct("frame", to=Array(U16, 3), source=Array(U16, 3))  # in the order of a header
