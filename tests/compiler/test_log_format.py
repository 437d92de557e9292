"""The form of a log line is compiled to pieces, or refused with what would be right."""

import json

import pytest

from fourseven.compiler.log_format import FIELDS, JSON_FIELDS, compile_format
from fourseven.snapshot.layout import LineField, LineMode


def text_of(pieces):
    """With each field's name where its value will stand."""
    names = {field: name for name, (field, _) in FIELDS.items()}
    return "".join(
        literal.decode() if field == LineField.LINE_LITERAL else f"<{names[field]}>"
        for field, _, literal in pieces
    )


def test_json_is_json_with_each_field_in_its_mode():
    pieces = compile_format("json")
    quoted = text_of(pieces).replace("<", '"<').replace(">", '>"')
    assert json.loads(quoted) == {name: f"<{name}>" for name in JSON_FIELDS}
    assert {mode for field, mode, _ in pieces if field} == {LineMode.LINE_JSON}


def test_json_with_fields_of_the_files_choice():
    assert text_of(compile_format("json", ("status", "client"))) == (
        '{"status":<status>,"client":<client>}'
    )


def test_combined():
    assert text_of(compile_format("combined")) == (
        '<client> - - [<time_common>] "<method> <target> <protocol>" <status> <bytes_out>'
        ' "<referer>" "<user_agent>"'
    )


def test_a_template():
    assert text_of(compile_format("{{{status}}} {client}")) == "{<status>} <client>"


@pytest.mark.parametrize(
    ("form", "fields", "says"),
    [
        ("{statsu}", (), "did you mean 'status'"),
        ("json", ("clinet",), "did you mean 'client'"),
        ("plain", (), "names no field"),
        ("{status", (), "a lone {"),
        ("status}", (), "a lone }"),
        ("{status}\n{client}", (), "control character"),
        ("combined", ("status",), "belong to the format json"),
    ],
)
def test_what_is_refused(form, fields, says):
    with pytest.raises(ValueError, match=says):
        compile_format(form, fields)
