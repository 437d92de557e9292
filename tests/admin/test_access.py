"""Who may call: browsers' dangers and tokens, as tables; nothing runs here."""

from __future__ import annotations

import pytest

from fourseven.control.admin.access import Access, verify_browser, verify_token
from fourseven.control.admin.refusals import Refusal
from fourseven.plan import AdminPlan

OPEN, READ, WRITE = Access.OPEN, Access.READ, Access.WRITE

BROWSER = [
    ({"Host": "127.0.0.1:4747"}, READ, None),
    ({"Host": "localhost:4747"}, READ, None),
    ({"Host": "LOCALHOST"}, READ, None),
    ({"Host": "[::1]:4747"}, READ, None),
    ({"Host": "::1"}, READ, None),
    ({"Host": "10.0.0.7"}, WRITE, None),
    ({"Host": "lb.example:4747"}, READ, None),
    ({"Host": "evil.example"}, READ, "host"),
    ({"Host": "evil.example"}, OPEN, "host"),  # the page itself must not be had by another name
    ({"Host": "localhost.evil.example"}, READ, "host"),
    ({"Host": "127.0.0.1.evil.example"}, READ, "host"),
    ({"Host": "evil.example:127.0.0.1"}, READ, "host"),
    ({"Host": "0x7f000001"}, READ, "host"),
    ({"Host": ""}, READ, "host"),
    ({}, READ, "host"),
    ({"Host": "localhost:4747", "Origin": "http://localhost:4747"}, WRITE, None),
    ({"Host": "localhost:4747", "Origin": "http://localhost:80"}, WRITE, "origin"),
    ({"Host": "localhost:4747", "Origin": "http://evil.example"}, WRITE, "origin"),
    ({"Host": "localhost:4747", "Origin": "null"}, READ, "origin"),
    ({"Host": "localhost", "Sec-Fetch-Site": "same-origin"}, WRITE, None),
    ({"Host": "localhost", "Sec-Fetch-Site": "none"}, READ, None),
    ({"Host": "localhost", "Sec-Fetch-Site": "same-site"}, READ, "origin"),
    ({"Host": "localhost", "Sec-Fetch-Site": "cross-site"}, READ, "origin"),
    ({"Host": "localhost", "Sec-Fetch-Site": "cross-site"}, OPEN, None),  # a link to the page
]


@pytest.mark.parametrize("headers, needed, refused", BROWSER)
def test_a_page_of_another_site_gets_nothing(headers, needed, refused):
    kind = None
    try:
        verify_browser(headers, needed, ("lb.example",))
    except Refusal as refusal:
        kind = refusal.kind
    assert kind == refused


FULL, LOOK = "f" * 16, "r" * 16
TOKENS = [
    (None, OPEN, None),
    (None, READ, "unauthorized"),
    ("", READ, "unauthorized"),
    (f"Bearer {FULL}", WRITE, None),
    (f"bearer {FULL}", READ, None),
    (f"Bearer {LOOK}", READ, None),
    (f"Bearer {LOOK}", WRITE, "forbidden"),
    (f"Basic {FULL}", READ, "unauthorized"),
    (FULL, READ, "unauthorized"),
    (f"Bearer {FULL}x", READ, "unauthorized"),
    (f"Bearer {FULL[:-1]}", READ, "unauthorized"),
    ("Bearer ", READ, "unauthorized"),
    ("Bearer \udc80", READ, "unauthorized"),
]


@pytest.mark.parametrize("said, needed, refused", TOKENS)
def test_a_token_opens_what_it_is_for(said, needed, refused):
    kind = None
    try:
        verify_token(said, needed, AdminPlan(token=FULL.encode(), read_token=LOOK.encode()))
    except Refusal as refusal:
        kind = refusal.kind
    assert kind == refused


def test_without_a_token_in_the_file_no_token_is_right():
    for said in ("Bearer", "Bearer ", f"Bearer {FULL}"):
        with pytest.raises(Refusal):
            verify_token(said, READ, AdminPlan())
