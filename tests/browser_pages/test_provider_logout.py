"""A provider's sign-out page in a real browser: the frame that it shows us in, and the one that nobody else may show."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jit_middleware.bridge import step
from jit_middleware.demo.serve import WSGIHost, listen
from jit_middleware.model import SessionRecord
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Transaction
from jit_middleware.settings import OIDCConnection
from tests.browser_pages.conftest import Site, SiteBuilder

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from playwright.sync_api import Page


def sessions(site: Site) -> list[SessionRecord]:
    async def work(tx: Transaction) -> list[SessionRecord]:
        return list(await tx.list_sessions())

    ledger = open_ledger(site.settings)
    try:
        return step(ledger.transaction(work))
    finally:
        step(ledger.close())


def page_with(frame: str) -> str:
    """A sign-out page as OIDC Front-Channel Logout §3 has it."""
    return f'<!doctype html><title>Signing out</title><h1>Signing out</h1><iframe src="{html.escape(frame)}"></iframe>'


def shown_in_frame(page: Page, address: str, frame: str) -> str:
    """The title of what the browser shows in the frame; empty when it refuses to show it."""
    with page.expect_response(lambda answer: answer.url == frame) as caught:
        page.goto(address)
    assert caught.value.status == 200
    page.wait_for_load_state("networkidle")
    inner = page.frames[-1]
    assert inner.parent_frame is not None
    return "" if inner.url.startswith("chrome-error:") else inner.title()


@contextmanager
def elsewhere(page: str) -> Iterator[str]:
    """This page on an origin that is neither the app's nor the provider's."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(page)))])
        return [page.encode()]

    with listen(0) as listener, WSGIHost(app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def names_sessions(site: Site) -> None:
    """Have the provider put ``sid`` into its tokens for this client."""
    connection = site.settings.connections[0]
    assert isinstance(connection, OIDCConnection)
    site.provider.register(
        client_id=connection.client_id,
        client_secret=connection.client_secret,
        redirect_uris=[f"{site.url}/_jit/callback/oidc"],
        backchannel_logout_uri="http://127.0.0.1:9/nobody-is-there",
        backchannel_logout_session_required=True,
    )


def frame_of(site: Site) -> str:
    [session] = sessions(site)
    assert session.idp_session is not None
    return f"{site.url}/_jit/frontchannel/oidc?iss={site.provider.issuer}&sid={session.idp_session}"


def test_the_providers_page_signs_the_person_out_without_our_cookie(build: SiteBuilder) -> None:
    site = build(JIT_REVOCATION_MAX_STALENESS="0s")
    names_sessions(site)
    page = site.tab()
    site.sign_in(page, site.person("alice"))
    frame, cookies = frame_of(site), list[str | None]()
    page.on("request", lambda one: cookies.append(one.all_headers().get("cookie")) if one.url == frame else None)
    assert shown_in_frame(page, site.provider.show(page_with(frame)), frame) == "Signed out"
    assert cookies == [None], "the frame is on another site than the page"
    assert sessions(site) == []
    page.goto(f"{site.url}/")
    assert site.events().count("login.succeeded") == 2, "it takes another login, which this provider answers by itself"
    assert site.events().count("session.ended") == 1


def test_no_other_page_may_show_that_frame(build: SiteBuilder) -> None:
    site = build()
    frame = f"{site.url}/_jit/frontchannel/oidc?iss={site.provider.issuer}&sid=x"
    page = site.context.new_page()  # without the watch: the browser is to complain
    with elsewhere(page_with(frame)) as address:
        assert shown_in_frame(page, address, frame) == ""


def test_signing_out_on_all_devices_from_the_confirmation_page(build: SiteBuilder) -> None:
    site = build(JIT_REVOCATION_MAX_STALENESS="0s")
    page = site.tab()
    site.sign_in(page, site.person("alice"))
    page.get_by_role("link", name="Sign out").click()
    page.get_by_role("button", name="Sign out on all devices").click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url("**/_jit/signed-out*")
    assert sessions(site) == []
