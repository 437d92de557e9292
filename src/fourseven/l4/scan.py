"""Walking over the flows: the rows are memory that the kernel writes, and nothing is copied.

A million places pass here in the time in which Python would look at some thousands. `sweep` says
where the fields stand (the layouts of program/tables.py are the truth) and what becomes of those
that are found. How rows are found and leave is the program's own way, step by step
(program/slots.py): a row leaves by one atomic step that only one can win, its home is told, then
its place is free.

Laws: a row may change under our hands, and a number out of it is checked before it is an index;
what is said of a row is believed only while its state is USED.

Limits: who is killed between two of those steps leaves one place BUSY for good.
"""

import cython
from cython.cimports.fourseven.native.atomics import (
    claim_u32,
    fetch_and,
    fetch_and_u32,
    load_acquire_u32,
)
from cython.cimports.libc.stdint import int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcmp, memcpy, memset


def at16(row, at):
    found: uint16_t
    memcpy(cython.address(found), row + at, 2)
    return found


def at32(row, at):
    found: uint32_t
    memcpy(cython.address(found), row + at, 4)
    return found


def at64(row, at):
    found: uint64_t
    memcpy(cython.address(found), row + at, 8)
    return found


def stage(state):
    both: uint32_t = CLIENT_DONE | SERVER_DONE
    if state & RESET or state & both == both:
        return CLOSED
    return CLOSING if state & both else ESTABLISHED


def limit(of, place, state):
    """Seconds that the flow in a place may wait, in its state."""
    idle: uint32_t = at16(of.births + place * BIRTH_SIZE, of.form.idle)
    now: uint32_t = stage(state)
    if now == CLOSED:
        return CLOSED_S
    return CLOSING_S if now == CLOSING and idle > CLOSING_S else idle


def state_of(of, place):
    return cython.cast(cython.pointer[uint32_t], of.rows + place * of.form.row_size + of.form.state)


# ---- where a row stands ----


def key_of(of, row, state, key):
    """The key of a row: its ends stand at its beginning."""
    ends: uint32_t = 2 * of.form.address + 4
    memset(key, 0, KEY_MAX)
    memcpy(key, row, ends)
    key[ends] = 17 if state & IS_UDP else 6


def key_turned(of, row, state, key):
    """The key of a flow's other row: what this one's packets become, turned round."""
    size: uint32_t = of.form.address
    memset(key, 0, KEY_MAX)
    memcpy(key, row + of.form.target, size)
    memcpy(key + size, row + of.form.source, size)
    memcpy(key + 2 * size, row + of.form.target_port, 2)
    memcpy(key + 2 * size + 2, row + of.form.source_port, 2)
    key[2 * size + 4] = 17 if state & IS_UDP else 6


def hash_key(of, key):
    mixed: uint64_t = (at64(key, 0) ^ of.form.seed) * cython.cast(uint64_t, SPREAD)
    at: uint32_t
    for at in range(8, of.form.key_size, 8):
        mixed = (mixed ^ (mixed >> 32) ^ at64(key, at)) * cython.cast(uint64_t, SPREAD)
    return (mixed ^ (mixed >> 29)) * cython.cast(uint64_t, SPREAD)


def home_of_end(of, key, end):
    size: uint32_t = of.form.address
    address: cython.pointer[cython.const[uint8_t]] = key + end * size
    ends: cython.pointer[cython.const[uint8_t]] = key + 2 * size
    port: uint64_t = cython.cast(uint64_t, ends[2 * end]) << 8 | ends[2 * end + 1]
    last: uint64_t = ((port >> STREET_BITS) << 16) | ends[4]
    mixed: uint64_t
    if size == 4:
        mixed = (cython.cast(uint64_t, at32(address, 0)) << 32) | last
        mixed = (mixed ^ of.form.seed) * cython.cast(uint64_t, SPREAD)
    else:
        mixed = (at64(address, 0) ^ of.form.seed) * cython.cast(uint64_t, SPREAD)
        mixed = (mixed ^ (mixed >> 32) ^ at64(address, 8)) * cython.cast(uint64_t, SPREAD)
        mixed = (mixed ^ (mixed >> 32) ^ last) * cython.cast(uint64_t, SPREAD)
    mixed = (mixed ^ (mixed >> 29)) * cython.cast(uint64_t, SPREAD)
    return ((mixed >> (64 - of.bits)) ^ ((port & (STREET - 1)) * HOUSE)) & of.mask


