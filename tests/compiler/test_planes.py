"""Which plane serves a listener, by what it needs and by what a host permits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.config.warnings import warnings_of
from fourseven.errors import ConfigErrors
from fourseven.l4.facts import UNASKED, Facts
from fourseven.l4.kernel_plan import address_bits

EVERY = (1 << 128) - 1


def facts(*, refused=None, still=(), own=("10.9.0.1",)) -> Facts:
    mine = tuple(address_bits(one) for one in own)
    return Facts(
        refused=tuple((refused or {}).items()),
        still=still,
        own=mine,
        local=tuple((one, EVERY) for one in mine),
    )


def listener(host=UNASKED, backend="servers: ['10.0.0.1:80']", top="", **said):
    said = {"bind": "'10.9.0.1:80'", **said}
    words = ", ".join(f"{key}: {value}" for key, value in said.items())
    text = (
        f"listeners: {{in: {{{words}, backend: web}}}}\nbackends: {{web: {{{backend}}}}}\n{top}\n"
    )
    config = loads(text.encode(), "f.yaml")
    plan = compile_plan(config, host)
    return plan.listeners[0], [str(one) for one in warnings_of(config, plan)]


NO_BPF = {"tcx": "capabilities: CAP_BPF missing"}
CHOICES = [
    (facts(), {}, "tcx", []),
    (facts(refused=NO_BPF), {}, "nftables", ["tcx: capabilities: CAP_BPF missing"]),
    (facts(refused={**NO_BPF, "nftables": "no"}), {}, "relay", ["tcx: cap", "nftables: no", "xdp"]),
    (facts(still=((4, "sysctl -w"),)), {}, "relay", ["tcx: sysctl", "nftables: sysctl", "xdp"]),
    (facts(), {"top": "kernel: {plane: off}"}, "relay", ["tcx: kernel.plane: off", "nft", "xdp"]),
    (facts(), {"top": "kernel: {plane: nftables}"}, "nftables", []),
    (facts(), {"plane": "nftables"}, "nftables", []),
    (facts(), {"plane": "relay"}, "relay", []),
    (facts(), {"protocol": "http"}, "http", []),
    (UNASKED, {}, "relay", ["tcx: this host was not asked", "nftables: this", "xdp"]),
    (UNASKED, {"plane": "tcx"}, "tcx", []),
    (facts(), {"bind": "':80'"}, "tcx", []),
]


@pytest.mark.parametrize("host,said,plane,refused", CHOICES)
def test_the_plane_and_who_was_refused(host, said, plane, refused):
    found, _ = listener(host, **said)
    assert found.plane == plane
    assert len(found.refused) == len(refused)
    for line, start in zip(found.refused, refused, strict=True):
        assert line.lower().startswith(start.lower())


def test_an_algorithm_that_a_plane_cannot_leads_to_the_next_best():
    found, _ = listener(facts(), "servers: ['10.0.0.1:80'], balance: least_requests")
    assert found.plane == "tcx"
    found, _ = listener(facts(), "servers: ['10.0.0.1:80'], balance: peak_ewma")
    assert found.plane == "relay"
    assert found.refused[0].startswith("tcx: it cannot balance by peak_ewma; it can by round_robin")


@pytest.mark.parametrize("host", [facts(refused=NO_BPF), UNASKED])
def test_a_plane_that_is_forced_is_had_or_the_file_is_refused(host):
    balance = "servers: ['10.0.0.1:80'], balance: peak_ewma" if host is UNASKED else None
    with pytest.raises(ConfigErrors) as error:
        listener(host, **({"backend": balance} if balance else {}), plane="tcx")
    [problem] = error.value.problems
    said = "f.yaml:1:46: listeners.in.plane: tcx cannot serve this listener: "
    assert str(problem).startswith(said)


def test_an_address_that_is_not_here_has_no_socket():
    here, _ = listener(facts())
    there, _ = listener(facts(own=["10.9.0.9"]))
    assert here.unheard == ()
    assert there.unheard == ("tcp://10.9.0.1:80",)
    relayed, _ = listener(facts(own=["10.9.0.9"]), plane="relay")
    assert relayed.unheard == ()  # the relay must have it, and says so when it cannot


@pytest.mark.parametrize(
    "said,warned",
    [
        ({}, False),  # on another host the kernel might serve it
        ({"top": "kernel: {plane: off}"}, True),
        ({"plane": "relay"}, True),
        ({"protocol": "http"}, True),
        ({"connections_max": "5"}, True),
    ],
)
def test_a_way_back_that_nobody_gives_is_a_warning(said, warned):
    routed = "servers: ['10.0.0.1:80'], return_path: routed"
    _, warnings = listener(UNASKED, routed, **said)
    assert any("cannot give return_path routed" in one for one in warnings) == warned


RANGES = [
    ("'10.9.0.1:8000-8001'", "['10.0.0.1:90-92']", "tcp://10.9.0.1:8000-8001 is 2 ports"),
    ("'10.9.0.1:80'", "['10.0.0.1:90-92']", "bind to a range of 3"),
    ("'10.9.0.1:80-82'", "['10.0.0.1:90-92', '10.0.0.2:1-2']", "make the ranges equally long"),
    ("'10.9.0.1:82-80'", "['10.0.0.1:90']", "82-80 is no range of ports"),
    ("'10.9.0.1:1-9999'", "['10.0.0.1:90']", "1-9999 has 9999 ports; 512 is the most"),
]


@pytest.mark.parametrize("bind,servers,said", RANGES)
def test_ranges_that_do_not_fit(bind, servers, said):
    with pytest.raises(ConfigErrors, match=said):
        listener(UNASKED, f"servers: {servers}", bind=bind)


def test_servers_on_this_host_lead_to_the_plane_that_can_have_them():
    own = "servers: ['10.9.0.1:81']"
    found, _ = listener(facts(), own)
    assert found.plane == "nftables"
    assert found.refused == ("tcx: the server 10.9.0.1:81 is on this host",)
    found, _ = listener(facts(refused={"nftables": "no netfilter"}), own)
    assert found.plane == "relay"
    assert found.refused[1] == "nftables: no netfilter"
    found, _ = listener(facts(), "servers: ['127.0.0.1:81']")
    assert found.plane == "relay"
    assert all("none but it gets there" in line for line in found.refused[:2])


def test_who_we_are_is_said_before_what_a_setting_mends():
    host = facts(refused=NO_BPF, still=((4, "sysctl -w"),))
    assert listener(host)[0].refused[:2] == (
        "tcx: capabilities: CAP_BPF missing",
        "nftables: sysctl -w",
    )


def test_xdp_is_told_how_it_would_stand():
    host = replace(facts(), xdp=(("eth0", "virtio_net", "native"), ("tun0", "", "generic")))
    found, _ = listener(host, plane="xdp")
    assert found.plane == "xdp"
    assert [note.partition(":")[0] for note in found.notes] == [
        "eth0 (virtio_net)",
        "tun0 (no driver)",
    ]
    assert "runs in the driver" in found.notes[0]
    assert "no faster than tcx" in found.notes[1]
    assert listener(host)[0].notes == ()
