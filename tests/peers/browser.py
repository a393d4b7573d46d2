"""A real browser for the tests: Debian's Chromium, driven by Playwright, kept off every network but loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.peers import MissingPart

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # The applications listen there alone; somebody else's server may have the same port of ::1.
    "--host-resolver-rules=MAP localhost 127.0.0.1",
)
PATIENCE_MS = 10_000


def chromium() -> str:
    """The path of the machine's Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise MissingPart("Chromium")


# One browser for each module of tests, not for the whole run: while Playwright's synchronous face is open, its event
# loop counts as running in this thread, and no other test could call asyncio.run().
@pytest.fixture(scope="module")
def browser(real_part: None) -> Iterator[Browser]:
    """The browser the tests of one module share."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise MissingPart("Playwright") from None
    executable = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def browser_context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile: no cookies, no cache, and no way to any host but this one."""
    context = browser.new_context(viewport={"width": 1024, "height": 768}, ignore_https_errors=True)
    context.set_default_timeout(PATIENCE_MS)
    context.route("**/*", _stay_at_home)
    yield context
    context.close()


@pytest.fixture
def browser_page(browser_context: BrowserContext) -> Page:
    """A blank page in a fresh profile."""
    return browser_context.new_page()


def _stay_at_home(route: Route) -> None:
    host = urlsplit(route.request.url).hostname or ""
    if host in {"127.0.0.1", "localhost", "::1", ""} or host.endswith(".localhost"):
        route.continue_()
    else:
        route.abort()
