"""`admin:` of a file: an address is guarded, or the file is refused; tokens are read and not shown."""

from __future__ import annotations

import pytest

from fourseven.compiler.compile import compile_plan
from fourseven.config.load import load, loads
from fourseven.errors import ConfigErrors

REST = "listeners: {a: {bind: ':80', backend: b}}\nbackends: {b: {servers: ['1.2.3.4:80']}}\n"
TOKEN = "0123456789abcdef"

REFUSED = {
    "an address without a token": ("bind: 127.0.0.1:4747", "open to everybody"),
    "an address that others reach": (f"bind: 10.0.0.1:4747, token: {TOKEN}x", "remote: true"),
    "every address": (f"bind: ':4747', token: {TOKEN}x", "remote: true"),
    "a datagram socket": (f"bind: 'udp://127.0.0.1:1', token: {TOKEN}x", "no single TCP address"),
    "a range": (f"bind: '127.0.0.1:1-2', token: {TOKEN}x", "no single TCP address"),
    "a short token": ("token: short-token", "it needs 16"),
    "a token with a space": ("token: 'a b cdefghijklmnopq'", "spaces"),
    "two tokens": (f"token: {TOKEN}x, token_file: t", "keep one of them"),
    "a host with a port": ("hosts: 'a.example:80'", "without a port"),
    "a listener's address": (f"bind: 127.0.0.1:80, token: {TOKEN}x", "taken by"),
    "a file that is not there": ("token_file: nowhere", "nowhere cannot be read: No such file"),
}


@pytest.mark.parametrize("said, why", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(said, why):
    with pytest.raises(ConfigErrors) as refused:
        compile_plan(loads(f"admin: {{{said}}}\n{REST}".encode(), "f.yaml"))
    (problem,) = refused.value.problems
    assert problem.path.startswith("admin")
    assert problem.line == 1
    assert why in problem.text


def test_a_token_comes_from_the_first_line_of_a_file_beside_it_and_is_never_shown(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\nmore\n")
    (tmp_path / "token").chmod(0o640)
    file = tmp_path / "f.yaml"
    file.write_text(f"admin: {{bind: '127.0.0.1:4747', token_file: token}}\n{REST}")
    plan = compile_plan(load(file)).admin
    assert (plan.bind, plan.token) == (("tcp://127.0.0.1:4747",), TOKEN.encode())
    assert TOKEN not in repr(plan)


def test_a_token_file_that_everybody_reads_is_refused(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o604)
    file = tmp_path / "f.yaml"
    file.write_text(f"admin: {{token_file: token}}\n{REST}")
    with pytest.raises(ConfigErrors, match="everybody on this host can read it"):
        compile_plan(load(file))
