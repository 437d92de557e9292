"""What every test stands on: which build is under test, and how hypothesis behaves.

Nothing else is shared by all; a fixture lives beside the tests that use it.
"""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis

import fourseven

hypothesis.settings.register_profile(
    "fourseven",
    deadline=None,  # the machine is shared: time is no property of the code
    derandomize="CI" in os.environ,  # a red build must be red again
    print_blob=True,
)
hypothesis.settings.load_profile("fourseven")


def pytest_report_header() -> str:
    mode = os.environ.get("FOURSEVEN_SANITIZER", "release")
    return f"fourseven {fourseven.__version__} ({mode}) from {Path(fourseven.__file__).parent}"
