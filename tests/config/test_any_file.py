"""Whatever a file says, it is a plan or a list of errors with places; never a crash."""

from __future__ import annotations

import time

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import loads
from fourseven.config.warnings import warnings_of
from fourseven.errors import ConfigErrors
from fourseven.model import Backend, Listener, Route, Server
from fourseven.registry import ALGORITHMS, FILTERS, MATCHES


def keys(*models) -> list[str]:
    return [field.alias or name for one in models for name, field in one.model_fields.items()]


FEATURES = [*MATCHES, *FILTERS, *ALGORITHMS]
KEYS = [*keys(Listener, Route, Backend, Server, *FEATURES), *(one.key for one in FEATURES)]
WORDS = st.sampled_from(
    [*KEYS, "any", "all", "not", "web", "x-a", "/a", "http", "1.2.3.4:80", ":80"]
)
SCALARS = (
    WORDS
    | st.sampled_from(
        ["10s", "1KiB", "125%", "/a/../b", "*.a.com", "[", "10.0.0.0/8", "> 1MiB", ""]
    )
    | st.text(max_size=5)
    | st.integers(-5, 10**6)
    | st.booleans()
    | st.none()
    | st.floats(allow_nan=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
ROUTES = st.fixed_dictionaries(
    {},
    optional={
        "match": st.dictionaries(WORDS, VALUES, max_size=3),
        "filters": st.lists(st.dictionaries(WORDS, VALUES, max_size=2), max_size=2),
        "backend": st.sampled_from(["web", "api", "none"]),
        "backends": st.dictionaries(st.sampled_from(["web", "api"]), st.integers(-1, 5)),
    },
)
LISTENERS = st.fixed_dictionaries(
    {"bind": st.sampled_from([":80", ":81", "udp://:53", "unix:/a", ":0"]) | VALUES},
    optional={
        "backend": st.sampled_from(["web", "api", "none"]),
        "routes": st.lists(ROUTES, min_size=1, max_size=3),
        **{name: VALUES for name in keys(Listener) if name not in ("bind", "backend", "routes")},
    },
)
BACKENDS = st.fixed_dictionaries(
    {"servers": st.lists(st.just("1.2.3.4:80") | VALUES, max_size=3)},
    optional={"balance": VALUES | st.sampled_from([one.key for one in ALGORITHMS])},
)
FILES = st.fixed_dictionaries(
    {
        "listeners": st.dictionaries(st.sampled_from(["a", "b"]), LISTENERS | VALUES, max_size=2),
        "backends": st.fixed_dictionaries({"web": BACKENDS, "api": BACKENDS}),
    }
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES | st.dictionaries(WORDS | st.sampled_from(["listeners", "backends"]), VALUES))
def test_a_plan_or_errors(data):
    text = yaml.safe_dump(data, allow_unicode=True)
    try:
        config = loads(text.encode("utf-8", "surrogatepass"), "f.yaml")
        plan = compile_plan(config)
    except ConfigErrors as errors:
        found = list(errors.problems)
        assert found
    else:
        found = warnings_of(config, plan)
    for problem in found:
        assert problem.text
        assert "\n" not in str(problem)
        assert 0 <= problem.line <= text.count("\n") + 2


def test_ten_thousand_routes_are_quick():
    lines = ["listeners: {web: {bind: ':80', routes: ["]
    lines += [
        f"{{match: {{host: h{i}.org, path: /p{i}/}}, backend: b{i % 100}}}," for i in range(10_000)
    ]
    lines += ["]}}", "backends:"]
    lines += [f"  b{i}: {{servers: [10.0.0.{i}:80, 10.0.1.{i}:80]}}" for i in range(100)]
    start = time.process_time()
    config = loads("\n".join(lines).encode(), "f.yaml")
    plan = compile_plan(config)
    assert warnings_of(config, plan) == []
    print(f"10,000 routes: {time.process_time() - start:.2f} s to load, check and compile")
