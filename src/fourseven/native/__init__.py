"""The ground: atomics, the Linux calls, memory. Nothing here knows what a balancer is."""
