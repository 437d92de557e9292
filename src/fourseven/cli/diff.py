"""`fourseven diff`: the file as it is now, the file in force, and what runs, where they differ.

Exit codes are those of diff: 0 where all three agree, 1 where they do not.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from fourseven.cli.run import RUNTIME_DIR
from fourseven.cli.tables import safe
from fourseven.control import runtime
from fourseven.control.admin.client import Client

ON_DISK = {
    "same": "the file says what is in force",
    "changed": "the file has changed; `fourseven reload` puts it in force",
    "wrong": "the file has changed and has errors; what is in force stays",
    "unreadable": "the file cannot be read; what is in force stays",
}


@click.command()
@RUNTIME_DIR
@click.option("--json", "as_json", is_flag=True, help="As the API has it.")
def diff(runtime_dir: str | None, as_json: bool) -> None:
    """What the file would change, and what was changed while it runs."""
    found = Client(runtime.find(runtime_dir).admin).get("/v1/diff")
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        show(found)
    sys.exit(0 if found["on_disk"] == "same" and not found["running"] else 1)


def show(found: dict[str, Any]) -> None:
    loaded = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["loaded_at"]))
    print(safe(f"{found['file']}, loaded {loaded}: {ON_DISK[found['on_disk']]}"))
    for problem in found["problems"]:
        print(safe(f"  {problem}"))
    for one in found["differences"]:
        print(safe(f"  {_difference(one)}"))
    for one in found["running"]:
        kept = "" if one["keep"] else " (until the next reload)"
        server = f"backends.{one['backend']}.servers.{one['server']}"
        print(safe(f"  ! {server}: {one['what']} {one['in_file']} → {one['running']}{kept}"))


def _difference(one: dict[str, Any]) -> str:
    before, after = one["in_force"], one["on_disk"]
    if before is None:
        return f"+ {one['path']}: {_value(after)}"
    if after is None:
        return f"- {one['path']}: {_value(before)}"
    return f"~ {one['path']}: {_value(before)} → {_value(after)}"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
