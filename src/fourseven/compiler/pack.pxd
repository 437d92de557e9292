from libc.stdint cimport int32_t, uint32_t, uint64_t

from fourseven.native.arena cimport Arena
from fourseven.protocols.message cimport Span
from fourseven.snapshot.cell cimport Shared
from fourseven.snapshot.layout cimport (
    Action, Backend, Cidr, Gate, Key, Listener, Route, Snapshot, Template
)
from fourseven.snapshot.states cimport States

# A Plan in the memory that workers read. `numbers` gives the stable numbers of slots, backends and
# listeners (control.numbers.Numbers); `fds` the listening sockets, by listener's name.
cdef Snapshot *pack(plan, numbers, fds, uint64_t generation, Shared *shared) except NULL
cdef Snapshot *fill(Arena *arena, plan, numbers, fds, uint64_t generation, Shared *shared) except NULL
cdef int fill_listeners(
    Arena *arena, Snapshot *snapshot, plan, numbers, fds, dict backends, void *tickets
) except -1
cdef int pack_backend(Arena *arena, Backend *backend, plan, numbers, Shared *shared) except -1
cdef int pack_listener(Arena *arena, Listener *listener, plan, numbers, dict backends) except -1
cdef int pack_limits(Listener *listener, plan) except -1
cdef int pack_route(Arena *arena, Route *route, plan, int number, dict backends) except -1
cdef int pack_gates(Arena *arena, Route *route, plan, str listener, States states, dict backends) except -1
cdef int pack_gate(Arena *arena, Gate *gate, plan, dict backends) except -1
cdef Key *pack_keys(Arena *arena, keys) except? NULL
cdef Span *pack_texts(Arena *arena, texts) except? NULL
cdef Action *pack_actions(Arena *arena, actions) except? NULL
cdef Template pack_template(Arena *arena, parts) except *
cdef Cidr *pack_cidrs(Arena *arena, networks) except? NULL
cdef uint32_t *pack_words(Arena *arena, words) except? NULL
