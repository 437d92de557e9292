"""The JSON Schema says what `check` says about form: what one takes, the other takes."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from fourseven.config.load import read, validate
from fourseven.config.schema import schema
from fourseven.registry import ALGORITHMS, FILTERS, MATCHES

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").iterdir())
SCHEMA = schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("feature", [*MATCHES, *FILTERS, *ALGORITHMS], ids=lambda one: one.__name__)
def test_every_feature_is_in_it_with_its_documentation(feature):
    forms = {"Match": "RouteMatch", "Filter": "RouteFilter", "Algorithm": "Balance"}
    (kind,) = [base.__name__ for base in feature.__mro__ if base.__name__ in forms]
    form = SCHEMA["$defs"][forms[kind]]
    properties = form.get("properties") or form["anyOf"][-1]["properties"]
    assert properties[feature.key]["description"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_fit(path: Path):
    document, _ = read(path.read_bytes(), str(path))
    assert [error.message for error in VALIDATOR.iter_errors(document.data)] == []


def file(listener=None, backend=None, **top):
    return {
        "listeners": {"a": {"bind": ":80", "backend": "b", **(listener or {})}},
        "backends": {"b": {"servers": ["1.2.3.4:80"], **(backend or {})}},
        **top,
    }


def routed(**route):
    said = file()
    said["listeners"]["a"] = {"bind": ":80", "routes": [{"backend": "b", **route}]}
    return said


SAME = [
    file(),
    file(workers=2),
    file(wrong=1),
    file({"bind": [":80", ":81"]}),
    file({"bind": 80}),
    file({"idle_timeout": "5s"}),
    file({"idle_timeout": 5}),
    file({"head_max": 4096, "request_id": True, "relax": "trace", "forwarded": []}),
    file({"relax": "nothing"}),
    file({"headers_max": 1000}),
    file(backend={"servers": []}),
    file(backend={"servers": [{"address": "1.2.3.4:80", "weight": 3}]}),
    file(backend={"servers": [{"weight": 3}]}),
    file(backend={"balance": "random"}),
    file(backend={"balance": "sideways"}),
    file(backend={"balance": {"source_hash": {"prefix_v4": 24}}}),
    file(backend={"balance": {"hash": {"header": "X-Tenant"}}}),
    file(backend={"balance": {"hash": "path"}}),
    file(backend={"balance": {"hash": {"path": True, "bounded_load": "125%"}}}),
    file(backend={"balance": {"hash": {"path": True, "bounded_load": 125}}}),
    file(backend={"balance": {"hash": {"path": True, "bounded_load": "125"}}}),
    file(backend={"balance": {"hash": {"path": True, "bounded_load": 99}}}),
    file({"proxy_protocol": {"from": "10.0.0.0/8"}}),
    file({"proxy_protocol": {"from": []}}),
    file(backend={"proxy_protocol": "v2"}),
    file(backend={"proxy_protocol": 2}),
    file(backend={"balance": {"maglev": {"header": 5}}}),
    routed(match={"path": "/x"}),
    routed(match={"path": {"prefix": "/x"}}),
    routed(match={"path": {"infix": "/x"}}),
    routed(match={"header": {"X-A": "1", "X-B": {"present": True}}}),
    routed(match={"any": [{"host": "a"}, {"not": {"method": "GET"}}]}),
    routed(match={"any": []}),
    routed(match={"host": ["a", "*.b"]}),
    routed(filters=[{"host": "b"}]),
    routed(filters={"response_headers": {"set": {"X-A": "1"}}}),
    routed(filters=[{"nothing": 1}]),
    routed(filters=[{}]),
]


@pytest.mark.parametrize("said", SAME)
def test_it_takes_what_the_model_takes(said):
    document, faults = read(yaml.safe_dump(said).encode(), "f.yaml")
    config, problems = validate(document)
    taken = config is not None and not faults
    errors = [error.message for error in VALIDATOR.iter_errors(said)]
    assert taken == (not errors), problems or errors
