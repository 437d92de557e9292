"""The user-space plane for UDP: flows between clients and servers.

UDP has no connections, so a flow is made up: a client's address and port, talking to one address
of ours, is tied to one server through a socket of its own, until nothing was heard for the idle
timeout. What the server sends to that socket goes to that client, from the address that the client
sent to. So an answer reaches only who asked, and nothing that a stranger sends gets through.

Every worker has its own socket of the listener (SO_REUSEPORT) and its own table; the kernel keeps a
client with a worker. Datagrams come and go in batches, one system call for up to BATCH; those of
one flow that stand together leave together.

A server that refuses (an ICMP error on the flow's socket) is followed by another, as often as the
backend allows; so is one that is no longer usable and has not answered the last datagram. A server
that drains and answers keeps its flows.

Laws: nothing is queued here: what a socket does not take is dropped, as UDP may. A flow costs one
descriptor; beyond `flows_max`, or the listener's limit, new ones are refused and counted. When the
listener leaves the file its flows end with it, since the socket that they answer from does; in a
drain they go on answering.
"""

import cython
from cython.cimports.fourseven.balancing.ewma import ewma_update
from cython.cimports.fourseven.l4.choose import (
    backend_now,
    exhausted,
    lease_connect,
    lease_end,
    lease_take,
    route_address,
)
from cython.cimports.fourseven.l4.flows import (
    FlowEntry,
    FlowKey,
    flow_key,
    flow_same,
    flows_add,
    flows_any,
    flows_drop,
    flows_find,
    flows_new,
    flows_remove,
)
from cython.cimports.fourseven.native.atomics import count, fetch_add_i64, load_relaxed_u32
from cython.cimports.fourseven.native.linux import (
    CMSG_DATA,
    CMSG_FIRSTHDR,
    EPOLLERR,
    IP_PKTINFO,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_PKTINFO,
    IPV6_RECVPKTINFO,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SO_ERROR,
    SOCK_DGRAM,
    SOL_SOCKET,
    cmsghdr,
    getsockopt,
    in6_pktinfo,
    in_pktinfo,
    msghdr,
    recvmmsg,
    sendmmsg,
    setsockopt,
    sockaddr_storage,
    socklen_t,
)
from cython.cimports.fourseven.native.pages import pages_drop, pages_try
from cython.cimports.fourseven.protocols.message import Address
from cython.cimports.fourseven.snapshot.hashing import hash_number
from cython.cimports.fourseven.snapshot.layout import LISTENERS_MAX, Backend
from cython.cimports.fourseven.worker.local import to_address
from cython.cimports.fourseven.worker.tools import (
    bury,
    random_next,
    run_again,
    timer_clear,
    timer_put_off,
    timer_set,
    unwatch,
    watch,
)
from cython.cimports.libc.errno import EAGAIN, EMSGSIZE, ENOBUFS, ENOMEM, errno
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.stdlib import calloc, free
from cython.cimports.libc.string import memcpy

# ---- the plane ----


def start(worker):
    relay: cython.pointer[RelayUdp] = cython.cast(
        cython.pointer[RelayUdp], pages_try(cython.sizeof(RelayUdp))
    )
    i: cython.int
    if relay is cython.NULL:
        return ENOMEM
    worker.plane_state[RELAY_UDP] = relay
    relay.batch.room = cython.cast(cython.p_char, pages_try(BATCH * DATAGRAM_MAX))
    if relay.batch.room is cython.NULL:
        return ENOMEM
    for i in range(BATCH):
        relay.batch.parts[i].iov_base = relay.batch.room + i * DATAGRAM_MAX
        relay.batch.messages[i].msg_hdr.msg_iov = cython.address(relay.batch.parts[i])
        relay.batch.messages[i].msg_hdr.msg_iovlen = 1
    return 0


def open(worker, listener):
    flows: cython.pointer[Flows] = cython.cast(
        cython.pointer[Flows], calloc(1, cython.sizeof(Flows))
    )
    on: cython.int = 1
    fd: cython.int = listener.source.fd
    if flows is cython.NULL:
        return ENOMEM
    # The address of the memory is unknown outside, which is what the table's seed needs.
    flows.table = flows_new(
        listener.plan.flows_max,
        hash_number(random_next(worker) ^ cython.cast(cython.size_t, flows)),
    )
    if flows.table is cython.NULL:
        free(flows)
        return ENOMEM
    flows.any_address = any_address(cython.address(listener.local))
    if flows.any_address and listener.local.bytes[10] == 0xFF:
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, cython.address(on), cython.sizeof(cython.int))
    elif flows.any_address:  # [::] takes IPv4 too, and says of both in IPv6's form
        setsockopt(
            fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, cython.address(on), cython.sizeof(cython.int)
        )
    listener.private = flows
    return 0


