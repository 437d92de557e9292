"""Ways to bring a client back to its server: one file each, listed in the registry."""
