"""Limits hold exactly over all workers: a short form of what `make soak` asks for longer."""

from __future__ import annotations

import pytest

from chaos.exact import LIMITS, Limit, verify_burst, verify_limit, verify_rate


@pytest.mark.parametrize("workers", [2, 4])
def test_a_rate(workers: int):
    """A second is enough: the bounds are a few requests apart."""
    verify_rate(workers, 0.5)


@pytest.mark.parametrize("workers", [2, 4])
def test_a_burst(workers: int):
    verify_burst(workers)


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.name)
def test_a_limit(limit: Limit):
    """`make soak` asks with two workers too."""
    verify_limit(limit, 4)
