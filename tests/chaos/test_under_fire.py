"""A short run of the chaos that `make soak` does for hours; chaos.verdict says what must hold.

FOURSEVEN_CHAOS_SEED chooses another one; a failure says which it was.
"""

from __future__ import annotations

import os

from chaos.scene import Scene

SEED = int(os.environ.get("FOURSEVEN_CHAOS_SEED", "47"))


def test_under_fire():
    """Two rounds: the engine dies in the first, and the second may cost nothing."""
    with Scene(SEED) as scene:
        scene.round(2.5, kill=True)
        scene.round(1.0, kill=False)
        print("\n".join(scene.said))
