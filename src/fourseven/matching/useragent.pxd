from libc.stdint cimport uint32_t, uint64_t

from fourseven.matching.records cimport MatchCursor, MatchScratch
from fourseven.protocols.message cimport Request, Span

cdef enum:
    AGENT_MAX = 1024        # bytes of a User-Agent that count; browsers send < 300
    BOTS = 15               # sizes of the lists below
    SCREENS = 9
    TABLETS = 4
    MOBILES = 9
    HINTS = 4

cdef const char *BOT_WORDS[BOTS]
cdef const char *SCREEN_WORDS[SCREENS]
cdef const char *TABLET_WORDS[TABLETS]
cdef const char *MOBILE_WORDS[MOBILES]
cdef const char *DESKTOP_HINTS[HINTS]

# mobile, tablet, desktop or bot; never absent.
cdef Span field_device(
    const Request *request, const Span *name, uint64_t number, MatchScratch *scratch, MatchCursor *cursor
) noexcept nogil
cdef const char *device_of(const Span *agent, const Span *mobile, const Span *platform) noexcept nogil
cdef Span lower(const Span *text, MatchScratch *scratch) noexcept nogil
cdef bint has(const Span *text, const char *word) noexcept nogil
cdef bint has_any(const Span *text, const char *const *words, uint32_t count) noexcept nogil
cdef bint is_bot(const Span *text) noexcept nogil
cdef bint equals(const Span *text, const char *word) noexcept nogil
