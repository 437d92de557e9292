"""Programs that people run, through the balancer: each meets the plane with habits of its own.

iperf3 sends large segments and bursts of datagrams, PostgreSQL long conversations, Redis pipelines,
dig a datagram each way (and one too large for a packet), curl bodies in both directions.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from support.lab import (
    CLIENTS,
    FAMILIES,
    MASQUERADE,
    ROUTED,
    VIPS,
    Lab,
    server_address,
)
from support.lab_servers import pattern
from support.network import needs_lab, why_no_lab

pytestmark = needs_lab()

IPERF, POSTGRES, REDIS, DNS, HTTP = 5201, 5432, 6379, 53, 8000
PORTS = {"iperf": IPERF, "postgres": POSTGRES, "redis": REDIS, "dns": DNS, "http": HTTP}
OVER_UDP = ("iperf", "dns")
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")  # initdb wants it
MEGABYTES = 8 << 20


def needs(*programs: str) -> pytest.MarkDecorator:
    reason = why_no_lab(*programs)
    return pytest.mark.skipif(bool(reason), reason=reason or "it can")


def text(plane: str, back: str) -> str:
    """A listener for each program, family and transport; a client keeps its server."""
    listeners, backends, way = [], [], f"plane: {plane}"
    for family in FAMILIES.values():
        form = "[{}]:{}" if family == socket.AF_INET6 else "{}:{}"
        for name, port in PORTS.items():
            backend = f"{name}-{'v6' if family == socket.AF_INET6 else 'v4'}"
            numbers = (1,) if name == "postgres" else (1, 2)
            servers = [form.format(server_address(n, family), port) for n in numbers]
            said = f"servers: {json.dumps(servers)}, balance: source_hash, return_path: {back}"
            backends.append(f"  {backend}: {{{said}}}")
            bind = form.format(VIPS[family], port)
            listeners.append(f'  {backend}-tcp: {{bind: "{bind}", backend: {backend}, {way}}}')
            if name in OVER_UDP:
                listeners.append(
                    f'  {backend}-udp: {{bind: "udp://{bind}", backend: {backend}, {way}}}'
                )
    return (
        "\n".join(["shutdown_timeout: 1s", "listeners:", *listeners, "backends:", *backends]) + "\n"
    )


PLANES = {"tcx": ROUTED, "tcx-masquerade": MASQUERADE, "nftables": ROUTED}


@pytest.fixture(scope="module", params=PLANES)
def lab(request):
    back = PLANES[request.param]
    with Lab(back=back) as made:
        made.service(text(request.param.partition("-")[0], back))
        yield made


@pytest.fixture(params=FAMILIES, ids=["v4", "v6"])
def family(request):
    return FAMILIES[request.param]


@pytest.fixture
def vip(family):
    return VIPS[family]


def wait_for(lab: Lab, name: str, port: int) -> None:
    """Somebody listens there, on that node."""
    until = time.monotonic() + 60
    while True:
        with lab.inside(name), socket.socket() as made:
            if not made.connect_ex(("127.0.0.1", port)):
                return
        assert time.monotonic() < until, [c.log_tail() for c in lab.children]
        time.sleep(0.02)


def own_server(lab: Lab, name: str, kind: str, port: int) -> None:
    tests = Path(__file__).resolve().parents[1]
    environment = {"PYTHONPATH": f"{tests}:{tests.parent / 'src'}"}
    command = [sys.executable, "-m", "support.lab_servers", kind, str(port), name]
    lab.start(name, *command, environment=environment, speaks=True).read_line()


# ---- iperf3 ----


@pytest.fixture(scope="module")
def iperf(lab):
    for name in lab.servers:
        lab.start(name, "iperf3", "-s", "-p", str(IPERF))
        wait_for(lab, name, IPERF)
    return lab


BETWEEN = ("busy", "Connection reset by peer", "Connection refused", "Broken pipe", "has closed")


def iperf3(lab: Lab, vip: str, *more: str) -> dict:
    """What a run told. A server serves one at a time, and ends a moment after its client (or after
    whoever asked whether it listens); then it listens anew, and resets who came between."""
    command = ["iperf3", "-c", vip, "-p", str(IPERF), "-J", *more]
    until = time.monotonic() + 60
    while True:
        found = json.loads(lab.run("client", *command, check=False).stdout)
        if "error" not in found:
            return found["end"]
        assert any(one in found["error"] for one in BETWEEN), found["error"]
        assert not found.get("intervals"), found["error"]  # a run that has begun is not cut
        assert time.monotonic() < until, found["error"]
        time.sleep(0.02)


BOTH = ("--bidir",)


@needs("iperf3")
@pytest.mark.parametrize("way", [(), ("-R",), ("-P", "4"), BOTH], ids=str)
def test_iperf3_over_tcp(iperf, vip, way):
    end = iperf3(iperf, vip, "-n", "64M", *way)
    ways = [end[f"sum_received{of}"]["bytes"] for of in ("", "_bidir_reverse")[: 1 + (way == BOTH)]]
    assert sum(ways) > 10_000_000
    assert min(ways) > 1_000_000  # the one's 64 MB may be through before most of the other's


@needs("iperf3")
@pytest.mark.parametrize("way", [(), ("-R",)], ids=["up", "down"])
def test_iperf3_over_udp(iperf, vip, way):
    before = overflowed(iperf)
    end = iperf3(iperf, vip, "-u", "-b", "20M", "-l", "1200", "-k", "1000", *way)["sum"]
    assert end["packets"] > 500
    # What a receiver's full socket threw away (it waited for a processor) has passed the plane.
    assert end["lost_packets"] <= overflowed(iperf) - before


def overflowed(lab: Lab) -> int:
    """Packets that came where there was no room: to a socket, at any end; to an interface's queue
    (a program that drops one is counted elsewhere); to a processor's."""
    found = 0
    for name in lab.spaces:
        with lab.inside(name):
            heads, said = (
                line.split()
                for line in Path("/proc/thread-self/net/snmp").read_text().splitlines()
                if line.startswith("Udp:")
            )
            found += int(said[heads.index("RcvbufErrors")])
            for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines():
                if line.startswith("Udp6RcvbufErrors"):
                    found += int(line.split()[1])
            for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]:
                counts = line.partition(":")[2].split()
                found += int(counts[3]) + int(counts[11])  # dropped as it came, as it went
    for line in Path("/proc/net/softnet_stat").read_text().splitlines():
        found += int(line.split()[1], 16)
    return found


