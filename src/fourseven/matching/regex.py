"""Regular expressions: PCRE2, compiled to machine code, with bounds.

People know Perl's expressions, so we run those; but they search by trying, and a hostile value
can make a careless expression try for ever. Hence limits on the steps and the memory of one
search: where one is hit, the expression does not match, and a counter says so.

Laws: bytes, not characters (values from the internet need not be UTF-8; an expression cannot
switch that on). An expression matches anywhere in the value unless ^ and $ pin it; $ is the very
end. Compiled code is shared by all workers and never written; what a search writes belongs to
the worker's scratch.
"""

import cython
from cython.cimports.fourseven.matching.regex import (
    GROUPS_MAX,
    HEAP_LIMIT_KIB,
    MATCH_LIMIT,
    PCRE2_DOLLAR_ENDONLY,
    PCRE2_ERROR_NOMATCH,
    PCRE2_INFO_CAPTURECOUNT,
    PCRE2_JIT_COMPLETE,
    PCRE2_NEVER_BACKSLASH_C,
    PCRE2_NEVER_UCP,
    PCRE2_NEVER_UTF,
    PCRE2_UNSET,
    STACK_MOST,
    STACK_START,
    pcre2_code,
    pcre2_code_free,
    pcre2_compile,
    pcre2_get_error_message,
    pcre2_get_ovector_pointer,
    pcre2_jit_compile,
    pcre2_jit_stack,
    pcre2_jit_stack_assign,
    pcre2_jit_stack_create,
    pcre2_jit_stack_free,
    pcre2_match,
    pcre2_match_context,
    pcre2_match_context_create,
    pcre2_match_context_free,
    pcre2_match_data,
    pcre2_match_data_create,
    pcre2_match_data_free,
    pcre2_pattern_info,
    pcre2_set_depth_limit,
    pcre2_set_heap_limit,
    pcre2_set_match_limit,
)
from cython.cimports.fourseven.native.arena import arena_on_drop
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.layout import Regex
from cython.cimports.libc.stdint import uint8_t, uint32_t

PATTERN_MAX = 4096  # bytes: longer ones are lists in disguise, and any_of is faster


def regex_check(pattern: bytes) -> int:
    """How many groups the expression has; ValueError says what is wrong with it, and where."""
    groups: uint32_t = 0
    code: cython.pointer[pcre2_code] = compile_code(pattern)
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, cython.address(groups))
    pcre2_code_free(code)
    return groups


def regex_compile(arena, pattern):
    code: cython.pointer[pcre2_code] = compile_code(pattern)
    try:
        arena_on_drop(arena, drop_code, code)
    except MemoryError:
        pcre2_code_free(code)
        raise
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE)  # where it cannot, the interpreter serves
    return cython.cast(cython.pointer[Regex], code)


def compile_code(pattern):
    error: cython.int = 0
    offset: cython.size_t = 0
    text: uint8_t[160]
    if not pattern:
        raise ValueError("the expression is empty; write what the value must contain")
    if len(pattern) > PATTERN_MAX:
        raise ValueError(f"the expression has more than {PATTERN_MAX} bytes; use any_of for a list")
    source: cython.p_const_char = pattern
    code: cython.pointer[pcre2_code] = pcre2_compile(
        cython.cast(cython.pointer[cython.const[uint8_t]], source),
        len(pattern),
        PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP,
        cython.address(error),
        cython.address(offset),
        cython.NULL,
    )
    if code is cython.NULL:
        pcre2_get_error_message(error, text, 160)
        message = cython.cast(cython.p_char, text).decode("ascii", "replace")
        before = pattern[:offset].decode("utf-8", "replace")
        raise ValueError(
            f"{message}, at character {len(before) + 1} of the expression, behind {before!r}"
        )
    return code


def drop_code(code):
    pcre2_code_free(cython.cast(cython.pointer[pcre2_code], code))


def regex_find(regex, value, scratch):
    found: cython.int = pcre2_match(
        cython.cast(cython.pointer[cython.const[pcre2_code]], regex),
        cython.cast(cython.pointer[cython.const[uint8_t]], value.at),
        value.size,
        0,
        0,
        cython.cast(cython.pointer[pcre2_match_data], scratch.match_data),
        cython.cast(cython.pointer[pcre2_match_context], scratch.match_context),
    )
    if found < 0:
        if found != PCRE2_ERROR_NOMATCH:
            scratch.regex_limited += 1
        return 0
    return found if found > 0 else GROUPS_MAX  # 0: it has more groups than we keep


def regex_group(value, group, scratch):
    pairs: cython.pointer[cython.size_t] = pcre2_get_ovector_pointer(
        cython.cast(cython.pointer[pcre2_match_data], scratch.match_data)
    )
    if group >= GROUPS_MAX or pairs[2 * group] == PCRE2_UNSET:
        return Span(at=cython.NULL, size=0)
    # \K in a lookahead can make a group end before it starts.
    if pairs[2 * group + 1] > value.size or pairs[2 * group] > pairs[2 * group + 1]:
        return Span(at=cython.NULL, size=0)
    return Span(at=value.at + pairs[2 * group], size=pairs[2 * group + 1] - pairs[2 * group])


def test_regex(value, row, scratch):
    return (
        regex_find(cython.cast(cython.pointer[cython.const[Regex]], row.compiled), value, scratch)
        > 0
    )


def scratch_prepare(scratch):
    scratch.match_data = pcre2_match_data_create(GROUPS_MAX, cython.NULL)
    scratch.match_context = pcre2_match_context_create(cython.NULL)
    scratch.stack = pcre2_jit_stack_create(STACK_START, STACK_MOST, cython.NULL)
    context: cython.pointer[pcre2_match_context] = cython.cast(
        cython.pointer[pcre2_match_context], scratch.match_context
    )
    if scratch.match_data is cython.NULL or context is cython.NULL:
        return -1
    pcre2_set_match_limit(context, MATCH_LIMIT)
    pcre2_set_depth_limit(context, MATCH_LIMIT)
    pcre2_set_heap_limit(context, HEAP_LIMIT_KIB)
    if scratch.stack is not cython.NULL:  # NULL: a library without JIT
        pcre2_jit_stack_assign(context, cython.NULL, scratch.stack)
    return 0


def scratch_free(scratch):
    pcre2_match_data_free(cython.cast(cython.pointer[pcre2_match_data], scratch.match_data))
    pcre2_match_context_free(
        cython.cast(cython.pointer[pcre2_match_context], scratch.match_context)
    )
    pcre2_jit_stack_free(cython.cast(cython.pointer[pcre2_jit_stack], scratch.stack))
