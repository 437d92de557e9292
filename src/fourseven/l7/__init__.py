"""Layer 7: the HTTP engine."""
