"""Functions of the kernel that a program may call: their numbers, and what they do to the packet.

Source: include/uapi/linux/bpf.h, enum bpf_func_id; net/core/filter.c, bpf_helper_changes_pkt_data,
for those after which a header must be taken again.
"""

from __future__ import annotations

from typing import NamedTuple


class Helper(NamedTuple):
    """A function of the kernel."""

    number: int
    arguments: int
    moves: bool = False  # the packet may stand elsewhere afterwards


HELPERS = {
    "map_lookup_elem": Helper(1, 2),
    "map_update_elem": Helper(2, 4),
    "map_delete_elem": Helper(3, 2),
    "ktime_get_ns": Helper(5, 0),
    "get_prandom_u32": Helper(7, 0),
    "get_smp_processor_id": Helper(8, 0),
    "skb_store_bytes": Helper(9, 5, True),
    "l3_csum_replace": Helper(10, 5, True),
    "l4_csum_replace": Helper(11, 5, True),
    "tail_call": Helper(12, 3),
    "redirect": Helper(23, 2),
    "skb_load_bytes": Helper(26, 4),
    "csum_diff": Helper(28, 5),
    "skb_change_type": Helper(32, 2),
    "skb_change_tail": Helper(38, 3, True),
    "skb_pull_data": Helper(39, 2, True),
    "csum_update": Helper(40, 2),
    "skb_change_head": Helper(43, 3, True),
    "xdp_adjust_head": Helper(44, 2, True),
    "skb_adjust_room": Helper(50, 4, True),
    "redirect_map": Helper(51, 3),
    "xdp_adjust_tail": Helper(65, 2, True),
    "fib_lookup": Helper(69, 4),
    "jiffies64": Helper(118, 0),
    "redirect_neigh": Helper(152, 4),
    "redirect_peer": Helper(155, 2),
    "ktime_get_coarse_ns": Helper(160, 0),
    "check_mtu": Helper(163, 5),
    "xdp_get_buff_len": Helper(188, 1),
    "xdp_load_bytes": Helper(189, 4),
}
