"""Protocols without sockets: bytes in, events out, time passed in."""
