"""Files, and what is said about them: the text and the place of each error."""

from __future__ import annotations

import pytest

from fourseven.config.load import loads
from fourseven.errors import ConfigErrors

BACKENDS = "backends: {web: {servers: [127.0.0.1:9000]}, api: {servers: [127.0.0.1:9001]}}\n"


def problems(text: str) -> list[str]:
    """The errors of a file called f.yaml, as they are printed."""
    try:
        loads(text.encode(), "f.yaml")
    except ConfigErrors as errors:
        return [str(problem) for problem in errors.problems]
    return []


def test_a_small_file_is_read_whole():
    config = loads(
        f"listeners: {{web: {{bind: ':80', backend: web}}}}\n{BACKENDS}".encode(), "f.yaml"
    )
    assert config.listeners["web"].bind == ("tcp://[::]:80",)
    assert config.backends["web"].servers[0].address == "127.0.0.1:9000"


ERRORS = {
    "unknown keys and names, all at once": (
        "listeners:\n"
        "  web:\n"
        "    bind: 127.0.0.1:8080\n"
        "    routes:\n"
        "      - {backendd: web}\n"
        "      - {backend: wbe}\n",
        [
            "f.yaml:5:10: listeners.web.routes[0].backendd: the key 'backendd' is not known here;"
            " did you mean 'backend'?",
            "f.yaml:6:19: listeners.web.routes[1].backend: there is no backend 'wbe'; did you mean 'web'?",
        ],
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_where_what_and_what_would_be_right(case: str):
    text, expected = ERRORS[case]
    assert problems(text + BACKENDS) == expected
