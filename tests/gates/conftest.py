"""The stage of the scenarios, for gates; and an authority."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.front import Stage
from support.tls import Authority


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    try:
        yield stage
        stage.verify()
    finally:
        stage.strike()


@pytest.fixture(scope="session")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))
