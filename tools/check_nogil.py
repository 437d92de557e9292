"""Fails where the C of a function that runs without the GIL calls Python.

    check_nogil.py build/c-release/src src

Cython compiles an `assert`, a `with gil`, a division that may raise or a call that may raise inside
a nogil function without a word, and each takes the GIL (or worse, does not). So we read what it
generated: for each `cdef ... nogil` of a `.pxd`, for each inline body in a `.pxd`, and for each
`@cython.nogil` of a `.py`, the body in the generated C must name no `Py...` and no `__Pyx_...`.

Laws: a function whose body is not found is a failure, so that a new way of writing one cannot slip
through; so is a run that checked nothing.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DECLARED = re.compile(r"^cdef (?!(?:extern|struct|union|enum|class|packed)\b)([^(=\n]+)\(", re.M)
NAME = re.compile(r'(\w+)\s*(?:"(\w+)")?\s*$')
PYTHON = re.compile(r"\b(?:_?Py[A-Z_]\w*|__Pyx_\w+)")
HARMLESS = {
    "__Pyx_pretend_to_initialize",  # nothing but a hint to the C compiler
    "Py_ssize_t",  # a type: the ssize_t of a system call
}


@dataclass(frozen=True)
class Function:
    where: str
    name: str
    c_name: str
    inline: bool = False  # its body is in the C of each module that cimports it


def closing(text: str, start: int) -> int:
    """Index behind the parenthesis that closes the one at `start`."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
    return len(text)


def mangled(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return "__pyx_f_" + "_".join(f"{len(part)}{part}" for part in parts)


def in_pxd(path: Path, source: Path) -> Iterator[Function]:
    text = re.sub(r"#.*", "", path.read_text())
    for found in DECLARED.finditer(text):
        tail = text[closing(text, found.end() - 1) :].split("\n", 1)[0]
        name = NAME.search(found[1])
        if name and re.search(r"\bnogil\b", tail):
            c_name = name[2] or f"{mangled(path, source)}_{name[1]}"
            yield Function(str(path), name[1], c_name, inline=tail.rstrip().endswith(":"))


def in_py(path: Path, source: Path) -> Iterator[Function]:
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        if any(ast.unparse(d).startswith("cython.nogil") for d in node.decorator_list):
            yield Function(str(path), node.name, f"{mangled(path, source)}_{node.name}")


TOKEN = re.compile(r"/\*.*?\*/|^#[^\n]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[{}]", re.M | re.S)


def body(c: str, name: str) -> str | None:
    """What stands between the braces of a C function, without comments, literals and line marks."""
    found = re.search(rf"^[\w \t*]*?\b\*?{name}\([^;{{]*\) \{{$", c, re.M)
    if not found:
        return None
    text, at, depth = [], found.end(), 1
    for token in TOKEN.finditer(c, at):  # indentation says nothing: a literal '{' disturbs Cython's
        text.append(c[at : token.start()])
        at = token.end()
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return " ".join(text)
    return None


def faults(function: Function, sources: list[str]) -> Iterator[str]:
    bodies = [text for c in sources if (text := body(c, function.c_name)) is not None]
    if not bodies:
        yield f"{function.where}: {function.name}: no body for {function.c_name}"
    calls = {call for text in bodies for call in PYTHON.findall(text)} - HARMLESS
    if calls:
        yield f"{function.where}: {function.name} calls {', '.join(sorted(calls))}"


def main(built: Path, source: Path) -> int:
    bad: list[str] = []
    checked = 0
    generated = {path: path.read_text() for path in sorted(built.rglob("*.c"))}
    for pxd in sorted(source.rglob("*.pxd")):
        module = pxd.with_suffix(".py")
        c_file = built / pxd.relative_to(source).with_suffix(".c")
        functions = list(in_pxd(pxd, source))
        if module.exists():
            functions += in_py(module, source)
            if c_file not in generated:
                bad.append(f"{pxd}: {c_file} is missing: build first")
                continue
        for function in functions:
            name = function.c_name
            users = [c for c in generated.values() if f"{name}(" in c] if function.inline else []
            if function.inline and not users:
                continue  # Cython leaves out what nobody calls
            if not function.inline and not module.exists():
                bad.append(f"{pxd}: {function.name} is declared, and no module defines it")
                continue
            checked += 1
            bad += faults(function, users or [generated[c_file]])
    print("\n".join([*bad, f"{checked} nogil functions, {len(bad)} bad"]))
    return int(bool(bad) or not checked)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
