"""gRPC through the balancer, with grpcio on both sides: every form of call, every kind of end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import grpc
import pytest

from support.balancer import Balancer, Config, site
from support.front import Stage
from support.grpc_peers import DETAILS, SERVICE, GrpcClient, GrpcServer
from support.tls import Authority
from support.wire import WAIT_S

Code = grpc.StatusCode
NAME = "server.example"


def config_of(server: GrpcServer, backend: Config | None = None, **listener) -> Config:
    config = site(server.address, http_versions=[1.1, 2], **listener)
    config["backends"]["all"] |= {"protocol": "h2", **(backend or {})}
    return config


@pytest.fixture(scope="module")
def server() -> Iterator[GrpcServer]:
    server = GrpcServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def balancer(server: GrpcServer) -> Iterator[Balancer]:
    balancer = Balancer(config_of(server), workers=1)
    yield balancer
    balancer.verify_alive()
    balancer.stop()


@pytest.fixture
def client(balancer: Balancer) -> Iterator[GrpcClient]:
    with GrpcClient(balancer.address) as client:
        yield client


def status_of(call, *arguments, **more) -> tuple[grpc.StatusCode, str]:
    """Of a call of one message that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=more.pop("timeout", WAIT_S), **more)
    return caught.value.code(), caught.value.details()


# ---- the four forms ----


def test_unary(client: GrpcClient):
    assert client.unary(b"hello") == b"hello"
    assert client.unary(b"") == b""
    assert client.unary(bytes(3_000_000)) == bytes(3_000_000)


def test_a_stream_up(client: GrpcClient):
    assert client.up(iter([b"x" * 5000] * 1000)) == b"5000000"
    assert client.up(iter([])) == b"0"


def test_a_stream_down(client: GrpcClient):
    assert list(client.down(b"1000")) == [b"%d" % at for at in range(1000)]
    assert list(client.down(b"0")) == []


def test_both_sides_interleave(client: GrpcClient):
    """Each message waits for the answer to the one before it."""
    asked: queue.Queue[bytes | None] = queue.Queue()
    answers = client.chat(iter(asked.get, None))
    for at in range(300):
        asked.put(b"%d" % at)
        assert next(answers) == b"<%d>" % at
    asked.put(None)
    assert list(answers) == []
    assert answers.code() == Code.OK


def test_many_calls_share_connections(server: GrpcServer, balancer: Balancer, client: GrpcClient):
    before = balancer.counters()["workers"]["http2_trunks"]
    calls = [client.unary.future(b"%d" % at) for at in range(300)]
    assert [call.result(WAIT_S) for call in calls] == [b"%d" % at for at in range(300)]
    counted = balancer.counters()
    assert counted["workers"]["http2_trunks"] - before <= 3
    assert sum(row["in_flight"] for row in counted["servers"].values()) == 0


# ---- metadata, deadlines, statuses ----


def test_metadata(server: GrpcServer, client: GrpcClient):
    sent = (("x-text", "a, b"), ("x-raw-bin", bytes(range(256))), ("x-empty-bin", b""))
    answer, call = client.unary.with_call(b"", metadata=sent)
    assert answer == b""
    assert dict(sent).items() <= server.seen[-1].items()
    assert ("x-first-bin", b"\x00\xff") in list(call.initial_metadata())
    assert ("x-first", "1") in list(call.initial_metadata())
    assert {("x-last", "2"), ("x-last-bin", b"\xff\x00")} <= set(call.trailing_metadata())


def test_the_deadline_is_passed_on(server: GrpcServer, client: GrpcClient):
    assert client.unary(b"", timeout=77) == b""
    assert 60 < server.left_s[-1] < 78


def test_a_deadline_that_passes(server: GrpcServer, client: GrpcClient):
    assert client.unary(b"first") == b"first"  # the connections stand
    for timeout in (0.2, 2.0, 8.0):  # on a busy machine it may pass before the call is there
        server.cancelled.clear()
        assert status_of(client.wait, b"", timeout=timeout)[0] == Code.DEADLINE_EXCEEDED
        if server.cancelled.wait(2):
            break
    else:
        pytest.fail("the server never heard that nobody waits any more")
    assert client.unary(b"next") == b"next"


def test_a_client_that_cancels(server: GrpcServer, client: GrpcClient):
    server.cancelled.clear()
    while server.waiting.acquire(blocking=False):
        pass
    call = client.wait.future(b"")
    assert server.waiting.acquire(timeout=WAIT_S)
    server.cancelled.clear()
    call.cancel()
    assert server.cancelled.wait(WAIT_S)


def test_a_status_with_details(client: GrpcClient):
    with pytest.raises(grpc.RpcError) as caught:
        client.fail(b"")
    assert caught.value.code() == Code.FAILED_PRECONDITION
    assert caught.value.details() == "not so: 100% \u00e4 <b>"
    assert ("grpc-status-details-bin", DETAILS) in list(caught.value.trailing_metadata())


def test_a_status_after_messages(client: GrpcClient):
    answers = client.break_off(b"")
    assert next(answers) == b"one"
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert (caught.value.code(), caught.value.details()) == (Code.DATA_LOSS, "in the middle")


