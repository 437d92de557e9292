"""One canonical path, for matching and for forwarding.

The site denies /admin. No spelling of it reaches the server; what is forwarded is canonical, so
that the server decides on the very path on which we decided.
"""

from __future__ import annotations

import pytest

from support.front import Front
from support.wire import each_byte

DENIED = [
    b"/admin",
    b"/admin/",
    b"/admin/x",
    b"/admin?x",
    b"//admin",
    b"///admin",
    b"/%61dmin",
    b"/%61%64%6d%69%6e",
    b"/%61%64%6D%69%6E",
    b"/./admin",
    b"/././admin/.",
    b"/x/../admin",
    b"/x/y/../../admin",
    b"/x//../admin",
    b"/../admin",
    b"/%2e/admin",
    b"/x/%2e%2e/admin",
    b"/x/%2E./admin",
    b"/x/.%2e/admin",
    b"/x%2f..%2fadmin",
    b"/x/..%2fadmin",
    b"/x%2f../admin",
    b"/x%5c..%5cadmin",
    b"/x/..;/admin",
    b"/;/admin",
    b"/;v=1/admin",
    b"/x/..;a=b/admin",
    b"/x/%2e%2e;/admin",
    b"/.;/admin",
    b"/admin/..;/admin",
    b"/%2fadmin",
    b"/admin%2f",
    b"/admin%00",
    b"/admin%00.html",
    b"/x/../admin%2f..%2fx",
    b"/\\admin",
    b"/x\\..\\admin",
    b"/%5cadmin",
    b"/x/..\\admin",
    b"/%252e%252e/%61dmin/../../admin",
    b"/admin;x",
    b"/admin;a=b/c",
    b"/%61dmin;",
    b"http://a/admin",
    b"http://a//admin",
    b"http://a/x/../admin",
    b"http://a/%61dmin",
]

REFUSED = [
    b"/a%2fb",
    b"/a%2Fb",
    b"/a%5cb",
    b"/a%5Cb",
    b"/a%00b",
    b"/a%zz",
    b"/a%",
    b"/a%4",
    b"/a%4g",
    b"/a%g4",
    b"/a%%",
    b"/a%\xd9\xa1",
    b"/a%+1",
    b"/a% 1",
    b"/a%0x",
]

CANONICAL = [
    (b"/", b"/"),
    (b"//", b"/"),
    (b"/.", b"/"),
    (b"/..", b"/"),
    (b"/../..", b"/"),
    (b"/a/.", b"/a/"),
    (b"/a/..", b"/"),
    (b"/a/../b", b"/b"),
    (b"/a/b/../../c", b"/c"),
    (b"/a//b///c", b"/a/b/c"),
    (b"/a/./b", b"/a/b"),
    (b"/a/...", b"/a/..."),
    (b"/a/..b", b"/a/..b"),
    (b"/a/b..", b"/a/b.."),
    (b"/.a", b"/.a"),
    (b"/%41%7a%7E", b"/Az~"),
    (b"/%2d%5f%2e%7e", b"/-_.~"),
    (b"/a/%2e%2e/b", b"/b"),
    (b"/a%20b", b"/a%20b"),
    (b"/a%3fb", b"/a%3Fb"),
    (b"/a%23b", b"/a%23b"),
    (b"/a%25b", b"/a%25b"),
    (b"/a%252fb", b"/a%252fb"),
    (b"/%252e%252e/a", b"/%252e%252e/a"),
    (b"/%c3%a9", b"/%C3%A9"),
    (b"/a%0d%0aX:b", b"/a%0D%0AX:b"),
    (b"/a?b=/../c//d/%2f", b"/a?b=/../c//d/%2f"),
    (b"/a/../b?/c/..", b"/b?/c/.."),
    (b"http://a", b"/"),
    (b"http://a/b/../c", b"/c"),
]


def get(target: bytes) -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % target


@pytest.mark.parametrize("target", DENIED, ids=repr)
@pytest.mark.parametrize("form", ["whole", "bytes"])
def test_denied(guarded: Front, target: bytes, form: str) -> None:
    with guarded.wire() as wire:
        wire.send_each([get(target)] if form == "whole" else each_byte(get(target)))
        assert wire.read().status in (403, 400)
    guarded.verify_nothing_came()


@pytest.mark.parametrize("target", REFUSED, ids=repr)
def test_refused(front: Front, target: bytes) -> None:
    with front.wire() as wire:
        wire.send(get(target))
        assert wire.read().status == 400
        assert wire.ended()
    front.verify_nothing_came()


@pytest.mark.parametrize(("target", "canonical"), CANONICAL, ids=repr)
def test_forwarded(front: Front, target: bytes, canonical: bytes) -> None:
    """Percent-encodings that stay are compared without regard to the case of their digits."""
    assert front.balancer.ask(get(target)).status == 200
    front.server.settle()
    (seen,) = front.server.requests
    assert seen.target.lower() == canonical.lower()
    if b"%" not in canonical:
        assert seen.target == canonical


@pytest.mark.parametrize(
    "target", [b"/administrator", b"/adminX", b"/x/admin", b"/Admin", b"/admi"]
)
def test_matching_is_by_segment(guarded: Front, target: bytes) -> None:
    """What only resembles /admin is not denied."""
    assert guarded.balancer.ask(get(target)).body == b"server"
