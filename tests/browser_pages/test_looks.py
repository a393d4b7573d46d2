"""Every page of ours as a browser shows it: light, dark, narrow, without style, by keyboard, and without a complaint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser_pages.conftest import Site, SiteBuilder

if TYPE_CHECKING:
    from playwright.sync_api import Page

# The contrast of every text with what is behind it (WCAG 2.2 §1.4.3), as [ratio, text], worst first.
CONTRASTS = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const pair = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    found.push([(pair[0] + 0.05) / (pair[1] + 0.05), element.innerText]);
  }
  return found.sort((a, b) => a[0] - b[0]);
}"""


def chooser(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/deep")


def confirm_logout(site: Site, page: Page) -> None:
    site.sign_in(page, site.person("alice"))
    page.goto(f"{site.url}/_jit/logout")


def signed_out(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/_jit/signed-out")


def refused(site: Site, page: Page) -> None:
    site.sign_in(page, site.person("nobody", groups=[]), "/deep")


def not_found(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/_jit/no-such-page")


def api_path(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/api/things")


def provider_down(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/_jit/login/broken?next=/deep")


def stale(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/_jit/callback/oidc?code=x&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.1")


def loop(site: Site, page: Page) -> None:
    site.sign_in(page, site.person("alice"), "/deep")
    for _ in range(4):
        site.context.clear_cookies(name="jit")
        page.goto(f"{site.url}/deep")


BROKEN = (
    '[connections.broken]\nprotocol = "oidc"\nissuer = "http://127.0.0.1:9"\nclient_id = "x"\nclient_secret = "y"\n'
)
PAGES: Mapping[str, tuple[Callable[[Site, Page], None], str, int]] = {
    "chooser": (chooser, "Sign in", 200),
    "confirm_logout": (confirm_logout, "Sign out of The Intranet?", 200),
    "signed_out": (signed_out, "You are signed out", 200),
    "refused": (refused, "You were not let in", 403),
    "not_found": (not_found, "Nothing is here", 404),
    "api_path": (api_path, "Please sign in first", 401),
    "provider_down": (provider_down, "Not available right now", 503),
    "stale": (stale, "", 400),
    "loop": (loop, "Your browser does not keep you signed in", 400),
}
ENV = {
    "refused": {"JIT_REQUIRED_GROUPS": "staff", "JIT_OIDC_SCOPES": "openid email profile groups"},
    "api_path": {"JIT_API_PATHS": "/api/*"},
}


@pytest.fixture(params=sorted(PAGES))
def shown(build: SiteBuilder, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Page]:
    """The page of that name, open in a browser."""
    name = request.param
    way, heading, status = PAGES[name]
    env = dict(ENV.get(name, {}))
    if name == "provider_down":
        (tmp_path / "broken.toml").write_text(BROKEN)
        env["JIT_CONFIG"] = str(tmp_path / "broken.toml")
    site = build(other_connection=name == "chooser", **env)
    page = site.tab()
    statuses: list[int] = []
    page.on("response", lambda one: statuses.append(one.status) if one.request.is_navigation_request() else None)
    way(site, page)
    assert page.url.startswith(site.url), page.url
    assert statuses[-1] == status
    assert page.inner_text("h1") == heading or not heading
    return name, page


def test_it_reads_well_in_light_and_dark_wide_and_narrow_and_without_style(
    shown: tuple[str, Page], build: SiteBuilder, tmp_path: Path
) -> None:
    name, page = shown
    album = Path(os.environ.get("JIT_TEST_ALBUM", tmp_path))
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        ratio, text = page.evaluate(CONTRASTS)[0]
        assert ratio >= 4.5, f"{name}, {scheme}: {text!r} has a contrast of {ratio:.2f}"
        page.screenshot(path=album / f"{name}-{build.edge}-{scheme}.png")
    assert len(grounds) == 2, "dark is dark"

    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320, "no scrolling sideways (WCAG §1.4.10)"
    page.emulate_media(color_scheme="light")
    page.screenshot(path=album / f"{name}-{build.edge}-narrow.png", full_page=True)
    page.set_viewport_size({"width": 1024, "height": 768})

    styled = page.inner_text("body").split()
    page.evaluate("document.querySelectorAll('style').forEach((sheet) => sheet.remove())")
    assert page.inner_text("body").split() == styled, "the words and their order need no style"
    assert page.locator("h1").is_visible()
    for icon in page.locator("svg").all():
        box = icon.bounding_box()
        assert box is not None
        assert box["width"] <= 32, "an icon is no poster without style"
    page.screenshot(path=album / f"{name}-{build.edge}-plain.png")


def test_it_has_the_bones_that_a_screen_reader_wants(shown: tuple[str, Page]) -> None:
    _, page = shown
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("main").count() == page.locator("h1").count() == 1
    assert page.title() == f"{page.inner_text('h1')} – The Intranet"
    for control in page.locator("a, button").all():
        assert control.inner_text().strip()
    for icon in page.locator("svg").all():
        assert icon.get_attribute("aria-hidden") == "true"


def test_the_keyboard_goes_through_it_in_reading_order(shown: tuple[str, Page]) -> None:
    _, page = shown
    wanted = [control.inner_text() for control in page.locator("a, button").all()]
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText"))
        outline = page.evaluate(
            "[getComputedStyle(document.activeElement).outlineStyle, getComputedStyle(document.activeElement).outlineWidth]"
        )
        assert outline == ["solid", "3px"], "the focus is seen"
        height = page.evaluate("document.activeElement.getBoundingClientRect().height")
        assert height >= 24, "large enough to hit (WCAG 2.2 §2.5.8)"
    assert reached == wanted
