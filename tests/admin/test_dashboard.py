"""The dashboard in a headless Chromium: what an operator sees and does there, and what cannot happen.

Needs Chromium (Debian: apt install chromium); playwright drives it. The engine behind the page is
made up, so that there is traffic to see; the book of servers is the real one.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest

from support.made_up import TOKEN, Hall
from support.scenes import BUSY, BUSY_RATES, BUSY_TROUBLES, HOSTILE, hostile, large
from support.service import settled

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def hall() -> Iterator[Hall]:
    with Hall(BUSY, BUSY_RATES, BUSY_TROUBLES) as busy:
        yield busy


@pytest.fixture
def opened(browser):
    """Opens the page of a hall, with its token; whatever the page complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def call(hall: Hall, width: int = 1440, height: int = 900, scheme: str = "light"):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.on(
            "request",
            lambda asked: (
                complaints.append(asked.url) if not asked.url.startswith(hall.url) else None
            ),
        )
        page.goto(hall.url)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        page.locator(".node").first.wait_for()
        return page

    yield call
    for context in contexts:
        context.close()
    # The first question goes out without a token and is refused: that is how the page learns of it.
    # And a question to explain may be refused, which is what a test wants to see.
    assert [one for one in complaints if not re.search("status of (401|422)", one)] == []


def until(page, holds: str) -> None:
    """Waits for it to come true. (The page's own policy forbids what playwright would wait with.)"""
    for _ in range(300):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never: {holds}")


def server(page, address: str):
    return page.get_by_role("button", name=re.compile(rf"^Server {re.escape(address)},"))


def test_the_map_shows_what_is_served_and_how_it_goes(hall, opened):
    page = opened(hall)
    for name in ("web", "internal", "postgres", "dns"):
        assert page.get_by_role("button", name=re.compile(f"^listener {name},")).is_visible()
    assert page.get_by_role("button", name=re.compile("^backend site, 3")).is_visible()
    assert server(page, "10.0.1.3:8080").locator(".state").inner_text() == "down"
    assert (
        "10.0.1.3:8080 of site is down for 4 min: connection refused"
        in page.locator("#attention").inner_text()
    )
    until(page, "document.querySelector('.node .work').textContent !== 'idle'")
    widths = page.eval_on_selector_all(
        "#links path", "all => all.map(one => +one.getAttribute('stroke-width'))"
    )
    assert len(widths) > 20
    assert max(widths) > 5 * min(widths)


def test_a_server_is_drained_weighed_and_enabled_by_clicks(hall, opened):
    page = opened(hall)
    key = ("site", "10.0.1.1:8080")
    server(page, key[1]).click()
    panel = page.locator("#panel")
    assert panel.get_by_role("heading", name=key[1]).is_visible()
    panel.get_by_role("button", name="Drain").click()
    until(page, "/^drain/.test(document.querySelector('#panel .standing strong').textContent)")
    assert hall.subject.seen()[key].word == "drain"
    assert panel.get_by_role("button", name="Drain").get_attribute("aria-pressed") == "true"
    panel.get_by_label("Weight").fill("7")
    panel.get_by_label("Keep it over a reload").uncheck()
    panel.get_by_role("button", name="Set").click()
    until(page, "document.querySelector('#panel-body').textContent.includes('7; the file says 1')")
    assert hall.subject.words() == [[*key, "drain", None, 7, False]]
    panel.get_by_role("button", name="As in the file").click()
    panel.get_by_role("button", name="Enable").click()
    until(page, "document.querySelector('#panel .standing strong').textContent === 'up'")
    assert settled(lambda: hall.subject.words() == [])


def test_a_backend_tells_where_its_servers_come_from_and_what_it_met(hall, opened):
    page = opened(hall)
    page.get_by_role(
        "button", name="dns tools.internal of tools finds nobody new: SERVFAIL"
    ).click()
    for words in ("1 server, kept from before: SERVFAIL", "waited for a server"):
        until(page, f"document.querySelector('#panel-body').innerText.includes('{words}')")


def test_an_open_circuit_is_seen(hall, opened):
    hall.subject.circuits.add(("api", "10.0.4.3:9000"))
    try:
        page = opened(hall)
        page.get_by_role("button", name="the circuit of 10.0.4.3:9000 of api is open").click()
        until(
            page, "document.querySelector('#panel-body').innerText.includes('open, or half open')"
        )
        row = server(page, "10.0.4.3:9000")
        assert row.locator(".state").inner_text() == "circuit open"
    finally:
        hall.subject.circuits.clear()


