"""The certificate that every peer shows: one for a run, ECDSA on P-256, key and certificate in one.

ECDSA because that is what public authorities give by default, and what costs a server least: the
figures are then of the proxy, not of RSA.
"""

from __future__ import annotations

import ssl
from functools import cache

from fourseven.cli.cert import make

FILE = "tls.pem"
HOST = "bench.example.test"


@cache
def pem() -> str:
    return b"".join(make((HOST,))).decode()


@cache  # reading the system's authorities takes longer than a handshake
def unverified() -> ssl.SSLContext:
    """A client's: the load asks what a handshake costs the proxy, not whether it is honest."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
