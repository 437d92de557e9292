"""Globs over paths, in time that grows with the path alone.

    *       any bytes but /, also none          ?       one byte but /
    **      any bytes, also /                   [a-z]   one of these, [!a-z] another; never /

Every other byte stands for itself; the whole path must match. A glob with two kinds of star
cannot be matched greedily in linear time, and as a regular expression a hostile path would make
it search. So it is a set of states kept as bits: bit n says that the first n pieces can be used
up by what was read. One byte of the path moves all states at once (Baeza-Yates and Gonnet 1992).

Laws: at most 255 pieces, so four words hold the states and a byte of the path costs at most
four steps. Neighbouring stars are merged beforehand, so a state skips at most one.
"""

import cython
from cython.cimports.fourseven.matching.records import MatchGlob
from cython.cimports.fourseven.native.arena import arena_take
from cython.cimports.libc.stdint import uint32_t, uint64_t

PIECES_MAX = 255  # four words of states with the final one; a path in a file is shorter

EVERY = frozenset(range(256))
SEGMENT = EVERY - {ord("/")}


def glob_pieces(pattern: bytes) -> list:
    """(bytes taken, is a star) for each piece; ValueError says what is wrong with the pattern."""
    pieces: list = []
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        if byte == b"*":
            end = at
            while pattern[end : end + 1] == b"*":
                end += 1
            pieces.append((EVERY if end - at > 1 else SEGMENT, True))
            at = end
        elif byte == b"?":
            pieces.append((SEGMENT, False))
            at += 1
        elif byte == b"[":
            taken, at = _class(pattern, at)
            pieces.append((taken, False))
        else:
            pieces.append((frozenset(byte), False))
            at += 1
    if len(pieces) > PIECES_MAX:
        raise ValueError(f"a glob has more than {PIECES_MAX} pieces; use a prefix or a regex")
    return pieces


def _class(pattern, at):
    # A ] right after the opening (or the !) stands for itself, as in a shell.
    start = at + 2 if pattern[at + 1 : at + 2] == b"!" else at + 1
    end = pattern.find(b"]", start + 1)
    if end < 0:
        raise ValueError(f"the [ at character {at + 1} of the glob has no ]; write e.g. [a-z]")
    taken: set = set()
    inside = pattern[start:end]
    n = 0
    while n < len(inside):
        first = last = inside[n]
        if inside[n + 1 : n + 2] == b"-" and n + 2 < len(inside):
            last = inside[n + 2]
            n += 2
        if last < first:
            raise ValueError(f"the range in [{inside.decode()}] goes backwards")
        taken.update(range(first, last + 1))
        n += 1
    if start == at + 2:
        taken = set(EVERY - taken)
    return frozenset(taken - {ord("/")}), end + 1


def glob_compile(arena, pattern):
    pieces: list = glob_pieces(pattern)
    glob: cython.pointer[MatchGlob] = cython.cast(
        cython.pointer[MatchGlob], arena_take(arena, cython.sizeof(MatchGlob))
    )
    glob.final = len(pieces)
    glob.words = glob.final // 64 + 1
    # Bytes which every piece treats alike share one row.
    rows: dict = {}
    byte: cython.int
    for byte in range(256):
        taken = tuple([byte in piece for piece, _ in pieces])
        glob.row[byte] = rows.setdefault(taken, len(rows))
    words: cython.size_t = glob.words * len(rows)
    glob.step = cython.cast(cython.pointer[uint64_t], arena_take(arena, words * 8))
    glob.stay = cython.cast(cython.pointer[uint64_t], arena_take(arena, words * 8))
    state: uint32_t
    bit: uint64_t
    moves: cython.pointer[uint64_t]
    for state, (_, star) in enumerate(pieces):
        bit = 1
        bit <<= state & 63
        glob.stars[state >> 6] |= bit if star else 0
        moves = glob.stay if star else glob.step
        for row in [row for taken, row in rows.items() if taken[state]]:
            moves[cython.cast(uint32_t, row) * glob.words + (state >> 6)] |= bit
    return glob


def test_glob(value, row, scratch):
    glob: cython.pointer[cython.const[MatchGlob]] = cython.cast(
        cython.pointer[cython.const[MatchGlob]], row.compiled
    )
    states: uint64_t[4]
    now: uint64_t
    carry: uint64_t
    skip: uint64_t
    alive: uint64_t
    at: uint32_t
    n: uint32_t
    line: uint32_t
    states[0] = 1
    states[1] = states[2] = states[3] = 0
    skip = 0
    for n in range(glob.words):  # what may be skipped before the first byte
        now = states[n] | skip
        skip = (now & glob.stars[n]) >> 63
        states[n] = now | ((now & glob.stars[n]) << 1)
    for at in range(value.size):
        line = cython.cast(uint32_t, glob.row[cython.cast(cython.uchar, value.at[at])]) * glob.words
        carry = skip = alive = 0
        for n in range(glob.words):
            now = states[n] & glob.step[line + n]
            states[n] = (states[n] & glob.stay[line + n]) | (now << 1) | carry | skip
            carry = now >> 63
            skip = (states[n] & glob.stars[n]) >> 63
            states[n] |= (states[n] & glob.stars[n]) << 1
            alive |= states[n]
        if alive == 0:
            return False
    return (states[glob.final >> 6] >> (glob.final & 63)) & 1
