"""The demo: real servers, real requests, and Layer 4 measured against Layer 7 on this machine."""
