"""What a ruleset is: tables of plain data, and how they read.

A rule is a row of expressions, as the kernel has them: each loads something into a register,
compares, looks up, or acts; the first that does not hold ends the rule. Registers are named by
number as in the kernel: 8 to 23, four bytes each; 0 is the verdict.

Law: nothing here is done, and two rulesets that are equal do the same.

Source: include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

VERDICT = 0
JUMP, GOTO, RETURN, ACCEPT = -3, -4, -5, 1
VERDICTS = {JUMP: "jump", GOTO: "goto", RETURN: "return", ACCEPT: "accept"}

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")

# The kernel has only lengths; these tell nft how to show a key: 6 bits for each part of it.
MARK, IPV4, IPV6, PROTOCOL, PORT, NAME = 19, 7, 8, 12, 13, 41


@dataclass(frozen=True, slots=True)
class Expression:
    """One step of a rule: what, and its arguments by the names that encode.py knows."""

    what: str
    arguments: tuple[tuple[str, int | str | bytes], ...]

    def __str__(self) -> str:
        said = (f"{k} {v.hex() if isinstance(v, bytes) else v}" for k, v in self.arguments)
        return f"[{' '.join([self.what, *said])}]"


def step(what: str, **arguments: int | str | bytes) -> Expression:
    return Expression(what, tuple(arguments.items()))


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of expressions, and what it means."""

    meaning: str
    steps: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an element of a map may say: go to a chain."""

    code: int
    chain: str

    def __str__(self) -> str:
        return f"{VERDICTS[self.code]} {self.chain}"


@dataclass(frozen=True, slots=True)
class Named:
    """A named object (a counter) as the value of an element."""

    name: str

    def __str__(self) -> str:
        return self.name


Value = bytes | Verdict | Named | None  # None: a set, which only says whether it has a key


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order; with a hook (type, hook, priority) the kernel calls it."""

    rules: tuple[Rule, ...]
    hook: tuple[str, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """A set, or a map to data, to verdicts or to counters. All keys are exact."""

    key: tuple[int, ...]  # types of its parts
    key_size: int
    value: str  # "", data, verdict, counter
    elements: Mapping[bytes, Value]
    data: tuple[int, ...] = ()
    data_size: int = 0


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long conntrack keeps flows of one kind without a packet."""

    family: int  # 4 or 6
    protocol: int
    seconds: tuple[tuple[int, int], ...]  # (state, as the kernel counts them; seconds)


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Everything in one table."""

    counters: tuple[str, ...] = ()
    timeouts: Mapping[str, Timeout] = field(default_factory=dict)
    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    chains: Mapping[str, Chain] = field(default_factory=dict)

    def __str__(self) -> str:
        """For people and for tests; sorted, so that equal rulesets read equal."""
        lines = [f"counter {name}" for name in sorted(self.counters)]
        for name, timeout in sorted(self.timeouts.items()):
            lines.append(f"timeout {name} {dict(timeout.seconds)}")
        for name, lookup in sorted(self.lookups.items()):
            lines.append(f"{'map' if lookup.value else 'set'} {name}")
            for key, value in sorted(lookup.elements.items()):
                shown = value.hex() if isinstance(value, bytes) else value
                lines.append(f"  {key.hex()}" + ("" if value is None else f" : {shown}"))
        for name, chain in sorted(self.chains.items()):
            kind, hook, priority = chain.hook or ("", 0, 0)
            lines.append(f"chain {name}" + (f" {kind} {HOOKS[hook]} {priority}" if kind else ""))
            for rule in chain.rules:
                lines.append(f"  # {rule.meaning}")
                lines.append(f"  {' '.join(map(str, rule.steps))}")
        return "\n".join(lines) + "\n"
