"""Every page of ours as a browser shows it: light, dark, narrow, without style, by keyboard, and without a complaint."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser_pages.accounts import asked_for_password, give_password, invitation_for, prepared, with_passwords
from tests.browser_pages.conftest import Site, SiteBuilder
from tests.scenarios.linking import CONFIRM, PASSWORD

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


def confirm_late_logout(site: Site, page: Page) -> None:
    alice = site.person("alice")
    site.sign_in(page, alice)
    site.operate("sessions", "revoke", "--user", alice)
    page.goto(f"{site.url}/_jit/logout")


def signed_out(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/_jit/signed-out")


def refused(site: Site, page: Page) -> None:
    site.sign_in(page, site.person("nobody", groups=[]), "/deep")


def not_found(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/_jit/no-such-page")


def bookmark(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/_jit/callback/oidc")


def lost_form(site: Site, page: Page) -> None:
    alice = site.person("alice")
    site.sign_in(page, alice, "/form")
    site.operate("sessions", "revoke", "--user", alice)
    page.get_by_role("button", name="Save").click()


def given_up(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/deep")
    page.get_by_role("button", name="Give up").click()
    page.wait_for_url(f"{site.url}/**")


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


def confirm_link(site: Site, page: Page) -> None:
    asked_for_password(site, page)


def wrong_password(site: Site, page: Page) -> None:
    asked_for_password(site, page)
    give_password(page, "not this one")


def attempts_used_up(site: Site, page: Page) -> None:
    asked_for_password(site, page)
    for number in range(5):
        give_password(page, f"not this one, {number}")
    give_password(page, PASSWORD)


def link_required(site: Site, page: Page) -> None:
    ann = prepared(site, "ann")
    site.sign_in(page, site.person("ann", email=ann.email))


def invitation(site: Site, page: Page) -> None:
    page.goto(invitation_for(site, prepared(site, "ann")))


def used_invitation(site: Site, page: Page) -> None:
    address = invitation_for(site, prepared(site, "ann"))
    page.goto(address)
    page.get_by_role("button", name="Sign in and accept").click()
    site.fill_in(page, site.person("ann"))
    page.goto(address)


def account_pending(site: Site, page: Page) -> None:
    site.sign_in(page, site.person("alice"))


def account_suspended(site: Site, page: Page) -> None:
    _shut(site, page, "suspend")


def account_closed(site: Site, page: Page) -> None:
    _shut(site, page, "deactivate")


def _shut(site: Site, page: Page, command: str) -> None:
    alice = site.person("alice")
    site.sign_in(page, alice)
    site.operate("users", command, alice)
    page.goto(f"{site.url}/deep")


def one_too_many(site: Site, page: Page) -> None:
    site.sign_in(page, site.person("alice"))
    site.context.clear_cookies()
    site.sign_in(page, site.person("bob"))


BROKEN = (
    '[connections.broken]\nprotocol = "oidc"\nissuer = "http://127.0.0.1:9"\nclient_id = "x"\nclient_secret = "y"\n'
)
PAGES: Mapping[str, tuple[Callable[[Site, Page], None], str, int]] = {
    "chooser": (chooser, "Sign in", 200),
    "confirm_logout": (confirm_logout, "Sign out of The Intranet?", 200),
    "confirm_late_logout": (confirm_late_logout, "Sign out of The Intranet?", 200),
    "signed_out": (signed_out, "You are signed out", 200),
    "refused": (refused, "You were not let in", 403),
    "not_found": (not_found, "Nothing is here", 404),
    "bookmark": (bookmark, "That did not work", 400),
    "lost_form": (lost_form, "Please sign in first", 401),
    "given_up": (given_up, "You were not let in", 403),
    "api_path": (api_path, "Please sign in first", 401),
    "provider_down": (provider_down, "Not available right now", 503),
    "stale": (stale, "", 400),
    "loop": (loop, "Your browser does not keep you signed in", 400),
    "confirm_link": (confirm_link, "Link your account", 200),
    "wrong_password": (wrong_password, "Link your account", 403),
    "attempts_used_up": (attempts_used_up, "Please wait a little", 429),
    "link_required": (link_required, "You were not let in", 403),
    "invitation": (invitation, "You are invited to The Intranet", 200),
    "used_invitation": (used_invitation, "You were not let in", 403),
    "account_pending": (account_pending, "Your account is not open yet", 403),
    "account_suspended": (account_suspended, "You were not let in", 403),
    "account_closed": (account_closed, "You were not let in", 403),
    "seats_full": (one_too_many, "You were not let in", 403),
    "creation_limited": (one_too_many, "Please wait a little", 429),
}
ASKS_FOR_A_PASSWORD = {"confirm_link", "wrong_password", "attempts_used_up"}
ENV = {
    "refused": {"JIT_REQUIRED_GROUPS": "staff", "JIT_OIDC_SCOPES": "openid email profile groups"},
    "lost_form": {"JIT_REVOCATION_MAX_STALENESS": "0s"},
    "given_up": {"JIT_PUBLIC_PATHS": "/"},
    "api_path": {"JIT_API_PATHS": "/api/*"},
    **dict.fromkeys((*ASKS_FOR_A_PASSWORD, "link_required"), CONFIRM),
    "account_pending": {"JIT_INITIAL_STATUS": "pending"},
    "account_suspended": {"JIT_REVOCATION_MAX_STALENESS": "0s"},
    "account_closed": {"JIT_REVOCATION_MAX_STALENESS": "0s"},
    "confirm_late_logout": {"JIT_REVOCATION_MAX_STALENESS": "0s"},
    "seats_full": {"JIT_SEAT_LIMIT": "1"},
    "creation_limited": {"JIT_CREATION_RATE": "1/1h"},
}
# What a person can be led to, and the words it goes by: a field by its label (WCAG 2.2 §1.3.1, §4.1.2).
CONTROLS = "a, button, input:not([type=hidden])"
NAME = "(element) => (element.labels?.[0] ?? element).innerText.trim()"
# The contrast of what shows where a field or button is with what is around it (WCAG 2.2 §1.4.11).
EDGES = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const card = light(channels(getComputedStyle(document.querySelector("main")).backgroundColor));
  return [...document.querySelectorAll("main .button, main input:not([type=hidden])")].map((element) => {
    const pair = [light(channels(getComputedStyle(element).borderTopColor)), card].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  });
}"""


