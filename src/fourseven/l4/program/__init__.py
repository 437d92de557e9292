"""The program in the kernel: what is decided, and how packets are read and written.

The decision (`decide`) is written once, over a wire (`wire`): `skb` for tc's packets, with all that
the kernel knows about them.
"""
