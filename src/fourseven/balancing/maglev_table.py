"""Maglev's table (Eisenbud et al. 2016, "Maglev", section 3.4): a twin.

Each server has its own order in which it likes the places of the table. The servers take turns;
at a turn a server takes the first place in its order that is still free, until none is. Then
every server has almost the same number of places, and when one server leaves almost only its own
places change hands.

Weights: at each round a server earns its weight, and a turn costs the heaviest one's weight. So
the heaviest has a turn each round, and one half as heavy every second round. All have one in the
first round: even a server whose share is less than one place gets a place.

Law: the length is a prime, or an order would not visit every place.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence

EMPTY = 0xFFFFFFFF


def fill(
    table: MutableSequence[int],
    places: MutableSequence[int],
    skips: Sequence[int],
    credits: MutableSequence[int],
    weights: Sequence[int],
) -> int:
    """Fills `table`, which is all EMPTY, with indexes into `weights`, all above 0. The start and
    the step of each server's order are `places` (which moves on) and `skips`, both below the
    table's length; `credits` starts as what each lacks to the heaviest."""
    size = len(table)
    heaviest = max(weights)
    filled = 0
    while True:
        for at in range(len(weights)):
            credits[at] += weights[at]
            if credits[at] < heaviest:
                continue
            credits[at] -= heaviest
            place = places[at]
            skip = skips[at]
            while table[place] != 0xFFFFFFFF:  # EMPTY
                place = place + skip if place < size - skip else place - (size - skip)
            table[place] = at
            places[at] = place
            filled += 1
            if filled == size:
                return 0