def any_address(address):
    """0.0.0.0 or ::"""
    i: cython.int
    for i in range(16):
        if address.bytes[i] != 0 and not (i in (10, 11) and address.bytes[i] == 0xFF):
            return False
    return True


def shut(worker, listener):
    if not worker.draining:
        end_all(worker, listener)


def drain(worker):
    """No client is heard any more. Who waits for an answer has its whole idle timeout for it; the
    others only as long as an answer may have more than one datagram."""
    flows_each(worker, hasten)


def hasten(worker, flow):
    if not flow.awaiting:
        timer_set(worker, cython.address(flow.timer), worker.now_ms + DRAIN_IDLE_MS)


def flows_each(worker, visit):
    """Every flow of this worker; whoever visits it may end it."""
    at: cython.int
    for at in range(LISTENERS_MAX):
        if worker.listeners[at].mode == cython.cast(uint32_t, RELAY_UDP):
            visit_flows(worker, flows_of(cython.address(worker.listeners[at])), visit)


def visit_flows(worker, flows, visit):
    bucket: uint32_t
    entry: cython.pointer[FlowEntry]
    flow: cython.pointer[Flow]
    if flows is cython.NULL:
        return
    for bucket in range(flows.table.bucket_count):
        entry = flows.table.buckets[bucket]
        while entry is not cython.NULL:
            flow = cython.cast(cython.pointer[Flow], entry)
            entry = entry.next
            visit(worker, flow)


def busy(worker):
    return relay_of(worker).count


def stop(worker):
    relay: cython.pointer[RelayUdp] = relay_of(worker)
    at: cython.int
    if relay is cython.NULL:
        return
    for at in range(LISTENERS_MAX):
        if worker.listeners[at].mode == cython.cast(uint32_t, RELAY_UDP):
            end_all(worker, cython.address(worker.listeners[at]))
    pages_drop(relay.batch.room, BATCH * DATAGRAM_MAX)
    pages_drop(relay, cython.sizeof(RelayUdp))
    worker.plane_state[RELAY_UDP] = cython.NULL


def end_all(worker, listener):
    flows: cython.pointer[Flows] = flows_of(listener)
    bucket: uint32_t = 0
    entry: cython.pointer[FlowEntry]
    if flows is cython.NULL:
        return
    entry = flows_any(flows.table, cython.address(bucket))
    while entry is not cython.NULL:
        flow_end(worker, cython.cast(cython.pointer[Flow], entry))
        entry = flows_any(flows.table, cython.address(bucket))
    flows_drop(flows.table)
    free(flows)
    listener.private = cython.NULL


# ---- from clients ----


def accept(worker, listener):
    relay: cython.pointer[RelayUdp] = relay_of(worker)
    _round: uint32_t
    at: uint32_t
    end: int32_t
    for _round in range(cython.cast(uint32_t, ROUNDS_MAX)):
        end = receive(relay, listener.source.fd, True)
        if end <= 0:
            return
        at = 0
        while at < cython.cast(uint32_t, end):
            at = forward(worker, listener, at, end)
        if end < BATCH:
            return


def receive(relay, fd, names):
    """How many datagrams stand in the batch now; below 0: errno says why none does."""
    i: cython.int
    message: cython.pointer[msghdr]
    for i in range(BATCH):
        message = cython.address(relay.batch.messages[i].msg_hdr)
        message.msg_name = cython.address(relay.batch.names[i]) if names else cython.NULL
        message.msg_namelen = cython.sizeof(sockaddr_storage) if names else 0
        message.msg_control = (
            cython.address(relay.batch.controls[i * CONTROL_SIZE]) if names else cython.NULL
        )
        message.msg_controllen = CONTROL_SIZE if names else 0
        relay.batch.parts[i].iov_len = DATAGRAM_MAX
    return recvmmsg(fd, relay.batch.messages, BATCH, MSG_DONTWAIT, cython.NULL)


