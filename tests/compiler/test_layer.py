"""The layer of a listener: the highest need among its rules decides, and says which rule it was."""

from __future__ import annotations

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.compiler.layer import decide
from fourseven.errors import ConfigErrors
from fourseven.model import Config
from fourseven.snapshot.layout import ListenerMode

HTTP, TCP, UDP = ListenerMode.MODE_HTTP, ListenerMode.MODE_RELAY_TCP, ListenerMode.MODE_RELAY_UDP
NOTHING = "no rule looks further than addresses and ports"


def config(balance="round_robin", **listener) -> Config:
    said = {"bind": "127.0.0.1:80", **listener}
    if "routes" not in said:
        said.setdefault("backend", "web")
    backends = {"web": {"servers": ["127.0.0.1:81", "127.0.0.1:82"], "balance": balance}}
    return Config.model_validate({"listeners": {"in": said}, "backends": backends})


DECISIONS = [
    ({}, "L4", "relay", TCP, NOTHING),
    ({"bind": "udp://127.0.0.1:53"}, "L4", "relay", UDP, NOTHING),
    ({"bind": "unix:/run/a.sock"}, "L4", "relay", TCP, NOTHING),
    ({"routes": [{"backend": "web"}]}, "L4", "relay", TCP, NOTHING),
    ({"protocol": "tcp"}, "L4", "relay", TCP, NOTHING),
    ({"idle_timeout": "5s", "connections_max": 9}, "L4", "relay", TCP, NOTHING),
    ({"balance": "source_hash"}, "L4", "relay", TCP, NOTHING),
    ({"balance": "maglev"}, "L4", "relay", TCP, NOTHING),
    ({"protocol": "http"}, "L7", "http", HTTP, "protocol: http asks for it"),
    ({"request_id": True}, "L7", "http", HTTP, "request_id needs to see the HTTP request"),
    ({"trusted": "10.0.0.0/8"}, "L7", "http", HTTP, "trusted needs to see the HTTP request"),
    ({"head_timeout": "5s"}, "L7", "http", HTTP, "head_timeout needs to see the HTTP request"),
    ({"relax": "trace"}, "L7", "http", HTTP, "relax needs to see the HTTP request"),
    (
        {"balance": {"hash": "path"}},
        "L7",
        "http",
        HTTP,
        "backends.web.balance.hash needs to see the HTTP request",
    ),
    (
        {"balance": {"maglev": {"cookie": "session"}}},
        "L7",
        "http",
        HTTP,
        "backends.web.balance.maglev needs to see the HTTP request",
    ),
    (
        {"routes": [{"backend": "web"}, {"filters": [{"respond": 404}]}]},
        "L7",
        "http",
        HTTP,
        "routes[1].filters[0].respond needs to see the HTTP request",
    ),
]


@pytest.mark.parametrize("said,layer,plane,mode,because", DECISIONS)
def test_the_highest_need_decides(said, layer, plane, mode, because):
    found = decide(config(**said), "in")
    assert (found.layer, found.plane, found.mode, found.because) == (layer, plane, mode, because)
    assert found.conflicts == ()


def test_the_same_model_gives_the_same_plan():
    said = config(balance="maglev", protocol="http", trusted=["10.0.0.0/8"])
    assert compile_plan(said) == compile_plan(said)


def test_what_is_said_arrives_in_the_plan():
    (listener,) = compile_plan(
        config(
            bind=[":80", "unix:/run/a.sock"],
            request_id="X-Trace",
            forwarded=["x-forwarded", "forwarded"],
            relax=["trace", "merge_slashes"],
            head_max="16KiB",
            tunnel_timeout="2h",
        )
    ).listeners
    assert listener.bind == ("tcp://[::]:80", "unix:/run/a.sock")
    assert (listener.request_id, listener.forwarded, listener.relax) == (b"X-Trace", 3, 10)
    assert (listener.head_max, listener.tunnel_timeout_ms) == (16384, 7_200_000)


def test_what_an_algorithm_refuses_late_is_an_error_with_its_place():
    said = {
        "listeners": {"in": {"bind": "127.0.0.1:80", "backend": "web"}},
        "backends": {
            "web": {
                "servers": [f"10.0.{i // 250}.{i % 250}:80" for i in range(300)],
                "balance": {"maglev": {"table_size": 251}},
            }
        },
    }
    with pytest.raises(ConfigErrors) as error:
        compile_plan(Config.model_validate(said))
    assert "backends.web.balance: 300 servers do not fit a table of 251" in str(error.value)
