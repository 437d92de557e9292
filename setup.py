"""Builds each .py which has a .pxd beside it; FOURSEVEN_BUILD picks the mode.

The modes: release, debug (assertions and bounds), asan and tsan (sanitizers), gcov (coverage) and
annotate (Cython's HTML). Each keeps its objects in build/<mode> and its C in build/c-<mode>, so
that switching costs one link. The headers that the system must have stand in pyproject.toml.
"""

import os
import shlex
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src")
MODE = os.environ.get("FOURSEVEN_BUILD", "release")
# Cython has no offsetof, so offsets are taken through a null pointer, which the check for null
# would report; a null pointer that is really followed is the address sanitizer's to report.
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize=null"]
FLAGS = {
    "release": (["-O3", "-g", "-DNDEBUG"], []),
    "debug": (["-O0", "-g3", "-UNDEBUG"], []),
    "asan": (
        ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZED],
        ["-fsanitize=address,undefined"],
    ),
    "tsan": (["-O1", "-g", "-DNDEBUG", "-fsanitize=thread"], ["-fsanitize=thread"]),
    "gcov": (["-O0", "-g", "-UNDEBUG", "--coverage"], ["--coverage"]),
    "annotate": (["-O0"], []),
}
COMPILE, LINK = FLAGS[MODE]
ALWAYS = ["-std=gnu11", "-Wno-unused-function", "-DPCRE2_CODE_UNIT_WIDTH=8"]
CHECKED = MODE not in ("release", "tsan")
HEADERS = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["fourseven"]["headers"]
# a word in the module -> the libraries to link
LIBRARIES = {
    "pcre2": ["pcre2-8"],
    "openssl": ["ssl", "crypto"],
    "nghttp2": ["nghttp2"],
    "native.crypt": ["crypt"],
    "native.codings": ["z"],
}
# a library that may be absent -> what is linked where its header is found (native/codings.h)
OPTIONAL = {"brotli/encode.h": "brotlienc", "zstd.h": "zstd"}


def found(header: str) -> bool:
    """Whether the compiler sees the header."""
    compiler = shlex.split(sysconfig.get_config_var("CC"))
    include = [f"-I{sysconfig.get_path('include')}", "-DPCRE2_CODE_UNIT_WIDTH=8"]
    probe = [*compiler, *include, "-E", "-include", header, "-xc", os.devnull]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


class Build(build_ext):
    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_temp = f"build/{MODE}"  # kept: pip would take a new folder each time
        if self.inplace:
            self.build_lib = f"build/lib-{MODE}"  # the finished .so is copied beside its source
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        for header, package in HEADERS.items():
            if not found(header):
                raise SystemExit(f"{header} is missing: sudo apt install {package}")
        super().run()

    def copy_extensions_to_source(self) -> None:
        self.force = True  # setuptools skips a newer target: a change of mode would be lost
        super().copy_extensions_to_source()


def libraries(path: Path) -> list[str]:
    text = path.with_suffix(".pxd").read_text() + path.read_text()
    chosen = [library for word, names in LIBRARIES.items() if word in text for library in names]
    if "z" in chosen:
        chosen += [library for header, library in OPTIONAL.items() if found(header)]
    return chosen


def native_modules() -> Iterator[Extension]:
    for path in sorted(SOURCE.rglob("*.py")):
        if path.with_suffix(".pxd").exists():
            name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            yield Extension(
                name,
                [str(path)],
                include_dirs=[str(SOURCE)],
                depends=[str(h) for h in SOURCE.rglob("*.h")],
                libraries=libraries(path),
                extra_compile_args=[*ALWAYS, *COMPILE],
                extra_link_args=LINK,
            )


setup(
    cmdclass={"build_ext": Build},
    ext_modules=cythonize(
        list(native_modules()),
        build_dir=f"build/c-{MODE}",
        emit_linenums=True,
        annotate=MODE == "annotate",  # it drops #line, so it is a mode of its own
        include_path=[str(SOURCE)],
        nthreads=os.cpu_count() or 1,
        cache="CYTHON_CACHE_DIR" in os.environ,  # several checkouts share what they translate
        compiler_directives={
            "language_level": 3,
            "cdivision": True,
            "boundscheck": CHECKED,
            "wraparound": False,
            "initializedcheck": CHECKED,
            "freethreading_compatible": True,
        },
    ),
)
