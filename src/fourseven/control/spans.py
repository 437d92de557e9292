"""Spans to a collector: OTLP over HTTP, in its JSON form, once a second.

A span is one request, with the names of OpenTelemetry's semantic conventions for HTTP servers. The
collector is never waited for: what it does not take within TIMEOUT_S is lost, and the log says so
once until it answers again.

Source: OTLP 1.5 (opentelemetry-proto, JSON mapping); HTTP semantic conventions 1.26.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Protocol

from fourseven.control import logs
from fourseven.plan import TracingPlan
from fourseven.worker.worker import Reason

LOOK_S = 1.0
TIMEOUT_S = 5.0
BATCH_MAX = 1000  # a second: a collector is no place for all requests of a busy host
SERVER_KIND, ERROR = 2, 2  # Span.SpanKind.SPAN_KIND_SERVER, Status.STATUS_CODE_ERROR


class Reader(Protocol):
    """observe.spans.Spans."""

    def read(self, most: int) -> list[dict[str, Any]]: ...


class Exporter:
    """Sends what is recorded while a plan says where to."""

    def __init__(self) -> None:
        self._plan: TracingPlan | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = 0

    def use(self, plan: TracingPlan | None, reader: Reader) -> None:
        """The plan in force."""
        self._plan = plan
        if plan is not None and plan.export and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(reader))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self, reader: Reader) -> None:
        import aiohttp  # slow to load, and few need it

        patience = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=patience) as session:
            while True:
                await asyncio.sleep(LOOK_S)
                spans = reader.read(BATCH_MAX)
                if spans and self._plan is not None and self._plan.export:
                    await self._send(session, self._plan, spans)

    async def _send(self, session: Any, plan: TracingPlan, spans: list[dict[str, Any]]) -> None:
        try:
            async with session.post(plan.export, json=request_of(plan, spans)) as answer:
                if answer.status >= 300:
                    raise OSError(f"it answers {answer.status}")
        except Exception as error:  # aiohttp has many; none may end the loop
            if not self._lost:
                logs.warn("spans.lost", to=plan.export, why=str(error) or type(error).__name__)
            self._lost += len(spans)
            return
        if self._lost:
            logs.say("spans.sent_again", to=plan.export, lost=self._lost)
            self._lost = 0


def request_of(plan: TracingPlan, spans: list[dict[str, Any]]) -> dict[str, Any]:
    """ExportTraceServiceRequest."""
    who = {"service.name": plan.service, "host.name": socket.gethostname()}
    scope = {"scope": {"name": "fourseven"}, "spans": [span_of(span) for span in spans]}
    return {"resourceSpans": [{"resource": {"attributes": _all(who)}, "scopeSpans": [scope]}]}


def span_of(span: dict[str, Any]) -> dict[str, Any]:
    """One span of OTLP."""
    path, _, query = span["target"].partition("?")
    attributes = {
        "http.request.method": span["method"],
        "url.scheme": "https" if span["secure"] else "http",
        "url.path": path,
        "url.query": query,
        "server.address": span["host"],
        "user_agent.original": span["user_agent"],
        "http.response.status_code": span["status"] or None,  # 0: the client left without one
        "network.protocol.version": {10: "1.0", 11: "1.1", 20: "2"}[span["version"]],
        "http.route": span["route"],
        "fourseven.listener": span["listener"],
        "fourseven.backend": span["backend"],
        "fourseven.server": span["server"],
        "fourseven.retries": span["tries"],
    }
    if span["reason"]:
        name = Reason(span["reason"]).name.removeprefix("REASON_").lower()
        attributes["fourseven.reason"] = name
    began_ns = span["began_us"] * 1000
    found = {
        "traceId": span["trace"],
        "spanId": span["span"],
        "name": f"{span['method']} {span['route']}".strip(),
        "kind": SERVER_KIND,
        "startTimeUnixNano": str(began_ns),
        "endTimeUnixNano": str(began_ns + span["total_us"] * 1000),
        "attributes": _all(attributes),
    }
    if span["parent"].strip("0"):
        found["parentSpanId"] = span["parent"]
    if span["status"] == 0 or span["status"] >= 500:
        found["status"] = {"code": ERROR}
    return found


def _all(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Key-values; what is empty is left out."""
    return [
        {
            "key": key,
            "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value},
        }
        for key, value in values.items()
        if value not in ("", None)
    ]