def forward(worker, listener, at, end):
    """Sends the datagram at `at`, and those after it of the same flow; where the rest begins."""
    relay: cython.pointer[RelayUdp] = relay_of(worker)
    key: FlowKey
    other: FlowKey
    client: Address
    ignored: Address
    flow: cython.pointer[Flow]
    after: uint32_t = at + 1
    size: uint64_t = relay.batch.messages[at].msg_len
    key_of(relay, listener, at, cython.address(key), cython.address(client))
    while after < end:
        key_of(relay, listener, after, cython.address(other), cython.address(ignored))
        if not flow_same(cython.address(key), cython.address(other)):
            break
        size += relay.batch.messages[after].msg_len
        after += 1
    count(cython.address(listener.counters.datagrams_in), after - at)
    count(cython.address(listener.counters.bytes_in), size)
    flow = cython.cast(
        cython.pointer[Flow], flows_find(flows_of(listener).table, cython.address(key))
    )
    if flow is cython.NULL:
        flow = flow_new(worker, listener, at, cython.address(key), cython.address(client))
    elif silent(worker, flow) and not take_another(worker, flow):
        flow = cython.NULL
    if flow is not cython.NULL:
        count(cython.address(worker.slot_counters[flow.lease.slot].bytes_to), size)
        to_server(worker, flow, at, after)
    return after


def key_of(relay, listener, at, key, client):
    local: Address = listener.local
    to_address(cython.address(relay.batch.names[at]), client)
    if flows_of(listener).any_address:
        local_of(cython.address(relay.batch.messages[at].msg_hdr), cython.address(local))
    flow_key(key, client, cython.address(local))


def local_of(message, local):
    """The address of ours that the datagram was sent to."""
    part: cython.pointer[cmsghdr] = CMSG_FIRSTHDR(message)
    v4: cython.pointer[in_pktinfo]
    v6: cython.pointer[in6_pktinfo]
    if part is cython.NULL:
        return
    if part.cmsg_level == IPPROTO_IP and part.cmsg_type == IP_PKTINFO:
        v4 = cython.cast(cython.pointer[in_pktinfo], CMSG_DATA(part))
        if v4.ipi_spec_dst.s_addr == 0:  # it came before the socket was told to note this
            v4.ipi_spec_dst = v4.ipi_addr
        memcpy(cython.address(local.bytes[12]), cython.address(v4.ipi_spec_dst), 4)
    elif part.cmsg_level == IPPROTO_IPV6 and part.cmsg_type == IPV6_PKTINFO:
        v6 = cython.cast(cython.pointer[in6_pktinfo], CMSG_DATA(part))
        memcpy(cython.address(local.bytes[0]), cython.address(v6.ipi6_addr), 16)


def to_server(worker, flow, at, end):
    relay: cython.pointer[RelayUdp] = relay_of(worker)
    sent: int32_t
    i: uint32_t
    for i in range(at, end):
        relay.batch.messages[i].msg_hdr.msg_name = cython.NULL
        relay.batch.messages[i].msg_hdr.msg_namelen = 0
        relay.batch.messages[i].msg_hdr.msg_control = cython.NULL
        relay.batch.messages[i].msg_hdr.msg_controllen = 0
        relay.batch.parts[i].iov_len = relay.batch.messages[i].msg_len
    await_reply(worker, flow, 1)
    touch(worker, flow)
    while at < end:
        sent = sendmmsg(
            flow.source.fd,
            cython.address(relay.batch.messages[at]),
            end - at,
            MSG_DONTWAIT | MSG_NOSIGNAL,
        )
        if sent > 0:
            at += cython.cast(uint32_t, sent)
        elif errno == EMSGSIZE:
            at += 1
        elif errno == EAGAIN or errno == ENOBUFS:
            return
        elif not take_another(worker, flow):  # the ICMP error of an earlier datagram, mostly
            return


# ---- from servers ----


def ready(worker, source, events):
    flow: cython.pointer[Flow] = sourced(source)
    error: cython.int = 0
    size: socklen_t = cython.sizeof(cython.int)
    got: int32_t = BATCH
    _round: uint32_t
    if flow.listener.plan is cython.NULL:  # a drain has outlived the socket that we answer from
        flow_end(worker, flow)
        return
    if events & EPOLLERR:
        getsockopt(source.fd, SOL_SOCKET, SO_ERROR, cython.address(error), cython.address(size))
        if error != 0:
            take_another(worker, flow)
            return
    for _round in range(cython.cast(uint32_t, ROUNDS_MAX)):
        got = receive(relay_of(worker), source.fd, False)
        if got < 0 and errno != EAGAIN:
            take_another(worker, flow)
            return
        if got <= 0:
            return
        to_client(worker, flow, got)
        if got < BATCH:
            return
    run_again(worker, source)


