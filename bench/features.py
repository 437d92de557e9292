"""What each feature costs: nanoseconds of CPU per request, on against off.

    features.py [--rounds 4] [--only cookie,jwt] [--output FILE]

One worker serves a listener without any feature and one for each feature, from one file (log and
trace are the whole file's, so their forms have a process each). Within each round they take turns,
and the plain listener is asked again after every third: a feature's cost is its CPU per request
less the mean of the plain ones before and after it, so that a slow minute of the machine falls on
both.
All are sent the same request, with all the cookies and headers that any of them looks at. CPU is
that of the whole process: the thread that writes the log is in it, and the control thread.

The cost is the median over the rounds. The column behind it is half the spread of their middle
half: a figure below it is as good as nothing.

Laws: a turn with an error does not count. The result is bench/RESULTS-FEATURES.md.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]  # this folder and, uninstalled, the product

from bench import machine  # noqa: E402
from bench.figures import parse_wrk, wrk_errors  # noqa: E402
from bench.loads import HERE, run, told_cookie  # noqa: E402
from bench.origin import Origin  # noqa: E402
from bench.peers.fourseven import SOURCE  # noqa: E402
from fourseven.demo.processes import Child, Failed, free_port  # noqa: E402
from fourseven.registry import FILTERS  # noqa: E402

PATH = "/api/128"  # the origin answers 128 bytes to any path
TURN_SECONDS = 1  # wrk knows whole seconds only
PLAIN_EVERY = 3
CONNECTIONS = 64
SECRET = "a secret of thirty-two bytes or more"
PASSWORD = "$5$rounds=1000$benchbench$eD.lwpTEs1cDocuYAIm6q71z0ynpqeujFJioPwGstW2"  # secret
PAGE = "https://page.example"
PLAIN = "plain"

INTRODUCTION = """\
# What each feature costs

