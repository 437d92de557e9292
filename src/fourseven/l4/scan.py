"""Reading flows by the thousand: the rows of a chunk, as the kernel gave them, without a Python
object for each.

A million rows pass here in the time in which Python would look at some thousands. `sweep` says
where the fields stand (the layouts of program/tables.py are the truth) and what becomes of those
that are found; they are told as their places in the chunk.

Laws: rows are bytes of the kernel's, copied; every length is checked before anything is read, and
a number out of a row before it is an index.
"""

import cython
from cython.cimports.libc.stdint import uint8_t, uint16_t, uint32_t
from cython.cimports.libc.string import memcmp, memcpy


def at16(row, at):
    found: uint16_t
    memcpy(cython.address(found), row + at, 2)
    return found


def at32(row, at):
    found: uint32_t
    memcpy(cython.address(found), row + at, 4)
    return found


def stage(state):
    both: uint32_t = CLIENT_DONE | SERVER_DONE
    if state & RESET or state & both == both:
        return CLOSED
    return CLOSING if state & both else ESTABLISHED


def limit(form, row):
    """Seconds that a flow in its state may wait."""
    idle: uint32_t = at16(row, form.idle)
    now: uint32_t = stage(at32(row, form.state))
    if now == CLOSED:
        return CLOSED_S
    return CLOSING_S if now == CLOSING and idle > CLOSING_S else idle


def form_of(form):
    if form.shape[0] != cython.sizeof(Form):
        raise ValueError("this is no form of rows")
    return cython.cast(cython.pointer[cython.const[Form]], cython.address(form[0]))


def fits(has, size, count):
    if cython.cast(cython.size_t, size) * count > has:
        raise ValueError("a chunk is shorter than its rows")
    return 0


def leaving_of(leaving, form, count, done, late, whose):
    fits(done.shape[0], form.key_size, count)
    fits(late.shape[0], form.key_size, count)
    fits(whose.shape[0], 1, count)
    leaving.done = cython.address(done[0])
    leaving.late = cython.address(late[0])
    leaving.whose = cython.address(whose[0])
    leaving.done_count = 0
    leaving.late_count = 0
    return 0


def part(form, key, row, leaving):
    """One row leaves: a client's whose flow has not ended is counted, once."""
    state: uint32_t = at32(row, form.state)
    if state & TO_CLIENT or stage(state) == CLOSED:
        memcpy(leaving.done + leaving.done_count * form.key_size, key, form.key_size)
        leaving.done_count += 1
        return
    memcpy(leaving.late + leaving.late_count * form.key_size, key, form.key_size)
    leaving.whose[leaving.late_count] = at16(row, form.server) | at16(row, form.listener) << 16
    leaving.late_count += 1


def walk(form, keys, rows, count, now, second, done, late, whose, servers, listeners):
    """Which rows' time is over; `servers` and `listeners` count the live flows of each number."""
    of: cython.pointer[cython.const[Form]] = form_of(form)
    key: cython.pointer[cython.const[uint8_t]]
    row: cython.pointer[cython.const[uint8_t]]
    leaving: Leaving
    i: uint32_t
    state: uint32_t
    number: uint32_t
    if count == 0:
        return 0, 0
    if second == 0:
        raise ValueError("a second has ticks")
    fits(keys.shape[0], of.key_size, count)
    fits(rows.shape[0], of.row_size, count)
    leaving_of(cython.address(leaving), of, count, done, late, whose)
    for i in range(count):
        key = cython.address(keys[0]) + i * of.key_size
        row = cython.address(rows[0]) + i * of.row_size
        state = at32(row, of.state)
        # A row may have been used since `now` was read: that is no wait of 2^32 ticks.
        if now - at32(row, of.seen) < 0x80000000 and (now - at32(row, of.seen)) // second > limit(
            of, row
        ):
            part(of, key, row, cython.address(leaving))
        elif not state & TO_CLIENT and stage(state) != CLOSED:
            number = at16(row, of.server)
            if number < servers.shape[0]:
                servers[number] += 1
            number = at16(row, of.listener)
            if number < listeners.shape[0]:
                listeners[number] += 1
    return leaving.done_count, leaving.late_count


def of_server(form, keys, rows, count, server, done, late, whose):
    """The rows of a server, of both directions."""
    of: cython.pointer[cython.const[Form]] = form_of(form)
    leaving: Leaving
    i: uint32_t
    if count == 0:
        return 0, 0
    fits(keys.shape[0], of.key_size, count)
    fits(rows.shape[0], of.row_size, count)
    leaving_of(cython.address(leaving), of, count, done, late, whose)
    for i in range(count):
        if at16(cython.address(rows[0]) + i * of.row_size, of.server) == server:
            part(
                of,
                cython.address(keys[0]) + i * of.key_size,
                cython.address(rows[0]) + i * of.row_size,
                cython.address(leaving),
            )
    return leaving.done_count, leaving.late_count


def same(one, other, size):
    return memcmp(one, other, size) == 0


def meets(form, wanted, key, row):
    size: uint32_t = form.address
    start: uint32_t = 16 - size
    i: uint32_t
    state: uint32_t = at32(row, form.state)
    if state & TO_CLIENT:
        return False
    if wanted.protocol and key[form.protocol] != wanted.protocol:
        return False
    if wanted.states and not stage(state) & wanted.states:
        return False
    if wanted.by_client:
        for i in range(size):
            if (key[i] ^ wanted.client[start + i]) & wanted.mask[start + i]:
                return False
    if wanted.by_vip:
        if not same(key + form.vip, cython.address(wanted.vip[start]), size):
            return False
        if (wanted.vip_port[0] or wanted.vip_port[1]) and not same(
            key + form.vip_port, cython.address(wanted.vip_port[0]), 2
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


def choose(form, wanted, keys, rows, count, found):
    """The clients' rows that are wanted."""
    of: cython.pointer[cython.const[Form]] = form_of(form)
    what: cython.pointer[cython.const[Wanted]]
    i: uint32_t
    many: uint32_t = 0
    if count == 0:
        return 0
    if wanted.shape[0] != cython.sizeof(Wanted):
        raise ValueError("this is no filter")
    what = cython.cast(cython.pointer[cython.const[Wanted]], cython.address(wanted[0]))
    fits(keys.shape[0], of.key_size, count)
    fits(rows.shape[0], of.row_size, count)
    fits(found.shape[0], 1, count)
    for i in range(count):
        if meets(
            of,
            what,
            cython.address(keys[0]) + i * of.key_size,
            cython.address(rows[0]) + i * of.row_size,
        ):
            found[many] = i
            many += 1
    return many
