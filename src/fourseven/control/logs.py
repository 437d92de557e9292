"""Log lines for people and for grep: one line an event, `key=value`, on stderr.

    2026-01-31T12:00:00.250Z info engine.ready pid=71 workers=2 took_ms=180

Laws: an event's name is `part.what`; a value that could be misread (a space, a quote, a line end)
is quoted as JSON, so that a line is a line whatever an error says. Requests are not logged here.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

LOG = logging.getLogger("fourseven")

_PLAIN = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f]+")


def set_up(level: int = logging.INFO) -> None:
    """Sends every line of this process to stderr."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(Line())
    LOG.handlers[:] = [stream]
    LOG.setLevel(level)
    LOG.propagate = False


def say(event: str, **fields: Any) -> None:
    LOG.info(event, extra={"fields": fields})


def warn(event: str, **fields: Any) -> None:
    LOG.warning(event, extra={"fields": fields})


def fail(event: str, **fields: Any) -> None:
    LOG.error(event, extra={"fields": fields})


def quoted(value: Any) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class Line(logging.Formatter):
    """`time level event key=value ...`."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        if record.exc_info:
            fields = fields | {"traceback": self.formatException(record.exc_info)}
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        head = f"{at}.{int(record.msecs):03}Z {record.levelname.lower()} {record.getMessage()}"
        return " ".join([head, *(f"{key}={quoted(value)}" for key, value in fields.items())])