@pytest.fixture
def shown(build: SiteBuilder, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Page]:
    """The page of that name, open in a browser."""
    name = request.param
    way, heading, status = PAGES[name]
    env = dict(ENV.get(name, {}))
    if name == "provider_down":
        (tmp_path / "broken.toml").write_text(BROKEN)
        env["JIT_CONFIG"] = str(tmp_path / "broken.toml")
    users = with_passwords(tmp_path) if name in ASKS_FOR_A_PASSWORD else None
    site = build(other_connection=name == "chooser", users=users, **env)
    page = site.tab()
    statuses: list[int] = []
    page.on("response", lambda one: statuses.append(one.status) if one.request.is_navigation_request() else None)
    way(site, page)
    assert page.url.startswith(site.url), page.url
    assert statuses[-1] == status
    assert page.inner_text("h1") == heading or not heading
    return name, page


# Both edges send an answer of ours whole, as their own tests show: each page is looked at behind one of them.
@pytest.mark.parametrize(("build", "shown"), list(zip(cycle(["wsgi", "asgi"]), sorted(PAGES))), indirect=True)
def test_it_is_fit_for_eyes_ears_and_hands(shown: tuple[str, Page], build: SiteBuilder, tmp_path: Path) -> None:
    """All of it in one go: most of the time goes into leading a browser to the page."""
    name, page = shown
    has_the_bones_that_a_screen_reader_wants(page)
    is_gone_through_by_keyboard_in_reading_order(page)
    album = Path(os.environ.get("JIT_TEST_ALBUM", tmp_path))
    reads_well_in_light_and_dark_wide_and_narrow_and_without_style(page, f"{name}-{build.edge}", album)


def reads_well_in_light_and_dark_wide_and_narrow_and_without_style(page: Page, name: str, album: Path) -> None:
    grounds: set[str] = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        ratio, text = page.evaluate(CONTRASTS)[0]
        assert ratio >= 4.5, f"{name}, {scheme}: {text!r} has a contrast of {ratio:.2f}"
        assert all(edge >= 3 for edge in page.evaluate(EDGES)), f"{name}, {scheme}: a control does not stand out"
        page.screenshot(path=album / f"{name}-{scheme}.png")
    assert len(grounds) == 2, "dark is dark"

    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320, "no scrolling sideways (WCAG §1.4.10)"
    page.emulate_media(color_scheme="light")
    page.screenshot(path=album / f"{name}-narrow.png", full_page=True)
    page.set_viewport_size({"width": 1024, "height": 768})

    styled = page.inner_text("body").split()
    page.evaluate("document.querySelectorAll('style').forEach((sheet) => sheet.remove())")
    assert page.inner_text("body").split() == styled, "the words and their order need no style"
    assert page.locator("h1").is_visible()
    for icon in page.locator("svg").all():
        box = icon.bounding_box()
        assert box is not None
        assert box["width"] <= 32, "an icon is no poster without style"
    page.screenshot(path=album / f"{name}-plain.png")


def has_the_bones_that_a_screen_reader_wants(page: Page) -> None:
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("main").count() == page.locator("h1").count() == 1
    assert page.title() == f"{page.inner_text('h1')} – The Intranet"
    for control in page.locator(CONTROLS).all():
        assert control.evaluate(NAME)
    for icon in page.locator("svg").all():
        assert icon.get_attribute("aria-hidden") == "true"


def is_gone_through_by_keyboard_in_reading_order(page: Page) -> None:
    wanted = [control.evaluate(NAME) for control in page.locator(CONTROLS).all()]
    reached: list[str] = []
    for _ in wanted:
        page.keyboard.press("Tab")
        reached.append(page.evaluate(f"({NAME})(document.activeElement)"))
        outline = page.evaluate(
            "[getComputedStyle(document.activeElement).outlineStyle, getComputedStyle(document.activeElement).outlineWidth]"
        )
        assert outline == ["solid", "3px"], "the focus is seen"
        height = page.evaluate("document.activeElement.getBoundingClientRect().height")
        assert height >= 24, "large enough to hit (WCAG 2.2 §2.5.8)"
    assert reached == wanted
