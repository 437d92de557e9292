"""The check of the generated C finds what it is for, and fails when it has looked at nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "check_nogil.py"
PXD = """
cdef struct Route
cdef int32_t pick "own_pick"(const Route *route,
    uint64_t key) noexcept nogil
cdef object with_the_gil(x)
cdef inline bint usable(int slot) noexcept nogil:
    return slot > 0
"""
C = """
static int32_t own_pick(Route const *, uint64_t); /*proto*/
static int32_t own_pick(Route const *__pyx_v_route, uint64_t __pyx_v_key) {
  int32_t __pyx_r;
  /* PyErr_SetString is only spoken of here */
#line 7 "PyList.py"
  __pyx_r = %s;
  return __pyx_r;
}
"""


@pytest.fixture
def check(tmp_path: Path, capsys):
    spec = importlib.util.spec_from_file_location("check_nogil", TOOL)
    assert spec
    assert spec.loader
    tool = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["check_nogil"] = tool  # dataclasses look their module up
    spec.loader.exec_module(tool)
    source, built = tmp_path / "src", tmp_path / "built"
    source.mkdir()
    built.mkdir()

    def run(pxd: str = "", c: str | None = None, py: str = "") -> tuple[int, str]:
        (source / "leaf.pxd").write_text(pxd)
        (source / "leaf.py").write_text(py)
        if c is not None:
            (built / "leaf.c").write_text(c)
        return tool.main(built, source), capsys.readouterr().out

    return run


def test_clean_code_passes(check):
    assert check(PXD, C % "1") == (0, "1 nogil functions, 0 bad\n")


@pytest.mark.parametrize(
    "call",
    [
        "PyObject_Call(f)",
        "__Pyx_RaiseTooManyValuesError(1)",
        "_Py_Dealloc(x)",
        "PyGILState_Ensure()",
    ],
)
def test_a_call_of_python_is_named(check, call):
    code, said = check(PXD, C % call)
    assert code == 1
    assert f"leaf.pxd: pick calls {call.partition('(')[0]}" in said


def test_a_function_without_a_body_and_a_module_without_c_are_faults(check):
    assert "no body for own_pick" in check(PXD, "int other;")[1]
    assert check(PXD.replace("own_pick", "renamed"), C % "1")[0] == 1


def test_not_built_is_a_fault(check):
    code, said = check(PXD)
    assert code == 1
    assert "build first" in said


def test_nothing_looked_at_is_a_fault(check):
    assert check("cdef object f(x)\n", C % "1")[0] == 1


def test_an_inline_body_is_looked_at_where_it_is_used(check):
    used = C % "__pyx_f_4leaf_usable(3)"
    inline = "static CYTHON_INLINE int __pyx_f_4leaf_usable(int s) {\n  return %s;\n}\n"
    assert check(PXD, inline % "s > 0" + used)[0] == 0
    code, said = check(PXD, inline % "PyLong_AsLong(s)" + used)
    assert code == 1
    assert "usable calls PyLong_AsLong" in said


def test_a_function_that_only_the_py_declares_is_looked_at(check):
    py = "@cython.cfunc\n@cython.nogil\ndef own():\n    pass\n"
    body = "static void __pyx_f_4leaf_own(void) {\n  PyErr_Clear();\n}\n"
    code, said = check("", C % "1" + body, py)
    assert code == 1
    assert "own calls PyErr_Clear" in said
