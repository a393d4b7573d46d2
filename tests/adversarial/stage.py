"""A wrapped app, its database, its log and the providers it trusts; and the errands of a browser between them."""

from __future__ import annotations

import logging
import sqlite3
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from jit_middleware.bridge import step
from jit_middleware.model import AuditEvent
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Fetch, Fetched
from jit_middleware.settings import Settings
from jit_middleware.system import SystemClock
from jit_middleware.transport import AsyncTransport, SyncTransport
from tests.adversarial.provider import CLIENT_ID, HostileProvider, SentBack
from tests.client import Answer, Client, Edge, middleware_of
from tests.databases import prepared
from tests.worlds import AsgiWorld

ORIGIN = "https://app.example.test"
SESSION = "__Host-jit"
LOGIN = "__Host-jit-login-"
SECRET_KEY = "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM"
TARGET = "/reports/7?week=3&x=%20y"
TABLES = {"users": "jit_users", "links": "jit_identity_links", "sessions": "jit_sessions"}


class Hurried:
    """The real way out, with less patience at one place, so that a provider that dawdles costs the tests little time.

    ``hurry`` is a part of the URL and the seconds it gets.
    """

    def __init__(self, edge: Edge, hurry: tuple[str, float] | None) -> None:
        transport = SyncTransport if edge == "wsgi" else AsyncTransport
        self._plain: Any = transport(
            SystemClock(), insecure_hosts=["127.0.0.1"], private_hosts=["127.0.0.1"], ssl_context=_trust_anchors()
        )
        self._hurry = hurry

    async def fetch(self, request: Fetch) -> Fetched:
        if self._hurry is not None and self._hurry[0] in request.url:
            request = replace(request, deadline=self._hurry[1])
        answer: Fetched = await self._plain.fetch(request)
        return answer

    async def close(self) -> None:
        await self._plain.close()


@cache
def _trust_anchors() -> ssl.SSLContext:
    """Read once for all stages: it takes longer than a login."""
    return ssl.create_default_context()


class Listener(logging.Handler):
    """Everything that is logged anywhere while it listens, as text with tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter("%(name)s %(levelname)s %(message)s").format(record)
        self.lines.append(text)

    @property
    def own(self) -> list[str]:
        """The lines of the middleware's own logger."""
        return [line for line in self.lines if line.startswith("jit_middleware")]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a login ended: the last answer, and where it came from (``begin`` or ``callback``)."""

    answer: Answer
    where: str
    seconds: float


class Stage:
    """One wrapped app before some providers; the first is connection ``oidc``, the others go by their names."""

    def __init__(
        self,
        edge: Edge,
        directory: Path,
        *providers: HostileProvider,
        hurry: tuple[str, float] | None = None,
        overrides: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.edge = edge
        self.providers = providers
        first, *others = providers
        self.database = directory / f"{edge}-{first.name}.db"
        prepared(self.database)
        variables = {
            "JIT_PUBLIC_URL": ORIGIN,
            "JIT_SECRET_KEY": SECRET_KEY,
            "JIT_OIDC_ISSUER": first.issuer,
            "JIT_OIDC_CLIENT_ID": CLIENT_ID,
            "JIT_OIDC_CLIENT_SECRET": first.client_secret,
            "JIT_DATABASE_URL": f"sqlite:///{self.database}",
            "JIT_PUBLIC_PATHS": "/open,/open/*",
            "JIT_OPTIONAL_PATHS": "/perhaps,/perhaps/*",
            "JIT_API_PATHS": "/api/*",
            **(env or {}),
        }
        connections = {
            other.name: {"issuer": other.issuer, "client_id": CLIENT_ID, "client_secret": other.client_secret}
            for other in others
        }
        merged = {**({"connections": connections} if connections else {}), **(overrides or {})}
        self.settings = Settings.load(env={name: text for name, text in variables.items() if text}, overrides=merged)
        self.log = Listener()
        self._hurry = hurry
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._level = logging.getLogger().level
        logging.getLogger().addHandler(self.log)
        logging.getLogger().setLevel(logging.DEBUG)
        self.browser = self._stack.enter_context(self._served(Hurried(self.edge, self._hurry)))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()
        logging.getLogger().removeHandler(self.log)
        logging.getLogger().setLevel(self._level)

    @contextmanager
    def other_worker(self) -> Iterator[Client]:
        """The same app in another process, as far as memory goes: only the database is shared."""
        with self._served(Hurried(self.edge, None)) as client:
            yield client

    @contextmanager
    def _served(self, transport: Hurried) -> Iterator[Client]:
        wrap = middleware_of(self.edge)
        with Client(self.edge, lambda app: wrap(app, self.settings, transport=transport), origin=ORIGIN) as client:
            yield client
            world = client.world
            if isinstance(world, AsgiWorld):
                world._runner.run(transport.close())
            else:
                step(transport.close())

    # --- errands ------------------------------------------------------------------------------------------------

    def begin(self, browser: Client | None = None, target: str = TARGET) -> Answer:
        """Ask for a protected page: the redirect to the provider, or a refusal."""
        return (browser or self.browser).get(target)

    def authorized(self, start: Answer) -> SentBack:
        """What the provider, which this redirect names, sends back through the browser."""
        provider = next(each for each in self.providers if start.location.startswith(f"{each.base}/authorize"))
        return provider.authorize(start.location)

    def carry(self, back: SentBack, browser: Client | None = None, **options: Any) -> Answer:
        """Take the provider's answer to the callback, as a browser does: from the provider's site."""
        browser = browser or self.browser
        initiator = self.providers[0].issuer
        if back.mode == "form_post":
            return browser.post(back.url, back.parameters, initiator=initiator, **options)
        return browser.get(back.query_url, initiator=initiator, **options)

    def log_in(self, browser: Client | None = None, target: str = TARGET) -> Ending:
        """A whole login, or as far as it goes."""
        started = time.monotonic()
        start = self.begin(browser, target)
        if start.status != 302:
            return Ending(start, "begin", time.monotonic() - started)
        answer = self.carry(self.authorized(start), browser)
        return Ending(answer, "callback", time.monotonic() - started)

    # --- what became of it --------------------------------------------------------------------------------------

    def count(self) -> dict[str, int]:
        """How many users, links and sessions there are."""
        with closing(sqlite3.connect(self.database)) as connection:
            return {
                what: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for what, table in TABLES.items()
            }

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(f"SELECT * FROM {table}").fetchall()

    def live_sessions(self) -> int:
        with closing(sqlite3.connect(self.database)) as connection:
            found: int = connection.execute("SELECT count(*) FROM jit_sessions WHERE ended_at IS NULL").fetchone()[0]
            return found

    def audit(self, kind: str | None = None) -> list[AuditEvent]:
        """The events in order, of one type or all."""
        ledger = open_ledger(self.settings)
        try:
            return list(step(ledger.list_audit(type=kind)))
        finally:
            step(ledger.close())

    def has_session(self, answer: Answer) -> bool:
        """Whether this answer gives the browser a session."""
        return any(line.startswith(f"{SESSION}=") and "Max-Age=0" not in line for line in answer.all("set-cookie"))
