"""An app on a real server at ``localhost``, a provider at ``127.0.0.1`` (so: two sites), and a Chromium before them."""

from __future__ import annotations

import html
import io
import itertools
import os
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from jit_middleware import cli
from jit_middleware.bridge import step
from jit_middleware.demo.serve import WSGIHost, listen
from jit_middleware.outside import open_ledger
from jit_middleware.settings import Settings
from tests.client import Edge, middleware_of
from tests.databases import prepared
from tests.peers.oidc_provider import PASSWORD, Provider
from tests.scenarios.conftest import SECRET

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Page

_numbers = itertools.count(1)


# --- the app --------------------------------------------------------------------------------------------------------


def _page_of(user: Any, path: str, query: str) -> bytes:
    who = "nobody" if user is None else user.display_name or user.username
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>The app</title>'
        f"<h1>Hello {html.escape(who)}</h1>"
        f'<p id="where">{html.escape(path)}{"?" + html.escape(query) if query else ""}</p>'
        '<p><a href="/_jit/logout">Sign out</a> <a href="/other">Other page</a></p>'
        '<form method="post" action="/save"><button name="a" value="1">Save</button></form></html>'
    ).encode()


def app_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """The app under WSGI: who you are and where."""
    body = _page_of(environ.get("jit.user"), environ["PATH_INFO"], environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


async def app_asgi(scope: Any, receive: Any, send: Any) -> None:
    """The same under ASGI."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            await send({"type": f"{(await receive())['type']}.complete"})
        return
    body = _page_of(scope.get("jit.user"), scope["path"], scope["query_string"].decode())
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def served(edge: Edge, settings: Settings, listener: Any, users: object = None) -> Generator[None]:
    """Serve the wrapped app: wsgiref with threads, or uvicorn."""
    if edge == "wsgi":
        middleware = middleware_of("wsgi")(app_wsgi, settings, users=users)
        with WSGIHost(middleware, listener):
            yield
        step(middleware.gate.close())
        return
    import uvicorn

    wrapped = middleware_of("asgi")(app_asgi, settings, users=users)
    server = uvicorn.Server(uvicorn.Config(wrapped, log_config=None, ws="none", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        end = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            assert time.monotonic() < end, "uvicorn did not start in time"
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


# --- the browser ------------------------------------------------------------------------------------------------------


@dataclass
class Watch:
    """Everything the browser complains about on pages of the app's origin."""

    origin: str
    complaints: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))

    def _heard(self, message: ConsoleMessage) -> None:
        place = str(message.location.get("url", ""))
        if message.type not in {"error", "warning"} or not (place.startswith(self.origin) or "Content" in message.text):
            return
        if message.text.startswith("Failed to load resource: the server responded with a status of") and (
            place == message.page.url if message.page is not None else True
        ):
            return  # the page itself has that status, as it should
        self.complaints.append(f"{place}: {message.text}")


@dataclass
class Site:
    """The app, its provider, and a browser that goes there."""

    edge: Edge
    url: str
    provider: Provider
    settings: Settings
    context: BrowserContext
    watch: Watch
    env: Mapping[str, str]

    def person(self, subject: str, **claims: object) -> str:
        """Make a person at the provider."""
        name = f"{subject}{next(_numbers)}"
        given = {"preferred_username": name, "name": f"{subject.title()} Example", "email": f"{name}@example.org"}
        self.provider.add_user(name, {"email_verified": True, **given, **claims})
        return name

    def tab(self) -> Page:
        """One more tab."""
        page = self.context.new_page()
        self.watch.follow(page)
        return page

    def fill_in(self, page: Page, who: str) -> None:
        """Sign in at the provider's form, which must be there."""
        assert page.url.startswith(self.provider.issuer), page.url
        page.get_by_label("Name").fill(who)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{self.url}/**")

    def sign_in(self, page: Page, who: str, target: str = "/") -> None:
        """The whole way."""
        page.goto(self.url + target)
        self.fill_in(page, who)

    def operate(self, *command: str) -> str:
        """What an operator does from a terminal meanwhile; gives what the command prints."""
        printed = io.StringIO()
        others = {name: value for name, value in os.environ.items() if not name.startswith("JIT_")}
        with (
            mock.patch.dict(os.environ, {**others, **self.env}, clear=True),
            redirect_stdout(printed),
            ThreadPoolExecutor(1) as terminal,  # the browser's event loop counts as running in this thread
        ):
            assert terminal.submit(cli.main, command).result() == 0, command
        return printed.getvalue()

    def events(self) -> list[str]:
        """The audit trail, by type."""
        ledger = open_ledger(self.settings)
        try:
            return [event.type for event in step(ledger.list_audit())]
        finally:
            step(ledger.close())


class SiteBuilder:
    """Builds sites; each has its own port, database, client at the provider and browser profile."""

    def __init__(
        self, edge: Edge, provider: Provider, context: BrowserContext, directory: Path, closing: ExitStack
    ) -> None:
        self.edge = edge
        self.provider = provider
        self._context = context
        self._directory = directory
        self._closing = closing

    def __call__(self, *, other_connection: bool = False, users: object = None, **env: str) -> Site:
        listener = self._closing.enter_context(listen(0))
        url = f"http://localhost:{listener.getsockname()[1]}"
        name = f"pages{next(_numbers)}-{time.monotonic_ns()}"
        secret = self._register(name, url, "oidc")
        if other_connection:
            other = self._register(f"{name}-other", url, "other")
            config = self._directory / "jit.toml"
            config.write_text(
                f'[connections.other]\nprotocol = "oidc"\nissuer = "{self.provider.issuer}"\nlabel = "Partners"\n'
                f'client_id = "{name}-other"\nclient_secret = "{other}"\n'
            )
            env = {"JIT_CONFIG": str(config), "JIT_OIDC_LABEL": "Employees", **env}
        env = {
            "JIT_PUBLIC_URL": url,
            "JIT_SECRET_KEY": SECRET,
            "JIT_APP_NAME": "The Intranet",
            "JIT_OIDC_ISSUER": self.provider.issuer,
            "JIT_OIDC_CLIENT_ID": name,
            "JIT_OIDC_CLIENT_SECRET": secret,
            "JIT_DATABASE_URL": f"sqlite:///{prepared(self._directory / f'{name}.db')}",
            **env,
        }
        settings = Settings.load(env)
        self._closing.enter_context(served(self.edge, settings, listener, users))
        watch = Watch(url)
        self._closing.callback(lambda: _quiet(watch))
        return Site(self.edge, url, self.provider, settings, self._context, watch, env)

    def _register(self, name: str, url: str, connection: str) -> str:
        client = self.provider.register(
            client_id=name,
            redirect_uris=[f"{url}/_jit/callback/{connection}"],
            post_logout_redirect_uris=[f"{url}/_jit/signed-out"],
        )
        assert client.client_secret is not None
        return client.client_secret


def _quiet(watch: Watch) -> None:
    assert watch.complaints == [], watch.complaints


@pytest.fixture(params=["wsgi", "asgi"])
def build(
    request: pytest.FixtureRequest, provider: Provider, browser_context: BrowserContext, tmp_path: Path
) -> Iterator[SiteBuilder]:
    with ExitStack() as closing:
        yield SiteBuilder(request.param, provider, browser_context, tmp_path, closing)
