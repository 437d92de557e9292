"""Makes the benchmark importable: its frames and floods serve the lab's tests too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
