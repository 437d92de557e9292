"""Makes a virtual environment that can build and test this tree: prepare.py .venv

What the system lacks is installed when we are root on Debian or Ubuntu; else one line says which
packages to install. Python packages come from wherever this machine's pip looks.

Laws: only the standard library, since nothing else is there yet. Running it again is harmless.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

EXTRAS = "test,check"


def debian_package(suffix: str) -> str:
    """`dev` -> python3-dev for the distribution's own Python, else e.g. python3.12-dev."""
    own = Path("/usr/bin/python3").resolve() == Path(sys.executable).resolve()
    return f"python3-{suffix}" if own else f"python3.{sys.version_info.minor}-{suffix}"


def missing(headers: dict[str, str]) -> Iterator[str]:
    """The Debian packages that this machine lacks."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    if shutil.which(compiler[0]) is None:
        yield from ("gcc", "libc6-dev", *headers.values())
    else:
        include = f"-I{sysconfig.get_path('include')}"
        for header, package in headers.items():
            probe = [*compiler, include, "-DPCRE2_CODE_UNIT_WIDTH=8", "-E", "-include", header]
            if subprocess.run([*probe, "-xc", os.devnull], capture_output=True).returncode:
                yield debian_package("dev") if package == "python3-dev" else package
    if importlib.util.find_spec("ensurepip") is None:
        yield debian_package("venv")


def install(packages: list[str]) -> None:
    """Installs system packages as root; otherwise says what to install and leaves."""
    command = f"apt install {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(f"missing system packages: sudo {command}")
    print(f"installing system packages: {command}", flush=True)
    quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-q"], env=quiet, stdout=subprocess.DEVNULL)
    chosen = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    if subprocess.run(chosen, env=quiet, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"missing system packages, and installing them failed: {command}")


def wish(programs: dict[str, str]) -> list[str]:
    """The Debian packages of real programs that tests run, as far as this machine lacks them."""
    places = [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/usr/lib/postgresql/*/bin"]
    found = lambda name: any(glob.glob(f"{place}/{name}") for place in places)  # noqa: E731
    return list(dict.fromkeys(package for name, package in programs.items() if not found(name)))


def try_to_install(packages: list[str]) -> None:
    """As `install`, but without them tests or codings are left out, and say so. None of the servers
    among them is started: what a test needs, it starts itself."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"tests or codings are left out without: sudo apt install {' '.join(packages)}")
        return
    policy = Path("/usr/sbin/policy-rc.d")  # what a package asks before it starts a server
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")  # not allowed
        policy.chmod(0o755)
    try:
        install(packages)
    except SystemExit as failed:
        print(f"tests or codings are left out: {failed}")
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def main(where: Path) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())
    packages = list(dict.fromkeys(missing(project["tool"]["fourseven"]["headers"])))
    if packages:
        install(packages)
    optional = missing(project["tool"]["fourseven"]["optional-headers"])
    if wished := [*optional, *wish(project["tool"]["fourseven"]["programs"])]:
        try_to_install(wished)
    python = where / "bin" / "python"
    if not python.exists():
        print(f"making {where} with Python {sys.version.split()[0]}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    print("installing Python packages and building (a minute or two)", flush=True)
    subprocess.run([*pip, *project["build-system"]["requires"]], check=True)
    # No isolation: the build then shares its objects with `setup.py build_ext --inplace`.
    subprocess.run([*pip, "--no-build-isolation", "-e", f".[{EXTRAS}]"], check=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"failed: {' '.join(error.cmd)}") from None
