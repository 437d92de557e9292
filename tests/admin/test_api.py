"""The admin API of a fourseven that runs: what it tells, what it changes, whom it refuses."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from urllib.parse import quote

import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from admin.conftest import FULL, LOOK, config
from fourseven.control.admin import view
from fourseven.control.admin.access import Access
from fourseven.control.admin.openapi import document
from fourseven.control.admin.refusals import KINDS
from fourseven.control.admin.table import OPERATIONS
from support.api import Api, Reply
from support.service import own_host, settled

ROUTE = '<b>"all"\\'


def path_of(operation) -> str:
    filled = operation.path.replace("{listener}", "web").replace("{backend}", "all")
    return filled.replace("{server}", "127.0.0.1:1")


# ---- what it tells ----


def test_the_state_has_the_form_that_is_described(api):
    TypeAdapter(view.State).validate_python(api.get("/v1/state"), strict=True)


def test_what_was_served_is_seen(service, api):
    web = service.address("web")
    before = api.get("/v1/listeners/web")["answers"]
    for path in ("/fixed", "/a", "/b"):
        service.get(web, path)
    assert seen(api, "/v1/listeners/web", lambda one: one["answers"]["2xx"] == before["2xx"] + 3)
    state = api.get("/v1/state")
    assert state["process"]["pid"] == service.engine()
    assert state["listeners"][0]["addresses"] == [f"tcp://127.0.0.1:{web[1]}"]
    assert [one["layer"] for one in state["listeners"]] == ["L7", "L4"]
    assert [one["match"] for one in state["listeners"][0]["routes"]] == ["path: /fixed", ""]
    assert seen(api, "/v1/backends/all", lambda one: one["answers"]["2xx"] >= 2)
    backend = api.get("/v1/backends/all")
    assert [one["address"] for one in backend["servers"]] == list(service.servers)
    one = api.get(f"/v1/backends/all/servers/{quote(service.servers[0], safe='')}")
    assert (one["state"], one["usable"], one["weight"]) == ("up", True, 1)


def seen(api: Api, path: str, holds) -> bool:
    """Whether the state comes to show it; a state is kept for a moment, and counted after an answer."""
    return settled(lambda: holds(api.get(path)))


def test_metrics_are_read_by_the_client_library(service, api):
    service.get(service.address("web"), "/a")
    assert seen(api, "/v1/listeners/web", lambda one: one["answers"]["2xx"] >= 1)
    reply = api.ask("GET", "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(reply.body.decode()))
    samples = {}
    for family in families:
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples
            samples[key] = sample.value
    assert samples["fourseven_requests_total", (("code", "2xx"), ("listener", "web"))] >= 1
    server = ("backend", "all"), ("server", service.servers[0])
    assert samples["fourseven_server_usable", server] == 1
    info = ("layer", "L4"), ("listener", "plain"), ("plane", "relay")
    assert samples["fourseven_listener_info", info] == 1


def test_explain_is_that_of_the_command_line(api):
    found = api.post("/v1/explain", {"url": "http://x/fixed", "listener": "web"})
    assert (found["route"], found["answered"]) == ("fixed", True)
    found = api.post("/v1/explain", {"url": "http://x/y", "listener": "web"})
    assert [one["name"] for one in found["attempts"]] == ["fixed", ROUTE]
    assert found["attempts"][0]["misses"][0]["wanted"].startswith("/fixed")


def test_the_config_is_the_file_that_is_in_force(service, api):
    found = api.get("/v1/config")
    assert found["content"] == service.file.read_text()
    assert [one["plane"] for one in found["listeners"]] == ["http", "relay"]


def test_the_description_is_valid_and_names_every_call(api):
    described = api.get("/v1/openapi.json")
    validate(described)
    assert described == document()
    for operation in OPERATIONS:
        assert operation.method.lower() in described["paths"][operation.path]


WRONG = [
    (b"{}", {"Content-Type": "text/plain"}, 415),
    (b"{", {}, 400),
    ({"mistake": 1}, {}, 422),
    ({}, {"Host": "evil.example"}, 403),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_the_description_knows_each_refusal(api, operation):
    """Calls without a body of their own refuse wrong bodies as well; that stood nowhere."""
    described = api.get("/v1/openapi.json")["paths"][operation.path][operation.method.lower()]
    bodies = [(None, {"Host": "evil.example"}, 403)] if operation.method == "GET" else WRONG
    for body, headers, status in bodies:
        assert api.ask(operation.method, path_of(operation), body, **headers).status == status
        assert str(status) in described["responses"]


# ---- what it changes ----


def server_path(service, at: int = 0) -> str:
    return f"/v1/backends/all/servers/{quote(service.servers[at], safe='')}"


def test_a_drained_server_gets_nothing_and_comes_back(service, api):
    web, path = service.address("web"), server_path(service)
    drained = api.post(f"{path}/drain", {"deadline_s": 60})
    assert drained["state"] in ("draining", "drained")
    assert not drained["usable"]
    served = {service.get(web, "/x").body for _ in range(4)}
    assert served == {b"two"}
    assert [one["word"] for one in api.get("/v1/changes")] == ["drain"]
    assert api.post(f"{path}/enable")["usable"]
    assert {service.get(web, "/x").body for _ in range(4)} == {b"one", b"two"}
    assert api.get("/v1/changes") == []


def test_a_weight_is_changed_and_given_back(service, api):
    path = server_path(service)
    reply = api.ask("PUT", f"{path}/weight", {"weight": 7})
    assert (reply.document["weight"], reply.document["weight_in_file"]) == (7, 1)
    assert api.ask("PUT", f"{path}/weight", {"weight": None}).document["weight"] == 1


def test_all_changes_are_undone_at_once(service, api):
    api.post(f"{server_path(service)}/maintenance")
    api.ask("PUT", f"{server_path(service, 1)}/weight", {"weight": 3})
    undone = api.ask("DELETE", "/v1/changes", {}).document
    assert [(one["word"], one["weight"]) for one in undone] == [
        ("maintenance", None),
        (None, 3),
    ]
    assert api.get("/v1/changes") == []


def test_what_the_file_says_and_what_is_said_against_it(service, api):
    """Of a server that it drains, and of one that has left it meanwhile."""
    one, two = service.servers
    file = config({"address": one, "drain": True}, two)
    assert service.reload(file)["code"] == 0
    try:
        found = api.get(server_path(service))
        assert found["state"] in ("draining", "drained")
        assert found["why"] == "the file says so"
        assert (found["word"], found["word_in_file"], found["usable"]) == ("drain", "drain", False)
        assert api.get("/v1/diff")["running"] == []
        asked = {"url": "http://x/y", "listener": "web"}
        said = api.post("/v1/explain", asked)
        assert (said["server"], said["why"]) == (two, "it is the only one that takes work")
        assert api.post(f"{server_path(service)}/enable")["usable"]
        (against,) = api.get("/v1/diff")["running"]
        assert (against["in_file"], against["running"]) == ("drain", "enable")
        api.post(f"{server_path(service, 1)}/drain")
        assert api.post("/v1/explain", asked)["server"] == one
        assert service.reload(config(one))["code"] == 0
        assert [one["word"] for one in api.ask("DELETE", "/v1/changes", {}).document] == ["drain"]
        assert api.get("/v1/changes") == []
    finally:
        assert service.reload(config(one, two))["code"] == 0


@pytest.mark.parametrize("keep", [True, False])
def test_a_change_outlives_a_reload_if_asked(service, api, keep):
    api.post(f"{server_path(service)}/drain?keep={str(keep).lower()}")
    told = service.reload()
    assert told["code"] == 0
    assert bool(api.get("/v1/changes")) is keep
    said = f"{service.servers[0]} of all is as the file has it again"
    assert (said in told["lines"]) is not keep
    assert api.get(server_path(service))["usable"] is not keep


@pytest.mark.parametrize("keep", [True, False])
def test_a_change_outlives_an_upgrade_if_asked_and_no_call_fails_meanwhile(service, api, keep):
    api.post(f"{server_path(service)}/drain?keep={str(keep).lower()}")
    before, stop, failures = service.engine(), threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                assert api.ask("GET", "/v1/changes").status == 200
            except Exception as error:
                failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert service.ask("upgrade")["code"] == 0
    stop.set()
    asking.join()
    assert failures == []
    assert settled(lambda: service.status()["draining"] == [])  # who might answer for the new one
    assert api.get("/v1/state")["process"]["pid"] == service.engine() != before
    assert bool(api.get("/v1/changes")) is keep


# ---- whom it refuses ----

REFUSED = [
    ("GET", "/v1/nothing", None, {}, "not-found"),
    ("GET", "/v1/listeners/none", None, {}, "not-found"),
    ("GET", "/v1/backends/none", None, {}, "not-found"),
    ("GET", "/v1/backends/all/servers/none", None, {}, "not-found"),
    ("POST", "/v1/backends/all/servers/none/drain", {}, {}, "not-found"),
    ("POST", "/v1/state", {}, {}, "method"),
    ("GET", "/v1/state", None, {"Host": "evil.example"}, "host"),
    ("GET", "/", None, {"Host": "evil.example"}, "host"),
    ("GET", "/v1/state", None, {"Origin": "http://evil.example"}, "origin"),
    ("POST", "/v1/explain", b"{}", {"Content-Type": "text/plain"}, "media-type"),
    ("DELETE", "/v1/changes", None, {}, "media-type"),
    ("POST", "/v1/explain", b"{", {}, "malformed"),
    ("POST", "/v1/explain", b"[" * 100_000, {}, "malformed"),
    ("POST", "/v1/explain", {"url": "http://x/", "mistake": 1}, {}, "invalid"),
    ("POST", "/v1/explain", {"url": "nonsense"}, {}, "invalid"),
    ("POST", "/v1/explain", {"url": "http://x/", "client": "me"}, {}, "invalid"),
    ("POST", "/v1/explain", b" " * (2 << 20), {}, "too-large"),
]


@pytest.mark.parametrize("method, path, body, headers, kind", REFUSED)
def test_refusals_are_problem_documents(api, method, path, body, headers, kind):
    reply = api.ask(method, path, body, **headers)
    assert (reply.kind, reply.status) == (kind, KINDS[kind][0])


def test_who_hangs_up_amid_a_body_is_no_fault(service, api):
    """It was one, with a traceback in the log for each."""
    head = "POST /v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for _ in range(5):
        with api.connect() as half:
            half.sendall(f"{head}Content-Length: 99\r\n\r\n{{".encode())
        assert api.ask("GET", "/healthz").status == 200
    assert "admin.fault" not in service.words()


def test_a_wrong_weight_is_refused(service, api):
    for weight in (-1, 1.5, "many", 10**7):
        reply = api.ask("PUT", f"{server_path(service)}/weight", {"weight": weight})
        assert reply.kind == "invalid"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_by_an_address_each_call_needs_its_token(address, operation):
    tcp, path = Api(address), path_of(operation)
    body = None if operation.method == "GET" else {}

    def kind(token: str | None) -> str:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        reply: Reply = tcp.ask(operation.method, path, body, **headers)
        return "" if reply.headers["Content-Type"] != "application/problem+json" else reply.kind

    if operation.needs is Access.OPEN:
        assert kind(None) == ""
        return
    assert {kind(None), kind("wrong")} == {"unauthorized"}
    refused = operation.needs is Access.WRITE
    assert (kind(LOOK) == "forbidden") is refused
    assert kind(FULL) not in ("unauthorized", "forbidden")


def test_every_answer_says_how_it_may_be_used(api):
    for path in ("/", "/healthz", "/v1/nothing"):
        headers = api.ask("GET", path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "'unsafe" not in headers["Content-Security-Policy"]
        assert headers["Server"] == "fourseven"


def test_a_crowd_of_silent_callers_does_not_shut_the_operator_out(service, api, address):
    crowd = [socket.create_connection(address, timeout=20) for _ in range(100)]
    try:
        assert api.ask("GET", "/healthz").status == 200
        assert settled(lambda: sum(not closed(sock) for sock in crowd) <= 64)
    finally:
        for sock in crowd:
            sock.close()
    assert settled(lambda: is_let_in(address))


def is_let_in(address: tuple[str, int]) -> bool:
    """The crowd is gone when the door has seen it."""
    try:
        return Api(address).ask("GET", "/healthz").status == 200
    except (OSError, http.client.HTTPException):
        return False


def closed(sock: socket.socket) -> bool:
    sock.settimeout(0.01)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


# ---- the file changes ----


def test_another_address_and_token_come_with_a_reload(service, api, address):
    changed = config(*service.servers)
    changed["admin"] = {"bind": f"{own_host()}:0", "token": "another-token-of-16"}
    # The same bind (port 0 of the same name) is the same socket; only the token is another.
    assert service.reload(changed)["code"] == 0
    tcp = Api(address)
    assert tcp.ask("GET", "/v1/state", Authorization=f"Bearer {FULL}").kind == "unauthorized"
    assert tcp.ask("GET", "/v1/state", Authorization="Bearer another-token-of-16").status == 200
    del changed["admin"]
    assert service.reload(changed)["code"] == 0
    with pytest.raises(OSError):
        tcp.ask("GET", "/healthz")
    assert api.ask("GET", "/healthz").status == 200
    assert service.reload(config(*service.servers))["code"] == 0


def test_an_engine_that_died_is_followed_by_one_that_answers(service, api):
    api.post(f"{server_path(service)}/drain")
    before = service.engine()
    os.kill(before, signal.SIGKILL)
    assert api.get("/v1/state")["process"]["pid"] != before  # the caller waited in the kernel
    assert [one["word"] for one in api.get("/v1/changes")] == ["drain"]