def home_of(of, key, which):
    if which == OF_BOTH:
        return hash_key(of, key) >> (64 - of.bits)
    return home_of_end(of, key, which)


def find(of, key):
    """The place of a key's row, or -1."""
    ends: uint32_t = 2 * of.form.address + 4
    wanted: uint32_t = USED | IS_UDP if key[ends] == 17 else USED
    which: cython.int
    i: uint32_t
    home: uint64_t
    place: uint64_t
    for which in range(3):
        home = home_of(of, key, which)
        for i in range(WINDOW):
            place = (home + i) & of.mask
            if load_acquire_u32(state_of(of, place)) & (USED | IS_UDP) == wanted and same(
                of.rows + place * of.form.row_size, key, ends
            ):
                return cython.cast(int64_t, place)
    return -1


def drop(of, place, state):
    """A row whose state this is leaves; did it?"""
    key: uint8_t[KEY_MAX]
    home: uint64_t
    behind: uint64_t
    bit: uint64_t
    second: cython.int
    if not claim_u32(state_of(of, place), state, (state & VERSIONS) | BUSY):
        return False
    key_of(of, of.rows + place * of.form.row_size, state, key)
    for second in range(2):
        home = home_of(of, key, OF_BOTH if second else state & TO_CLIENT)
        behind = (place - home) & of.mask
        if behind < WINDOW:
            bit = cython.cast(uint64_t, 1) << (8 * (home & 7) + behind)
            fetch_and(of.near + (home >> 3), ~bit)
    fetch_and_u32(state_of(of, place), ~cython.cast(uint32_t, BUSY))
    return True


# ---- what is given ----


def open_rows(of, form, rows, births, near):
    """Everything that is given fits together."""
    if form.shape[0] != cython.sizeof(Form):
        raise ValueError("this is no form of rows")
    of.form = cython.cast(cython.pointer[cython.const[Form]], cython.address(form[0]))
    if of.form.places < 2 * WINDOW or of.form.places & (of.form.places - 1):
        raise ValueError("the places are no power of two")
    if of.form.key_size > KEY_MAX or of.form.key_size % 8 or of.form.address > 16:
        raise ValueError("this is no form of keys")
    if rows.shape[0] < of.form.places * of.form.row_size:
        raise ValueError("the memory is shorter than its rows")
    if births.shape[0] < of.form.places * BIRTH_SIZE:
        raise ValueError("the memory is shorter than its rows")
    if near.shape[0] < of.form.places:
        raise ValueError("the memory is shorter than its rows")
    of.near = cython.cast(cython.pointer[uint64_t], cython.address(near[0]))
    of.rows = cython.address(rows[0])
    of.births = cython.address(births[0])
    of.mask = of.form.places - 1
    of.bits = 0
    while (cython.cast(uint64_t, 1) << of.bits) < of.form.places:
        of.bits += 1
    return 0


def end_of(of, first, count):
    """The place behind the last one of a part."""
    if first >= of.form.places or count > of.form.places - first:
        return of.form.places
    return first + count


# ---- walks ----


