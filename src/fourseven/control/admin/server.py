"""HTTP before the table: aiohttp's application, and what every call passes through.

    a request -> the browser's check -> the token -> query and body, judged -> the answer

Loaded when the first caller comes (door.py), so nothing else imports it, and aiohttp with it.

Laws: every refusal is a problem document, also those of aiohttp. A body is read for BODY_S at most
and never beyond BODY_MAX; an answer is made within ANSWER_S. Every answer says that it is not to be
kept, framed, or guessed at.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ValidationError

from fourseven.control import logs
from fourseven.control.admin.access import Access, verify_browser, verify_token
from fourseven.control.admin.bodies import BODY_MAX, Nothing
from fourseven.control.admin.calls import Call, Text
from fourseven.control.admin.desk import Desk, encoded
from fourseven.control.admin.door import Door, Reception
from fourseven.control.admin.openapi import document
from fourseven.control.admin.refusals import MEDIA_TYPE, Refusal
from fourseven.control.admin.table import OPERATIONS, Operation
from fourseven.plan import AdminPlan

BODY_S = 10.0
ANSWER_S = 30.0
IDLE_S = 30.0  # between two requests of a connection
HEAD_MAX = 16 << 10
COMPRESSED_FROM = 4096  # bytes: below, a packet or two carry it anyway

ALWAYS = {
    "Cache-Control": "no-store",
    "Server": "fourseven",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FILES = {  # of the dashboard
    "/": ("index.html", "text/html"),
    "/mark.svg": ("mark.svg", "image/svg+xml"),
    "/dashboard.css": ("dashboard.css", "text/css"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("dashboard", "api", "explain", "format", "map", "panel", "rates")
    },
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def reception(door: Door, desk: Desk) -> Reception:
    """The application, ready to be given connections."""
    app = application(door, desk)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=IDLE_S,
        lingering_time=2.0,
        max_line_size=HEAD_MAX,
        max_field_size=HEAD_MAX,
    )
    await runner.setup()
    assert runner.server is not None
    return runner.server


def application(door: Door, desk: Desk) -> web.Application:
    app = web.Application(middlewares=[_passage(door, desk)], client_max_size=BODY_MAX)
    for operation in OPERATIONS:
        app.router.add_route(operation.method, operation.path, _handler(operation, door, desk))
    page = encoded(document())

    async def openapi(_: web.Request) -> web.Response:
        return web.Response(body=page, content_type="application/json")

    app.router.add_get("/v1/openapi.json", openapi)
    for path, (name, media_type) in FILES.items():
        app.router.add_get(path, _file(name, media_type, desk))
    return app


def _passage(door: Door, desk: Desk) -> Any:
    """What goes around every call: its connection is seen to be alive, its failure is a problem."""

    @web.middleware
    async def passage(request: web.Request, handler: Handler) -> web.StreamResponse:
        assert request.transport is not None
        visit = door.touch(request.transport)
        visit.asking = True
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await handler(request)
        except Refusal as refusal:
            response = _refused(refusal)
        except web.HTTPException as error:
            response = _refused(_as_refusal(error))
        except TimeoutError:
            response = _refused(Refusal("timeout", f"no answer within {ANSWER_S:g} s"))
        except Exception:
            logs.LOG.exception("admin.fault")
            response = _refused(Refusal("fault", "see the log"))
        finally:
            visit.asking = False
        response.headers.update(ALWAYS)
        if desk.subject.draining:
            response.force_close()  # the next question is for who comes after us
        if request.transport is not None:  # else the caller has left
            door.touch(request.transport)
        return response

    return passage


def _as_refusal(error: web.HTTPException) -> Refusal:
    kinds = {404: "not-found", 405: "method", 413: "too-large", 400: "malformed"}
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return Refusal(kinds.get(error.status, "malformed"), error.reason, **headers)


def _refused(refusal: Refusal) -> web.Response:
    return web.Response(
        status=refusal.status,
        body=encoded(refusal.document()),
        content_type=MEDIA_TYPE,
        headers=refusal.headers,
    )


def _handler(operation: Operation, door: Door, desk: Desk) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        _verify(request, operation.needs, door, desk)
        call = Call(request.match_info, _query(operation, request), await _body(operation, request))
        made = await operation.answer(desk, call)
        text = made if isinstance(made, Text) else Text(encoded(made), "application/json")
        headers = {"Content-Type": text.media_type, **text.headers}
        response = web.Response(body=text.content, status=text.status, headers=headers)
        if len(text.content) >= COMPRESSED_FROM:
            response.enable_compression()
        return response

    return handle


def _file(name: str, media_type: str, desk: Desk) -> Handler:
    content = resources.files("fourseven.control.admin").joinpath("static", name).read_bytes()

    async def handle(request: web.Request) -> web.StreamResponse:
        verify_browser(request.headers, Access.OPEN, _plan(desk).hosts)
        return web.Response(body=content, content_type=media_type, charset="utf-8")

    return handle


def _verify(request: web.Request, needs: Access, door: Door, desk: Desk) -> None:
    plan = _plan(desk)
    verify_browser(request.headers, needs, plan.hosts)
    assert request.transport is not None
    if not door.touch(request.transport).local:
        verify_token(request.headers.get("Authorization"), needs, plan)


def _plan(desk: Desk) -> AdminPlan:
    force = desk.subject.in_force
    return force.plan.admin if force is not None else AdminPlan()


def _query(operation: Operation, request: web.Request) -> BaseModel | None:
    if operation.query is None:
        return None
    try:
        return operation.query.model_validate(dict(request.query))
    except ValidationError as error:
        raise Refusal("invalid", _words(error)) from None


async def _body(operation: Operation, request: web.Request) -> BaseModel | None:
    """The body as its model; a call that changes something must say that it sends JSON."""
    if request.method == "GET":
        return None
    if request.content_type != "application/json":
        raise Refusal("media-type", "send Content-Type: application/json")
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
        return (operation.body or Nothing).model_validate(json.loads(raw or b"{}"))
    except TimeoutError:
        raise Refusal("timeout", f"the body did not come within {BODY_S:g} s") from None
    except ValidationError as error:
        raise Refusal("invalid", _words(error)) from None
    except OSError:  # nobody reads this; and it is no fault of ours
        raise Refusal("malformed", "the caller hung up amid the body") from None
    except (ValueError, RecursionError) as error:
        raise Refusal("malformed", f"the body is no JSON: {error}") from None


def _words(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}"
        for one in error.errors(include_url=False)
    )
