"""The reference page: it says what the code says, and each of its examples works."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from fourseven.forms import Form
from fourseven.forms_sticky import Sticky
from fourseven.model import Backend, Config, Route
from fourseven.registry import ALGORITHMS, FILTERS, MATCHES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import reference

SERVERS = ["127.0.0.1:8080"]


def examples(feature: type) -> list[Any]:
    """The indented lines of a docstring; one that begins at the left begins another example."""
    found: list[str] = []
    for line in inspect.cleandoc(feature.__doc__ or "").splitlines():
        if line.startswith("     ") and found:
            found[-1] += line[4:] + "\n"
        elif line.startswith("    "):
            found.append(line[4:] + "\n")
    return [yaml.safe_load(text) for text in found]


@pytest.mark.parametrize("feature", [*MATCHES, *FILTERS, *ALGORITHMS], ids=lambda f: f.__name__)
def test_the_examples_of_a_feature_are_read_and_compiled(feature):
    found = examples(feature)
    assert found, f"{feature.__name__} shows no example"
    for said in found:
        (key,) = said
        if key == "balance":
            step = Backend.model_validate({"servers": SERVERS, **said}).balance.feature
            assert step.lower([("127.0.0.1:8080", 1)])
        elif key == "match":
            steps = list(Route.model_validate({"backend": "b", **said}).match.everything())
            assert any(isinstance(step, feature) and step.lower() for step in steps)
            continue
        else:
            ends = any(form in ("redirect", "respond") for one in said[key] for form in one)
            route = Route.model_validate(said if ends else {"backend": "b", **said})
            step = next(f.feature for f in route.filters if isinstance(f.feature, feature))
            step = step.under(b"/videos/")
            assert step.request_actions() or step.response_actions() or step.gates()
        assert isinstance(step, feature)


def test_every_key_stands_on_the_page():
    page = reference.page()
    for feature in (*MATCHES, *FILTERS, *ALGORITHMS):
        assert f"### `{feature.key}`\n" in page
        for name, field in feature.model_fields.items():
            assert f"| `{field.alias or name}` |" in page


def forms_of(kind: Any) -> set[type]:
    """Every form that may stand somewhere in a value of this type; not those of features."""
    if not inspect.isclass(kind) or get_args(kind):
        return set().union(*(forms_of(one) for one in get_args(kind)))
    if not issubclass(kind, Form) or kind.__module__ == Form.__module__:
        return set()
    inner = (forms_of(field.annotation) for field in kind.model_fields.values())
    return {kind}.union(*inner)


def test_every_form_of_a_file_stands_on_the_page():
    """It said every key, and the keys at the top of the file were missing."""
    found = forms_of(Config) - {Sticky}  # its keys are said in one line
    assert len(found) > 20
    assert found - set(reference.FORMS.values()) == set()


def test_the_page_is_up_to_date():
    for path, make in reference.PAGES.items():
        assert path.read_text() == make(), "run tools/reference.py"


@pytest.mark.parametrize(
    "value, text",
    [(0, "0"), (1, "1ms"), (1500, "1500ms"), (60_000, "1m"), (90_000, "90s"), (3_600_000, "1h")],
)
def test_times_are_written_in_the_largest_whole_unit(value, text):
    assert reference.in_units(value, reference.units.TIME.units) == text