# ---- PostgreSQL ----


@pytest.fixture(scope="module")
def postgres(lab):
    data, binaries = lab.folder / "postgres", BINARIES[-1]
    data.mkdir()
    os.chown(data, 65534, 65534)
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-N"]
    lab.run("server1", *NOBODY, *initdb, "--locale=C", "-E", "UTF8")
    with (data / "pg_hba.conf").open("a") as access:
        access.write("host all all all trust\n")
    command = [str(binaries / "postgres"), "-D", str(data), "-h", "*", "-p", str(POSTGRES)]
    lab.start("server1", *NOBODY, *command, "-c", "unix_socket_directories=", "-F")
    wait_for(lab, "server1", POSTGRES)
    return lab


def psql(lab: Lab, vip: str, *words: str, **more: str) -> str:
    command = ["psql", "-h", vip, "-p", str(POSTGRES), "-U", "tester", "-d", "postgres", "-XqAt"]
    return lab.run("client", *command, *words, **more).stdout.strip()


no_postgres = "" if BINARIES else "not installed: postgresql"
needs_postgres = pytest.mark.skipif(bool(no_postgres), reason=no_postgres or "it can")


@needs_postgres
@needs("psql")
def test_postgresql_sees_the_client_and_answers_at_length(postgres, family, vip):
    seen = psql(postgres, vip, "-c", "select inet_client_addr(), inet_server_port()")
    routed = postgres.back == ROUTED
    client = CLIENTS[family] if routed else server_address(1, family).removesuffix("2") + "1"
    assert seen == f"{client}|{POSTGRES}"
    rows = psql(postgres, vip, "-c", "select i, md5(i::text) from generate_series(1, 100000) i")
    wanted = "\n".join(f"{i}|{hashlib.md5(b'%d' % i).hexdigest()}" for i in range(1, 100_001))
    assert rows == wanted


@needs_postgres
@needs("psql")
def test_postgresql_takes_a_copy_both_ways(postgres, vip, tmp_path):
    given = "".join(f"{i}\t{i * i}\n" for i in range(200_000))
    table = f"copied_{'v6' if ':' in vip else 'v4'}"
    psql(postgres, vip, "-c", f"create table {table} (a bigint, b bigint)")
    psql(postgres, vip, "-c", f"copy {table} from stdin", input=given)
    assert psql(postgres, vip, "-c", f"copy {table} to stdout") == given.strip()


