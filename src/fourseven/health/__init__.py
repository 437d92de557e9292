"""Health: how a server is asked whether it is well, and what its answers amount to."""
