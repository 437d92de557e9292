"""TOML: where everything stands, and what is refused. The values are the standard library's."""

from __future__ import annotations

import tomllib

import pytest

from fourseven.config import toml_file
from fourseven.config.tree import DEPTH_MAX, Document
from fourseven.errors import ConfigErrors

PLACES = {
    "a key and its value": ('a = 1\n b  = "x"', {("a",): (1, 5), ("b",): (2, 7)}),
    "tables": ("[a.b]\nc = 1\n[a]\nd = 2", {("a",): (1, 1), ("a", "b", "c"): (2, 5), ("a", "d"): (4, 5)}),
    "dotted keys": ('a.b."c.d" = 1', {("a", "b"): (1, 1), ("a", "b", "c.d"): (1, 13)}),
    "arrays over lines": ("a = [ # [\n 1,\n 'x', [2]]", {("a",): (1, 5), ("a", 1): (3, 2), ("a", 2, 0): (3, 8)}),
    "inline tables": ("a = {b = {c = [{d = 1}]}, e.f = 2}", {("a", "b", "c", 0, "d"): (1, 21), ("a", "e", "f"): (1, 33)}),
    "arrays of tables": ("[[a]]\nx = 1\n[[a]]\n[a.b]\ny = 2", {("a", 0, "x"): (2, 5), ("a", 1): (3, 1), ("a", 1, "b", "y"): (5, 5)}),
    "strings that look like more": ('a = """\n[b]\nc = 1\\""""\nd = \'\'\'\n# \'\'\'\ne = "]#\\""\nf = 2', {("d",): (4, 5), ("e",): (6, 5), ("f",): (7, 5)}),
    "quotes at the end of a long string": ('a = """x"""""\nb = 1', {("b",): (2, 5)}),
    "other scalars": ("a = 1979-05-27T07:32:00Z # c\nb = -1.5e3\nc = [true,false]", {("b",): (2, 5), ("c", 1): (3, 11)}),
    "line ends of Windows": ('a = 1\r\nb = "x"\r\n', {("b",): (2, 5)}),
    "nothing": ("# only this\n", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", PLACES)
def test_where_everything_stands(case: str):
    text, expected = PLACES[case]
    data, place, problems = toml_file.read(text, "f.toml")
    document = Document("f.toml", data, place)
    assert data == tomllib.loads(text)
    assert problems == []
    check_shape(data, place)
    assert {path: document.find(path)[:2] for path in expected} == expected


def test_a_key_has_a_place_of_its_own():
    data, place, _ = toml_file.read("[a]\n  'b c'.d = 1", "f.toml")
    assert Document("f.toml", data, place).find(("a", "b c", "d"), at_key=True) == (2, 9, "a.b c.d")


FAULTS = [  # what is wrong is in the words of the standard library, which change
    ("a = ", 1, 5, "see https://toml.io"),
    ("a = 1\na = 2", 2, 6, "keep one of them"),
    ("[a]\n[a]", 2, 3, "keep one of them"),
    ("a = [1", 1, 7, "see https://toml.io"),
    ("a = 1 2\n", 1, 7, "see https://toml.io"),
]


@pytest.mark.parametrize("text,line,column,mend", FAULTS)
def test_faults(text: str, line: int, column: int, mend: str):
    with pytest.raises(ConfigErrors) as error:
        toml_file.read(text, "f.toml")
    (problem,) = error.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert problem.text.endswith(f"; {mend}")


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 50_000, "a = " + "[" * 100 + "]" * 100, "a" + ".a" * 100 + " = 1"]
)
def test_depth_is_bounded(text: str):
    with pytest.raises(ConfigErrors) as error:
        toml_file.read(text, "f.toml")
    assert f"nested deeper than {DEPTH_MAX} levels; flatten it" in str(error.value)


def check_shape(data, place):
    """Every value has its place, and nothing else has one."""
    if isinstance(data, dict):
        assert set(place.items) == set(data)
        for key, item in data.items():
            check_shape(item, place.items[key].value)
    elif isinstance(data, list):
        assert len(place.items) == len(data)
        for item, at in zip(data, place.items, strict=True):
            check_shape(item, at)
    else:
        assert place.items is None