@needs_postgres
@needs("pgbench")
def test_pgbench_has_no_failure(postgres, vip):
    command = ["pgbench", "-h", vip, "-p", str(POSTGRES), "-U", "tester"]
    postgres.run("client", *command, "-i", "-s", "1", "-q", "postgres")
    for way in ((), ("-C",)):  # one connection for all, a connection for each
        said = postgres.run("client", *command, "-c", "4", "-t", "50", *way, "postgres").stdout
        assert "number of transactions actually processed: 200/200" in said
        assert "number of failed transactions: 0 " in said


# ---- Redis ----


@pytest.fixture(scope="module")
def redis(lab):
    for name in lab.servers:
        command = ["redis-server", "--port", str(REDIS), "--bind", "0.0.0.0", "::"]
        lab.start(name, *command, "--save", "", "--protected-mode", "no", "--daemonize", "no")
        wait_for(lab, name, REDIS)
    return lab


@needs("redis-server", "redis-cli")
def test_redis_answers_in_order(redis, vip):
    lines = [f"SET key{i} {i * i}" for i in range(500)] + [f"GET key{i}" for i in range(500)]
    said = redis.run(
        "client", "redis-cli", "-h", vip, "-p", str(REDIS), input="\n".join(lines) + "\n"
    ).stdout.split()
    assert said == ["OK"] * 500 + [str(i * i) for i in range(500)]


@needs("redis-server", "redis-benchmark")
def test_redis_benchmark_ends_well(redis, vip):
    command = ["redis-benchmark", "-h", vip, "-p", str(REDIS), "-t", "set,get,lrange_100"]
    for way in (("-P", "16"), ("-k", "0", "-n", "2000")):  # pipelines; a connection for each
        said = redis.run("client", *command, "-n", "20000", "-c", "20", "--csv", *way).stdout
        rates = [float(line.split('","')[1].strip('"')) for line in said.splitlines()[1:]]
        assert len(rates) >= 3
        assert min(rates) > 0


# ---- DNS ----


@pytest.fixture(scope="module")
def dns(lab):
    for name in lab.servers:
        own_server(lab, name, "dns", DNS)
    return lab


def dig(lab: Lab, vip: str, *words: str) -> str:
    command = ["dig", f"@{vip}", "+short", "+tries=2", "+time=15", *words]
    return lab.run("client", *command).stdout.strip()


@needs("dig")
@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
def test_dig_gets_an_answer(dns, vip, way):
    assert dig(dns, vip, way, "www.example.test", "A") == "192.0.2.7"
    assert dig(dns, vip, way, "www.example.test", "AAAA") == "2001:db8::7"


@needs("dig")
def test_dig_keeps_its_server(dns, vip):
    said = {dig(dns, vip, "+notcp", "1.example.test", "TXT") for _ in range(8)}
    assert said in ({'"server1 x"'}, {'"server2 x"'})


# ---- HTTP ----


@pytest.fixture(scope="module")
def web(lab):
    for name in lab.servers:
        own_server(lab, name, "http", HTTP)
    return lab


def url(vip: str, path: str = "/") -> str:
    return f"http://[{vip}]:{HTTP}{path}" if ":" in vip else f"http://{vip}:{HTTP}{path}"


@needs("curl")
def test_curl_loads_what_was_sent(web, vip, tmp_path):
    got = tmp_path / "got"
    web.run("client", "curl", "-sS", "--fail", "-o", str(got), url(vip, f"/{MEGABYTES}"))
    assert got.read_bytes() == pattern(MEGABYTES)


@needs("curl")
def test_curl_sends_a_body(web, vip, tmp_path):
    given = tmp_path / "given"
    given.write_bytes(pattern(MEGABYTES))
    said = web.run("client", "curl", "-sS", "--fail", "--data-binary", f"@{given}", url(vip)).stdout
    assert said == hashlib.sha256(pattern(MEGABYTES)).hexdigest()


@needs("curl")
def test_curl_asks_many_times(web, vip):
    """On one connection, then each on one of its own."""
    many = [url(vip, f"/{size}") for size in range(1, 101)]
    for way in ((), ("-H", "Connection: close")):
        said = web.run("client", "curl", "-sS", "--fail", "-w", "%{stderr}", *way, *many).stdout
        assert said == "".join(pattern(size).decode() for size in range(1, 101))
