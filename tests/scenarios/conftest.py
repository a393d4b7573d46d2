"""The stage of every story: a wrapped app in one world, a real provider, a real database, and people with browsers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from jit_middleware.bridge import step
from jit_middleware.model import Account, AuditEvent
from jit_middleware.outside import open_ledger
from jit_middleware.ports import Ledger, UserStore
from jit_middleware.settings import Settings
from tests.adversarial.provider import HostileProvider
from tests.adversarial.wire import Wire
from tests.client import Client, Edge, middleware_of
from tests.contract.conftest import ready_url
from tests.peers.agent import Agent, Departure
from tests.peers.databases import mariadb_server, postgresql_server
from tests.peers.oidc_provider import Provider
from tests.worlds import Answer, Outgoing

__all__ = ["mariadb_server", "postgresql_server"]

SECRET = "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM"
SYNC_DRIVERS = {
    "sqlite+aiosqlite": "sqlite",
    "postgresql+asyncpg": "postgresql+psycopg",
    "mariadb+aiomysql": "mariadb+pymysql",
}
WORLDS: tuple[tuple[Edge, str], ...] = (
    ("wsgi", "sqlite"),
    ("asgi", "sqlite"),
    ("asgi", "sqlite+aiosqlite"),
    ("wsgi", "postgresql+psycopg"),
    ("asgi", "postgresql+psycopg"),
    ("asgi", "postgresql+asyncpg"),
    ("wsgi", "mariadb+pymysql"),
    ("asgi", "mariadb+pymysql"),
    ("asgi", "mariadb+aiomysql"),
)
EDGES: tuple[tuple[Edge, str], ...] = WORLDS[:2]
#: Without the sync drivers of servers under ASGI: their threads take turns as they do with SQLite.
RACING: tuple[tuple[Edge, str], ...] = tuple(
    world for world in WORLDS if world[1] == "sqlite" or (world[0] == "wsgi") == (world[1] in SYNC_DRIVERS.values())
)
_numbers = itertools.count(1)


class StageClock:
    """The real clocks (a real provider lives by them), and the time that a story lets pass on top."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> int:
        return int(time.time() + self.passed)

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    def advance(self, seconds: float) -> None:
        self.passed += seconds


@dataclass
class Stage:
    """One application behind the middleware, and what a story asks of it."""

    edge: Edge
    provider: Provider
    env: dict[str, str]
    clock: StageClock
    users: UserStore | None
    database_url: str
    closing: ExitStack
    ports: Mapping[str, object] = field(default_factory=dict)
    client: Client = field(init=False)
    settings: Settings = field(init=False)
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings.load(self.env)
        self.client = self._worker(self.settings)
        driver = self.database_url.partition(":")[0]
        url = self.database_url.replace(driver, SYNC_DRIVERS.get(driver, driver), 1)
        self.ledger = open_ledger(replace(self.settings, database_url=url), keep_users=self.users is None)
        self.closing.callback(lambda: step(self.ledger.close()))

    def worker(self, **changes: str) -> Client:
        """One more worker process's worth of middleware over the same database."""
        return self._worker(Settings.load({**self.env, **changes}))

    def _worker(self, settings: Settings) -> Client:
        def wrap(app: Any) -> Any:
            return middleware_of(self.edge)(app, settings, users=self.users, clock=self.clock, **self.ports)

        origin = settings.public_url.origin
        client = Client(self.edge, wrap, origin=origin, mount=settings.public_url.mount, now=self.clock.now)
        return self.closing.enter_context(client)

    def person(self, subject: str, **claims: object) -> str:
        """Make a person at the provider; the subject is unique to this stage."""
        name = f"{subject}-{self.env['JIT_OIDC_CLIENT_ID']}"
        email = claims.pop("email", f"{name}@example.org")
        self.provider.add_user(
            name,
            {"preferred_username": name, "name": subject.title(), "email": email, "email_verified": True, **claims},
        )
        return name

    def agent(self, who: str) -> Agent:
        return self.closing.enter_context(self.provider.agent(who))

    def sign_in(
        self, who: str, target: str = "/", *, client: Client | None = None, agent: Agent | None = None
    ) -> Answer:
        """The whole way: ask for the target, sign in at the provider, come back; what the browser sees in the end."""
        client = client or self.client
        landed = self.come_back(client, self.depart(client, agent or self.agent(who), target))
        return client.get(landed.location) if landed.status == 303 else landed

    def depart(self, client: Client, agent: Agent, target: str = "/") -> Departure:
        """From the app to the provider, and through it: the answer that the browser is about to carry back."""
        sent = client.get(target)
        assert sent.status == 302, (sent.status, sent.text)
        return agent.visit(sent.location)

    def come_back(self, client: Client, departure: Departure) -> Answer:
        """Carry the provider's answer to the callback."""
        if departure.fields is None:
            return client.get(departure.url, initiator=self.provider.issuer)
        return client.post(departure.url, departure.fields, initiator=self.provider.issuer)

    def callback_request(self, client: Client, departure: Departure) -> Outgoing:
        return client.prepare("GET", departure.url, initiator=self.provider.issuer)

    # --- what the ledger says --------------------------------------------------------------------------------------

    def events(self, *types: str) -> Sequence[AuditEvent]:
        events = self.client.world.beside(lambda: step(self.ledger.list_audit(limit=10_000)))
        return [event for event in events if not types or event.type in types]

    def accounts(self) -> Sequence[Account]:
        return step(self.ledger.list_users())


