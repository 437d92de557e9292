from libc.stdint cimport int32_t, uint8_t, uint32_t

from fourseven.l7.context cimport HeadContext
from fourseven.l7.output cimport Output
from fourseven.protocols.message cimport Address, Request, Span
from fourseven.snapshot.layout cimport Part, Template

cpdef enum:
    GROUPS_MAX = 10         # \0 to \9
    VALUE_ROOM = 64         # for values that must be made: addresses, ports
    TEMPLATE_REFUSED = -3   # a value holds what must not stand there

# Where the text will stand, and so which bytes may.
cpdef enum Place:
    PLACE_HEADER = 0        # a header's value: a control character refuses the whole
    PLACE_PATH = 1          # a path: what may not stand there is percent-encoded
    PLACE_URL = 2           # Location: the same, for a whole URL
    PLACE_TEXT = 3          # a body: as it is
    PLACE_HTML = 4          # a body: variables escaped, so that none becomes markup
    PLACE_JSON = 5          # a body: variables escaped, for use within a string

# All that variables are read from.
cdef struct Values:
    const Request *request      # NULL: every variable of the request is empty
    const HeadContext *context
    Span rest                   # PART_PATH_REST
    Span[GROUPS_MAX] groups     # PART_GROUP
    uint32_t group_count

cdef void values_of "fourseven_values_of"(
    Values *values, const Request *request, const HeadContext *context
) noexcept nogil

# Writes the template; 0, or TEMPLATE_REFUSED (then the caller drops what was written).
cdef int32_t put_template "fourseven_put_template"(
    Output *out, const Template *template, uint32_t place, const Values *values
) noexcept nogil
cdef Span part_value(const Part *part, const Values *values, char *room) noexcept nogil
cdef Span certificate_fact(const Request *request, const Span *digit) noexcept nogil
cdef Span part_of_context(const Part *part, const Values *values) noexcept nogil
cdef Span text_of_number(char *room, uint32_t number) noexcept nogil
cdef Span text_of_address(char *room, const Address *address) noexcept nogil
cdef Span header_value(const Request *request, const Span *name) noexcept nogil
cdef bint has_structure(uint32_t kind) noexcept nogil
cdef int32_t put_checked(Output *out, const Span *value) noexcept nogil
cdef void put_url(Output *out, const Span *value, uint32_t place, bint structure) noexcept nogil
cdef void put_html(Output *out, const Span *value) noexcept nogil
cdef void put_json(Output *out, const Span *value) noexcept nogil
cdef bint stands_in_url(uint8_t byte, uint32_t place) noexcept nogil
