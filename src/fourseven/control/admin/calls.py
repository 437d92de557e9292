"""A call and its answer as plain values: what stands between HTTP and the answers.

The server (aiohttp) makes a Call of a request, judged by the table; the functions in `answers` know
nothing of HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked. `body` and `query` are the models that the table names."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    body: Any = None


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is no JSON."""

    content: bytes
    media_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
