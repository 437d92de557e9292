"""The rules of the house, held by a test: who may import whom, what is dead, how long is long.

STYLE.md gives the reasons. The tables below are the rules; an exception stands in a list that only
shrinks: an entry that is no longer needed fails as surely as a fault that is not listed. The
length of a line is the formatter's business (`make check`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from fourseven import registry

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"

# A module may import its own level and below; the longest prefix counts.
LEVELS = {
    "": 9,  # fourseven itself
    "__main__": 9,
    "cli": 9,
    "demo": 8,
    "control": 8,
    "l4": 7,
    "l4.abilities": 2,  # the compiler chooses by them
    "l4.facts": 2,
    "l4.kernel_plan": 2,
    "l7": 7,
    "observe": 7,
    "worker": 6,
    "config": 5,
    "compiler": 5,
    "forms": 4,
    "forms_admin": 4,
    "forms_sticky": 4,
    "forms_ejection": 4,
    "forms_health": 4,
    "forms_resilience": 4,
    "forms_observe": 4,
    "forms_standing": 4,
    "forms_tls": 4,
    "model": 4,  # its fields are what the registry lists
    "registry": 4,
    "scalars": 1,
    "balancing": 3,
    "discovery": 3,
    "filters": 3,
    "health": 3,
    "matching": 3,
    "persistence": 3,
    "tls": 3,
    "protocols": 2,
    "snapshot": 2,
    "features": 1,
    "plan": 1,
    "addresses": 0,
    "clock": 0,
    "errors": 0,
    "native": 0,
    "units": 0,
    "protocols.message": 0,  # the records in which every part speaks of a message
}
ENTRIES = {  # nobody imports them: they are started
    "__main__",
    "control.engine",
}

FILE_LINES, PROTOCOL_LINES, FUNCTION_LINES, NESTING = 600, 900, 60, 3
# (rule, file): how many breaches are borne. It only shrinks.
EXCEPTIONS: dict[tuple[str, str], int] = {}


@dataclass
class Module:
    name: str  # without the leading `fourseven.`; "" for the package itself
    files: list[Path] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)  # names of modules in string literals


def python_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def pxd_imports(text: str) -> Iterator[str]:
    for module, names in re.findall(r"^from ([\w.]+) cimport ([^\n]+)", text, re.M):
        yield module
        yield from (f"{module}.{name}" for name in re.findall(r"\w+", names))


@cache
def modules() -> dict[str, Module]:
    """Every module of the product with what it imports of the product."""
    found: dict[str, Module] = {}
    for path in sorted(SOURCE.rglob("*.p[yx]*")):
        if path.suffix not in {".py", ".pxd"}:
            continue
        parts = path.relative_to(SOURCE / "fourseven").with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.setdefault(name, Module(name)).files.append(path)
    for module in found.values():
        for path in module.files:
            text = path.read_text()
            if path.suffix == ".pxd":
                raw = list(pxd_imports(text))
            else:
                tree = ast.parse(text)
                raw = list(python_imports(tree))
                strings = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant))
                module.words |= {
                    word
                    for s in strings
                    if isinstance(s, str)
                    for word in re.findall(r"fourseven\.([\w.]+)", s)
                }
            ours = (re.sub(r"^cython\.cimports\.", "", name) for name in raw)
            short = {n.removeprefix("fourseven").removeprefix(".") for n in ours if _ours(n)}
            module.imports |= {n for n in short if n in found and n != module.name}
    return found


def _ours(name: str) -> bool:
    return name == "fourseven" or name.startswith("fourseven.")


def level(name: str) -> int:
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        if (prefix := ".".join(parts[:size])) in LEVELS:
            return LEVELS[prefix]
    raise AssertionError(f"{name} has no level: give its package one in LEVELS")


def unit(name: str) -> str:
    return name.partition(".")[0]


def packages() -> set[str]:
    return {m.name for m in modules().values() if any(f.name == "__init__.py" for f in m.files)}


def test_something_is_looked_at():
    assert len(modules()) > 20
    assert "plan" in modules()["features"].imports


def test_imports_go_downwards():
    upwards = [
        f"{module.name} (level {level(module.name)}) imports {name} (level {level(name)})"
        for module in modules().values()
        for name in module.imports - packages()
        if level(name) > level(module.name)
    ]
    assert not upwards, "\n".join(upwards)


def test_neighbours_do_not_import_each_other_in_a_circle():
    edges: dict[str, set[str]] = {}
    for module in modules().values():
        for name in module.imports - packages():
            if unit(name) != unit(module.name) and level(name) == level(module.name):
                edges.setdefault(unit(module.name), set()).add(unit(name))

    def reach(start: str, at: str, seen: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for following in sorted(edges.get(at, ())):
            if following == start:
                yield (*seen, following)
            elif following not in seen:
                yield from reach(start, following, (*seen, following))

    circles = [
        " -> ".join(path) for start in sorted(edges) for path in reach(start, start, (start,))
    ]
    assert not circles, "\n".join(circles)


def test_no_module_is_dead():
    used = {name for module in modules().values() for name in module.imports}
    used |= {name for module in modules().values() for name in module.words}
    dead = set(modules()) - used - packages() - ENTRIES
    dead -= {name for name in dead if name.endswith(".probe")}  # a test's window
    assert not dead, f"nobody imports {', '.join(sorted(dead))}"


FEATURES = {"matching": "MATCHES", "filters": "FILTERS", "balancing": "ALGORITHMS"}
KINDS = {"Match", "Filter", "Algorithm"}


@pytest.mark.parametrize("package", FEATURES)
def test_each_feature_file_stands_in_the_registry(package: str):
    """A class that is a Match, Filter or Algorithm and is not listed would never be tried."""
    written = {
        f"fourseven.{module.name}.{node.name}"
        for module in modules().values()
        if unit(module.name) == package
        for path in module.files
        if path.suffix == ".py"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and KINDS & {ast.unparse(b) for b in node.bases}
    }
    table = getattr(registry, FEATURES[package])
    listed = {f"{cls.__module__}.{cls.__qualname__}" for cls in table}
    assert written == listed
    keys = [cls.key for cls in table]
    assert sorted(set(keys)) == sorted(keys)


def python_files() -> list[Path]:
    trees = [SOURCE, ROOT / "tests", ROOT / "tools", ROOT / "bench"]
    return [p for tree in trees if tree.exists() for p in sorted(tree.rglob("*.py"))]


def depth(node: ast.AST, now: int = 0) -> int:
    """How deep a function's decisions are nested: an elif is no deeper than its if, a with is none."""
    deepest = now
    for part, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            chained = part == "orelse" and isinstance(child, ast.If) and len(value) == 1
            block = isinstance(child, ast.If | ast.For | ast.While | ast.Try | ast.Match)
            deepest = max(deepest, depth(child, now + (block and not chained)))
    return deepest


