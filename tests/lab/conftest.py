"""The labs of the table of behaviour; and the benchmark importable, whose frames and floods serve here.

A lab is made once for all tests of a file that need one like it.
"""

import contextlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from support.lab import DIRECT, VIPS, Lab, address
from support.planes import Driven


@pytest.fixture(scope="module")
def labs():
    """The labs that are alike, made once; what a test changes in a lab, it does to its own."""
    with contextlib.ExitStack() as made:
        found: dict[tuple[int, str, bool], Lab] = {}

        def lab(family: int, back: str, vip: bool) -> Lab:
            if (family, back, vip) not in found:
                one = made.enter_context(Lab(servers=3, back=back, vip=vip))
                serve(one, family)
                found[family, back, vip] = one
            return found[family, back, vip]

        yield lab


def serve(lab: Lab, family: int) -> None:
    for number in range(1, len(lab.servers) + 1):
        own = address(f"server{number}", family)
        lab.serve(number, family, at=VIPS[family] if lab.back == DIRECT else own)


@pytest.fixture
def stage(labs):
    """A lab with three servers that answer, and a plane that has nothing to serve yet."""

    @contextlib.contextmanager
    def staged(plane: str, family: int, back: str, *, own: bool = False, **more):
        with contextlib.ExitStack() as made:
            if own:
                lab = made.enter_context(Lab(servers=3, back=back, **more))
                serve(lab, family)
            else:
                lab = labs(family, back, more.get("vip", True))
            yield made.enter_context(Driven(lab, plane, family))

    return staged
