"""The benchmark: fourseven, nginx and haproxy side by side, in one run, on one machine."""
