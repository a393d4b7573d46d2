"""A real provider's sign-out page in a real browser: the frame that it shows us in, and the one that nobody else may show.

The provider is npm oidc-provider in the last version that signs people out in frames; the page with the frame is its own.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from jit_middleware.bridge import step
from jit_middleware.demo.serve import WSGIHost, listen
from jit_middleware.model import AuditEvent, SessionRecord
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Transaction
from jit_middleware.settings import OIDCConnection
from tests.browser_pages.conftest import Site, SiteBuilder
from tests.peers.oidc_provider import Provider, oidc_provider

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from playwright.sync_api import Frame, Page, Response

FRAME = "/_jit/frontchannel/oidc"
# Of a verifier that nobody needs: the code is not redeemed.
CHALLENGE = {"code_challenge": "c" * 43, "code_challenge_method": "S256"}
# The provider's page waits 2.5 s for its frames, which is not enough for every machine that runs many tests at a time.
MORE_PATIENCE = "const wait = window.setTimeout; window.setTimeout = (act, ms) => wait(act, 4 * ms);"


@pytest.fixture(scope="module")
def provider(real_part: None) -> Iterator[Provider]:
    """In the place of the provider that all tests share."""
    with oidc_provider(front_channel=True) as running:
        yield running


# --- what the ledger knows --------------------------------------------------------------------------------------------


def sessions(site: Site) -> list[SessionRecord]:
    """The sessions that live, the newest first."""

    async def work(tx: Transaction) -> list[SessionRecord]:
        return list(await tx.list_sessions())

    ledger = open_ledger(site.settings)
    try:
        return step(ledger.transaction(work))
    finally:
        step(ledger.close())


def endings(site: Site) -> list[AuditEvent]:
    ledger = open_ledger(site.settings)
    try:
        return list(step(ledger.list_audit(type="session.ended")))
    finally:
        step(ledger.close())


# --- what the browser does --------------------------------------------------------------------------------------------


@dataclass
class Frames:
    """What a page's frames asked the app for, and the addresses of what frames came to show."""

    site: Site
    answers: list[Response] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        page.on("response", self._answered)
        page.on("framenavigated", self._navigated)

    @property
    def asked(self) -> list[str]:
        return [answer.url for answer in self.answers]

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]

    @property
    def cookies(self) -> list[str | None]:
        """What the browser sent along, which it adds below what pages and scripts can see."""
        return [answer.request.all_headers().get("cookie") for answer in self.answers]

    def _answered(self, answer: Response) -> None:
        if answer.url.startswith(self.site.url + FRAME):
            self.answers.append(answer)

    def _navigated(self, frame: Frame) -> None:
        if frame.parent_frame is not None and frame.url != "about:blank":
            self.shown.append(frame.url)


def frames_of(site: Site, page: Page) -> Frames:
    """Watch the page's frames from here on."""
    page.add_init_script(MORE_PATIENCE)
    frames = Frames(site)
    frames.follow(page)
    return frames


@contextmanager
def elsewhere(page: str) -> Iterator[str]:
    """This page on an origin that is neither the app's nor the provider's."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(page)))])
        return [page.encode()]

    with listen(0) as listener, WSGIHost(app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


# --- what the provider knows ------------------------------------------------------------------------------------------


def tells_us(site: Site) -> str:
    """Have the provider tell this client of sign-outs, by a frame with ``iss`` and ``sid``; the client's id."""
    connection = site.settings.connections[0]
    assert isinstance(connection, OIDCConnection)
    site.provider.register(
        client_id=connection.client_id,
        client_secret=connection.client_secret,
        redirect_uris=[f"{site.url}/_jit/callback/oidc"],
        post_logout_redirect_uris=[f"{site.url}/_jit/signed-out"],
        frontchannel_logout_uri=f"{site.url}{FRAME}",
        frontchannel_logout_session_required=True,
    )
    return connection.client_id


def confirm(page: Page) -> None:
    """Say yes to the provider's own question."""
    page.get_by_role("button", name="Sign out").click()


def frame_for(site: Site, session: SessionRecord) -> str:
    """The frame's URL, in the words of OIDC Front-Channel Logout §3."""
    assert session.idp_session is not None
    named = urlencode({"sid": session.idp_session, "iss": site.provider.issuer})
    return f"{site.url}{FRAME}?{named}"


# --- signing out at the provider --------------------------------------------------------------------------------------


