"""From a file to the model, or to every error in it.

    text -> values with places (yaml_file, toml_file) -> the model (pydantic) -> check

Each stage goes on as far as it can, so that a person sees all errors at once: names of backends
are looked up in the plain values, before and whether or not the model takes them. `load` gives a
Config that can be compiled; all errors are ConfigErrors.

Law: nothing here opens a network connection or runs anything that a file names. Loading is safe
on a file from somebody else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fourseven.config import toml_file, yaml_file
from fourseven.config.check import errors_of, unknown_backends
from fourseven.config.tree import FILE_MAX, Document
from fourseven.config.wording import words
from fourseven.errors import ConfigErrors, Problem
from fourseven.model import Config

_READERS = {".toml": toml_file.read}  # all else is YAML, which JSON is a part of


def load(path: str | Path) -> Config:
    """The configuration in a file. Raises ConfigErrors with every error that it has."""
    file = str(path)
    try:
        with open(file, "rb") as stream:
            raw = stream.read(FILE_MAX + 1)
    except OSError as error:
        raise ConfigErrors(
            [Problem(file, 0, 0, "", f"it cannot be read: {error.strerror}")]
        ) from None
    return loads(raw, file)


def loads(raw: bytes, file: str) -> Config:
    """The configuration in these bytes; `file` names them, and its suffix says the format."""
    document, problems = read(raw, file)
    config, wrong_form = validate(document)
    problems += [one for one in wrong_form if not _holds_one_of(one, problems)]
    problems += unknown_backends(document)
    if config is not None:
        problems += errors_of(config)
    if config is None or problems:
        raise ConfigErrors(problems)
    return config


def _holds_one_of(problem: Problem, others: list[Problem]) -> bool:
    """A part with a fault in it, or inside, is not judged as a whole: that would be its echo."""
    return any(
        other.path == problem.path or other.path.startswith(f"{problem.path}.") for other in others
    )


def read(raw: bytes, file: str) -> tuple[Document, list[Problem]]:
    """The values with their places, and what is wrong with the file's form so far."""
    if len(raw) > FILE_MAX:
        raise ConfigErrors(
            [Problem(file, 0, 0, "", f"it is larger than {FILE_MAX} bytes; split it")]
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        what = f"the byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigErrors([Problem(file, line, column, "", what)]) from None
    data, place, problems = _READERS.get(Path(file).suffix.lower(), yaml_file.read)(text, file)
    if not isinstance(data, dict):
        raise ConfigErrors([*problems, Problem(file, 1, 1, "", _NOT_A_MAPPING)])
    kept = {key: value for key, value in data.items() if not key.startswith("x-")}
    return Document(file, kept, place), problems


_NOT_A_MAPPING = "the file is no mapping; begin with listeners: and backends: (see fourseven init)"


def validate(document: Document) -> tuple[Config | None, list[Problem]]:
    """The model, or None and an error for each part that has the wrong form."""
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        return None, [_problem(document, detail) for detail in error.errors(include_url=False)]
    config._source = document
    return config, []


def _problem(document: Document, detail: Any) -> Problem:
    path, text = detail["loc"], words(detail, Config)
    if path[-1:] == ("[key]",):  # pydantic's step to a key of a mapping
        return document.problem(path[:-1], text, at_key=True)
    return document.problem(path, text, at_key=detail["type"] == "extra_forbidden")
