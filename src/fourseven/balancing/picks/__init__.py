"""The native picks: each takes a backend and one stream's facts, and returns a slot or -1."""
