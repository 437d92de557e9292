"""`fourseven l4`: the kernel's part of a file, by itself.

    fourseven l4 dump FILE [--verify]          the program that the file becomes
    fourseven l4 run FILE -i eth0 -i eth1      serves what addresses suffice for, in the kernel
    fourseven l4 clean                         takes what a killed fourseven left out of the kernel

`run` stays in the foreground and holds everything that it put into the kernel: when it ends, in
whatever way, nothing is left. SIGHUP puts the changed file in force, and established flows stay
with their servers; SIGUSR1 prints the counts and the flows; SIGTERM and Ctrl-C end it.
"""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from typing import Any

import click

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load
from fourseven.control import remains
from fourseven.errors import FoursevenError
from fourseven.l4 import netlink, pins
from fourseven.l4.bpf.kernel import BpfError, Loaded, Table
from fourseven.l4.kernel_plan import KernelPlan, kernel_plan
from fourseven.l4.program.decide import program
from fourseven.l4.standalone import Standalone

FLOWS_SHOWN = 1000  # a report is for people
SIGNALS = {signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT}

File = click.argument("file", type=click.Path(exists=True, dir_okay=False))


@click.group()
def l4() -> None:
    """Layer 4 in the kernel: the tcx program."""


def planned(file: str) -> KernelPlan:
    """The kernel's plan of a file, whatever this host permits; at least one service."""
    config = load(file)
    kernel = config.kernel.model_copy(update={"plane": "tcx"})
    config = config.model_copy(update={"kernel": kernel})
    plan = compile_plan(config)
    found = kernel_plan(plan, "tcx", [address for _, address in netlink.addresses()])
    if not found.services:
        reasons = "".join(
            f"\n  {one.name}: {'; '.join(one.refused) or one.because}" for one in plan.listeners
        )
        raise FoursevenError(f"the kernel can serve no listener of {file}{reasons}")
    return found


@l4.command()
@File
@click.option("--verify", is_flag=True, help="Has this kernel's verifier judge it, too.")
def dump(file: str, verify: bool) -> None:
    """Prints the program that FILE becomes: each line of the builder, and its instructions."""
    written = program(planned(file))
    code = written.assemble()
    print(code.listing(), end="")
    if not verify:
        return
    tables: dict[str, Table] = {}
    try:
        for name, form in written.maps.items():
            tables[name] = Table(form)
        Loaded(code, tables).close()
    except BpfError as error:
        raise FoursevenError(error.strerror or str(error)) from None
    finally:
        for table in tables.values():
            table.close()
    print("; the kernel's verifier takes it")


@l4.command()
def clean() -> None:
    """Takes what fourseven left in the kernel out of it: programs, tables, pins, nftables' rules.

    Of this network namespace and of those that are gone; only what is fourseven's own, and not
    while its owner runs.
    """
    busy = []
    for home, planes in remains.found():
        if pins.runs(home.name):
            busy.append(home.name)
            continue
        remains.clean(home)
        print(f"removed: {', '.join(planes) or 'an empty directory'} of {home.name}")
    if many := pins.sweep():
        print(f"removed: what {many} had left whose network namespaces are gone")
    if busy:
        raise FoursevenError(f"{', '.join(busy)} runs; stop it, and nothing of it is left")


@l4.command()
@File
@click.option("-i", "--interface", "interfaces", multiple=True, required=True)
def run(file: str, interfaces: tuple[str, ...]) -> None:
    """Serves the listeners of FILE that need only addresses, on these interfaces, in the kernel."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # each waits for its turn below
    plan = planned(file)
    try:
        with Standalone(plan) as path:
            for interface in interfaces:
                path.attach(interface)
            for service in plan.services:
                print(f"{service.listener}: {service.vip} in the kernel", flush=True)
            _serve(path, file)
    except BpfError as error:
        raise FoursevenError(error.strerror or str(error)) from None


def _serve(path: Standalone, file: str) -> None:
    while True:
        told = signal.sigtimedwait(SIGNALS, path.rows.tick())
        if told is None:
            continue
        got = told.si_signo
        if got in (signal.SIGTERM, signal.SIGINT):
            return
        if got == signal.SIGUSR1:
            print(json.dumps(seen(path)), flush=True)
            continue
        try:
            path.apply(planned(file))
            print("reloaded", flush=True)
        except FoursevenError as error:  # the old tables stay in force
            print(f"not reloaded: {error}", flush=True)


def seen(path: Standalone) -> dict[str, Any]:
    """The counts of each server, and the flows."""
    flows: list[dict[str, Any]] = []
    for flow in path.rows.flows():
        if len(flows) == FLOWS_SHOWN:
            break
        told = {k: v for k, v in asdict(flow).items() if k not in SHOWN}
        flows.append(told | {k: str(getattr(flow, k)) for k in SHOWN})
    servers = path.rows.counters().servers
    return {"servers": {str(end): asdict(row) for (_, end), row in servers.items()}, "flows": flows}


SHOWN = ("client", "vip", "server", "source")