Written by `make bench-features`. Nanoseconds of CPU per request (128 B answers, 64 keep-alive
connections, one worker), on less off, measured in turns; the whole process counts, so the thread
that writes the log is in it. ± is half the spread of the middle half of the rounds: a figure below
it is as good as nothing. Latency histograms, counters by route, backend and server, and the
forwarding headers are always on: they are in the plain request.
"""


@dataclass(frozen=True, slots=True)
class Feature:
    """What is turned on: of the listener, of its route, of its backend, or of the whole file."""

    name: str
    title: str
    listener: dict[str, Any] = field(default_factory=dict)
    route: dict[str, Any] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)
    file: dict[str, Any] = field(default_factory=dict)


def filtered(name: str, title: str, said: Any) -> Feature:
    return Feature(name, title, route={"filters": [said]})


def kept(name: str, title: str, said: Any) -> Feature:
    return Feature(name, title, backend={"persistence": said})


FEATURES = (
    Feature("log-json", "access log, JSON, all fields", file={"access_log": "json.log"}),
    Feature(
        "log-combined",
        "access log, combined",
        file={"access_log": {"to": "combined.log", "format": "combined"}},
    ),
    Feature("trace", "tracing: a trace begun, none recorded", file={"tracing": {}}),
    Feature("id", "a request id", listener={"request_id": True}),
    kept("cookie", "persistence: cookie, of a client that was here before", "cookie"),
    kept("learn", "persistence: learn", {"learn": "session"}),
    kept("source", "persistence: source", "source"),
    Feature("least", "balance: least_requests", backend={"balance": "least_requests"}),
    Feature("ewma", "balance: peak_ewma", backend={"balance": "peak_ewma"}),
    Feature("hash", "balance: hash", backend={"balance": {"hash": {"cookie": "session"}}}),
    Feature("retry", "retry on 502 and 503", backend={"retry": {"on": ["connect", 502, 503]}}),
    Feature("limits", "limits of a backend", backend={"limits": {"requests": 10_000}}),
    filtered("rate", "rate_limit: 1000000/s", {"rate_limit": "1000000/s"}),
    filtered(
        "rate-client",
        "rate_limit, by client",
        {"rate_limit": {"rate": "1000000/s", "by": "client"}},
    ),
    filtered("concurrency", "concurrency", {"concurrency": 1_000}),
    filtered("adaptive", "adaptive_concurrency", {"adaptive_concurrency": {"min": 500}}),
    filtered("bandwidth", "bandwidth, never met", {"bandwidth": "10GiB/s"}),
    filtered("body", "body_limit", {"body_limit": "1MiB"}),
    filtered("compress", "compress, an answer too small for it", "compress"),
    filtered("mirror", "mirror of 1 %", {"mirror": {"backend": "shadow", "share": "1%"}}),
    filtered("access", "access: allow a network", {"access": {"allow": "127.0.0.0/8"}}),
    filtered(
        "basic",
        "basic_auth, a password that is remembered",
        {"basic_auth": {"users": {"u": PASSWORD}}},
    ),
    filtered(
        "jwt", "jwt, a token that is remembered", {"jwt": {"secret": SECRET, "cookie": "token"}}
    ),
    filtered("cors", "cors", {"cors": PAGE}),
    filtered(
        "request", "request_headers: set one", {"request_headers": {"set": {"X-Tenant": "a"}}}
    ),
    filtered(
        "response", "response_headers: set one", {"response_headers": {"set": {"X-By": "us"}}}
    ),
    filtered("rewrite", "rewrite of a prefix", {"rewrite": {"prefix": "/", "strip": "/api/"}}),
)


# ---- the files ----


def usable(feature: Feature) -> bool:
    """Whether this build has the filter."""
    known = {one.key for one in FILTERS}
    words = feature.route.get("filters", [])
    return all((one if isinstance(one, str) else next(iter(one))) in known for one in words)


def config(features: list[Feature], ports: dict[str, int], origin: Origin) -> dict[str, Any]:
    """One file: a listener and a backend for each feature, and one without any."""
    servers = [f"127.0.0.1:{origin.port}", f"127.0.0.1:{origin.other_port}"]
    logged = any("access_log" in feature.file for feature in features)
    found: dict[str, Any] = {"workers": 1, "listeners": {}, "backends": {"shadow": servers[:1]}}
    found["backends"]["shadow"] = {"servers": servers[:1]}
    for feature in [Feature(PLAIN, ""), *features]:
        name = feature.name
        found["listeners"][name] = {
            "bind": f"127.0.0.1:{ports[name]}",
            "protocol": "http",
            "routes": [{"backend": name, **feature.route}],
            **({"access_log": "access_log" in feature.file} if logged else {}),
            **feature.listener,
        }
        found["backends"][name] = {"servers": servers, "idle_max": 1024, **feature.backend}
        found.update(feature.file)
    return found


def groups(features: list[Feature]) -> list[list[Feature]]:
    """What can stand in one file: all that is of no file's own, and each of the rest by itself."""
    common = [feature for feature in features if not feature.file]
    return [one for one in [common, *([feature] for feature in features if feature.file)] if one]


def token() -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    claims = {"sub": "u", "exp": 4_102_444_800}  # 2100
    parts = [part(json.dumps(one).encode()) for one in ({"alg": "HS256"}, claims)]
    said = ".".join(parts)
    return f"{said}.{part(hmac.digest(SECRET.encode(), said.encode(), hashlib.sha256))}"


# ---- measuring ----


@dataclass
class Place:
    """A feature that runs: the process that serves it, and where."""

    feature: Feature
    server: Child
    port: int
    costs: list[float] = field(default_factory=list)  # ns per request, over the plain one
    errors: list[str] = field(default_factory=list)


@contextlib.contextmanager
def running(features: list[Feature], origin: Origin, folder: Path) -> Iterator[list[list[Place]]]:
    """Each group's places, the plain one first."""
    proxy, _ = machine.cores()
    with contextlib.ExitStack() as stack:
        found = []
        for number, group in enumerate(groups(features)):
            ports = {feature.name: free_port() for feature in [Feature(PLAIN, ""), *group]}
            home = folder / str(number)
            home.mkdir()
            file = home / "fourseven.yaml"
            file.write_text(json.dumps(config(group, ports, origin)))
            command = [sys.executable, "-m", "fourseven", "run", str(file)]
            command += ["--runtime-dir", f"{file}.run"]
            environment = {"PYTHONPATH": str(SOURCE)}
            server = Child(command, home / "log", cores=proxy, environment=environment)
            stack.callback(server.stop)
            server.wait_for_port(ports[PLAIN])
            places = [Feature(PLAIN, ""), *group]
            found.append([Place(one, server, ports[one.name]) for one in places])
        yield found


