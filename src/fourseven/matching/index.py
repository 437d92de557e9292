"""The index: which routes a request can reach at all, found by its host and its path.

keys.py says what each route asks for; here those keys stand in two hash tables. The first knows
the hosts that some route names, and gives each a number (0 is: any host). The second keeps,
under a host's number and a path, the numbers of its routes in ascending order. A lookup reads
the host once from its end and the path once from its start; the hash so far is the key of each
wildcard and of each prefix by segments. Only the depths that exist are looked for, so a file
whose routes all look like `/videos/` costs one look.

Laws: a key is compared, never believed by its hash; so a hostile path can at most make a miss
slow, and not by more than its own length. What does not fit the bounds (more wildcards over one
host than HOSTS_MAX) is told by -1, and the caller reads all routes in order instead.
"""

import cython
from cython.cimports.fourseven.matching.index import DEPTH_LAST, Hosts
from cython.cimports.fourseven.matching.prepare import kept_text
from cython.cimports.fourseven.matching.records import (
    HOST_EXACT,
    HOST_WILDCARD,
    HOSTS_MAX,
    RUNS_MAX,
    MatchBucket,
    MatchHost,
    MatchHostKey,
)
from cython.cimports.fourseven.native.arena import arena_take
from cython.cimports.fourseven.protocols.message import Span
from cython.cimports.fourseven.snapshot.hashing import hash_byte, hash_end, hash_number, hash_start
from cython.cimports.libc.stdint import int32_t, uint32_t, uint64_t
from cython.cimports.libc.string import memcmp


def index_build(arena, table, keys, texts):
    numbers: dict = {None: 0}
    routes: dict = {}
    for route, alternatives in enumerate(keys):
        for host, path in alternatives:
            number = numbers.setdefault(host, len(numbers))
            whole, text = path or (None, b"")
            # A dict keeps the order, and takes a route that has two such keys once.
            routes.setdefault((number, whole, text), {})[route] = True
    place_hosts(arena, table, numbers, texts)
    place_buckets(arena, table, routes, texts)
    return 0


def place_hosts(arena, table, numbers, texts):
    at: uint32_t
    h: uint64_t
    key: Span
    table.host_count = len(numbers)
    table.hosts = cython.cast(
        cython.pointer[MatchHost], arena_take(arena, len(numbers) * cython.sizeof(MatchHost))
    )
    places: uint32_t = size_for(len(numbers))
    table.host_mask = places - 1
    table.host_keys = cython.cast(
        cython.pointer[MatchHostKey], arena_take(arena, places * cython.sizeof(MatchHostKey))
    )
    for host, number in numbers.items():
        if host is None:
            continue
        kind, name = host
        if kind == HOST_WILDCARD:
            table.host_depths |= depth_bit(name.count(b"."))
        key = kept_text(arena, texts, name)
        h = hash_start()
        for at in range(key.size):
            h = hash_byte(h, cython.cast(cython.uchar, key.at[key.size - 1 - at]))
        h = owned(h, kind)
        at = cython.cast(uint32_t, h) & table.host_mask
        while table.host_keys[at].key.at is not cython.NULL:
            at = (at + 1) & table.host_mask
        table.host_keys[at] = MatchHostKey(hash=h, key=key, kind=kind, host=number)
    return 0


def place_buckets(arena, table, routes, texts):
    at: uint32_t
    used: uint32_t = 0
    h: uint64_t
    key: Span
    owner: uint32_t
    total: cython.size_t = sum([len(here) for here in routes.values()])
    table.numbers = cython.cast(
        cython.pointer[uint32_t], arena_take(arena, (total or 1) * cython.sizeof(uint32_t))
    )
    places: uint32_t = size_for(len(routes))
    table.bucket_mask = places - 1
    table.buckets = cython.cast(
        cython.pointer[MatchBucket], arena_take(arena, places * cython.sizeof(MatchBucket))
    )
    for (number, whole, text), here in routes.items():
        first: uint32_t = used
        for route in here:
            table.numbers[used] = route
            used += 1
        if len(here) == 1:
            first = table.numbers[first]  # the record itself holds it: one look into memory less
        host: cython.pointer[MatchHost] = cython.address(table.hosts[cython.cast(uint32_t, number)])
        if whole is None:
            host.any_first = used - len(here)
            host.any_count = len(here)
            continue
        if whole:
            host.exacts += 1
        else:
            host.depths |= depth_bit(text.count(b"/"))
        key = kept_text(arena, texts, text)
        owner = number * 2 + (1 if whole else 0)
        h = hash_start()
        for at in range(key.size):
            h = hash_byte(h, cython.cast(cython.uchar, key.at[at]))
        h = owned(h, owner)
        at = cython.cast(uint32_t, h) & table.bucket_mask
        while table.buckets[at].key is not cython.NULL:
            at = (at + 1) & table.bucket_mask
        table.buckets[at] = MatchBucket(
            hash=h, key=key.at, key_size=key.size, owner=owner, first=first, count=len(here)
        )
    return 0


def size_for(count):
    """Places for that many keys: a power of two, at most half full."""
    places: uint32_t = 8
    while places < count * 2:
        places *= 2
    return places


