# pcre2-8 does the work; only what is called stands here.
from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.matching.records cimport MatchRow, MatchScratch
from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Regex

cdef extern from "<pcre2.h>" nogil:
    ctypedef struct pcre2_code:
        pass
    ctypedef struct pcre2_match_data:
        pass
    ctypedef struct pcre2_match_context:
        pass
    ctypedef struct pcre2_jit_stack:
        pass
    int PCRE2_DOLLAR_ENDONLY, PCRE2_NEVER_BACKSLASH_C, PCRE2_NEVER_UTF, PCRE2_NEVER_UCP
    int PCRE2_JIT_COMPLETE, PCRE2_ERROR_NOMATCH, PCRE2_INFO_CAPTURECOUNT
    size_t PCRE2_UNSET
    pcre2_code *pcre2_compile(
        const uint8_t *pattern, size_t size, uint32_t options, int *error, size_t *offset, void *context
    )
    void pcre2_code_free(pcre2_code *code)
    int pcre2_jit_compile(pcre2_code *code, uint32_t options)
    int pcre2_get_error_message(int error, uint8_t *text, size_t size)
    int pcre2_pattern_info(const pcre2_code *code, uint32_t what, void *where)
    pcre2_match_context *pcre2_match_context_create(void *context)
    void pcre2_match_context_free(pcre2_match_context *context)
    int pcre2_set_match_limit(pcre2_match_context *context, uint32_t limit)
    int pcre2_set_depth_limit(pcre2_match_context *context, uint32_t limit)
    int pcre2_set_heap_limit(pcre2_match_context *context, uint32_t kib)
    pcre2_match_data *pcre2_match_data_create(uint32_t pairs, void *context)
    void pcre2_match_data_free(pcre2_match_data *data)
    size_t *pcre2_get_ovector_pointer(pcre2_match_data *data)
    pcre2_jit_stack *pcre2_jit_stack_create(size_t start, size_t most, void *context)
    void pcre2_jit_stack_free(pcre2_jit_stack *stack)
    void pcre2_jit_stack_assign(pcre2_match_context *context, void *callback, void *data)
    int pcre2_match(
        const pcre2_code *code, const uint8_t *at, size_t size, size_t start, uint32_t options,
        pcre2_match_data *data, pcre2_match_context *context,
    )

cdef enum:
    GROUPS_MAX = 10         # \0 to \9: what a rewrite can name
    MATCH_LIMIT = 10000     # steps back from one start: 0.1 ms; the worst 16 KiB we found took 4 ms
    HEAP_LIMIT_KIB = 1024   # only where there is no JIT
    STACK_START = 32768
    STACK_MOST = 262144     # what is saved for steps back; more is a limit that was hit

# A compiled expression that lives as long as the arena; ValueError says where it is wrong.
cdef Regex *regex_compile(Arena *arena, bytes pattern) except NULL
cdef pcre2_code *compile_code(bytes pattern) except NULL
cdef void drop_code(void *code) noexcept nogil

# Groups found, with \0; 0: no match (or a limit was hit, which is counted).
cdef int32_t regex_find "fourseven_regex_find"(
    const Regex *regex, const Span *value, MatchScratch *scratch
) noexcept nogil
# A group of the match found last in this scratch; absent when it took no part.
cdef Span regex_group "fourseven_regex_group"(
    const Span *value, uint32_t group, MatchScratch *scratch
) noexcept nogil

cdef bint test_regex(const Span *value, const MatchRow *row, MatchScratch *scratch) noexcept nogil

# The scratch's part of this: 0, or -1 when memory is short.
cdef int scratch_prepare(MatchScratch *scratch) noexcept nogil
cdef void scratch_free(MatchScratch *scratch) noexcept nogil
