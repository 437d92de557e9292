"""The nftables plane: NAT by netfilter, where eBPF is not permitted.

    rules      a KernelPlan becomes tables of plain data: chains, maps, counters
    form       what such data is, and how it reads
    encode     the same as messages of nf_tables, whole or as the difference to what is there
    netlink    messages to the kernel and back
    conntrack  the flows: listed, ended
    plane      the plane that control looks after

The kernel is spoken to directly. The `nft` program would be one more thing to install, its grammar
differs from version to version and lacks what is needed here (a key of the connection's original
port in a concatenation), and it takes ten times as long over a large table. What this plane makes
can still be looked at with `nft list ruleset`.
"""