def index_collect(table, request, scratch):
    hosts: Hosts
    n: uint32_t
    runs: int32_t = 0
    if not find_hosts(table, cython.address(request.host), cython.address(hosts)):
        return -1
    for n in range(hosts.count):
        number: uint32_t = hosts.numbers[n]
        if table.hosts[number].any_count:
            scratch.runs[runs].at = table.numbers + table.hosts[number].any_first
            scratch.runs[runs].end = scratch.runs[runs].at + table.hosts[number].any_count
            runs += 1
    if hosts.depths == 0 and hosts.exacts == 0:
        return runs
    return find_paths(table, cython.address(request.path), cython.address(hosts), scratch, runs)


def find_hosts(table, host, found):
    """The hosts of the index that hold for this one; False when there are too many."""
    n: uint32_t
    found.count = 1
    found.numbers[0] = 0
    if table.host_count > 1 and host.at is not cython.NULL:
        if not find_named(table, host, found):
            return False
    found.depths = 0
    found.exacts = 0
    for n in range(found.count):
        found.depths |= table.hosts[found.numbers[n]].depths
        found.exacts += table.hosts[found.numbers[n]].exacts
    return True


def find_named(table, host, found):
    h: uint64_t = hash_start()
    at: uint32_t = host.size
    labels: uint32_t = 0
    while at > 0:
        at -= 1
        h = hash_byte(h, cython.cast(cython.uchar, host.at[at]))
        if host.at[at] != b"." or at == 0:
            continue
        labels += 1
        if not table.host_depths & depth_bit(labels):
            continue
        if found.count == HOSTS_MAX - 1:  # one place is kept for the exact one
            return False
        found.numbers[found.count] = find_host(
            table, h, host.at + at, host.size - at, HOST_WILDCARD
        )
        found.count += found.numbers[found.count] != 0
    found.numbers[found.count] = find_host(table, h, host.at, host.size, HOST_EXACT)
    found.count += found.numbers[found.count] != 0
    return True


def find_host(table, h, at, size, kind):
    h = owned(h, kind)
    place: uint32_t = cython.cast(uint32_t, h) & table.host_mask
    key: cython.pointer[cython.const[MatchHostKey]] = cython.address(table.host_keys[place])
    while key.key.at is not cython.NULL:
        if key.hash == h and key.kind == kind and key.key.size == size:
            if memcmp(key.key.at, at, size) == 0:
                return key.host
        place = (place + 1) & table.host_mask
        key = cython.address(table.host_keys[place])
    return 0


def find_paths(table, path, hosts, scratch, runs):
    h: uint64_t = hash_start()
    at: uint32_t
    depth: uint32_t = 0
    key: Span = Span(at=path.at, size=0)
    for at in range(path.size):
        if path.at[at] == b"/":
            if at and hosts.depths & depth_bit(depth):
                key.size = at
                runs = find_at(table, hosts, h, cython.address(key), 0, scratch, runs)
            depth += 1
            if runs < 0 or (hosts.exacts == 0 and hosts.depths < depth_bit(depth)):
                return runs  # too many, or no key is that deep
        elif path.at[at] == b";" and hosts.depths & depth_bit(depth):
            key.size = at  # a parameter: the segment's name ends here
            runs = find_at(table, hosts, h, cython.address(key), 0, scratch, runs)
            if runs < 0:
                return runs
        h = hash_byte(h, cython.cast(cython.uchar, path.at[at]))
    key.size = path.size
    if hosts.depths & depth_bit(depth):
        runs = find_at(table, hosts, h, cython.address(key), 0, scratch, runs)
    if hosts.exacts and runs >= 0:
        runs = find_at(table, hosts, h, cython.address(key), 1, scratch, runs)
    return runs


def find_at(table, hosts, h, key, whole, scratch, runs):
    n: uint32_t
    bucket: cython.pointer[cython.const[MatchBucket]]
    for n in range(hosts.count):
        bucket = find_bucket(table, h, key, hosts.numbers[n] * 2 + whole)
        if bucket is cython.NULL:
            continue
        if runs == RUNS_MAX:
            return -1
        scratch.runs[runs].at = table.numbers + bucket.first
        if bucket.count == 1:
            scratch.runs[runs].at = cython.address(bucket.first)
        scratch.runs[runs].end = scratch.runs[runs].at + bucket.count
        runs += 1
    return runs


def find_bucket(table, h, key, owner):
    h = owned(h, owner)
    place: uint32_t = cython.cast(uint32_t, h) & table.bucket_mask
    bucket: cython.pointer[cython.const[MatchBucket]] = cython.address(table.buckets[place])
    while bucket.key is not cython.NULL:
        if bucket.hash == h and bucket.owner == owner and bucket.key_size == key.size:
            if memcmp(bucket.key, key.at, key.size) == 0:
                return bucket
        place = (place + 1) & table.bucket_mask
        bucket = cython.address(table.buckets[place])
    return cython.NULL


def owned(h, owner):
    return hash_end(h ^ hash_number(owner))


def depth_bit(depth):
    one: uint64_t = 1
    return one << (depth if depth < DEPTH_LAST else DEPTH_LAST)
