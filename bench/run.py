"""`make bench` starts here: python bench/run.py [--quick] [--only 128B,1MiB] [--rounds 5] …"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]  # this folder and, uninstalled, the product

from bench.session import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
