"""Filters from the file to the wire: what stands in the file, what a client sends, what leaves."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fourseven.forms import RouteFilter
from fourseven.l7.preview import Preview, Refused
from fourseven.plan import Action, All, ListenerPlan, RoutePlan
from fourseven.registry import FILTERS
from fourseven.snapshot.layout import ListenerMode, Relax


def actions(*said, below: bytes | None = b"", answer: bool = False) -> tuple[Action, ...]:
    steps = [RouteFilter.model_validate(one).feature.under(below) for one in said]
    return tuple(
        a for s in steps for a in (s.response_actions() if answer else s.request_actions())
    )


def preview(*said, head: str, below: bytes | None = b"", relax: int = 0, **where) -> Preview:
    listener = ListenerPlan("web", (), ListenerMode.MODE_HTTP, (), forwarded=0, relax=relax)
    route = RoutePlan(
        "canary",
        All(),
        request_actions=actions(*said, below=below),
        response_actions=actions(*said, below=below, answer=True),
    )
    at = Preview(listener, route, b"app")
    lines = head.split("\n")
    at.read("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"), **where)
    return at


def sent(*said, target: str = "/", more: str = "", **kwargs) -> list[str]:
    """The lines of the head that the server gets."""
    at = preview(*said, head=f"GET {target} HTTP/1.1\nHost: a.example{more}", **kwargs)
    return at.request_head().decode("latin-1").split("\r\n")[:-2]


def path_of(*said, **kwargs) -> str:
    return sent(*said, **kwargs)[0].split(" ")[1]


@pytest.mark.parametrize(
    "said, below, target, expected",
    [
        ("/", b"/videos/", "/videos/a?b=c", "/a?b=c"),
        ("/", b"/videos/", "/videos", "/"),
        ("/", b"/videos/", "/videos/", "/"),
        ("/", b"/videos", "/videos/a", "/a"),
        ("/v2/", b"/api/", "/api/x/y", "/v2/x/y"),
        ("/v2", b"/api/", "/api/x/y", "/v2/x/y"),
        ("/v2", b"/api/", "/api", "/v2"),
        ("/v2/", b"/api/", "/api", "/v2/"),
        ("/v2/", b"/api/", "/api/", "/v2/"),
        ("/v2/", b"/api/", "/apix/y", "/apix/y"),
        ("/pre/", b"", "/x", "/pre/x"),
        ("/pre/", b"/", "/x", "/pre/x"),
        ({"prefix": "/b/", "strip": "/a/"}, None, "/a/x", "/b/x"),
        ({"prefix": "/b/", "strip": "/a/"}, b"/z/", "/c/x", "/c/x"),
        ({"prefix": "/t/{header.X-T}/", "strip": "/a"}, b"", "/a/x", "/t/he%20y%3F%25/x"),
        ({"path": "/new"}, b"", "/old/path?q=1", "/new?q=1"),
        ({"path": "/{method}/{host}{path}"}, b"", "/x%20y", "/GET/a.example/x%20y"),
        ({"path": "{path}/"}, b"", "/x", "/x/"),
        ({"path": "/%41%7e%2c"}, b"", "/x", "/A~,"),
        ({"regex": "^/u/([0-9]+)", "to": r"/users/\1"}, b"", "/u/42/edit", "/users/42/edit"),
        ({"regex": "^/u/([0-9]+)", "to": r"/users/\1"}, b"", "/x/42", "/x/42"),
        ({"regex": "b+", "to": "B"}, b"", "/abbbc/bb", "/aBc/bb"),
        ({"regex": "/(a)?(b)$", "to": r"/(\2\1)"}, b"", "/b", "/(b)"),
        ({"regex": "^/x(.*)$", "to": r"/\1"}, b"", "/x/admin", "/admin"),
        ({"regex": "$", "to": "/end"}, b"", "/x", "/x/end"),
        ({"regex": "(.*)", "to": r"/a\0"}, b"", "/%c3%a9", "/a/%C3%A9"),
    ],
)
def test_rewrites(said, below, target, expected):
    assert path_of({"rewrite": said}, target=target, below=below, more="\nX-T: he y?%") == expected


def test_rewrites_follow_each_other():
    steps = (
        {"rewrite": {"prefix": "/", "strip": "/a"}},
        {"rewrite": {"prefix": "/", "strip": "/nowhere"}},
        {"rewrite": {"regex": "b", "to": "c"}},
        {"rewrite": {"prefix": "/z", "strip": "/"}},
    )
    assert path_of(*steps, target="/a/b/b") == "/z/c/b"


def test_a_rewrite_leaves_the_asterisk_alone():
    at = preview({"rewrite": {"path": "/x"}}, head="OPTIONS * HTTP/1.1\nHost: a")
    assert at.request_head().startswith(b"OPTIONS * HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "said, target, header",
    [
        ({"regex": "^/x(.*)$", "to": r"/files/\1"}, "/x../secret", "a"),
        ({"regex": "^/x(.*)$", "to": r"/files/\1"}, "/x..", "a"),
        ({"regex": "^/x(.*)$", "to": r"/files/.\1"}, "/x./secret", "a"),
        ({"regex": "^/x(.*)$", "to": r"/files/..;\1"}, "/xa", "a"),
        ({"regex": "^/(.*)$", "to": r"\1"}, "/x", "a"),  # no slash at its start
        ({"regex": "^.*$", "to": ""}, "/x", "a"),
        ({"regex": "^(/a%2)5.*$", "to": r"\1F"}, "/a%252Fb", "a"),
        ({"regex": "^(/a%).*$", "to": r"\1"}, "/a%25", "a"),
        ({"path": "/files/{header.X-T}"}, "/", ".."),
        ({"path": "/files/{header.X-T}/x"}, "/", "."),
        ({"path": "/files/{header.X-T}"}, "/", "../../etc/passwd"),
        ({"path": "/files/{header.X-T}"}, "/", "a/b"),
        ({"path": "/files/{header.X-T}"}, "/", "a\\b"),
    ],
)
def test_a_rewrite_never_makes_a_path_that_climbs(said, target, header):
    at = preview({"rewrite": said}, head=f"GET {target} HTTP/1.1\nHost: a\nX-T: {header}")
    with pytest.raises(Refused, match="-3"):
        at.request_head()


def test_a_relaxed_listener_keeps_what_it_lets_in():
    said = {"rewrite": {"prefix": "/b", "strip": "/a"}}
    relax = int(Relax.RELAX_ENCODED_SLASH | Relax.RELAX_MERGE_SLASHES)
    assert path_of(said, target="/a/x%2fy//z", relax=relax) == "/b/x%2Fy//z"


SET = {
    "X-Addr": "{client.address}:{client.port}",
    "X-All": "{method} {scheme} {port} {listener} {route} {backend}",
}


def test_variables_in_headers():
    got = sent(
        {"request_headers": {"set": SET}},
        peer="2001:db8::1",
        peer_port=7,
        secure=1,
        local_port=8443,
    )
    assert got[2:] == ["X-Addr: 2001:db8::1:7", "X-All: GET https 8443 web canary app"]
    got = sent(
        {
            "request_headers": {
                "add": {"X-A": ["{path}{query}", "{{path} {header.x-b}", "{header.none}"]}
            }
        },
        target="/%7Ea?b=%20",
        more="\nX-B: 1, 2\nX-B: 3",
    )
    assert got[2:] == ["X-B: 1, 2", "X-B: 3", "X-A: /~a?b=%20", "X-A: {path} 1, 2"]


def test_steps_of_headers_are_remove_set_add():
    said = {"remove": "X-A", "set": {"X-A": 1}, "add": {"x-a": [2, 3]}}
    assert sent({"request_headers": said}, more="\nX-A: 0")[2:] == ["X-A: 1", "x-a: 2", "x-a: 3"]


@pytest.mark.parametrize("text", ["a\rb", "a\nb", "a\r\nX-Evil: 1", "a\0b", "a\x7fb", "a\x1bb"])
def test_a_control_character_drops_the_header_and_the_one_it_replaces(text):
    """No reader lets such a value in; should one ever, it ends here."""
    at = preview(
        {"request_headers": {"set": {"X-A": "<{header.X-B}>"}, "add": {"X-C": "{path}"}}},
        {"host": "{header.X-B}"},
        head="GET / HTTP/1.1\nHost: a",
    )
    at.ask(
        {"path": b"/", "authority": b"h"}, [(b"X-A", b"old", 0, 0), (b"X-B", text.encode(), 0, 1)]
    )
    assert at.request_head() == b"GET / HTTP/1.1\r\nHost: h\r\nX-C: /\r\n\r\n"


@pytest.mark.parametrize(
    "said, header, expected",
    [
        ("app.internal", "x", "app.internal"),
        ("app.internal:8080", "x", "app.internal:8080"),
        ("{header.X-T}.internal", "acme", "acme.internal"),
        ("{header.X-T}", "", "a.example"),
        ("{header.X-T}", "evil/x", "a.example"),
        ("{header.X-T}", "evil x", "a.example"),
        ("{header.X-T}", "u@evil", "a.example"),
        ("{header.X-T}", "a,b", "a.example"),
        ("{header.X-T}", "caf\xe9", "a.example"),
    ],
)
def test_host(said, header, expected):
    assert sent({"host": said}, more=f"\nX-T: {header}")[1] == f"Host: {expected}"


def answered(said, below=b"", target="/videos/a?b=c", head="Host: a.example:8080", **where) -> str:
    at = preview(said, head=f"GET {target} HTTP/1.1\n{head}", below=below, **where)
    return at.action_answer().decode("latin-1")


@pytest.mark.parametrize(
    "said, below, location",
    [
        ("https://www.example.com{path}{query}", b"", "https://www.example.com/videos/a?b=c"),
        ("/login?from={path}", b"", "/login?from=/videos/a"),
        ("/login?from={header.X-T}", b"", "/login?from=%3C%22%26%3D%23%20%2F%3E"),
        ({"scheme": "https"}, b"", "https://a.example/videos/a?b=c"),
        ({"scheme": "https", "port": 443}, b"", "https://a.example/videos/a?b=c"),
        ({"scheme": "https", "port": 8443}, b"", "https://a.example:8443/videos/a?b=c"),
        ({"port": 81}, b"", "http://a.example:81/videos/a?b=c"),
        ({"host": "b.example"}, b"", "http://b.example/videos/a?b=c"),
        ({"path": "/x"}, b"", "/x?b=c"),
        ({"path": "{path}/"}, b"", "/videos/a/?b=c"),
        ({"prefix": "/films/"}, b"/videos/", "/films/a?b=c"),
        ({"prefix": "/"}, b"/videos", "/a?b=c"),
        ({"prefix": "/films", "strip": "/videos/a"}, None, "/films/?b=c"),
        ({"prefix": "/", "strip": "/videos/a", "host": "b"}, None, "http://b/?b=c"),
        ({"prefix": "/films", "strip": "/other"}, None, "/films/videos/a?b=c"),
    ],
)
def test_redirects(said, below, location):
    head = 'Host: a.example:8080\nX-T: <"&=# />'
    got = answered({"redirect": said}, below, head=head)
    assert got == f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("target", ["//evil.example/", "//evil.example", "///"])
def test_a_relative_redirect_never_leaves_the_site(target):
    """Where slashes are not merged, a path can look like another server."""
    relax = int(Relax.RELAX_MERGE_SLASHES)
    with pytest.raises(Refused, match="-3"):
        answered({"redirect": {"path": "{path}"}}, target=target, relax=relax)
    with pytest.raises(Refused, match="-3"):
        answered({"redirect": {"prefix": "/", "strip": "/a"}}, target=f"/a{target}", relax=relax)


@pytest.mark.parametrize("bad", ["\r\nSet-Cookie: a", "\n", "\0", "\x7f", "\xff"])
def test_nothing_breaks_out_of_a_location(bad):
    at = preview({"redirect": "/x?{header.X-T}{path}{query}"}, head="GET / HTTP/1.1\nHost: a")
    dirty = b"/" + bad.encode("latin-1")
    at.ask({"path": dirty, "authority": b"a"}, [(b"X-T", dirty, 0, 0)])
    line = at.action_answer().split(b"\r\n")[1]
    assert line.startswith(b"Location: /x?%2F%")
    assert all(32 <= byte < 127 for byte in line)
    assert at.action_answer().count(b"\r\n") == 4


@pytest.mark.parametrize(
    "said, expected",
    [
        (404, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        (204, "HTTP/1.1 204 No Content\r\n\r\n"),
        (299, "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n"),
        (
            {"body": "{path} é\n"},
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\n"
            "/videos/a Ã©\n",
        ),
        (
            {"body": "<p style='a{b}'>{{b}{header.X-T}", "content_type": "text/html"},
            None,
        ),
        (
            {"body": '{"a": {"b": "{header.X-T}"}}', "content_type": "application/problem+json"},
            "HTTP/1.1 200 OK\r\nContent-Type: application/problem+json\r\nContent-Length: 37\r\n\r\n"
            '{"a": {"b": "<i>\\"\\\\\\u0009&\'\\u00e9"}}',
        ),
        (
            {"body": "<p>{{b}{header.X-T}", "content_type": "text/html"},
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 34\r\n\r\n"
            "<p>{b}&lt;i&gt;&quot;\\\t&amp;&#39;\xe9",
        ),
    ],
)
def test_responds(said, expected):
    if expected is None:
        with pytest.raises(ValidationError, match="not known"):
            answered({"respond": said})
        return
    head = "Host: a\nX-T: <i>\"\\\t&'\xe9"
    assert answered({"respond": said}, head=head) == expected
    whole = preview({"respond": said}, head=f"HEAD /videos/a HTTP/1.1\n{head}").action_answer()
    assert whole.decode("latin-1") == expected.partition("\r\n\r\n")[0] + "\r\n\r\n"


def test_an_answer_of_a_route_takes_its_response_filters_and_closes_when_asked():
    steps = ({"response_headers": {"set": {"X-A": "{host}"}}}, {"respond": {"body": "x"}})
    at = preview(*steps, head="GET / HTTP/1.1\nHost: a")
    at.to_client(11, False)
    assert at.action_answer() == (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-A: a\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 1\r\n\r\nx"
    )
    want = at.action_answer()
    assert at.action_answer(capacity=len(want)) == want
    for capacity in range(len(want)):
        with pytest.raises(Refused, match="-1"):
            at.action_answer(capacity=capacity)


def test_a_route_without_an_action_of_its_own_says_so():
    with pytest.raises(Refused, match="-2"):
        preview({"rewrite": "/"}, head="GET / HTTP/1.1\nHost: a").action_answer()


@pytest.mark.parametrize(
    "said, words",
    [
        ({"request_headers": {}}, "nothing is changed; write e.g. set: {X-Tenant: acme}"),
        ({"request_headers": {"set": {"Content-Length": "5"}}}, "it frames the body"),
        ({"response_headers": {"remove": ["transfer-encoding"]}}, "it frames the body"),
        ({"request_headers": {"add": {"CONNECTION": "x"}}}, "belongs to one connection"),
        ({"request_headers": {"set": {"Host": "x"}}}, "the filter `host` sets it"),
        ({"request_headers": {"set": {"X A": "x"}}}, "is no header name"),
        ({"request_headers": {"set": {"X-A:": "x"}}}, "is no header name"),
        ({"request_headers": {"set": {"X-A": ""}}}, "name it under remove"),
        ({"request_headers": {"set": {"X-A": True}}}, "put it in quotes"),
        ({"request_headers": {"set": {"X-A": "a\r\nb"}}}, "must not stand in a header's value"),
        ({"request_headers": {"set": {"X-A": "a\0"}}}, "must not stand in a header's value"),
        ({"request_headers": {"set": {"X-A": "x" * 5000}}}, "at most 4096 bytes"),
        (
            {"request_headers": {"set": {"X-A": "{client.adress}"}}},
            "did you mean 'client.address'?",
        ),
        ({"request_headers": {"set": {"X-A": "{header.}"}}}, "names no header"),
        ({"rewrite": {}}, "nothing is given; write one of prefix, path, or regex"),
        ({"rewrite": {"path": "/a", "prefix": "/b"}}, "prefix and path is given"),
        ({"rewrite": {"path": "a"}}, "does not begin with a slash"),
        ({"rewrite": {"path": "/a?b"}}, "'?' must not stand in a path"),
        ({"rewrite": {"path": "/a b"}}, "percent-encoded"),
        ({"rewrite": {"path": "/a%2"}}, "needs two hexadecimal digits"),
        ({"rewrite": {"path": "/a/../b"}}, "empty, . or .. segment"),
        ({"rewrite": {"path": "/a//b"}}, "empty, . or .. segment"),
        ({"rewrite": {"path": "/a/{path}"}}, "leave out the one before it"),
        ({"rewrite": {"path": "/a{query}"}}, "does not hold the query"),
        ({"rewrite": {"regex": "(a", "to": "/b"}}, "parenthesis"),
        ({"rewrite": {"regex": "(a)", "to": r"/\2"}}, "has no group: the expression has 1"),
        ({"rewrite": {"regex": "a", "to": r"/\\"}}, "a backslash must not stand in a path"),
        ({"rewrite": {"regex": "a"}}, "regex and to stand together"),
        ({"rewrite": {"path": "/a", "strip": "/b"}}, "strip belongs to prefix"),
        ({"redirect": {}}, "redirect leads nowhere"),
        ({"redirect": "example.com"}, "begin with https://"),
        ({"redirect": "//example.com"}, "begin with https://"),
        ({"redirect": "javascript:x"}, "begin with https://"),
        ({"redirect": "https://{header.X}.example.com/"}, "lets a stranger choose"),
        ({"redirect": "https://example.com{header.X}/"}, "lets a stranger choose"),
        ({"redirect": "https://example.com{query}"}, "lets a stranger choose"),
        ({"redirect": "https://example.com/{path}"}, "leave out the one before it"),
        ({"redirect": "https://example.com/a b"}, "percent-encoded"),
        ({"redirect": {"to": "/x", "scheme": "https"}}, "to is the whole address"),
        ({"redirect": {"host": "a/b"}}, "is no host"),
        ({"redirect": {"path": "/a", "prefix": "/b"}}, "keep one of them"),
        ({"redirect": {"scheme": "https", "status": 200}}, "301"),
        ({"respond": 99}, "200"),
        ({"respond": {"status": 204, "body": "x"}}, "has no body"),
        ({"respond": {"body": "{foo}"}}, "{{ is a plain brace"),
        ({"respond": {"body": "x" * 40_000}}, "at most 32768 bytes"),
        ({"respond": {"content_type": "text"}}, "is no media type"),
        ({"respond": {"content_type": "text/html\r\nX: y"}}, "is no media type"),
        ({"host": "a b"}, "is no host"),
        ({"host": "a/b"}, "is no host"),
        ({"host": ""}, ""),
    ],
)
def test_what_a_file_must_not_say(said, words):
    with pytest.raises(ValidationError) as refused:
        RouteFilter.model_validate(said)
    assert words in str(refused.value)


@pytest.mark.parametrize("key", [f.key for f in FILTERS if "strip" in f.model_fields])
def test_a_prefix_that_nobody_can_tell_is_asked_for(key):
    with pytest.raises(ValueError, match=r"add e\.g\. strip: /videos/"):
        actions({key: {"prefix": "/"}}, below=None)
