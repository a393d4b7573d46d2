"""The real browser opens pages and signs in at the real provider."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.peers.oidc_provider import PASSWORD, Provider

if TYPE_CHECKING:
    from playwright.sync_api import Page

CALLBACK = "http://localhost:9/callback"


def test_chromium_opens_a_page(browser_page: Page) -> None:
    browser_page.goto("data:text/html,<title>Hello</title><h1>It works</h1>")
    assert (browser_page.title(), browser_page.inner_text("h1")) == ("Hello", "It works")


def test_chromium_signs_in_at_the_provider(browser_page: Page, provider: Provider) -> None:
    provider.register(client_id="peers-browser", redirect_uris=[CALLBACK])
    question = {
        "client_id": "peers-browser",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": "openid",
        "code_challenge": "c" * 43,
        "code_challenge_method": "S256",
    }
    browser_page.route(f"{CALLBACK}**", lambda route: route.fulfill(status=200, body="arrived"))
    browser_page.goto(f"{provider.issuer}/auth?{urlencode(question)}")
    browser_page.get_by_label("Name").fill("alice")
    browser_page.get_by_label("Password").fill(PASSWORD)
    browser_page.get_by_role("button", name="Sign in").click()
    browser_page.wait_for_url(f"{CALLBACK}**")
    assert "code=" in browser_page.url


def test_chromium_reaches_no_other_machine(browser_page: Page) -> None:
    with pytest.raises(Exception, match="ERR_FAILED"):
        browser_page.goto("http://example.org/")
