from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

from fourseven.l7.records cimport Session
from fourseven.matching.json cimport Json
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Gate
from fourseven.worker.worker cimport Worker

cpdef enum:
    TOKEN_MAX = 8192        # what servers take of one header line
    HEADER_MAX = 2048       # of the token
    MEMBERS_MAX = 64        # names in one object
    CLAIM_MAX = 1024        # that a header tells
    ENTRIES_MAX = 32        # of a list that are looked at
    KEYS_TRIED_MAX = 4      # for a token that names none: each costs a signature
    FIRST_TEXT = 3
    ANYWHERE = 40960        # in the worker's room, behind the parts (3 * TOKEN_MAX) and the tag's text
    REMEMBER_MS = 3600000   # of a signature; times are judged at each request

cdef struct Token:
    Span whole
    Span text               # what is signed
    Span header             # decoded
    Span payload
    Span signature
    char *room              # of the worker
    uint32_t used

cdef void token_prepare() noexcept nogil
cdef int32_t token_ask "fourseven_token_ask"(
    Worker *worker, Session *session, const Gate *gate
) noexcept nogil
# Tokens that named a key which their set does not hold, since the start: perhaps there are newer ones.
cdef uint64_t tokens_of_unknown_keys "fourseven_tokens_of_unknown_keys"() noexcept nogil

cdef int32_t refuse(
    Worker *worker, Session *session, const Gate *gate, uint16_t status, const char *fault
) noexcept nogil
cdef Span shown_by(Worker *worker, const Gate *gate) noexcept nogil
cdef bint taken_apart(const Span *shown, Token *token) noexcept nogil
cdef bint part(Token *token, const Span *text, Span *into) noexcept nogil
cdef bint is_object(const Span *text) noexcept nogil
cdef bint ends(Json *json) noexcept nogil
cdef bint is_signed(Worker *worker, const Gate *gate, Token *token) noexcept nogil
cdef bint signed_by_one(const Gate *gate, Token *token) noexcept nogil
cdef int32_t algorithm_of(Token *token) noexcept nogil
cdef const char *judged(const Gate *gate, Token *token) noexcept nogil
cdef int64_t number_of(Token *token, const char *pointer) noexcept nogil
cdef bint is_string(Token *token, const Span *value) noexcept nogil
cdef bint is_one_of(const Gate *gate, uint32_t first, uint32_t count, Span value) noexcept nogil
cdef bint audience_fits(const Gate *gate, Token *token, uint32_t first, uint32_t count) noexcept nogil
cdef Span entry(Token *token, const char *pointer, uint32_t size, uint32_t number) noexcept nogil
cdef bint requirements_hold(const Gate *gate, Token *token) noexcept nogil
cdef bint requirement_holds(Token *token, const Span *pointer, const Span *values) noexcept nogil
cdef bint words_hold(const Span *values, const Span *text) noexcept nogil
cdef bint one_of(const Span *values, const Span *text) noexcept nogil
cdef void tell_claims(Worker *worker, Session *session, const Gate *gate, Token *token) noexcept nogil
cdef bint fits_header(const Span *value) noexcept nogil
cdef Span found(Token *token, const Span *text, const char *pointer) noexcept nogil
cdef Span found_at(Token *token, const Span *text, const Span *pointer) noexcept nogil
cdef bint same_text(const Span *one, const Span *other) noexcept nogil
cdef bint is_text(const Span *value, const char *text) noexcept nogil
