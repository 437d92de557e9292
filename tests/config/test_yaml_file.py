"""YAML: what values are read, where they stand, and what is refused."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fourseven.config import yaml_file
from fourseven.config.tree import DEPTH_MAX
from fourseven.errors import ConfigErrors


def value(text: str):
    return yaml_file.read(text, "f.yaml")[0]


def faults(text: str) -> list[str]:
    try:
        return [str(problem) for problem in yaml_file.read(text, "f.yaml")[2]]
    except ConfigErrors as errors:
        return [str(problem) for problem in errors.problems]


@pytest.mark.parametrize(
    "text,expected",
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("1:30", "1:30"),
        ("010", 10),
        ("0x10", 16),
        ("0o10", "0o10"),
        ("1_000", "1_000"),
        ("+5", 5),
        ("1.5", 1.5),
        (".5e3", 500.0),
        (".inf", ".inf"),
        ("2026-11-23", "2026-11-23"),
        ("10.0.0.1", "10.0.0.1"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("=", "="),
    ],
)
def test_plain_scalars_hold_no_surprise(text: str, expected):
    found = value(f"k: {text}")["k"]
    assert found == expected
    assert type(found) is type(expected)


def test_keys_are_text_as_written():
    assert value("{1: a, true: b, 1.0: c}") == {"1": "a", "true": "b", "1.0": "c"}


FAULTS = [
    ("a: !!python/object:os.system x", "f.yaml:1:4: a: the tag 'python/object:os.system' is not read; write the plain value, in quotes for text"),
    ("a: !!str 5", "f.yaml:1:4: a: the tag 'str' is not read; write the plain value, in quotes for text"),
    ("a: {b: {c: }}", "f.yaml:1:12: a.b.c: there is no value here; give one, or leave the key out"),
    ("a: [null]", "f.yaml:1:5: a: null is no value here; leave the key out, or put the word in quotes"),
    ("a: *b", "f.yaml:1:4: *b names no anchor; write &b before it, at what it means"),
    ("a: &a [*a]", "f.yaml:1:8: *a names no anchor; write &a before it, at what it means"),
    ("a: &b x\n*b : c", "f.yaml:2:1: an alias cannot be a key; write the key out"),
    ("? [a]\n: b", "f.yaml:1:3: a key must be text; put it in quotes if it begins with [ or {"),
    ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document begins here; keep one document in a file"),
    ("<<: 5", "f.yaml:1:5: <<: << takes a mapping or a list of mappings; write e.g. <<: *defaults"),
    ("a: 1\nb: 2\na: 3", "f.yaml:3:1: 'a' stands here twice, first in line 1; keep one of them"),
    ("a:\n\t- b", "f.yaml:2:1: found character that cannot start any token; indent with spaces; YAML allows no tab"),
    ("a: {b: c", "f.yaml:2:1: did not find expected ',' or '}'; close every { and [ that is opened"),
    ("a: @x", "f.yaml:1:4: found character that cannot start any token; put text that begins with * @ ` or % in quotes"),
    ("a: b: c", "f.yaml:1:5: mapping values are not allowed in this context; look at the indentation, the colons and the quotes in and before this line"),
    ("a: \x01", "f.yaml:1:4: the character U+0001 cannot stand here; remove it"),
]  # fmt: skip


@pytest.mark.parametrize("text,expected", FAULTS)
def test_faults_say_where_what_and_what_would_be_right(text: str, expected: str):
    found = faults(text)
    assert found == [expected]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_depth_is_bounded_before_the_stack_is(opening: str):
    (found,) = faults(opening * 50_000)
    assert f"nested deeper than {DEPTH_MAX} levels" in found or "a key must be text" in found


def test_aliases_of_aliases_cannot_grow_without_bound():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (found,) = faults("\n".join(lines))
    assert "the file grows beyond 4000000 values here" in found


def test_the_merge_key_gives_way_to_what_stands_beside_it():
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 9}"
    assert value(text)["c"] == {"x": 9, "y": 2, "z": 4}


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=8)
SIMPLE = st.recursive(
    WORDS | st.integers(-(10**20), 10**20) | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(WORDS, SIMPLE, max_size=5))
def test_what_is_written_as_json_is_read_as_it_was(data):
    """JSON is YAML, but for the merge key; so it is a writer that this reader did not write."""
    text = json.dumps(data, ensure_ascii=False)
    if "<<" not in text:
        assert value(text) == data


LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML 1.1, 4.2: so lines are counted


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_a_problem(text: str):
    try:
        found = yaml_file.read(text, "f.yaml")[2]
    except ConfigErrors as errors:
        found = list(errors.problems)
        assert found
    lines = len(LINE_BREAK.findall(text)) + 2
    assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in found)


@given(st.dictionaries(st.text("ab", min_size=1), SIMPLE, min_size=1, max_size=4))
def test_places_have_the_shape_of_the_values(data):
    text = yaml.safe_dump(data, allow_unicode=True)
    if "!!" in text or "<<" in text:
        return
    found, place, problems = yaml_file.read(text, "f.yaml")
    if not problems:
        check_shape(found, place)


def check_shape(data, place):
    """Every value has its place, and nothing else has one."""
    if isinstance(data, dict):
        assert list(place.items) == list(data)
        for key, item in data.items():
            check_shape(item, place.items[key].value)
    elif isinstance(data, list):
        assert len(place.items) == len(data)
        for item, at in zip(data, place.items, strict=True):
            check_shape(item, at)
    else:
        assert place.items is None