@cache
def breaches() -> dict[tuple[str, str], list[str]]:
    """(rule, file) -> where it is broken."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in [*python_files(), *sorted(SOURCE.rglob("*.pxd"))]:
        name = str(path.relative_to(ROOT))
        text = path.read_text()
        lines = text.splitlines()
        limit = PROTOCOL_LINES if "/protocols/" in name else FILE_LINES
        if len(lines) > limit:
            found.setdefault(("file", name), []).append(f"{len(lines)} lines > {limit}")
        if path.suffix != ".py":
            continue
        tree = ast.parse(text)
        if not ast.get_docstring(tree) and text.strip() and "# essay:" not in text:
            found.setdefault(("essay", name), []).append("opens without saying what it is for")
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > FUNCTION_LINES:
                found.setdefault(("function", name), []).append(f"{node.name}: {size} lines")
            if (deep := depth(node)) > NESTING:
                found.setdefault(("nesting", name), []).append(f"{node.name}: {deep} deep")
    return found


def test_sizes_and_essays():
    faults = [
        f"{name}: {rule}: {what}"
        for (rule, name), places in breaches().items()
        if len(places) > EXCEPTIONS.get((rule, name), 0)
        for what in places
    ]
    assert not faults, "\n".join(faults)


def test_exceptions_only_shrink():
    found = breaches()
    stale = {
        key: f"{allowed} allowed, {len(found.get(key, []))} needed"
        for key, allowed in EXCEPTIONS.items()
        if len(found.get(key, [])) < allowed
    }
    assert not stale


UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")


@pytest.mark.parametrize("suffix", ["py", "pxd", "h", "md", "yaml"])
def test_nothing_is_marked_unfinished(suffix: str):
    marked = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for top in ("src", "tests", "tools", "bench", "docs", "examples")
        for path in sorted((ROOT / top).rglob(f"*.{suffix}"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not marked, "\n".join(marked)