def walk(form, rows, births, near, first, count, now, second, live, ended, listeners):
    """Takes out the rows of a part whose time is over; how many. By number of server, and from
    `listeners` on by that of a listener: `live` counts flows, `ended` those that end so."""
    of: Rows
    row: cython.pointer[cython.const[uint8_t]]
    place: uint64_t
    state: uint32_t
    since: uint32_t
    many: uint32_t = 0
    number: uint32_t
    other: uint32_t
    open_rows(cython.address(of), form, rows, births, near)
    if second == 0:
        raise ValueError("a second has ticks")
    for place in range(first, end_of(cython.address(of), first, count)):
        state = load_acquire_u32(state_of(cython.address(of), place))
        if not state & USED:
            continue
        row = of.rows + place * of.form.row_size
        number = at16(row, of.form.server)
        other = listeners + at16(row, of.form.listener)
        since = now - at32(row, of.form.checked)
        # A row may have been used since `now` was read: that is no wait of 2^32 ticks.
        if since < 0x80000000 and since // second > limit(cython.address(of), place, state):
            if not drop(cython.address(of), place, state):
                continue  # it has changed just now: another time
            many += 1
            add(state, ended, number, other)
        else:
            add(state, live, number, other)
    return many


def add(state, counts, number, other):
    """One more, of a server and of a listener, if this is the client's row of a live flow."""
    if state & TO_CLIENT or stage(state) == CLOSED:
        return
    if number < counts.shape[0]:
        counts[number] += 1
    if other < counts.shape[0]:
        counts[other] += 1


def cut(form, rows, births, near, server, ended, listeners):
    """Takes out the rows of a server, of both directions; how many flows had not ended."""
    of: Rows
    row: cython.pointer[cython.const[uint8_t]]
    place: uint64_t
    state: uint32_t
    other: uint32_t
    many: uint32_t = 0
    open_rows(cython.address(of), form, rows, births, near)
    for place in range(of.form.places):
        state = load_acquire_u32(state_of(cython.address(of), place))
        row = of.rows + place * of.form.row_size
        if not state & USED or at16(row, of.form.server) != server:
            continue
        other = listeners + at16(row, of.form.listener)
        while state & USED and not drop(cython.address(of), place, state):
            state = load_acquire_u32(state_of(cython.address(of), place))
        if state & USED and not state & TO_CLIENT and stage(state) != CLOSED:
            many += 1
            if other < ended.shape[0]:
                ended[other] += 1
    return many


def mark(form, rows, births, near, servers):
    """The numbers of the servers of which there is a row are 1 afterwards; how many rows."""
    of: Rows
    place: uint64_t
    number: uint32_t
    many: uint32_t = 0
    open_rows(cython.address(of), form, rows, births, near)
    for place in range(of.form.places):
        if load_acquire_u32(state_of(cython.address(of), place)) & USED:
            many += 1
            number = at16(of.rows + place * of.form.row_size, of.form.server)
            if number < servers.shape[0]:
                servers[number] = 1
    return many


# ---- listing ----


def same(one, other, size):
    return memcmp(one, other, size) == 0


def meets(form, wanted, row, state):
    size: uint32_t = form.address
    start: uint32_t = 16 - size
    i: uint32_t
    if state & TO_CLIENT:
        return False
    if wanted.protocol and (17 if state & IS_UDP else 6) != wanted.protocol:
        return False
    if wanted.states and not stage(state) & wanted.states:
        return False
    if wanted.by_client:
        for i in range(size):
            if (row[i] ^ wanted.client[start + i]) & wanted.mask[start + i]:
                return False
    if wanted.by_vip:
        if not same(row + form.receiver, cython.address(wanted.vip[start]), size):
            return False
        if (wanted.vip_port[0] or wanted.vip_port[1]) and not same(
            row + form.receiver_port, cython.address(wanted.vip_port[0]), 2
        ):
            return False
    if wanted.by_server:
        if not same(row + form.target, cython.address(wanted.server[start]), size):
            return False
        if (wanted.server_port[0] or wanted.server_port[1]) and not same(
            row + form.target_port, cython.address(wanted.server_port[0]), 2
        ):
            return False
    return True


def put_address(to, address, size):
    """All addresses are told in 16 bytes."""
    memset(to, 0, 16)
    if size == 4:
        to[10] = 0xFF
        to[11] = 0xFF
    memcpy(to + 16 - size, address, size)


