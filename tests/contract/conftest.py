"""The matrix: every contract runs on every database with every driver we support."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, delete, update

from jit_middleware.ports import Neighbours
from jit_middleware_sqlalchemy import SQLAlchemyLedger, Waits
from jit_middleware_sqlalchemy.engine import step
from jit_middleware_sqlalchemy.schema import PROBE, metadata
from tests.databases import prepared
from tests.peers.databases import DatabaseServer, mariadb_server, postgresql_server

__all__ = ["mariadb_server", "postgresql_server"]

T = TypeVar("T")

DRIVERS = (
    "sqlite",
    "sqlite+aiosqlite",
    "postgresql+psycopg",
    "postgresql+asyncpg",
    "mariadb+pymysql",
    "mariadb+aiomysql",
)
_numbers = itertools.count()


@dataclass(slots=True)
class FakeClock:
    """A clock that the test moves."""

    seconds: int = 1_800_000_000

    def now(self) -> int:
        return self.seconds

    def monotonic(self) -> float:
        return float(self.seconds)


def tokens(bytes_of_entropy: int = 32) -> str:
    return secrets.token_urlsafe(bytes_of_entropy)


@dataclass(slots=True)
class Rig:
    """A ledger and the world its driver needs: nothing, or one event loop."""

    ledger: SQLAlchemyLedger
    clock: FakeClock
    url: str
    runner: asyncio.Runner | None = field(default=None)

    def run(self, awaitable: Awaitable[T]) -> T:
        """The result, stepped or awaited."""
        if self.runner is None:
            return step(awaitable)

        async def main() -> T:
            return await awaitable

        return self.runner.run(main())

    def together(self, calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T | BaseException]:
        """All at once: a thread each, or a task each; exceptions are handed back."""
        if self.runner is not None:

            async def main() -> list[T | BaseException]:
                return await asyncio.gather(*(_task(call) for call in calls), return_exceptions=True)

            return self.runner.run(main())
        start = threading.Barrier(len(calls))

        def one(call: Callable[[], Awaitable[T]]) -> T:
            start.wait()
            return step(call())

        with ThreadPoolExecutor(len(calls)) as pool:
            futures = [pool.submit(one, call) for call in calls]
            return [future.exception() or future.result() for future in futures]

    @property
    def kind(self) -> str:
        return self.ledger.database.kind


async def _task(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def open_rig(driver: str, url: str, **options: bool | int | Neighbours | Waits) -> Rig:
    clock = FakeClock()
    ledger = SQLAlchemyLedger(url, clock=clock, tokens=tokens, **options)  # type: ignore[arg-type]
    rig = Rig(ledger, clock, url, asyncio.Runner() if ledger.answers == "later" else None)
    rig.run(ledger.prepare())
    return rig


def close_rig(rig: Rig) -> None:
    rig.run(rig.ledger.close())
    if rig.runner is not None:
        rig.runner.close()


def new_url(driver: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """The URL of an empty database."""
    name = f"jit{next(_numbers)}"
    kind = driver.partition("+")[0]
    if kind == "sqlite":
        return f"{driver}:///{directory / name}.db"
    server: DatabaseServer = request.getfixturevalue(f"{kind}_server")
    server.new_database(name)
    if kind == "postgresql":
        return f"{driver}://postgres@/{name}?host={server.socket}"
    return f"{driver}://root@localhost/{name}?unix_socket={server.socket}"


def ready_url(driver: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """The same for stories, which begin with the schema where that is quickly had."""
    url = new_url(driver, request, directory)
    if url.startswith("sqlite"):
        prepared(Path(url.partition(":///")[2]))
    return url


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def open_database(
    driver: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Rig]:
    rig = open_rig(driver, new_url(driver, request, tmp_path_factory.mktemp("db")))
    yield rig
    close_rig(rig)


@pytest.fixture
def rig(open_database: Rig) -> Rig:
    """A ledger with an empty schema."""
    open_database.clock.seconds = FakeClock().seconds
    open_database.run(open_database.ledger.database.use(_empty))
    return open_database


@pytest.fixture
def empty_url(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without our schema."""
    return new_url(driver, request, tmp_path)


def _empty(connection: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        if table.name == "jit_feed_head":
            connection.execute(update(table).values(position=0, pruned=0))
        elif table.name == "jit_meta":
            connection.execute(delete(table).where(table.c.name != PROBE))
        else:
            connection.execute(delete(table))
