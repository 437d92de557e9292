"""W3C trace context through us: carried on, begun, refused; and the spans that a collector gets."""

from __future__ import annotations

import http.server
import itertools
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fourseven.control.spans import span_of
from support.recorder import Recorder
from support.service import Service, proxying, settled
from support.wire import Wire

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NUMBERS = itertools.count()
OURS = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-0([01])")


class Collector(http.server.ThreadingHTTPServer):
    """Takes OTLP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Take)
        self.spans: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in body["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                self.server.spans += scope["spans"]  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.shutdown()
    collector.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[Recorder]:
    with Recorder("server") as recorder:
        yield recorder


@pytest.fixture(scope="module")
def service(server: Recorder, collector: Collector) -> Iterator[Service]:
    export = f"http://127.0.0.1:{collector.server_address[1]}/v1/traces"
    config = proxying(server.address, tracing={"sample": "100%", "export": export})
    config["listeners"]["web"]["routes"][0]["name"] = "all"
    config["listeners"]["trusting"] = {**config["listeners"]["web"], "trusted": ["127.0.0.0/8"]}
    service = Service(config)
    yield service
    service.stop()


def forwarded(service: Service, server: Recorder, *lines: str, listener: str = "web") -> Any:
    """The request as the server got it."""
    mark = f"{next(NUMBERS)}"
    with Wire(service.address(listener)) as wire:
        head = "".join(f"{line}\r\n" for line in ("Host: a", f"X-Mark: {mark}", *lines))
        wire.send(f"GET /x?y HTTP/1.1\r\n{head}\r\n".encode()).read(b"GET")
    (found,) = (one for one in server.requests if (b"X-Mark", mark.encode()) in one.headers)
    return found


def traceparents(request: Any) -> list[bytes]:
    return [value for name, value in request.headers if name.lower() == b"traceparent"]


def test_a_trace_is_carried_on_with_our_span(service: Service, server: Recorder):
    given = f"00-{TRACE}-{PARENT}-00"
    request = forwarded(service, server, f"traceparent: {given}", "tracestate: a=1")
    (said,) = traceparents(request)
    trace, span, _ = OURS.fullmatch(said).groups()
    assert trace.decode() == TRACE
    assert span.decode() not in (PARENT, "0" * 16)
    assert (b"tracestate", b"a=1") in [(n.lower(), v) for n, v in request.headers]


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["traceparent: 00-" + "0" * 32 + f"-{PARENT}-01"],
        [f"traceparent: 00-{TRACE}-" + "0" * 16 + "-01"],
        [f"traceparent: 00-{TRACE.upper()}-{PARENT}-01"],
        [f"traceparent: ff-{TRACE}-{PARENT}-01"],
        [f"traceparent: 00-{TRACE}-{PARENT}-01-more"],
        [f"traceparent: 00-{TRACE}-{PARENT}-0"],
        [f"traceparent: 00-{TRACE}-{PARENT}-01", f"traceparent: 00-{TRACE}-{PARENT}-01"],
        ["traceparent:"],
    ],
    ids=range(9),
)
def test_otherwise_one_begins_and_the_state_is_dropped(
    service: Service, server: Recorder, lines: list[str]
):
    request = forwarded(service, server, *lines, "tracestate: a=1")
    (said,) = traceparents(request)
    assert OURS.fullmatch(said)
    assert TRACE.encode() not in said
    assert b"tracestate" not in [name.lower() for name, _ in request.headers]


def test_a_later_version_is_read_as_ours(service: Service, server: Recorder):
    request = forwarded(service, server, f"traceparent: cc-{TRACE}-{PARENT}-01-what-ever")
    (said,) = traceparents(request)
    assert said.startswith(b"00-" + TRACE.encode())


def test_only_a_trusted_proxy_decides_what_is_recorded(service: Service, server: Recorder):
    given = f"traceparent: 00-{TRACE}-{PARENT}-00"
    assert traceparents(forwarded(service, server, given))[0].endswith(b"-01")
    trusted = forwarded(service, server, given, listener="trusting")
    assert traceparents(trusted)[0].endswith(b"-00")


def test_the_collector_gets_the_span(service: Service, server: Recorder, collector: Collector):
    trace = "12345678901234567890123456789012"
    request = forwarded(service, server, f"traceparent: 00-{trace}-{PARENT}-01", "User-Agent: me")
    ours = OURS.fullmatch(traceparents(request)[0])[2].decode()
    found = lambda: [one for one in collector.spans if one["traceId"] == trace]  # noqa: E731
    assert settled(lambda: len(found()) == 1)
    (span,) = found()
    assert (span["spanId"], span["parentSpanId"]) == (ours, PARENT)
    assert (span["name"], span["kind"]) == ("GET all", 2)
    assert 0 < int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) < 60_000_000_000
    said = {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}
    assert said["url.path"] == "/x"
    assert said["url.query"] == "y"
    assert said["http.response.status_code"] == "200"
    assert said["fourseven.server"] == server.address
    assert said["user_agent.original"] == "me"
    assert "status" not in span


def test_an_error_is_one():
    span = dict.fromkeys(
        ("listener", "route", "backend", "server", "method", "target", "host", "user_agent"), ""
    )
    numbers = {"began_us": 1, "total_us": 2, "tries": 0, "version": 11, "secure": False}
    ids = {"trace": TRACE, "span": PARENT, "parent": "0" * 16}
    made = span_of({**span, **numbers, **ids, "status": 502, "reason": 14})
    assert made["status"] == {"code": 2}
    assert {"key": "fourseven.reason", "value": {"stringValue": "connect"}} in made["attributes"]
    assert "parentSpanId" not in made
    left = span_of({**span, **numbers, **ids, "status": 0, "reason": 0})
    assert left["status"] == {"code": 2}
    assert "http.response.status_code" not in {one["key"] for one in left["attributes"]}
