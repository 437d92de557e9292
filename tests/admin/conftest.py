"""A real fourseven with its API, shared by a file's tests; each undoes what it changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.api import Api
from support.recorder import Recorder
from support.service import Config, Service, own_host

FULL, LOOK = "full-access-token", "only-looking-token"


def config(*servers: str | Config) -> Config:
    return {
        "admin": {
            "bind": f"{own_host()}:0",
            "token": FULL,
            "read_token": LOOK,
            "hosts": "lb.example",
        },
        "listeners": {
            "web": {
                "protocol": "http",
                "routes": [
                    {"name": "fixed", "match": {"path": "/fixed"}, "filters": [{"respond": 204}]},
                    {"name": '<b>"all"\\', "backend": "all"},
                ],
            },
            "plain": {"backend": "all"},
        },
        "backends": {"all": {"servers": list(servers)}},
    }


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with (
        Recorder("one") as one,
        Recorder("two") as two,
        Service(config(one.address, two.address)) as running,
    ):
        running.servers = (one.address, two.address)  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def api(service: Service) -> Iterator[Api]:
    found = Api(service.runtime / "admin.sock")
    yield found
    found.ask("DELETE", "/v1/changes", {})


@pytest.fixture
def address(service: Service) -> tuple[str, int]:
    """Of the API, by TCP."""
    found = next(one for one in service.status()["admin"] if one.startswith("tcp:"))
    return own_host(), int(found.rpartition(":")[2])
