"""Balancing: each file is one way to pick a server."""
