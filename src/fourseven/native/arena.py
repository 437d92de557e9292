"""An arena: memory taken piece by piece and given back whole.

A snapshot is built once, read by many, and freed at one instant. So its pieces need no owners:
they come from chunks that grow, and one call frees the chunks. What is not plain memory (a
compiled regular expression) leaves a word behind on how to drop it.

Laws: only control takes; workers only read. Every piece is zeroed and starts on a cache line's
multiple of 16 bytes; a piece of 64 bytes or more starts on a cache line.
"""

import cython
from cython.cimports.fourseven.native.arena import Arena, Chunk, Drop
from cython.cimports.fourseven.native.linux import aligned_alloc
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy, memset

CHUNK = 256 * 1024  # bytes: a small file fits one; thousands of routes need dozens
HEAD = 64  # bytes before the first piece, so that pieces keep the chunk's alignment


def arena_new():
    arena: cython.pointer[Arena] = cython.cast(
        cython.pointer[Arena], calloc(1, cython.sizeof(Arena))
    )
    if arena is cython.NULL:
        raise MemoryError
    return arena


def arena_take(arena, size):
    align: cython.size_t = 64 if size >= 64 else 16
    chunk: cython.pointer[Chunk] = arena.chunks
    at: cython.size_t = 0
    if chunk is not cython.NULL:
        at = (chunk.used + align - 1) // align * align
    if chunk is cython.NULL or at + size > chunk.size:
        chunk = add_chunk(arena, size)
        at = chunk.used
    chunk.used = at + size
    return cython.cast(cython.p_char, chunk) + at


def add_chunk(arena, size):
    whole: cython.size_t = HEAD + size
    if whole < CHUNK:
        whole = CHUNK
    whole = (whole + 63) // 64 * 64
    chunk: cython.pointer[Chunk] = cython.cast(cython.pointer[Chunk], aligned_alloc(64, whole))
    if chunk is cython.NULL:
        raise MemoryError
    memset(chunk, 0, whole)
    chunk.next = arena.chunks
    chunk.size = whole
    chunk.used = HEAD
    arena.chunks = chunk
    arena.total += whole
    return chunk


def arena_text(arena, text):
    """A copy of the bytes that lives as long as the arena; empty text is present but empty."""
    at: cython.p_char = cython.cast(cython.p_char, arena_take(arena, len(text) + 1))
    source: cython.p_const_char = text
    memcpy(at, source, len(text))
    return Span(at=at, size=len(text))


def arena_on_drop(arena, drop, what):
    note: cython.pointer[Drop] = cython.cast(
        cython.pointer[Drop], arena_take(arena, cython.sizeof(Drop))
    )
    note.drop = drop
    note.what = what
    note.next = arena.drops
    arena.drops = note
    return 0


def arena_drop(arena):
    note: cython.pointer[Drop] = arena.drops
    chunk: cython.pointer[Chunk] = arena.chunks
    next_chunk: cython.pointer[Chunk]
    while note is not cython.NULL:
        note.drop(note.what)
        note = note.next
    while chunk is not cython.NULL:
        next_chunk = chunk.next
        free(chunk)
        chunk = next_chunk
    free(arena)
