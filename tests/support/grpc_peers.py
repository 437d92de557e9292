"""A server and a client of gRPC, by grpcio itself, without generated code: messages are bytes.

The service test.Echo: Unary, Up (a stream of messages becomes one), Down (one becomes many), Chat
(each is answered), and methods that fail in the ways that servers do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from support.nowhere import claim
from support.wire import WAIT_S

SERVICE = "test.Echo"
DETAILS = bytes(range(256)) * 12  # larger than one line of HTTP/1.1 may be


class GrpcServer:
    """`seen` has the metadata of each call, `hold` lets calls of Wait go."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None, name: str = "") -> None:
        self.name = name.encode()
        self.seen: list[dict[str, str | bytes]] = []
        self.left_s: list[float] = []
        self.cancelled = threading.Event()
        self.hold = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.server = grpc.server(ThreadPoolExecutor(64))
        kinds: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
            "Unary": (grpc.unary_unary_rpc_method_handler, self.unary),
            "Up": (grpc.stream_unary_rpc_method_handler, self.up),
            "Down": (grpc.unary_stream_rpc_method_handler, self.down),
            "Chat": (grpc.stream_stream_rpc_method_handler, self.chat),
            "Fail": (grpc.unary_unary_rpc_method_handler, self.fail),
            "Break": (grpc.unary_stream_rpc_method_handler, self.break_off),
            "Wait": (grpc.unary_unary_rpc_method_handler, self.wait),
        }
        methods = {name: kind(method) for name, (kind, method) in kinds.items()}
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, methods),)
        )
        if credentials is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.place = claim(port=self.port).detach()  # grpcio's sockets have SO_REUSEPORT
        self.address = f"127.0.0.1:{self.port}"
        self.server.start()

    def stop(self) -> None:
        """Nobody listens there from now on; the port is given back with the object."""
        self.hold.set()
        self.server.stop(None).wait(WAIT_S)

    def __del__(self) -> None:
        os.close(self.place)

    def note(self, context: grpc.ServicerContext) -> None:
        self.seen.append({one.key: one.value for one in context.invocation_metadata()})
        self.left_s.append(context.time_remaining() or 0.0)

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.note(context)
        context.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\xff\x00")))
        return self.name + request

    def up(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(len(one) for one in requests)

    def down(self, request: bytes, _: grpc.ServicerContext) -> Iterator[bytes]:
        for at in range(int(request)):
            yield b"%d" % at

    def chat(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for one in requests:
            yield b"<" + one + b">"

    def fail(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", DETAILS),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so: 100% \u00e4 <b>")
        return b""

    def break_off(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")

    def wait(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.note(context)
        self.waiting.release()
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()  # it had ended before
        self.hold.wait(WAIT_S)
        return request


class GrpcClient:
    """A channel, and the methods of the service as callables."""

    def __init__(self, address: tuple[str, int], credentials: Any = None, **options: Any) -> None:
        target = f"{address[0]}:{address[1]}"
        # A channel of its own for each client: grpcio would share connections between them.
        chosen = [("grpc.use_local_subchannel_pool", 1), *options.items()]
        if credentials is None:
            self.channel = grpc.insecure_channel(target, chosen)
        else:
            self.channel = grpc.secure_channel(target, credentials, chosen)

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def __getattr__(self, name: str) -> Any:
        kinds = {
            "up": self.channel.stream_unary,
            "down": self.channel.unary_stream,
            "chat": self.channel.stream_stream,
            "break_off": self.channel.unary_stream,
        }
        method = {"break_off": "Break"}.get(name, name.capitalize())
        return kinds.get(name, self.channel.unary_unary)(f"/{SERVICE}/{method}")
