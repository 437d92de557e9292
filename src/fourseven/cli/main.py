"""The command line: one table of commands, each loaded when it is called.

`fourseven check` must answer at once and needs no engine, so the table holds the names of modules
and the line that help shows; a module is imported only when its command runs. A new command is one
module under `cli` with a click command, and one line here.

Exit codes: 0 fine; 1 fine with warnings, or it failed while running; 2 wrong usage of the command
line (click's own); 78 the file has errors (EX_CONFIG of sysexits.h, which systemd knows: a service
with a bad file is not started over and over).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

import click

from fourseven import __version__
from fourseven.errors import ConfigErrors, FoursevenError

FAILED, BAD_CONFIG = 1, 78


class Command(NamedTuple):
    """Where a command is, and what help says of it."""

    place: str  # module:function
    help: str


COMMANDS = {
    "init": Command("fourseven.cli.init:init", "Writes a commented file to start from."),
    "run": Command("fourseven.cli.run:run", "Serves a file, in the foreground."),
    "reload": Command("fourseven.cli.reload:reload", "Puts the changed file in force."),
    "upgrade": Command("fourseven.cli.reload:upgrade", "Starts the installed version in place."),
    "status": Command("fourseven.cli.status:status", "What runs, and how it goes."),
    "top": Command("fourseven.cli.top:top", "The same, live."),
    "drain": Command("fourseven.cli.operate:drain", "Gives a server no new work."),
    "enable": Command("fourseven.cli.operate:enable", "Lets a server have work again."),
    "maintenance": Command("fourseven.cli.operate:maintenance", "Takes a server out at once."),
    "weight": Command("fourseven.cli.operate:weight", "Gives a server another weight."),
    "diff": Command("fourseven.cli.diff:diff", "The file against what is in force and runs."),
    "check": Command("fourseven.cli.check:check", "Says what is wrong with a file, all at once."),
    "explain": Command(
        "fourseven.cli.explain:explain",
        "How each listener is served, or what becomes of a request.",
    ),
    "flows": Command("fourseven.cli.flows:flows", "Live flows of the kernel planes."),
    "probe": Command("fourseven.cli.probe:probe", "What this host permits the kernel planes."),
    "l4": Command("fourseven.cli.kernel:l4", "Layer 4 in the kernel: prints or runs its program."),
    "demo": Command("fourseven.cli.demo:demo", "Real servers, real requests, and what each costs."),
    "cert": Command("fourseven.cli.cert:cert", "Makes a self-signed certificate."),
    "config": Command("fourseven.cli.schema:config", "The file's JSON Schema, for editors."),
}


class Table(click.Group):
    """A group that imports a command's module when it is asked for it, not before."""

    def __init__(self, commands_at: dict[str, Command], help: str) -> None:
        super().__init__(
            help=help, name="fourseven", context_settings={"help_option_names": ["-h", "--help"]}
        )
        self.commands_at = commands_at

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands_at)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        found = self.commands_at.get(name)
        if found is None:
            return None
        verify_built()
        module, _, function = found.place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), function)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Help needs no import: its lines stand in the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.help) for name, one in self.commands_at.items()])


fourseven = Table(
    COMMANDS, "fourseven: each listener is served at the lowest layer that can decide."
)
fourseven = click.version_option(__version__, prog_name="fourseven")(fourseven)


def verify_built() -> None:
    """A checkout that was never built is told what it lacks, not what Python stumbles over."""
    found = importlib.util.find_spec("fourseven.snapshot.layout")
    if found is None or found.origin is None or found.origin.endswith(".py"):
        where = Path(__file__).parent.parent
        raise FoursevenError(
            f"the native modules in {where} are not built: `make build` in the checkout, or"
            " `pip install .`"
        )


def main(arguments: list[str] | None = None) -> None:
    """The program. Ends the process with one of the exit codes above."""
    try:
        fourseven.main(arguments, prog_name="fourseven")
    except ConfigErrors as errors:
        for problem in errors.problems:
            print(problem, file=sys.stderr)
        sys.exit(BAD_CONFIG)
    except FoursevenError as error:
        print(f"fourseven: {error}", file=sys.stderr)
        sys.exit(FAILED)
