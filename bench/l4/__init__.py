"""The benchmark of Layer 4: our kernel planes beside routing, nftables by hand and haproxy."""