def port_at(row, at):
    return cython.cast(uint16_t, (cython.cast(uint32_t, row[at]) << 8) | row[at + 1])


def since_ms(now, tick, second):
    """0 where that was after we looked at the clock."""
    since: uint32_t = now - tick
    if since >> 31:
        return 0
    return cython.cast(int64_t, since) * 1000 // second


def describe(of, place, state, now, second, flow):
    """A client's row, as it is told; what came back is another row's to say."""
    form: cython.pointer[cython.const[Form]] = of.form
    row: cython.pointer[cython.const[uint8_t]] = of.rows + place * form.row_size
    size: uint32_t = form.address
    put_address(flow.client, row, size)
    put_address(flow.vip, row + form.receiver, size)
    put_address(flow.server, row + form.target, size)
    put_address(flow.source, row + form.source, size)
    flow.client_port = port_at(row, form.sender_port)
    flow.vip_port = port_at(row, form.receiver_port)
    flow.server_port = port_at(row, form.target_port)
    flow.source_port = port_at(row, form.source_port)
    flow.packets_in = at32(row, form.packets)
    flow.bytes_in = at64(row, form.tally) & ((cython.cast(uint64_t, 1) << 48) - 1)
    flow.age_ms = since_ms(now, at32(of.births, cython.cast(uint32_t, place * BIRTH_SIZE)), second)
    flow.idle_ms = since_ms(now, at32(row, form.checked), second)
    flow.protocol = 17 if state & IS_UDP else 6
    flow.stage = cython.cast(uint8_t, stage(state))
    flow.masqueraded = not same(row, row + form.source, size)
    if flow.source_port != flow.client_port:
        flow.masqueraded = 1


def add_other(of, row, state, flow):
    """The packets that came back: they are counted in the flow's other row."""
    key: uint8_t[KEY_MAX]
    there: int64_t
    key_turned(of, row, state, key)
    there = find(of, key)
    if there < 0:
        return
    row = of.rows + cython.cast(uint64_t, there) * of.form.row_size
    flow.packets_out = at32(row, of.form.packets)
    flow.bytes_out = at64(row, of.form.tally) & ((cython.cast(uint64_t, 1) << 48) - 1)


def old_enough(wanted, flow):
    return (
        flow.age_ms >= cython.cast(int64_t, wanted.older_ms)
        and flow.idle_ms >= cython.cast(int64_t, wanted.idle_ms)
        and flow.bytes_in + flow.bytes_out >= wanted.bytes_least
    )


def tell(wanted, form, rows, births, near, first, count, now, second, told):
    """Writes the flows of a part that are wanted, a Told each; how many. What has no room is left
    out."""
    of: Rows
    what: cython.pointer[cython.const[Wanted]]
    flow: Told
    row: cython.pointer[cython.const[uint8_t]]
    place: uint64_t
    state: uint32_t
    many: uint32_t = 0
    room: uint64_t = told.shape[0] // cython.sizeof(Told)
    open_rows(cython.address(of), form, rows, births, near)
    if wanted.shape[0] != cython.sizeof(Wanted):
        raise ValueError("this is no filter")
    if second == 0:
        raise ValueError("a second has ticks")
    what = cython.cast(cython.pointer[cython.const[Wanted]], cython.address(wanted[0]))
    memset(cython.address(flow), 0, cython.sizeof(Told))
    for place in range(first, end_of(cython.address(of), first, count)):
        state = load_acquire_u32(state_of(cython.address(of), place))
        if not state & USED or many >= room:
            continue
        row = of.rows + place * of.form.row_size
        if not meets(of.form, what, row, state):
            continue
        flow.packets_out = 0
        flow.bytes_out = 0
        describe(cython.address(of), place, state, now, second, cython.address(flow))
        add_other(cython.address(of), row, state, cython.address(flow))
        if old_enough(what, cython.address(flow)):
            memcpy(
                cython.address(told[many * cython.sizeof(Told)]),
                cython.address(flow),
                cython.sizeof(Told),
            )
            many += 1
    return many
