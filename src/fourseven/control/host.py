"""Asking this host, where a file needs it to be asked.

Probing makes a map and a program and takes milliseconds; a file without a listener that a kernel
plane could serve is compiled without any of it.
"""

from __future__ import annotations

from fourseven.compiler.layer import decide
from fourseven.features import Need
from fourseven.l4 import host
from fourseven.l4.facts import UNASKED, Facts
from fourseven.model import Config


def facts_for(config: Config) -> Facts:
    """What is to be known of this host to compile the file; UNASKED when nothing is."""
    return host.facts() if any(_matters(config, name) for name in config.listeners) else UNASKED


def _matters(config: Config, name: str) -> bool:
    own = config.listeners[name].plane
    wish = config.kernel.plane if own == "auto" else own
    return wish not in ("off", "relay", "http") and decide(config, name).need is Need.ADDRESS
