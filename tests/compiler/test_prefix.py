"""Which prefix a route lies below, and what is said where nobody can tell."""

from __future__ import annotations

import pytest

from fourseven.compiler.prefix import prefix_of
from fourseven.compiler.routes import compile_routes
from fourseven.config.check import errors_of
from fourseven.matching.records import Field
from fourseven.matching.records import Test as Kind
from fourseven.model import Config
from fourseven.plan import All, Any_, Condition, Not


def path(test: Kind, operand: bytes) -> Condition:
    return Condition(Field.FIELD_PATH, test, operand=operand)


A, B = (path(Kind.TEST_SEGMENTS, prefix) for prefix in (b"/a", b"/b"))
HOST = Condition(Field.FIELD_HOST, Kind.TEST_EXACT, operand=b"x")


@pytest.mark.parametrize(
    "match, prefix",
    [
        (All(), b""),
        (HOST, b""),
        (A, b"/a"),
        (All((HOST, A)), b"/a"),
        (All((All((A,)), HOST)), b"/a"),
        (All((A, B)), None),
        (All((A, path(Kind.TEST_REGEX, b"x"))), b"/a"),
        (All((A, B, path(Kind.TEST_REGEX, b"x"))), None),
        (Any_((A, B)), None),
        (Any_((A, A)), b"/a"),
        (Any_((A, HOST)), None),
        (Any_((HOST, HOST)), b""),
        (All((A, Any_((HOST, HOST)))), b"/a"),
        (Not(A), b""),
        (All((A, Not(B))), b"/a"),
        (path(Kind.TEST_EXACT, b"/a"), None),
        (path(Kind.TEST_REGEX, b"^/a"), None),
    ],
)
def test_the_prefix_of_a_match(match, prefix):
    assert prefix_of(match) == prefix


def config(**route) -> Config:
    said = {"bind": "127.0.0.1:80", "routes": [{"backend": "b", **route}]}
    return Config.model_validate(
        {"listeners": {"web": said}, "backends": {"b": {"servers": ["127.0.0.1:81"]}}}
    )


def test_a_route_without_a_path_takes_nothing_off():
    (route,) = compile_routes(config(filters=[{"rewrite": "/pre"}]), "web", [])
    assert route.request_actions[0].name == b""


@pytest.mark.parametrize(
    "match, prefix",
    [
        ({"path": "/videos/"}, b"/videos"),
        ({"path": {"prefix": "/videos/", "glob": "/videos/**.mp4"}, "host": "a"}, b"/videos"),
        ({"path": "/"}, b""),
        ({"host": "a"}, b""),
    ],
)
def test_the_prefix_of_a_route(match, prefix):
    (route,) = compile_routes(config(match=match, filters=[{"rewrite": "/x"}]), "web", [])
    assert route.request_actions[0].name.rstrip(b"/") == prefix


@pytest.mark.parametrize("path", [["/a/", "/b/"], {"exact": "/a"}, {"regex": "^/a"}])
def test_a_prefix_that_nobody_can_tell_is_an_error_with_its_place(path):
    said = {"match": {"path": path}, "filters": [{"respond": 404}, {"redirect": {"prefix": "/x"}}]}
    said = config(backend=None, **said)
    (problem,) = errors_of(said)
    assert problem.path == "listeners.web.routes.0.filters.1.redirect"
    assert problem.text.startswith("redirect has to know which prefix it takes off")
