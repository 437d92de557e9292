"""A typed builder of eBPF programs in Python: no compiler, no libbpf, no kernel headers.

    layout     widths, byte orders, structs: fields by name
    values     expressions and conditions, typed; nothing is emitted yet
    code       instructions: how they are encoded, and how they read
    emit       how statements become instructions: registers, the stack, blocks
    helpers    functions of the kernel that a program may call
    btf        types of a program's functions, for the kernel
    build      Program: statements, maps, helper calls
    kernel     bpf(2): maps, programs, links, pins, test runs

It knows nothing of load balancing and imports nothing of fourseven: it can be used by itself.
"""