def test_a_sign_out_at_the_provider_ends_the_session_that_its_frame_names(build: SiteBuilder) -> None:
    site = build(JIT_REVOCATION_MAX_STALENESS="0s")
    tells_us(site)
    alice, page = site.person("alice"), site.tab()
    site.sign_in(page, alice)
    [elsewhere_too] = sessions(site)
    site.context.clear_cookies()  # from here on it is another device
    site.sign_in(page, alice)
    [ours] = [session for session in sessions(site) if session.id != elsewhere_too.id]
    kept = site.context.cookies(site.url)
    frames = frames_of(site, page)
    page.goto(f"{site.provider.issuer}/session/end")
    assert len(sessions(site)) == 2, "a question ends nothing"
    confirm(page)
    page.wait_for_url(f"{site.provider.issuer}/session/end/success")
    assert frames.shown == frames.asked == [frame_for(site, ours)]
    assert frames.statuses == [200]
    assert frames.cookies == [None], "the frame is on another site than the page"
    assert [session.id for session in sessions(site)] == [elsewhere_too.id]
    assert [(event.reason, event.session) for event in endings(site)] == [("frontchannel_logout", ours.id)]
    assert site.context.cookies(site.url) == kept, "the browser keeps the cookie, which opens nothing any more"
    page.goto(f"{site.url}/deep")
    site.fill_in(page, alice)
    assert page.inner_text("#where") == "/deep"


def test_a_sign_out_of_another_application_signs_out_of_this_one(build: SiteBuilder) -> None:
    """Both are in the provider's session; the other's page begins the sign-out, and the person is sent back there."""
    site = build(JIT_REVOCATION_MAX_STALENESS="0s")
    client_id = tells_us(site)
    page = site.tab()
    site.sign_in(page, site.person("alice"))
    [ours] = sessions(site)
    with elsewhere("<!doctype html><title>The wiki</title>") as wiki:
        wiki_id = f"{client_id}-wiki"
        site.provider.register(
            client_id=wiki_id,
            redirect_uris=[wiki],
            post_logout_redirect_uris=[f"{wiki}goodbye"],
            frontchannel_logout_uri=f"{wiki}frame",
            frontchannel_logout_session_required=True,
        )
        asked = {"client_id": wiki_id, "redirect_uri": wiki, "response_type": "code", "scope": "openid"}
        page.goto(f"{site.provider.issuer}/auth?{urlencode({**asked, **CHALLENGE})}")
        assert page.url.startswith(f"{wiki}?code="), "one login is enough for both"
        frames = frames_of(site, page)
        gone = {"client_id": wiki_id, "post_logout_redirect_uri": f"{wiki}goodbye", "state": "x"}
        page.goto(f"{site.provider.issuer}/session/end?{urlencode(gone)}")
        confirm(page)
        page.wait_for_url(f"{wiki}goodbye?state=x")
    assert (frames.asked, frames.statuses, frames.cookies) == ([frame_for(site, ours)], [200], [None])
    assert [url for url in frames.shown if url.startswith(f"{wiki}frame?")], "the wiki is told likewise"
    assert sessions(site) == []
    page.goto(f"{site.url}/")
    assert page.get_by_label("Password").is_visible()


def test_the_frame_after_our_own_sign_out_finds_the_session_ended(build: SiteBuilder) -> None:
    site = build(JIT_REVOCATION_MAX_STALENESS="0s")
    tells_us(site)
    page = site.tab()
    site.sign_in(page, site.person("alice"))
    [ours] = sessions(site)
    frames = frames_of(site, page)
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(f"{site.provider.issuer}/**")
    confirm(page)
    page.wait_for_url("**/_jit/signed-out*")
    assert page.inner_text("h1") == "You are signed out"
    assert frames.shown == frames.asked == [frame_for(site, ours)]
    assert frames.statuses == [200]
    assert [event.reason for event in endings(site)] == ["logout"]


def test_no_other_page_may_show_that_frame(build: SiteBuilder) -> None:
    site = build()
    frame = f"{site.url}{FRAME}?{urlencode({'iss': site.provider.issuer, 'sid': 'x'})}"
    page = site.context.new_page()  # without the watch: the browser is to complain
    frames = frames_of(site, page)
    with elsewhere(f'<!doctype html><title>A page</title><iframe src="{html.escape(frame)}"></iframe>') as address:
        page.goto(address)
        page.wait_for_load_state("networkidle")
    assert frames.statuses == [200]
    assert frames.shown == ["chrome-error://chromewebdata/"]


# --- signing out everywhere -------------------------------------------------------------------------------------------


def test_signing_out_on_all_devices_from_the_confirmation_page(build: SiteBuilder) -> None:
    site = build(JIT_REVOCATION_MAX_STALENESS="0s")
    page = site.tab()
    site.sign_in(page, site.person("alice"))
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out on all devices").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/_jit/signed-out*")
    assert sessions(site) == []
