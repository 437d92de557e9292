"""Filters: each file is one thing a route can do to a request or to an answer."""
