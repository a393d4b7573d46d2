"""The ways people take through a login in a real browser, with its back button, its tabs and its reload."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser_pages.accounts import asked_for_password, give_password, invitation_for, prepared, with_passwords
from tests.browser_pages.conftest import Site, SiteBuilder
from tests.scenarios.linking import PASSWORD

if TYPE_CHECKING:
    from playwright.sync_api import Page


def sign_out(page: Page) -> None:
    """From a page of the app to the end of the logout, over the provider's own question."""
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/_jit/signed-out*")


def hello(page: Page) -> str:
    return page.inner_text("h1")


@pytest.mark.parametrize("mode", ["query", "form_post"])
def test_a_deep_link_leads_over_the_provider_to_the_deep_link(build: SiteBuilder, mode: str) -> None:
    site = build(JIT_OIDC_RESPONSE_MODE=mode)
    page = site.tab()
    methods: list[str] = []
    page.on("request", lambda one: methods.append(one.method) if "/_jit/callback/" in one.url else None)
    site.sign_in(page, site.person("alice"), "/reports/2026?page=2&sort=a%2Fb")
    assert page.url == f"{site.url}/reports/2026?page=2&sort=a%2Fb"
    assert hello(page) == "Hello Alice Example"
    assert page.inner_text("#where") == "/reports/2026?page=2&sort=a%2Fb"
    assert methods == ["GET" if mode == "query" else "POST"]
    assert site.events() == ["user.created", "user.first_login", "login.succeeded"]
    kept = {cookie["name"]: cookie for cookie in site.context.cookies(site.url)}
    assert set(kept) <= {"jit", "jit-hops"}, "the cookie of the login in flight is gone"
    assert kept["jit"]["httpOnly"] is True
    assert kept["jit"]["sameSite"] == "Lax"


def test_the_cookie_of_a_form_post_login_is_samesite_none_and_secure_even_on_loopback(build: SiteBuilder) -> None:
    site = build(JIT_OIDC_RESPONSE_MODE="form_post")
    page = site.tab()
    page.goto(f"{site.url}/deep")
    (kept,) = site.context.cookies(site.url)
    assert (kept["sameSite"], kept["secure"], kept["httpOnly"]) == ("None", True, True)


def test_logout_ends_here_and_there_and_the_password_is_asked_again(build: SiteBuilder) -> None:
    site = build()
    alice = site.person("alice")
    page = site.tab()
    site.sign_in(page, alice, "/deep?x=1")
    sign_out(page)
    assert hello(page) == "You are signed out"
    page.get_by_role("link", name="Sign in again").click()
    site.fill_in(page, alice)
    assert hello(page) == "Hello Alice Example"
    assert site.events().count("session.ended") == 1


def test_the_back_button_after_the_login_does_no_harm(build: SiteBuilder) -> None:
    site = build()
    alice = site.person("alice")
    page = site.tab()
    site.sign_in(page, alice, "/deep?x=1")
    page.go_back()
    assert page.url.startswith(site.provider.issuer)
    page.go_forward()
    assert page.url == f"{site.url}/deep?x=1"
    assert hello(page) == "Hello Alice Example"
    assert site.events().count("login.succeeded") == 1


def test_the_back_button_after_the_logout_shows_no_way_in(build: SiteBuilder) -> None:
    site = build()
    page = site.tab()
    site.sign_in(page, site.person("alice"), "/deep?x=1")
    sign_out(page)
    seen = []
    for _ in range(8):
        page.go_back()
        if page.url == "about:blank":
            break
        seen.append(page.url.partition("?")[0].removeprefix(site.url))
        if page.url.startswith(f"{site.url}/_jit/"):
            # The confirmation page is never stored: there is nothing left to confirm.
            assert hello(page) == "You are signed out", page.url
        if page.locator("#where").count():
            # The browser's own copy of the app's page; whatever is done with it asks for the password.
            page.reload()
            page.wait_for_url(f"{site.provider.issuer}/**")
            assert page.get_by_label("Password").is_visible()
    assert "/_jit/signed-out" in seen
    page.goto(f"{site.url}/deep?x=1")
    assert page.get_by_label("Password").is_visible()
    assert site.events().count("login.succeeded") == 1


def test_two_tabs_that_begin_together_both_land_where_they_wanted(build: SiteBuilder) -> None:
    site = build()
    alice = site.person("alice")
    one, two = site.tab(), site.tab()
    one.goto(f"{site.url}/one")
    two.goto(f"{site.url}/two?x=2")
    site.fill_in(one, alice)
    assert one.inner_text("#where") == "/one"
    site.fill_in(two, alice)
    assert two.inner_text("#where") == "/two?x=2"
    assert hello(two) == "Hello Alice Example"
    one.reload()
    assert hello(one) == "Hello Alice Example"
    assert site.events().count("user.created") == 1