def to_client(worker, flow, count_of):
    relay: cython.pointer[RelayUdp] = relay_of(worker)
    message: cython.pointer[msghdr]
    size: uint64_t = 0
    at: uint32_t = 0
    sent: int32_t
    i: uint32_t
    for i in range(count_of):
        message = cython.address(relay.batch.messages[i].msg_hdr)
        message.msg_name = cython.address(flow.name[0])
        message.msg_namelen = flow.name_size
        message.msg_control = (
            cython.address(flow.control[0]) if flow.control_size != 0 else cython.NULL
        )
        message.msg_controllen = flow.control_size
        relay.batch.parts[i].iov_len = relay.batch.messages[i].msg_len
        size += relay.batch.messages[i].msg_len
    count(cython.address(worker.slot_counters[flow.lease.slot].bytes_from), size)
    count(cython.address(flow.listener.counters.bytes_out), size)
    await_reply(worker, flow, 0)
    touch(worker, flow)
    while at < count_of:
        sent = sendmmsg(
            flow.listener.source.fd,
            cython.address(relay.batch.messages[at]),
            count_of - at,
            MSG_DONTWAIT | MSG_NOSIGNAL,
        )
        if sent > 0:
            count(cython.address(flow.listener.counters.datagrams_out), sent)
            at += cython.cast(uint32_t, sent)
        elif errno == EAGAIN or errno == ENOBUFS:
            return
        else:
            at += 1  # this one can't be sent to this client


# ---- a flow ----


def flow_new(worker, listener, at, key, client):
    """A flow for the client of the datagram at `at`, with its server; NULL: refused."""
    backend: cython.pointer[cython.const[Backend]] = route_address(
        worker, listener, client, cython.NULL
    )
    flow: cython.pointer[Flow] = cython.NULL
    if backend is not cython.NULL:
        flow = admitted(worker, listener)
    if flow is cython.NULL:
        count(cython.address(listener.counters.flows_refused), 1)
        return flow
    flow.entry.key = key[0]
    flow.client = client[0]
    reply_path(relay_of(worker), flow, at)
    flows_add(flows_of(listener).table, cython.address(flow.entry))
    relay_of(worker).count += 1
    count(cython.address(listener.counters.flows), 1)
    count(cython.address(worker.counters.sessions_opened), 1)
    if not take_server(worker, flow, backend):
        count(cython.address(listener.counters.flows_refused), 1)
        flow_end(worker, flow)
        return cython.NULL
    return flow


def admitted(worker, listener):
    """An empty flow, counted; NULL when a limit or memory says no."""
    flow: cython.pointer[Flow]
    most: uint32_t = listener.plan.connections_max
    if flows_of(listener).table.count >= listener.plan.flows_max:
        return cython.NULL
    if fetch_add_i64(cython.address(listener.state.sessions), 1) >= most and most != 0:
        fetch_add_i64(cython.address(listener.state.sessions), -1)
        return cython.NULL
    flow = cython.cast(cython.pointer[Flow], calloc(1, cython.sizeof(Flow)))
    if flow is cython.NULL:
        count(cython.address(worker.counters.memory_refused), 1)
        fetch_add_i64(cython.address(listener.state.sessions), -1)
        return flow
    flow.source.fd = -1
    flow.source.ready = ready
    flow.timer.fire = expired
    flow.dead.bury = bury_flow
    flow.listener = listener
    flow.state = listener.state
    flow.idle_timeout_ms = listener.plan.idle_timeout_ms
    return flow