def request_lines(groups: list[list[Place]]) -> list[str]:
    """What all of them are sent, the persistence cookie of ours among it."""
    cookies = ["session=0123456789abcdef", f"token={token()}"]
    for place in (one for group in groups for one in group):
        if place.feature.name == "cookie":
            cookies.append(told_cookie(place.port, PATH).partition(";")[0])
    password = base64.b64encode(b"u:secret").decode()
    return [f"Cookie: {'; '.join(cookies)}", f"Authorization: Basic {password}", f"Origin: {PAGE}"]


def turn(place: Place, lines: list[str]) -> float | None:
    """CPU nanoseconds per request; None: an error, which is kept."""
    _, load = machine.cores()
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{TURN_SECONDS}s", "-s", str(HERE / "wrk.lua")]
    for line in lines:
        command += ["-H", line]
    before = place.server.cpu_us()
    found = parse_wrk(run([*command, f"http://127.0.0.1:{place.port}{PATH}"], load, 30, None))
    cpu = place.server.cpu_us() - before
    if error := wrk_errors(found):
        place.errors.append(error)
        return None
    return 1000 * cpu / found["requests"]


def measure(groups: list[list[Place]], lines: list[str], rounds: int) -> list[float]:
    """Fills the places' costs; gives what the plain requests took."""
    plain: list[float] = []
    for number in range(rounds):
        for first, *others in groups:
            plain += measure_group(first, others, lines)
        print(f"round {number + 1} of {rounds}", flush=True)
    return plain


def measure_group(first: Place, others: list[Place], lines: list[str]) -> list[float]:
    found = []
    turn(first, lines)  # warms up
    before = turn(first, lines)
    for at in range(0, len(others), PLAIN_EVERY):
        some = others[at : at + PLAIN_EVERY]
        taken = [turn(place, lines) for place in some]
        after = turn(first, lines)
        if before and after:
            found.append(after)
            note(some, taken, (before + after) / 2)
        before = after
    return found


def note(places: list[Place], taken: list[float | None], off: float) -> None:
    for place, on in zip(places, taken, strict=True):
        if on is not None:
            place.costs.append(on - off)


# ---- the result ----


def half_spread(costs: list[float]) -> str:
    """Empty where there are too few to tell."""
    if len(costs) < 3:
        return ""
    low, _, high = quantiles(costs, n=4)
    return f"{(high - low) / 2:,.0f}"


def text(described: dict[str, str], plain: list[float], places: list[Place]) -> str:
    rows = ["| feature | ns per request | ± |", "|---|---:|---:|"]
    rows.append(f"| none: the plain request | {median(plain):,.0f} | {half_spread(plain)} |")
    for place in places:
        if not place.costs:
            rows.append(f"| {place.feature.title} | no valid turn: {place.errors[0]} | |")
            continue
        cost, spread = median(place.costs), half_spread(place.costs)
        rows.append(f"| {place.feature.title} | {cost:+,.0f} | {spread} |")
    facts = [f"| {key} | {value} |" for key, value in described.items()]
    return "\n".join([INTRODUCTION, "| | |\n|---|---|", *facts, "", *rows]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=lambda said: said.split(","), default=[])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--congestion", default="cubic", help="as in bench/run.py")
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS-FEATURES.md")
    options = parser.parse_args()
    machine.isolate(options.congestion)
    machine.prepare()
    features = [
        one for one in FEATURES if usable(one) and (one.name in options.only or not options.only)
    ]
    described = machine.describe()
    _, load = machine.cores()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Origin(load) as origin,
        running(features, origin, Path(scratch)) as groups,
    ):
        plain = measure(groups, request_lines(groups), options.rounds)
        found = {place.feature.name: place for group in groups for place in group}
    if not plain:
        raise SystemExit(f"no valid turn: {found[PLAIN].errors}")
    options.output.write_text(text(described, plain, [found[one.name] for one in features]))
    print(options.output.read_text().partition("| feature")[2])
    return 1 if any(place.errors for place in found.values()) else 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Failed as error:
        raise SystemExit(str(error)) from None
