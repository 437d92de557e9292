"""The relay as a plane among the others, for the table of behaviour that all of them share.

It has the form of a kernel plane (l4/kernel_plane.py), so that `Driven` can drive it: a data plane of
one worker in this process. Its sockets are opened and its thread is started by whoever calls, so
both belong to that network namespace.
"""

from __future__ import annotations

import socket
import time
from dataclasses import replace

from fourseven.addresses import bind_parts
from fourseven.control.dataplane import DataPlane
from fourseven.l4.kernel_plane import Counts, ListenerCounts, PlaneCounts
from fourseven.plan import Plan

PATIENCE_S = 20.0
FREEBIND = {socket.AF_INET: (socket.SOL_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}


class RelayPlane:
    """Every listener of a plan in user space."""

    name, adopted = "relay", False

    def __init__(self) -> None:
        self.data = DataPlane(1)
        self.data.start()
        self.plan: Plan | None = None
        self.bound: dict[tuple[str, str], socket.socket] = {}  # (listener, bind)

    def apply(self, plan: Plan) -> None:
        wanted = [(one.name, bind) for one in plan.listeners for bind in one.bind]
        for key in wanted:
            if key not in self.bound:
                self.bound[key] = listening(key[1])
        of_each = {
            one.name: [self.bound[one.name, bind].fileno() for bind in one.bind]
            for one in plan.listeners
        }
        self.data.publish(plan, of_each)
        until = time.monotonic() + PATIENCE_S
        while self.data.reclaim():
            assert time.monotonic() < until, "the worker does not let go of an old plan"
            time.sleep(0.001)
        for key in self.bound.keys() - set(wanted):
            self.bound.pop(key).close()
        self.plan = plan

    def stand(self, _interfaces: list[str]) -> list[str]:
        """Its sockets hear whatever comes."""
        return []

    def drain(self) -> None:
        assert self.plan is not None
        self.apply(replace(self.plan, listeners=()))

    def busy(self) -> int:
        return int(self.data.busy())

    def counters(self) -> PlaneCounts:
        told, found = self.data.counters(), PlaneCounts()
        for name, row in told["listeners"].items():
            found.listeners[name] = ListenerCounts(
                packets_in=row["datagrams_in"],
                packets_out=row["datagrams_out"],
                bytes_in=row["bytes_in"],
                bytes_out=row["bytes_out"],
                flows_new=row["accepted"] + row["flows"],
            )
        for key, row in told["servers"].items():
            found.servers[key] = Counts(
                bytes_in=row["bytes_to"],
                bytes_out=row["bytes_from"],
                flows_active=row["in_flight"],
            )
        return found

    def close(self, remove: bool) -> None:
        self.data.stop()
        assert self.data.fatal() == 0
        for one in self.bound.values():
            one.close()
        self.bound.clear()


def listening(bind: str) -> socket.socket:
    """A socket as the supervisor opens it for the relay."""
    transport, host, port = bind_parts(bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(*FREEBIND[family], 1)  # IPv6 binds to a network that is routed here only so
    made.bind((host, port))
    if transport == "tcp":
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.listen(1024)
    made.setblocking(False)
    return made