def test_keys_alone_are_enough(hall, opened):
    page = opened(hall)
    target = server(page, "10.0.2.1:8080")
    target.focus()
    page.keyboard.press("Enter")
    until(page, "document.activeElement.id === 'panel-title'")
    page.keyboard.press("Escape")
    page.locator("#panel").wait_for(state="hidden")
    assert target.evaluate("one => one === document.activeElement")


def test_who_is_typing_is_not_disturbed_by_a_look(hall, opened):
    page = opened(hall)
    row = server(page, "10.0.2.1:8080")
    row.focus()
    looked(page)
    assert row.evaluate("one => one === document.activeElement")
    page.keyboard.press("Enter")
    weight = page.get_by_label("Weight")
    weight.fill("47")
    looked(page)
    assert weight.evaluate("one => one === document.activeElement && one.value") == "47"


def looked(page) -> None:
    """A state has come and is shown: the page asks for the next one only then."""
    for _ in range(2):
        with page.expect_response(lambda answer: answer.url.endswith("/v1/state")):
            pass


def test_everything_that_can_be_used_has_a_name(hall, opened):
    page = opened(hall)
    server(page, "10.0.2.1:8080").click()
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, textarea')].filter(one =>
             one.offsetParent && !one.getAttribute('aria-label') && !one.textContent.trim() && !one.labels?.length)
             .map(one => one.outerHTML)"""
    )
    assert nameless == []


def test_explain_tells_the_way_and_marks_it(hall, opened):
    page = opened(hall)
    page.get_by_label("URL", exact=True).fill("http://media.example.com/videos/1")
    page.get_by_text("Listener, client, headers and body").click()
    page.get_by_label("Listener", exact=True).select_option("web")
    page.get_by_role("button", name="Explain").click()
    ending = page.locator(".ending")
    ending.wait_for()
    assert ending.inner_text().startswith("web (L7) → videos → videos → 10.0.2.")
    until(page, "document.querySelectorAll('.node.marked').length === 2")
    page.get_by_label("Client's address").fill("nobody")
    page.get_by_role("button", name="Explain").click()
    page.locator("#verdict .problem").wait_for()
    assert "no IP address" in page.locator("#verdict").inner_text()


def test_the_filter_leaves_what_fits(hall, opened):
    page = opened(hall)
    page.get_by_label("Filter by name").fill("db-1")
    until(
        page,
        "document.querySelectorAll('.row.server').length && [...document.querySelectorAll('.row.server')].filter(one => one.offsetParent).length === 1",
    )
    assert server(page, "db-1.internal:5432").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_a_hundred_servers_with_long_names_fit_in(opened, width, scheme):
    with Hall(*large()) as hall:
        page = opened(hall, width, scheme=scheme)
        assert page.locator(".tile").count() > 70
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """[...document.querySelectorAll('.node, .row, .tile, .notice')].filter(one => {
                 const box = one.getBoundingClientRect();
                 return one.offsetParent && (box.right > innerWidth || box.left < 0);
               }).length"""
        )
        assert outside == 0
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
        assert dark is (scheme == "dark")


def test_texts_of_a_file_are_texts(opened):
    with Hall(*hostile()) as hall:
        page = opened(hall)
        page.locator(".row.server").click()
        page.get_by_label("URL", exact=True).fill("http://x/<script>document.title=3</script>")
        page.get_by_role("button", name="Explain").click()
        until(page, "document.querySelector('#verdict').textContent !== ''")
        assert HOSTILE in page.locator("#panel-body").inner_text()
        assert page.title() == "fourseven"
        assert page.evaluate("document.querySelectorAll('img[src=x], main script').length") == 0


def test_a_wrong_token_is_told_and_asked_for_again(hall, browser):
    context = browser.new_context()
    page = context.new_page()
    page.goto(hall.url)
    page.get_by_label("Token").fill("not-the-right-token")
    page.get_by_role("button", name="Open").click()
    until(page, "document.querySelector('#login-problem').textContent !== ''")
    assert page.locator("#content").is_hidden()
    context.close()


def test_what_cannot_be_asked_is_said(browser):
    with Hall(BUSY, BUSY_RATES, BUSY_TROUBLES) as hall:
        context = browser.new_context()
        page = context.new_page()
        page.goto(hall.url)
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        page.locator(".node").first.wait_for()
        context.set_offline(True)
        until(page, "document.querySelector('#link').textContent === 'no answer'")
        context.set_offline(False)
        until(page, "document.querySelector('#link').textContent === 'live'")
        context.close()