def reply_path(relay, flow, at):
    """How an answer finds its way back: to the client's address, from the one that it knows."""
    message: cython.pointer[msghdr] = cython.address(relay.batch.messages[at].msg_hdr)
    part: cython.pointer[cmsghdr] = CMSG_FIRSTHDR(message)
    v4: cython.pointer[in_pktinfo]
    v6: cython.pointer[in6_pktinfo]
    flow.name_size = message.msg_namelen
    if flow.name_size > NAME_SIZE:
        flow.name_size = NAME_SIZE
    memcpy(cython.address(flow.name[0]), message.msg_name, flow.name_size)
    if part is cython.NULL or message.msg_controllen > CONTROL_SIZE:
        return
    # The kernel gives and takes the same record: what came to an address leaves from it.
    flow.control_size = message.msg_controllen
    if part.cmsg_level == IPPROTO_IP and part.cmsg_type == IP_PKTINFO:
        v4 = cython.cast(cython.pointer[in_pktinfo], CMSG_DATA(part))
        v4.ipi_ifindex = 0  # the way back may be another interface
    elif part.cmsg_level == IPPROTO_IPV6 and part.cmsg_type == IPV6_PKTINFO:
        v6 = cython.cast(cython.pointer[in6_pktinfo], CMSG_DATA(part))
        v6.ipi6_ifindex = 0  # a link-local client's name says its interface itself
    memcpy(cython.address(flow.control[0]), message.msg_control, flow.control_size)


def take_server(worker, flow, backend):
    fd: int32_t
    while flow.lease.tried_count <= backend.retries and not lease_take(
        worker,
        backend,
        cython.address(flow.client),
        cython.NULL,
        cython.address(flow.lease),
    ):
        fd = lease_connect(worker, cython.address(flow.lease), SOCK_DGRAM)
        if fd >= 0:
            flow.source.fd = fd
            flow.source.ready = ready
            if watch(worker, cython.address(flow.source)) == 0:
                count(cython.address(worker.slot_counters[flow.lease.slot].connects), 1)
                return True
        elif exhausted(-fd):
            count(cython.address(worker.counters.memory_refused), 1)
            return False
        count(cython.address(worker.slot_counters[flow.lease.slot].connect_errors), 1)
        forget_server(worker, flow)
    return False


def take_another(worker, flow):
    """The server refused or fell silent; False: nobody else took the flow, and it has ended."""
    backend: cython.pointer[cython.const[Backend]] = backend_now(worker, flow.lease.backend)
    count(cython.address(worker.slot_counters[flow.lease.slot].resets), 1)
    forget_server(worker, flow)
    if backend is not cython.NULL and take_server(worker, flow, backend):
        count(cython.address(worker.counters.retries), 1)
        return True
    flow_end(worker, flow)
    return False


def forget_server(worker, flow):
    unwatch(worker, cython.address(flow.source))
    lease_end(worker, cython.address(flow.lease))


def silent(worker, flow):
    """Its server takes no new work and has not answered: it is down, rather than draining."""
    return flow.awaiting and not load_relaxed_u32(
        cython.address(worker.shared.slots[flow.lease.slot].usable)
    )


def await_reply(worker, flow, awaiting):
    if awaiting and not flow.awaiting:
        flow.asked_ns = worker.now_ns
    elif flow.awaiting and not awaiting:
        flow.lease.tried[0] = flow.lease.slot  # it works: a later failure starts from here
        flow.lease.tried_count = 1
        ewma_update(
            cython.address(worker.shared.slots[flow.lease.slot]),
            worker.now_ns - flow.asked_ns,
            worker.now_ns,
        )
    flow.awaiting = awaiting


def touch(worker, flow):
    if worker.draining:
        timer_set(worker, cython.address(flow.timer), worker.now_ms + DRAIN_IDLE_MS)
    elif flow.idle_timeout_ms != 0:
        timer_put_off(worker, cython.address(flow.timer), worker.now_ms + flow.idle_timeout_ms)


def expired(worker, timer):
    count(cython.address(worker.counters.timeouts_idle), 1)
    flow_end(worker, timed(timer))


def flow_end(worker, flow):
    timer_clear(worker, cython.address(flow.timer))
    forget_server(worker, flow)
    relay_of(worker).count -= 1
    flows_remove(flows_of(flow.listener).table, cython.address(flow.entry))
    fetch_add_i64(cython.address(flow.state.sessions), -1)
    count(cython.address(worker.counters.sessions_closed), 1)
    bury(worker, cython.address(flow.dead))


def bury_flow(worker, dead):
    free(buried(dead))


PLANE.start = start
PLANE.open = open
PLANE.accept = accept
PLANE.shut = shut
PLANE.drain = drain
PLANE.busy = busy
PLANE.stop = stop
