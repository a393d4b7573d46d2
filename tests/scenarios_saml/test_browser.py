"""SAML logins in a real browser: the app on ``localhost``, the provider on ``127.0.0.1``, so every POST is cross-site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jit_middleware.demo.serve import listen
from jit_middleware.settings import Settings
from tests.browser_pages.conftest import served
from tests.client import Edge
from tests.peers.oidc_provider import PASSWORD
from tests.peers.saml.keys import KeyPair
from tests.peers.saml.simplesamlphp import SimpleSAMLphp
from tests.peers.saml.sp import ServiceProvider, SloBinding
from tests.scenarios.conftest import SECRET

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page


class Site:
    """The app on a port of its own, known to the provider, and a browser before it."""

    def __init__(self, url: str, sp: ServiceProvider, idp: SimpleSAMLphp, page: Page) -> None:
        self.url, self.sp, self.idp, self.page = url, sp, idp, page

    def type_name_and_password(self, who: str) -> None:
        assert self.page.url.startswith(self.idp.site), self.page.url
        self.page.locator("#username").fill(who)
        self.page.locator("#password").fill(PASSWORD)
        with self.page.expect_navigation(url=f"{self.url}/**"):
            self.page.locator("#password").press("Enter")

    def is_in(self, name: str) -> bool:
        return bool(self.page.get_by_role("heading", name=f"Hello {name}").count())


@pytest.fixture(params=["wsgi", "asgi"])
def edge(request: pytest.FixtureRequest) -> Edge:
    chosen: Edge = request.param
    return chosen


@pytest.fixture(params=["redirect", "post"])
def binding(request: pytest.FixtureRequest) -> SloBinding:
    chosen: SloBinding = request.param
    return chosen


@pytest.fixture
def site(
    edge: Edge,
    binding: SloBinding,
    simplesamlphp_idp: SimpleSAMLphp,
    sp_keys: KeyPair,
    browser_context: BrowserContext,
    tmp_path: Path,
) -> Iterator[Site]:
    with ExitStack() as closing:
        listener = closing.enter_context(listen(0))
        url = f"http://localhost:{listener.getsockname()[1]}"
        sp = ServiceProvider.of(url, sp_keys.bare_certificate, slo_binding=binding)
        simplesamlphp_idp.register(sp, "persistent")
        simplesamlphp_idp.add_user("alice", {"displayName": "Alice", "mail": "alice@example.org"})
        settings = Settings.load(
            {
                "JIT_PUBLIC_URL": url,
                "JIT_SECRET_KEY": SECRET,
                "JIT_DATABASE_URL": f"sqlite:///{tmp_path / 'jit.db'}",
                "JIT_SAML_IDP_METADATA": simplesamlphp_idp.metadata_url,
                "JIT_SAML_BINDING": binding,
                "JIT_SAML_SP_KEY": sp_keys.private_key,
                "JIT_SAML_SP_CERT": sp_keys.certificate,
                "JIT_SAML_ALLOW_IDP_INITIATED": "true",
            }
        )
        closing.enter_context(served(edge, settings, listener))
        yield Site(url, sp, simplesamlphp_idp, browser_context.new_page())


def test_the_login_state_survives_the_cross_site_post_and_the_session_stays_lax(
    site: Site, browser_context: BrowserContext
) -> None:
    site.page.goto(f"{site.url}/reports?page=2")
    site.page.wait_for_url(f"{site.idp.site}/**")
    (state,) = [c for c in browser_context.cookies(site.url) if c["name"].startswith("jit-login-")]
    assert (state["sameSite"], state["secure"], state["httpOnly"]) == ("None", True, True)
    site.type_name_and_password("alice")
    site.page.wait_for_url(f"{site.url}/reports?page=2")
    assert site.is_in("Alice")
    kept = {cookie["name"]: cookie for cookie in browser_context.cookies(site.url)}
    assert (kept["jit"]["sameSite"], kept["jit"]["httpOnly"]) == ("Lax", True)
    assert not [name for name in kept if name.startswith("jit-login-")]


def test_a_login_that_begins_at_the_provider_waits_for_the_persons_word(site: Site) -> None:
    site.page.goto(site.idp.unsolicited_url(site.sp, "https://evil.example/"))
    site.type_name_and_password("alice")
    assert site.page.url == site.sp.acs
    site.page.get_by_role("button").first.click()
    site.page.wait_for_url(f"{site.url}/")
    assert site.is_in("Alice")


def test_a_logout_goes_round_by_the_provider_and_comes_back(site: Site) -> None:
    site.page.goto(f"{site.url}/")
    site.page.wait_for_url(f"{site.idp.site}/**")
    site.type_name_and_password("alice")
    site.page.wait_for_url(f"{site.url}/")
    site.page.get_by_role("link", name="Sign out").click()
    site.page.get_by_role("button").first.click()
    site.page.wait_for_url(lambda url: "signed-out" in url or "/_jit/sls/" in url)
    site.page.get_by_text("signed out", exact=False).first.wait_for()
    site.page.goto(f"{site.url}/")
    site.page.wait_for_url(f"{site.idp.site}/**")
    assert site.page.locator("#password").count() == 1
