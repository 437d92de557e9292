"""Matches: each file is one thing a route can look at. `table` runs what they lower to."""