def test_two_tabs_with_form_post_too(build: SiteBuilder) -> None:
    site = build(JIT_OIDC_RESPONSE_MODE="form_post")
    alice = site.person("alice")
    one, two = site.tab(), site.tab()
    one.goto(f"{site.url}/one")
    two.goto(f"{site.url}/two")
    site.fill_in(two, alice)
    site.fill_in(one, alice)
    assert (one.inner_text("#where"), two.inner_text("#where")) == ("/one", "/two")


def test_a_reloaded_callback_lands_on_the_app(build: SiteBuilder) -> None:
    site = build()
    page = site.tab()
    callbacks: list[str] = []
    page.on("request", lambda one: callbacks.append(one.url) if "/_jit/callback/" in one.url else None)
    site.sign_in(page, site.person("alice"), "/deep")
    page.goto(callbacks[0])
    assert page.url == f"{site.url}/"
    assert hello(page) == "Hello Alice Example"
    assert site.events().count("login.succeeded") == 1


def test_a_callback_carried_to_another_browser_signs_nobody_in_there(build: SiteBuilder) -> None:
    site = build()
    page = site.tab()
    callbacks: list[str] = []
    page.on("request", lambda one: callbacks.append(one.url) if "/_jit/callback/" in one.url else None)
    site.sign_in(page, site.person("alice"), "/deep")
    site.context.clear_cookies()
    stranger = site.tab()
    stranger.goto(callbacks[0])
    assert stranger.url.startswith(site.provider.issuer), "it begins a login of its own"
    assert stranger.get_by_label("Password").is_visible()


def test_two_connections_are_a_choice_and_either_leads_to_the_deep_link(build: SiteBuilder) -> None:
    site = build(other_connection=True)
    page = site.tab()
    page.goto(f"{site.url}/deep?x=1")
    assert hello(page) == "Sign in"
    assert set(page.locator("ul.choices a").all_inner_texts()) == {"Employees", "Partners"}
    page.get_by_role("link", name="Partners").click()
    site.fill_in(page, site.person("alice"))
    assert page.inner_text("#where") == "/deep?x=1"