class StageBuilder:
    """Builds stages; each has its own client at the provider and its own database."""

    def __init__(
        self, world: tuple[Edge, str], provider: Provider, request: Any, directory: Path, closing: ExitStack
    ) -> None:
        self.edge, self._driver = world
        self._provider = provider
        self._request = request
        self._directory = directory
        self._closing = closing

    def __call__(
        self,
        *,
        mount: str = "",
        users: UserStore | None = None,
        registration: Mapping[str, object] | None = None,
        database_url: str | None = None,
        ports: Mapping[str, object] | None = None,
        **env: str,
    ) -> Stage:
        name = f"app{next(_numbers)}-{self.edge}-{time.monotonic_ns() % 10**9}"
        base = f"http://localhost:8000{mount}"
        client = self._provider.register(
            client_id=name,
            redirect_uris=[f"{base}/_jit/callback/oidc"],
            post_logout_redirect_uris=[f"{base}/_jit/signed-out"],
            **(registration or {}),
        )
        url = database_url or ready_url(self._driver, self._request, self._directory)
        settings = {
            "JIT_PUBLIC_URL": base,
            "JIT_SECRET_KEY": SECRET,
            "JIT_OIDC_ISSUER": self._provider.issuer,
            "JIT_OIDC_CLIENT_ID": name,
            **({} if client.client_secret is None else {"JIT_OIDC_CLIENT_SECRET": client.client_secret}),
            "JIT_DATABASE_URL": url,
            **env,
        }
        return Stage(self.edge, self._provider, settings, StageClock(), users, url, self._closing, ports or {})


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _builder(
    request: pytest.FixtureRequest, provider: Provider, tmp_path: Path, closing: ExitStack
) -> Generator[StageBuilder]:
    yield StageBuilder(request.param, provider, request, tmp_path, closing)


def _id(world: tuple[Edge, str]) -> str:
    return f"{world[0]}-{world[1]}"


in_every_world = pytest.fixture(params=WORLDS, ids=_id, name="any_world")(_builder)
in_every_race = pytest.fixture(params=RACING, ids=_id, name="racing_world")(_builder)
on_both_edges = pytest.fixture(params=EDGES, ids=_id, name="build")(_builder)


@pytest.fixture(scope="session")
def wire() -> Iterator[Wire]:
    """The socket of the providers that bend."""
    with Wire() as server:
        yield server
        assert server.failures == []


@pytest.fixture(params=["wsgi", "asgi"])
def bent(request: pytest.FixtureRequest, wire: Wire, tmp_path: Path, closing: ExitStack) -> Iterator[Any]:
    """Makes an application on one edge, before a provider that shares its clock."""
    from tests.scenarios.bent import BentStage

    made: list[BentStage] = []

    def make(**env: str) -> BentStage:
        provider = HostileProvider(wire, f"bent{next(_numbers)}-{request.param}")
        made.append(BentStage(request.param, provider, tmp_path, closing, env))
        return made[-1]

    yield make
    assert [stage.provider.complaints for stage in made if stage.provider.complaints] == []
