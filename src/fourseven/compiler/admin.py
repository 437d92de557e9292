"""What the admin API asks for: its tokens, read where a file holds them.

A token file's first line is the token; so `openssl rand -hex 16 > token` makes one. One that others
may read is refused, for then it proves nothing.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fourseven.errors import Problem
from fourseven.forms_admin import TOKEN_MAX, checked_token
from fourseven.model import Config
from fourseven.plan import AdminPlan


def compile_admin(config: Config, problems: list[Problem]) -> AdminPlan:
    """The tokens and addresses. What cannot be read goes to `problems`."""
    return AdminPlan(
        bind=config.admin.bind,
        token=_token(config, "token", problems),
        read_token=_token(config, "read_token", problems),
        hosts=config.admin.hosts,
    )


def _token(config: Config, name: str, problems: list[Problem]) -> bytes:
    said: str | None = getattr(config.admin, name)
    file: str | None = getattr(config.admin, f"{name}_file")
    if said is None and file is not None:
        folder = Path(config._source.file if config._source is not None else "").parent
        try:
            said = _first_line(folder / file)
        except OSError as error:
            why = error.strerror or str(error)
            _tell(config, name, f"{file} cannot be read: {why}", problems)
        except ValueError as error:
            _tell(config, name, f"{file}: {error}", problems)
    return (said or "").encode()


def _tell(config: Config, name: str, text: str, problems: list[Problem]) -> None:
    problems.append(config.problem(("admin", f"{name}_file"), text))


def _first_line(path: Path) -> str:
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_mode & (stat.S_IRWXO):
            raise ValueError("everybody on this host can read it; chmod 600")
        line = stream.readline(TOKEN_MAX + 2)
    return checked_token(line.decode("utf-8", "replace").strip())
