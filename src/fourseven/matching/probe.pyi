from collections.abc import Sequence

from fourseven.plan import RoutePlan
from fourseven.tls.shown import Shown

def packed_address(address: str) -> bytes: ...

class Probe:
    def __init__(self, routes: Sequence[RoutePlan]) -> None: ...
    def request(
        self,
        method: bytes = ...,
        host: bytes | None = ...,
        path: bytes = ...,
        query: bytes | None = ...,
        headers: Sequence[tuple[bytes, bytes]] = ...,
        client: str = ...,
        body: bytes | None = ...,
        complete: bool = ...,
        framing: int = ...,
        content_length: int = ...,
        sni: bytes | None = ...,
        alpn: bytes | None = ...,
        certificate: Shown | None = ...,
    ) -> Probe: ...
    def find(self) -> int: ...
    def scan(self) -> int: ...
    def value(self, field: int, name: bytes = ..., number: int = ...) -> bytes | None: ...
    def steps(self, route: int) -> list[tuple[int, bool | None, bytes | None]]: ...
    def limited(self) -> int: ...
