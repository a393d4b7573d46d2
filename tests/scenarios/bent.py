"""An application before a provider that shares its clock, and that a story can bend: what a real one does only by chance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jit_middleware.bridge import step
from jit_middleware.model import AuditEvent, SessionRecord
from jit_middleware.outside import open_ledger
from jit_middleware.settings import Settings
from tests.adversarial.provider import CLIENT_ID, HostileProvider, SentBack
from tests.client import Client, Edge, middleware_of
from tests.conftest import FakeClock
from tests.databases import prepared
from tests.scenarios.conftest import SECRET
from tests.worlds import Answer, AsgiWorld

ORIGIN = "http://localhost:8000"


class BentStage:
    """One application in one world; ``told`` is added to the ID tokens, whose times are those of the stage's clock."""

    def __init__(
        self, edge: Edge, provider: HostileProvider, directory: Path, closing: ExitStack, env: Mapping[str, str]
    ) -> None:
        self.edge = edge
        self.provider = provider
        self.clock = FakeClock(seconds=float(int(time.time())))
        self.told: dict[str, Any] = {}
        self.env = {
            "JIT_PUBLIC_URL": ORIGIN,
            "JIT_SECRET_KEY": SECRET,
            "JIT_OIDC_ISSUER": provider.issuer,
            "JIT_OIDC_CLIENT_ID": CLIENT_ID,
            "JIT_OIDC_CLIENT_SECRET": provider.client_secret,
            "JIT_DATABASE_URL": f"sqlite:///{prepared(directory / 'jit.db')}",
            **env,
        }
        self._closing = closing
        settings = Settings.load(self.env)
        self.client = self._worker(settings)
        self.ledger = open_ledger(settings)
        closing.callback(lambda: step(self.ledger.close()))
        provider.on_claims.append(self._tell)

    def _tell(self, claims: dict[str, Any]) -> None:
        now = self.clock.now()
        claims.update(iat=now, exp=now + 300)
        claims.update({name: value() if callable(value) else value for name, value in self.told.items()})

    def worker(self, **changes: str) -> Client:
        """One more worker process's worth of middleware over the same database."""
        return self._worker(Settings.load({**self.env, **changes}))

    def _worker(self, settings: Settings) -> Client:
        def wrap(app: Any) -> Any:
            return middleware_of(self.edge)(app, settings, clock=self.clock)

        client = Client(self.edge, wrap, origin=ORIGIN, now=self.clock.now)
        return self._closing.enter_context(client)

    def asked(self, sent: Answer) -> dict[str, str]:
        """The authorization request that the browser is sent away with."""
        assert sent.status == 302, (sent.status, sent.text)
        assert sent.location.startswith(f"{self.provider.base}/authorize"), sent.location
        return dict(parse_qsl(urlsplit(sent.location).query))

    def through(self, sent: Answer, client: Client | None = None) -> Answer:
        """Through the provider and back to the callback."""
        back: SentBack = self.provider.authorize(sent.location)
        return (client or self.client).get(back.query_url, initiator=self.provider.issuer)

    def sign_in(self, target: str = "/", client: Client | None = None) -> Answer:
        """The whole way."""
        client = client or self.client
        landed = self.through(client.get(target), client)
        assert landed.status == 303, (landed.status, landed.text)
        return client.get(landed.location)

    def events(self, *types: str) -> Sequence[AuditEvent]:
        events = step(self.ledger.list_audit(limit=1000))
        return [event for event in events if not types or event.type in types]

    def live(self) -> Sequence[SessionRecord]:
        async def work(tx: Any) -> Sequence[SessionRecord]:
            found: Sequence[SessionRecord] = await tx.list_sessions()
            # The ledger's own clock is the machine's.
            return [session for session in found if session.expires_at > self.clock.now()]

        return step(self.ledger.transaction(work))


def session_id(client: Client) -> str:
    """The id in the browser's session cookie."""
    value = client.jar.get("jit")
    assert value is not None
    return value.split(":")[1]


def answered(*clients: Client) -> None:
    """Wait until everything that these workers ask the provider beside the requests has come to its end."""

    def is_over(client: Client) -> bool:
        lines = client.middleware.gate.house.sessions._probes._lines.values()
        return not any(line or line.is_asking for line in lines)

    async def wait(client: Client) -> None:
        while not is_over(client):
            await asyncio.sleep(0.005)

    end = time.monotonic() + 20
    for client in clients:
        if isinstance(client.world, AsgiWorld):
            client.world._runner.run(asyncio.wait_for(wait(client), 20))
            continue
        while not is_over(client):
            assert time.monotonic() < end
            time.sleep(0.005)