def test_the_chooser_works_with_the_keyboard_alone(build: SiteBuilder) -> None:
    site = build(other_connection=True)
    page = site.tab()
    page.goto(f"{site.url}/deep")
    first = page.locator("ul.choices a").first.inner_text()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == first
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.provider.issuer}/**")
    site.fill_in(page, site.person("alice"))
    assert page.inner_text("#where") == "/deep"


def refused(site: Site, page: Page) -> None:
    """Somebody who is in no group of ours tries to get in."""
    site.sign_in(page, site.person("nobody", groups=[]), "/deep?x=1")


def test_a_refused_person_sees_code_and_reference_and_lets_somebody_else_try(build: SiteBuilder) -> None:
    site = build(JIT_REQUIRED_GROUPS="staff", JIT_OIDC_SCOPES="openid email profile groups")
    page = site.tab()
    refused(site, page)
    assert hello(page) == "You were not let in"
    facts = page.locator("dl.facts code").all_inner_texts()
    assert facts[0] == "not_provisioned"
    assert re.fullmatch(r"[\w-]{6,}", facts[1])
    assert "group" not in page.inner_text("main")
    page.get_by_role("link", name="Sign in as somebody else").click()
    site.fill_in(page, site.person("alice", groups=["staff"]))
    assert hello(page) == "Hello Alice Example"
    assert page.inner_text("#where") == "/deep?x=1"
    assert site.events() == ["login.refused", "user.created", "user.first_login", "login.succeeded"]


def test_a_person_who_gives_up_at_the_provider_may_try_again(build: SiteBuilder) -> None:
    site = build()
    page = site.tab()
    page.goto(f"{site.url}/deep")
    page.get_by_role("button", name="Give up").click()
    page.wait_for_url(f"{site.url}/**")
    assert "provider_refused" in page.inner_text("main")
    page.get_by_role("link", name="Try again").click()
    site.fill_in(page, site.person("alice"))
    assert page.inner_text("#where") == "/deep"


def test_reloading_the_page_of_a_refusal_is_a_page_again(build: SiteBuilder) -> None:
    site = build(JIT_REQUIRED_GROUPS="staff", JIT_OIDC_SCOPES="openid email profile groups")
    page = site.tab()
    refused(site, page)
    page.reload()
    page.wait_for_load_state()
    assert page.url.startswith((site.url, site.provider.issuer))
    assert page.locator("h1").is_visible()
    assert "login.succeeded" not in site.events()


def test_an_account_from_before_is_linked_with_the_keyboard_alone(build: SiteBuilder, tmp_path: Path) -> None:
    site = build(users=with_passwords(tmp_path), JIT_LINK_POLICY="confirm", JIT_OIDC_VERIFIED_DOMAINS="example.org")
    page = site.tab()
    asked_for_password(site, page, "/deep?x=1")
    page.keyboard.press("Tab")
    page.keyboard.type("not this one")
    page.keyboard.press("Enter")
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("Password").get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Password").input_value() == "", "the page does not give a password back"
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.url}/deep?x=1")
    assert hello(page) == "Hello ann"
    assert site.events().count("identity.linked") == 1
    site.context.clear_cookies(name="jit")
    page.goto(f"{site.url}/deep")
    assert hello(page) == "Hello ann", "nobody is asked a second time"


def test_a_used_up_account_says_so_and_takes_not_even_the_right_password(build: SiteBuilder, tmp_path: Path) -> None:
    site = build(users=with_passwords(tmp_path), JIT_LINK_POLICY="confirm", JIT_OIDC_VERIFIED_DOMAINS="example.org")
    page = site.tab()
    asked_for_password(site, page)
    for number in range(5):
        give_password(page, f"not this one, {number}")
    give_password(page, PASSWORD)
    assert page.locator("dl.facts code").first.inner_text() == "link_limited"
    assert page.get_by_label("Password").count() == 0
    assert "identity.linked" not in site.events()


def test_an_invitation_leads_to_the_account_and_works_once(build: SiteBuilder) -> None:
    site = build()
    address = invitation_for(site, prepared(site, "ann"))
    page = site.tab()
    page.goto(address)
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site.provider.issuer}/**")
    site.fill_in(page, site.person("somebody"))
    assert site.events() == ["invitation.issued", "identity.linked", "user.first_login", "login.succeeded"]
    stranger = site.tab()
    stranger.goto(address)
    assert stranger.locator("dl.facts code").first.inner_text() == "invitation_unusable"
    assert stranger.locator("main button").count() == 0


def test_a_held_account_is_open_again_after_the_operator_resumes_it(build: SiteBuilder) -> None:
    site = build(JIT_REVOCATION_MAX_STALENESS="0s")
    alice = site.person("alice")
    page = site.tab()
    site.sign_in(page, alice)
    site.operate("users", "suspend", alice)
    page.goto(f"{site.url}/deep")
    assert page.locator("dl.facts code").first.inner_text() == "account_suspended"
    site.operate("users", "resume", alice)
    page.get_by_role("link", name="Sign in as somebody else").click()
    site.fill_in(page, alice)
    assert page.inner_text("#where") == "/deep"
    assert hello(page) == "Hello Alice Example"


def test_whoever_waits_for_approval_gets_in_by_trying_again_once_approved(build: SiteBuilder) -> None:
    site = build(JIT_INITIAL_STATUS="pending")
    alice = site.person("alice")
    page = site.tab()
    site.sign_in(page, alice, "/deep")
    assert page.locator("dl.facts code").first.inner_text() == "account_pending"
    site.operate("users", "approve", alice)
    page.get_by_role("link", name="Try again").click()
    page.wait_for_url(f"{site.url}/deep")  # the provider knows who it is
    assert hello(page) == "Hello Alice Example"
    assert site.events().count("login.succeeded") == 1


def test_a_form_sent_after_the_session_ended_leads_by_a_login_back_to_the_form(build: SiteBuilder) -> None:
    site = build(JIT_REVOCATION_MAX_STALENESS="0s")
    alice = site.person("alice")
    page = site.tab()
    site.sign_in(page, alice, "/form?id=3")
    site.operate("sessions", "revoke", "--user", alice)
    page.get_by_role("button", name="Save").click()
    assert page.url == f"{site.url}/save"
    assert hello(page) == "Please sign in first"
    assert "What you sent was not kept." in page.inner_text("main")
    page.get_by_role("link", name="Sign in").click()
    page.wait_for_url(f"{site.url}/form?id=3")  # the provider knows who it is
    assert hello(page) == "Hello Alice Example"


def test_whoever_does_not_want_to_sign_out_is_back_where_they_were(build: SiteBuilder) -> None:
    site = build()
    page = site.tab()
    site.sign_in(page, site.person("alice"), "/deep?x=1")
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("link", name="Stay signed in").click()
    page.wait_for_url(f"{site.url}/deep?x=1")
    assert hello(page) == "Hello Alice Example"
    assert "session.ended" not in site.events()


@pytest.mark.parametrize("path", ["/_jit/no-such-page", "/_jit/callback/oidc"])
def test_no_page_of_ours_is_a_dead_end(build: SiteBuilder, path: str) -> None:
    site = build()
    page = site.tab()
    site.sign_in(page, site.person("alice"))
    page.goto(site.url + path)
    page.get_by_role("link", name="Go to The Intranet").click()
    page.wait_for_url(f"{site.url}/")
    assert hello(page) == "Hello Alice Example"
