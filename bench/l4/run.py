"""`make bench-l4` starts here: python bench/l4/run.py [--quick] [--only bulk-up,pps] …"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# This folder, the product when it is not installed, and the lab that the tests use.
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "tests")]

from bench.l4.session import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
