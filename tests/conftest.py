"""What every test stands on: which build is under test, how hypothesis behaves, and the stage.

Any other fixture lives beside the tests that use it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import fourseven
from support.front import Stage
from support.tls import Authority

hypothesis.settings.register_profile(
    "fourseven",
    deadline=None,  # the machine is shared: time is no property of the code
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize="FOURSEVEN_EXPLORE" not in os.environ,  # a red build must be red again
    print_blob=True,
)
hypothesis.settings.load_profile("fourseven")


# A sanitizer's runtime is preloaded for what we have built (support.balancer gives it back to our
# processes); curl, h2load and their like may not even start with it.
if "FOURSEVEN_PRELOAD" in os.environ:
    os.environ.pop("LD_PRELOAD", None)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Two processes: the lab mostly waits, the rest mostly works (pytest-xdist, --dist loadgroup).

    No finer: tests of one process share ports, fixtures and a view of what is left behind.
    """
    lab = "lab" in item.path.relative_to(item.config.rootpath).parts
    item.add_marker(pytest.mark.xdist_group("lab" if lab else "rest"))


def pytest_report_header() -> str:
    mode = os.environ.get("FOURSEVEN_SANITIZER", "release")
    return f"fourseven {fourseven.__version__} ({mode}) from {Path(fourseven.__file__).parent}"


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Balancers and servers that are gone when the test ends; `verify`: they live until then, and no
    server has got anything that it could read in two ways."""
    with Stage() as stage:
        yield stage


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of all tests."""
    return Authority(tmp_path_factory.mktemp("tls"))
