"""The access log and tracing: what the file says of them, checked and spelt out."""

from __future__ import annotations

from pathlib import Path

from fourseven.addresses import bind_parts, canonical_bind
from fourseven.compiler.log_format import compile_format
from fourseven.errors import Problem
from fourseven.forms_observe import AccessLogForm
from fourseven.model import Config
from fourseven.plan import LogPlan, TracingPlan

SAMPLE_ALL = 2**32 - 1


def compile_log(config: Config, problems: list[Problem]) -> LogPlan | None:
    """Where lines go, and their pieces. What cannot be goes to `problems`."""
    said = config.access_log
    if said is None:
        return None
    try:
        pieces = compile_format(said.format, said.fields)
    except ValueError as error:
        problems.append(config.problem(("access_log", "format"), str(error)))
        return None
    try:
        to = _target(config, said)
    except ValueError as error:
        problems.append(config.problem(("access_log", "to"), str(error)))
        return None
    return LogPlan(to, tuple(pieces))


def _target(config: Config, said: AccessLogForm) -> str:
    """stdout, stderr, file:/path, syslog:/path or syslog:host:port."""
    if said.to in ("stdout", "stderr"):
        return said.to
    if said.to == "syslog":
        return "syslog:/dev/log"
    if said.to.startswith("syslog:"):
        place = said.to.removeprefix("syslog:")
        if place.startswith("/"):
            return said.to
        if bind_parts(canonical_bind(f"udp://{place}"))[2] == 0:
            raise ValueError(f"{place!r} has no port; write syslog:{place}:514")
        return said.to
    folder = Path(config._source.file if config._source is not None else "").parent
    return f"file:{(folder / said.to).absolute()}"


def compile_tracing(config: Config) -> TracingPlan | None:
    """What is begun, and where spans go."""
    said = config.tracing
    if said is None:
        return None
    return TracingPlan(
        said.sample_millionths * SAMPLE_ALL // 1_000_000, said.export or "", said.service
    )
