"""The stage of the scenarios, for bodies that are changed or held back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.front import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    try:
        yield stage
        stage.verify()
    finally:
        stage.strike()
