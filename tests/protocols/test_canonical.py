"""The one form of a path and of a host."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourseven.protocols import canonical, probe
from fourseven.snapshot.layout import Relax

PATHS = {
    b"/": b"/",
    b"//": b"/",
    b"/.": b"/",
    b"/..": b"/",
    b"/../..": b"/",
    b"/a": b"/a",
    b"/a/": b"/a/",
    b"/a//": b"/a/",
    b"/a/.": b"/a/",
    b"/a/./": b"/a/",
    b"/a/..": b"/",
    b"/a/../": b"/",
    b"/a/b/..": b"/a/",
    b"/a/b/../c": b"/a/c",
    b"/a/../../b": b"/b",
    b"/./a": b"/a",
    b"/...": b"/...",
    b"/..a": b"/..a",
    b"/a..": b"/a..",
    b"/.a": b"/.a",
    b"/%2e": b"/",
    b"/a/%2E%2e/b": b"/b",
    b"/a/.%2e/b": b"/b",
    b"/%2e%2e%2e": b"/...",
    b"/%61dmin": b"/admin",
    b"/%7e%5F%2D": b"/~_-",
    b"/%21%24%26%27%28%29%2a%2b%2c%3a%3d%40": b"/!$&'()*+,:=@",
    b"/%3b": b"/%3B",
    b"/;": b"/;",
    b"/a;x=1/../b": b"/b",
    b"/%20%25%3f%23": b"/%20%25%3F%23",
    b"/%2561": b"/%2561",
    b"/%252e%252e/a": b"/%252e%252e/a",
    b"/%c3%a9": b"/%C3%A9",
    b"/%0d%0A%7f": b"/%0D%0A%7F",
    b'/"<>[]^`{|}': b"/%22%3C%3E%5B%5D%5E%60%7B%7C%7D",
    b"/\xc3\xa9 ?#": b"/%C3%A9%20%3F%23",
    b"/%": canonical.PATH_MALFORMED,
    b"/%4": canonical.PATH_MALFORMED,
    b"/%4g": canonical.PATH_MALFORMED,
    b"/%g4": canonical.PATH_MALFORMED,
    b"/%%41": canonical.PATH_MALFORMED,
    b"/%2f": canonical.PATH_ENCODED_SLASH,
    b"/a%2F": canonical.PATH_ENCODED_SLASH,
    b"/%5c": canonical.PATH_ENCODED_SLASH,
    b"/\\": canonical.PATH_ENCODED_SLASH,
    b"/%00": canonical.PATH_NUL,
    b"/\x00": canonical.PATH_NUL,
    b"/..;": canonical.PATH_DOTS,
    b"/.;": canonical.PATH_DOTS,
    b"/..;/": canonical.PATH_DOTS,
    b"/;/": canonical.PATH_DOTS,
    b"/a/;x=1/b": canonical.PATH_DOTS,
    b"//;/../b": canonical.PATH_DOTS,
    b"/a/..;x=y/b": canonical.PATH_DOTS,
    b"/%2e.%3B/b": canonical.PATH_DOTS,
    b"": canonical.PATH_LONG,
}

HOSTS = {
    b"a": (b"a", None),
    b"A.B": (b"a.b", None),
    b"a.": (b"a", None),
    b"a:0": (b"a", 0),
    b"a.:65535": (b"a", 65535),
    b"a-b_c.d1": (b"a-b_c.d1", None),
    b"1.2.3.4:80": (b"1.2.3.4", 80),
    b"[::]": (b"[::]", None),
    b"[::FFFF:1.2.3.4]:8": (b"[::ffff:1.2.3.4]", 8),
    b"[1:2:3:4:5:6:7:8]": (b"[1:2:3:4:5:6:7:8]", None),
    b"[0000:0000:0000:0000:0000:0000:255.255.255.255]": (b"[::255.255.255.255]", None),
    b"": canonical.AUTHORITY_HOST,
    b":80": canonical.AUTHORITY_HOST,
    b".": canonical.AUTHORITY_HOST,
    b"a..": canonical.AUTHORITY_HOST,
    b"a b": canonical.AUTHORITY_HOST,
    b"a\x00": canonical.AUTHORITY_HOST,
    b"[": canonical.AUTHORITY_HOST,
    b"[::1]]": canonical.AUTHORITY_HOST,
    b"[[::1]": canonical.AUTHORITY_HOST,
    b"[::1\x00]": canonical.AUTHORITY_HOST,
    b"[::1%1]": canonical.AUTHORITY_HOST,
    b"[" + b"0" * 60 + b"]": canonical.AUTHORITY_HOST,
    b"[::1]80": canonical.AUTHORITY_HOST,
    b"[::1]:": canonical.AUTHORITY_PORT,
    b"a:": canonical.AUTHORITY_PORT,
    b"a:-1": canonical.AUTHORITY_PORT,
    b"a: 1": canonical.AUTHORITY_PORT,
    b"a:99999": canonical.AUTHORITY_PORT,
    b"a:\xd9\xa1": canonical.AUTHORITY_PORT,
}

rough = st.lists(
    st.sampled_from(
        [b"/", b".", b"..", b"%2e", b"%2E", b"a", b";", b"%3b", b"%25", b"%61", b"%20", b"|", b"//",
         b"%", b"2", b"e", b"F", b"c3", b"%7C", b"-", b"\xff", b"?"]
    ),
    max_size=12,
).map(lambda parts: b"/" + b"".join(parts))  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_path(path: bytes) -> None:
    assert probe.path(path) == PATHS[path]


@pytest.mark.parametrize("text", HOSTS, ids=repr)
def test_authority(text: bytes) -> None:
    assert probe.authority(text) == HOSTS[text]


@given(rough | st.binary(max_size=30).map(lambda tail: b"/" + tail), st.integers(0, 15))
def test_canonical_means_done(path: bytes, relax: int) -> None:
    once = probe.path(path, relax)
    if isinstance(once, int):
        return
    assert probe.path(once, relax) == once, "twice changes nothing"
    assert once.startswith(b"/")
    assert not re.search(rb"/\.\.?(/|;|$)", once)
    assert re.fullmatch(rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*", once), "RFC 3986"
    assert not re.search(rb"%(2[DE]|3[0-9AD]|[46][1-9A-F]|[57][0-9A]|5F|7E|00)", once)
    if not relax & Relax.RELAX_MERGE_SLASHES:
        assert b"//" not in once
    if not relax & Relax.RELAX_ENCODED_SLASH:
        assert not re.search(rb"%2F|%5C", once)


@given(rough)
def test_the_reader_and_the_path_agree(path: bytes) -> None:
    """The reader's short way (nothing to do) and the long way give one result."""
    path = path.replace(b"?", b"").replace(b"\xff", b"")
    seen = probe.request(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    long_way = probe.path(path)
    assert seen.get("path") == (None if isinstance(long_way, int) else long_way)


@given(st.binary(max_size=40), st.integers(4, 50))
def test_nothing_is_written_beyond_the_capacity(path: bytes, capacity: int) -> None:
    result = probe.path(b"/" + path, capacity=capacity)
    assert isinstance(result, int) or len(result) <= capacity


@pytest.mark.parametrize("path", [b"//admin", b"/%61dmin", b"/x/../admin", b"/./admin", b"/admin"])
def test_each_spelling_of_a_denied_path_is_the_denied_path(path: bytes) -> None:
    assert probe.path(path) == b"/admin"