def test_a_method_that_the_server_does_not_know(client: GrpcClient):
    code, _ = status_of(client.nothing, b"")
    assert code == Code.UNIMPLEMENTED


# ---- what the balancer answers by itself ----


def test_its_own_answers(stage: Stage):
    """Never a page: a status that a client of gRPC knows."""
    server = GrpcServer()
    routes = [
        {"match": {"grpc": {"service": SERVICE, "method": "Unary"}}, "backend": "all"},
        {"match": {"grpc": "test.Gone"}, "backend": "gone"},
        {"match": {"path": "/test.Late"}, "backend": "late"},
        {"match": {"path": "/test.Shut"}, "filters": {"respond": {"status": 403}}},
        {"match": {"path": "/test.In"}, "filters": {"respond": {"status": 401}}},
        {"match": {"path": "/test.Fast"}, "filters": {"respond": {"status": 429}}},
    ]
    config = config_of(server, routes=routes, head_max="4KiB", body_max="100KiB")
    config["listeners"]["web"].pop("backend", None)
    config["backends"]["gone"] = {"servers": ["127.0.0.1:1"], "protocol": "h2"}
    config["backends"]["late"] = {
        "servers": [server.address], "protocol": "h2", "response_timeout": "100ms",
    }  # fmt: skip
    balancer = stage.balancer(config)
    wanted = {
        "/test.Gone/M": Code.UNAVAILABLE,
        "/test.Shut/M": Code.PERMISSION_DENIED,
        "/test.In/M": Code.UNAUTHENTICATED,
        "/test.Fast/M": Code.UNAVAILABLE,
        "/test.Nobody/M": Code.UNIMPLEMENTED,
    }
    try:
        with GrpcClient(balancer.address) as client:
            assert client.unary(b"x") == b"x"
            for path, code in wanted.items():
                found, details = status_of(client.channel.unary_unary(path), b"")
                assert (path, found) == (path, code)
                assert "HTTP" not in details
            assert status_of(client.unary, bytes(200_000))[0] == Code.RESOURCE_EXHAUSTED
            large = (("x-large", "y" * 5000),)
            found = status_of(client.unary, b"", metadata=large)
            assert found == (Code.RESOURCE_EXHAUSTED, "the headers are over the limit")
    finally:
        server.stop()


def test_a_server_that_answers_too_late(stage: Stage):
    server = GrpcServer()
    balancer = stage.balancer(config_of(server, {"response_timeout": "100ms"}))
    with GrpcClient(balancer.address) as client:
        found = status_of(client.wait, b"")
        assert found == (Code.DEADLINE_EXCEEDED, "the server took too long")
    server.stop()


def test_a_stream_may_rest(stage: Stage):
    """Longer than a body may pause, and longer than an answer may."""
    server = GrpcServer()
    balancer = stage.balancer(config_of(server, {"read_timeout": "50ms"}, body_timeout="50ms"))
    with GrpcClient(balancer.address) as client:
        asked: queue.Queue[bytes | None] = queue.Queue()
        answers = client.chat(iter(asked.get, None))
        asked.put(b"1")
        assert next(answers) == b"<1>"
        threading.Event().wait(0.3)
        asked.put(b"2")
        assert next(answers) == b"<2>"
        asked.put(None)
        assert list(answers) == []
    server.stop()


def test_a_server_that_dies(stage: Stage):
    one, two = GrpcServer(name="one"), GrpcServer(name="two")
    config = config_of(one)
    config["backends"]["all"]["servers"].append(two.address)
    balancer = stage.balancer(config)
    with GrpcClient(balancer.address) as client:
        assert {client.unary(b"") for _ in range(4)} == {b"one", b"two"}
        waits = [client.wait.future(b"") for _ in range(2)]
        assert one.waiting.acquire(timeout=WAIT_S)
        assert two.waiting.acquire(timeout=WAIT_S)
        one.server.stop(None).wait(WAIT_S)
        two.hold.set()
        ended = {call.code() for call in waits if call.exception(WAIT_S) is not None}
        assert len(ended) == 1
        assert ended <= {Code.UNAVAILABLE, Code.CANCELLED}  # never asked twice
        one.hold.set()
        assert {client.unary(b"") for _ in range(6)} == {b"two"}
        two.stop()
        assert status_of(client.unary, b"")[0] == Code.UNAVAILABLE


# ---- TLS on both sides ----


def test_tls_on_both_sides(stage: Stage, authority: Authority):
    proof = authority.issue("grpc.pem", NAME, "127.0.0.1")
    with open(proof, "rb") as file:
        pem = file.read()
    server = GrpcServer(grpc.ssl_server_credentials([(pem, pem)]))
    tls = {"ca": str(authority.pem), "name": NAME}
    config = config_of(server, {"tls": tls}, tls={"certificates": [proof]})
    balancer = stage.balancer(config)
    credentials = grpc.ssl_channel_credentials(authority.pem.read_bytes())
    options = {"grpc.ssl_target_name_override": NAME}
    with GrpcClient(balancer.address, credentials, **options) as client:
        assert client.unary(b"sealed") == b"sealed"
        assert list(client.down(b"50"))[-1] == b"49"
        assert server.seen[-1]["x-forwarded-proto"] == "https"
    server.stop()
