"""A stage for HTTP/2: a front that speaks it, its client, and servers with scripts."""

from __future__ import annotations

import threading
from typing import Any

from support.front import Front, Stage
from support.http2 import Http2
from support.recorder import Conversation, Script
from support.wire import Message


def front_of(stage: Stage, **listener: Any) -> Front:
    return stage.front(http_versions=[1.1, 2], **listener)


def client(front: Front, settings: dict[int, int] | None = None, **more: Any) -> Http2:
    return Http2(front.wire(**more), settings)


def slow_front(stage: Stage, **listener: Any) -> tuple[Front, threading.Event]:
    """Requests for /slow wait for the event."""
    front = front_of(stage, **listener)
    go = threading.Event()

    def wait(conversation: Conversation, asked: Message) -> None:
        assert conversation.hold(go)
        conversation.answer(b"slow")

    scripted(front, b"/slow", wait)
    return front, go


def scripted(front: Front, path: bytes, script: Script) -> None:
    front.server.scripts[path] = script
