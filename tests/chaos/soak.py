"""The chaos of chaos.scene for as long as one likes: `make soak ARGS="--minutes 30 --seed 7"`.

First each limit is shown to hold exactly, with 2 and 4 workers (chaos.exact). Then come
rounds of ten seconds, one after the other; in the first, and every five minutes, the engine is
killed; in between one engine lives through them all, and its memory is compared. It ends at the first fault, with
the seed and exit code 1. What comes when depends on the machine as well as on the seed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / place) for place in ("tests", "src")]
from chaos.exact import verify_all  # noqa: E402
from chaos.scene import Scene  # noqa: E402

ROUND_S = 10.0
KILL_EVERY = 30  # rounds


def soak(minutes: float, seed: int) -> None:
    for line in verify_all(seconds=8):
        print(line, flush=True)
    until = time.monotonic() + 60 * minutes
    print(f"chaos for {minutes:g} minutes, seed {seed}", flush=True)
    with Scene(seed) as scene:
        while time.monotonic() < until:
            scene.round(ROUND_S, kill=scene.rounds % KILL_EVERY == 0)
            print(scene.said[-1], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    try:
        soak(asked.minutes, asked.seed)
    except AssertionError as wrong:
        sys.exit(f"{wrong}")


if __name__ == "__main__":
    main()
