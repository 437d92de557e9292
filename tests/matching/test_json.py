"""JSON pointers over bodies: what is found, what is a miss, and Python's own reader beside it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.matching.probe import Probe
from fourseven.matching.records import Field

PROBE = Probe([])


def find(body: bytes, pointer: bytes, complete: bool = True) -> bytes | None:
    PROBE.request(body=body, complete=complete, framing=1, content_length=len(body))
    return PROBE.value(Field.FIELD_BODY_JSON, pointer)


RFC6901 = rb"""{
      "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4,
      "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8 }"""

FOUND = [
    # RFC 6901 5
    (RFC6901, b"/foo", b'["bar", "baz"]'),
    (RFC6901, b"/foo/0", b"bar"),
    (RFC6901, b"/foo/1", b"baz"),
    (RFC6901, b"/foo/2", None),
    (RFC6901, b"/foo/-", None),
    (RFC6901, b"/foo/00", None),
    (RFC6901, b"/foo/x", None),
    (RFC6901, b"/", b"0"),
    (RFC6901, b"/a~1b", b"1"),
    (RFC6901, b"/c%d", b"2"),
    (RFC6901, b"/e^f", b"3"),
    (RFC6901, b"/g|h", b"4"),
    (RFC6901, b"/i\\j", b"5"),
    (RFC6901, b'/k"l', b"6"),
    (RFC6901, b"/ ", b"7"),
    (RFC6901, b"/m~0n", b"8"),
    (RFC6901, b"/m~n", None),
    (b'{"~1":1,"/":2}', b"/~01", b"1"),
    # values in canonical text
    (b'{"a":"x"}', b"/a", b"x"),
    (b'{"a":""}', b"/a", b""),
    (b'{"a":true,"b":false,"c":null}', b"/a", b"true"),
    (b'{"a":true,"b":false,"c":null}', b"/b", b"false"),
    (b'{"a":true,"b":false,"c":null}', b"/c", b"null"),
    (b'{"a":1.50}', b"/a", b"1.5"),
    (b'{"a":2.0}', b"/a", b"2"),
    (b'{"a":100}', b"/a", b"100"),
    (b'{"a":-0.0}', b"/a", b"0"),
    (b'{"a":-0}', b"/a", b"0"),
    (b'{"a":-10}', b"/a", b"-10"),
    (b'{"a":1.0e10}', b"/a", b"1.0e10"),
    (b'{"a":{}}', b"/a", b"{}"),
    (b'{"a":[ ]}', b"/a", b"[ ]"),
    (b'"whole"', b"", b"whole"),
    (b" 42 ", b"", b"42"),
    (b"[1]", b"", b"[1]"),
    # escapes
    (rb'{"a":"\"\\\/\b\f\n\r\t"}', b"/a", b'"\\/\b\f\n\r\t'),
    (rb'{"a":"\u0041\u00e9\u20ac\ud83d\ude00"}', b"/a", "Aé€😀".encode()),
    (rb'{"a":"\u0000"}', b"/a", b"\0"),
    (rb'{"\u0061":1}', b"/a", b"1"),
    (rb'{"a":"\ud83d"}', b"/a", None),
    (rb'{"a":"\ude00"}', b"/a", None),
    (rb'{"a":"\ud83d\u0041"}', b"/a", None),
    (rb'{"a":"\u12"}', b"/a", None),
    (rb'{"a":"\u12g4"}', b"/a", None),
    (rb'{"a":"\x41"}', b"/a", None),
    (b'{"a":"\n"}', b"/a", None),
    # nesting, arrays, several of one name: the last counts
    (b'{"u":{"p":{"q":[0,{"r":"s"}]}}}', b"/u/p/q/1/r", b"s"),
    (b"[[1,2],[3,[4,5]]]", b"/1/1/0", b"4"),
    (b'[{"a":1},{"a":2}]', b"/1/a", b"2"),
    (b'{"a":1,"a":2}', b"/a", b"2"),
    (b'{"a":{"b":1},"a":{"c":2}}', b"/a/b", None),
    (b'{"a":{"b":1},"a":{"c":2}}', b"/a/c", b"2"),
    (rb'{"a":1,"\u0061":2}', b"/a", b"2"),
    (b'{"b":{"a":1},"a":2}', b"/a", b"2"),
    (b'{"ab":1,"a":2}', b"/a", b"2"),
    (b'{"a":2}', b"/ab", None),
    (b'{"a":2}', b"/a/b", None),
    (b"2", b"/a", None),
    # no JSON
    (b"", b"", None),
    (b"", b"/a", None),
    (b"{}", b"/a", None),
    (b'{"a":1,}', b"/a", None),
    (b'{"a":01}', b"/a", None),
    (b'{"a":+1}', b"/a", None),
    (b'{"a":1.}', b"/a", None),
    (b'{"a":.5}', b"/a", None),
    (b'{"a":1e}', b"/a", None),
    (b'{"a":NaN}', b"/a", None),
    (b'{"a":True}', b"/a", None),
    (b'{"a":1 "b":2}', b"/a", None),
    (b'{"a" 1}', b"/a", None),
    (b"{a:1}", b"/a", None),
    (b"{'a':1}", b"/a", None),
    (b'{"a":[1}', b"/a", None),
    (b'{"a":[,1]}', b"/a", None),
    (b'{"a":{]}', b"/a", None),
    (b'{"a":1', b"/a", None),
    (b'{"a":"x', b"/a", None),
    (b'\xef\xbb\xbf{"a":1}', b"/a", None),
]


@pytest.mark.parametrize(("body", "pointer", "want"), FOUND)
def test_pointer(body, pointer, want):
    assert find(body, pointer) == want


CUT = [
    (b'{"a":1,"b":"lon', b"/a", b"1"),
    (b'{"a":1', b"/a", None),  # perhaps 12
    (b'{"a":1,', b"/a", b"1"),
    (b'{"a":"x', b"/a", None),
    (b'{"a":"x"', b"/a", b"x"),
    (b'{"u":{"a":"x","b', b"/u/a", b"x"),
    (b'{"u":{"a":"x","b', b"/u", None),
    (b"[1,2,[3", b"/1", b"2"),
    (b"[1,2,[3", b"/2/0", None),
    (b'{"a":1,"a":[', b"/a", None),
    (b'{"a":"\\', b"/a", None),
    (b'{"a":"\\u00', b"/a", None),
    (b'{"a', b"/a", None),
    (b"{", b"/a", None),
    (b"[", b"/0", None),
]


@pytest.mark.parametrize(("body", "pointer", "want"), CUT)
def test_a_body_that_goes_on_behind_the_prefix(body, pointer, want):
    assert find(body, pointer, complete=False) == want


def test_depth_is_bounded():
    for depth, want in [(63, b"1"), (64, b"1"), (65, None), (40_000, None)]:
        body = b'{"b":' + b"[" * depth + b"]" * depth + b',"a":1}'
        assert find(body, b"/a") == want


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5),
    lambda part: (
        st.lists(part, max_size=4)
        | st.dictionaries(st.text(alphabet='ab~/"\\é😀', max_size=3), part, max_size=4)
    ),
    max_leaves=12,
)


def leaves(value, pointer=""):
    if isinstance(value, dict):
        for key, below in value.items():
            yield from leaves(below, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for at, below in enumerate(value):
            yield from leaves(below, f"{pointer}/{at}")
    else:
        yield pointer, value if isinstance(value, str) else json.dumps(value)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_it_reads_what_python_writes(value, ascii_only, indent):
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    for pointer, want in leaves(value):
        assert find(body, pointer.encode()) == want.encode(), pointer


@given(VALUES, st.data())
def test_a_cut_body_gives_the_value_or_nothing(value, data):
    body = json.dumps(value).encode()
    cut = data.draw(st.integers(0, len(body)))
    for pointer, want in leaves(value):
        assert find(body[:cut], pointer.encode(), complete=False) in (want.encode(), None)


@given(st.lists(st.sampled_from([*b'{}[]:,"\\u0a1-.e ', 0, 255]), max_size=60).map(bytes))
def test_any_bytes_are_borne(body):
    for pointer in (b"", b"/", b"/a", b"/0", b"/a/0/a"):
        for complete in (True, False):
            find(body, pointer, complete)
