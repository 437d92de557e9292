"""The peers: one file for each proxy, all behind one interface."""

from __future__ import annotations

from bench.peers.fourseven import Fourseven
from bench.peers.haproxy import Haproxy
from bench.peers.nginx import Nginx
from bench.peers.peer import Peer

PEERS: dict[str, Peer] = {peer.name: peer for peer in (Fourseven(), Nginx(), Haproxy())}
OURS = "fourseven"
