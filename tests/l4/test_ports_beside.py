"""A client's one port towards several services that have one server: flows are still told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fourseven.l4.kernel_plan import TCP, UDP, End, Service
from l4.test_states import (
    ACK,
    CLIENT,
    NAMES,
    RST,
    SERVERS,
    SYN,
    VIP,
    network,
    of,
    service,
    talk,
)
from support.network import why_not
from support.packets_l4 import datagram, segment
from support.reference_l4 import Packet

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can")
__all__ = ["network", "talk"]  # fixtures


def at_vip(host: int, protocol: int) -> Service:
    said = service(protocol=protocol, servers=SERVERS[:1])
    return replace(said, vip=End(said.vip.address + host, said.vip.port))


@pytest.mark.parametrize("at_once", [False, True])
@of(*(at_vip(host, TCP) for host in range(3)))
def test_one_port_of_a_client_towards_services_with_one_server(talk, at_once):
    """The server sees the second connection come from the port beside; of a third it can't tell."""
    vips = [End(VIP.address + host, VIP.port) for host in range(3)]

    def say(vip: End, flags: int) -> Packet | None:
        return talk.pass_through(segment(CLIENT, vip, flags, 8, 9))

    def finish(vip: End, asked: Packet) -> None:
        assert talk.answer(asked, SYN | ACK).source == vip
        assert say(vip, ACK).source == asked.source

    first = say(vips[0], SYN)
    if not at_once:
        finish(vips[0], first)
    second = say(vips[1], SYN)
    if at_once:
        finish(vips[0], first)
    finish(vips[1], second)
    assert first.source == CLIENT
    assert second.source == End(CLIENT.address, CLIENT.port ^ 1)
    assert first.destination == second.destination == SERVERS[0]
    assert say(vips[2], SYN) is None
    listed = {flow.vip: (flow.client, flow.source) for flow in talk.path.rows.flows()}
    assert listed == {vips[0]: (CLIENT, None), vips[1]: (CLIENT, second.source)}
    for vip, asked in zip(vips, (first, second), strict=False):
        for _ in range(2):
            there = say(vip, ACK)
            assert (there.source, there.destination) == (asked.source, SERVERS[0])
            back = talk.answer(asked, ACK)
            assert (back.source, back.destination) == (vip, CLIENT)
        assert say(vip, RST) is not None
    assert talk.path.rows.counters().listeners["web"].drops == {"taken": 1}
    assert say(vips[2], SYN).source == CLIENT  # the first has ended


@of(*(at_vip(host, UDP) for host in range(2)))
def test_one_socket_that_asks_two_services_with_one_server(talk):
    vips = [End(NAMES.address + host, NAMES.port) for host in range(2)]
    for _ in range(3):
        asked = [talk.pass_through(datagram(CLIENT, vip)) for vip in vips]
        assert [one.source.port for one in asked] == [CLIENT.port, CLIENT.port ^ 1]
        for vip, one in zip(vips, asked, strict=True):
            back = talk.pass_through(datagram(one.destination, one.source))
            assert (back.source, back.destination) == (vip, CLIENT)
