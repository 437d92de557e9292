"""fourseven: a load balancer that serves each listener at the lowest layer that can decide."""

__version__ = "0.1.0"
