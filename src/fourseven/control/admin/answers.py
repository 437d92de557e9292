"""What each call does: one function for each row of the table (table.py)."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from fourseven.compiler.explain import report
from fourseven.config.load import loads, read
from fourseven.control.admin import view
from fourseven.control.admin.calls import Call, Text
from fourseven.control.admin.desk import Desk
from fourseven.control.admin.differences import Diff, differences, running
from fourseven.control.admin.refusals import Refusal
from fourseven.control.question import asked, verdict_on
from fourseven.errors import ConfigErrors, FoursevenError, did_you_mean
from fourseven.observe.exposition import MEDIA_TYPE, exposition
from fourseven.observe.reading import Reading

# ---- is it there ----


async def alive(desk: Desk, _: Call) -> Text:
    """The control thread answers."""
    return Text(b"ok\n" if desk else b"", "text/plain")


async def ready(desk: Desk, _: Call) -> Text:
    """A file is in force, and new connections are taken."""
    desk.in_force()
    if desk.subject.draining:
        raise Refusal("not-ready", "it drains: no new connections are taken")
    return Text(b"ok\n", "text/plain")


# ---- looking ----


async def show_state(desk: Desk, _: Call) -> view.State:
    return await desk.state()


async def show_listeners(desk: Desk, _: Call) -> list[view.ListenerState]:
    return (await desk.state())["listeners"]


async def show_listener(desk: Desk, call: Call) -> view.ListenerState:
    name = call.path["listener"]
    for one in await show_listeners(desk, call):
        if one["name"] == name:
            return one
    raise Refusal("not-found", f"there is no listener {name!r}")


async def show_backends(desk: Desk, _: Call) -> list[view.BackendState]:
    return (await desk.state())["backends"]


async def show_backend(desk: Desk, call: Call) -> view.BackendState:
    name = call.path["backend"]
    for one in await show_backends(desk, call):
        if one["name"] == name:
            return one
    known = did_you_mean(name, [one["name"] for one in await show_backends(desk, call)])
    raise Refusal("not-found", f"there is no backend {name!r}; {known}")


async def show_server(desk: Desk, call: Call) -> view.ServerState:
    backend = await show_backend(desk, call)
    for server in backend["servers"]:
        if server["address"] == call.path["server"]:
            return server
    known = did_you_mean(call.path["server"], [one["address"] for one in backend["servers"]])
    what = f"there is no server {call.path['server']!r} in {call.path['backend']!r}; {known}"
    raise Refusal("not-found", what)


async def show_config(desk: Desk, _: Call) -> dict[str, Any]:
    force, config, _texts = await desk.config()
    return {
        "file": force.file,
        "loaded_at": force.since,
        "content": force.raw.decode("utf-8", "replace"),
        "listeners": [asdict(one) for one in report(config, force.plan)],
    }


async def show_diff(desk: Desk, _: Call) -> Diff:
    force = desk.in_force()
    now = await asyncio.to_thread(desk.subject.on_disk)
    made: Diff = {
        "file": force.file,
        "loaded_at": force.since,
        "on_disk": "unreadable" if now is None else "same",
        "problems": [],
        "differences": [],
        "running": running(desk.changes(), desk.subject.seen()),
    }
    if now is not None and now != force.raw:
        await asyncio.to_thread(_compare, made, force.raw, now)
    return made


def _compare(made: Diff, in_force: bytes, on_disk: bytes) -> None:
    before, _ = read(in_force, made["file"])
    try:
        config = loads(on_disk, made["file"])
    except ConfigErrors as errors:
        made["on_disk"] = "wrong"
        made["problems"] = [str(problem) for problem in errors.problems]
        return
    made["differences"] = differences(before.data, config._source.data)
    made["on_disk"] = "changed" if made["differences"] else "same"


async def explain(desk: Desk, call: Call) -> dict[str, Any]:
    """What becomes of a request, by the code of `fourseven explain`, as servers stand now."""
    desk.in_force()
    said = call.body
    content = said.body.encode("utf-8", "surrogatepass") if said.body is not None else None
    try:
        question = asked(said.method, said.url, said.headers, said.client, content)
        verdict = verdict_on(
            desk.subject.running(),
            question,
            said.url,
            wanted=said.listener,
            sni=said.sni,
            alpn=said.alpn,
            certificate=said.certificate.encode(),
        )
    except (ValueError, FoursevenError) as error:
        raise Refusal("invalid", str(error)) from None
    return asdict(verdict)


async def show_metrics(desk: Desk, _: Call) -> Text:
    """Prometheus' text. Control has its turn after each family, so that no scrape delays it."""
    force = desk.in_force()
    subject = desk.subject
    reading = Reading(
        force.plan,
        force.since,
        force.workers,
        subject.counters(),
        subject.seen(),
        subject.draining,
        subject.sources(),
    )
    parts = []
    for text in exposition(reading):
        parts.append(text)
        await asyncio.sleep(0)
    return Text("".join(parts).encode(), MEDIA_TYPE)


# ---- changing ----


async def enable(desk: Desk, call: Call) -> view.ServerState:
    return await _operated(desk, call, "enable")


async def drain(desk: Desk, call: Call) -> view.ServerState:
    return await _operated(desk, call, "drain", call.body.deadline_s)


async def maintenance(desk: Desk, call: Call) -> view.ServerState:
    return await _operated(desk, call, "maintenance")


async def weigh(desk: Desk, call: Call) -> view.ServerState:
    await show_server(desk, call)
    desk.subject.weigh(_key(call), call.body.weight, call.query.keep)
    await _in_force(desk)
    return await show_server(desk, call)


async def _operated(
    desk: Desk, call: Call, word: str, deadline_s: float | None = None
) -> view.ServerState:
    await show_server(desk, call)
    desk.subject.operate(_key(call), word, deadline_s, call.query.keep)
    await _in_force(desk)
    return await show_server(desk, call)


async def show_changes(desk: Desk, _: Call) -> list[view.Change]:
    desk.in_force()
    return desk.changes()


async def undo_changes(desk: Desk, _: Call) -> list[view.Change]:
    """What was undone."""
    desk.in_force()
    undone = desk.changes()
    for one in undone:
        desk.subject.unsay((one["backend"], one["server"]))
    await _in_force(desk)
    return undone


async def _in_force(desk: Desk) -> None:
    """The data planes are told in the loop's next turn: the answer comes after that."""
    await asyncio.sleep(0)
    desk.forget()


def _key(call: Call) -> tuple[str, str]:
    return call.path["backend"], call.path["server"]
