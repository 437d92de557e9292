from libc.stdint cimport uint32_t, uint64_t

from fourseven.l7.output cimport Output
from fourseven.l7.templates cimport Values
from fourseven.protocols.message cimport Span
from fourseven.snapshot.layout cimport Action, Template

# A route's header actions, with a bit for each length of a name that they take away: most headers
# are told apart from all of them by one look.
cdef struct Edits:
    const Action *actions
    uint32_t count
    uint64_t lengths

cdef void edits_of "fourseven_edits_of"(Edits *edits, const Action *actions, uint32_t count) noexcept nogil

# Does an action from number `first` on set or remove this name?
cdef bint edits_cover "fourseven_edits_cover"(
    const Edits *edits, uint32_t first, const Span *name
) noexcept nogil

# Does an action set or remove this header of a client, or what a server may take for it?
cdef bint edits_cover_variable "fourseven_edits_cover_variable"(
    const Edits *edits, const Span *name
) noexcept nogil

# Writes the lines that the actions set or add.
cdef void put_edits "fourseven_put_edits"(Output *out, const Edits *edits, const Values *values) noexcept nogil
cdef void put_edit(
    Output *out, const Span *name, const Template *value, const Values *values
) noexcept nogil
