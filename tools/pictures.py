"""Makes the pictures of the documentation: docs/images/dashboard-*.png, by a headless Chromium.

The engine behind the page is made up (tests/support/made_up.py), so that there is traffic to see.
Run it after a change of how the dashboard looks, and look at what it made.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from playwright.sync_api import sync_playwright  # noqa: E402

from support.made_up import TOKEN, Hall  # noqa: E402
from support.scenes import BUSY, BUSY_RATES, BUSY_TROUBLES, large  # noqa: E402

IMAGES = ROOT / "docs" / "images"
BUSY_SCENE = (BUSY, BUSY_RATES, BUSY_TROUBLES)
PICTURES = {
    "dashboard-light": (BUSY_SCENE, "light", (1280, 860)),
    "dashboard-dark": (BUSY_SCENE, "dark", (1280, 860)),
    "dashboard-large": (large(), "light", (1280, 860)),
    "dashboard-narrow": (BUSY_SCENE, "dark", (390, 844)),
}
WATCHED_MS = 25_000  # until the curves have something to say
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def main(names: list[str]) -> None:
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name in names or PICTURES:
            scene, scheme, (width, height) = PICTURES[name]
            with Hall(*scene) as hall:
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=scheme
                )
                page.goto(hall.url)
                page.get_by_label("Token").fill(TOKEN)
                page.get_by_role("button", name="Open").click()
                page.wait_for_timeout(WATCHED_MS)
                page.screenshot(path=IMAGES / f"{name}.png")
                page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
