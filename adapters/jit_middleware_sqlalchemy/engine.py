"""From a database URL to an engine. The rule: the driver never opens a transaction by itself, we say ``BEGIN``.

Every connection is in driver autocommit; :class:`~jit_middleware_sqlalchemy.transaction.Tx` begins, commits and rolls
back in plain SQL. A read costs one round trip then, and a login's one combined write commits itself.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import Pool, QueuePool

from jit_middleware.errors import ConfigurationError, Fault, StoreUnavailable
from jit_middleware_sqlalchemy.deadlines import (
    LOCK_SECONDS,
    PATIENT,
    PROMPT,
    Waits,
    connect_arguments,
    session_statement,
)

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from jit_middleware_sqlalchemy.pools import LoopPool

T = TypeVar("T")

SETTING: Final = "JIT_DATABASE_URL"

_DRIVERS: Final = {
    "sqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_EXTRAS: Final = {
    "psycopg": "postgresql",
    "asyncpg": "postgresql-async",
    "pymysql": "mariadb",
    "aiomysql": "mariadb-async",
    "aiosqlite": "sqlite-async",
}


class _Cursor(Protocol):
    def execute(self, statement: str, /) -> object: ...
    def fetchone(self) -> tuple[object, ...] | None: ...
    def close(self) -> None: ...


class _DriverConnection(Protocol):
    def cursor(self) -> _Cursor: ...


class _Session(Protocol):
    @property
    def transaction_status(self) -> int: ...


class _Transactional(Protocol):
    """What is used of the drivers' own connections: of each driver one of these."""

    @property
    def pgconn(self) -> _Session: ...
    def is_in_transaction(self) -> bool: ...
    @property
    def server_status(self) -> int: ...
    @property
    def in_transaction(self) -> bool: ...


def parse_url(url: str) -> URL:
    """The URL with its driver named. Raises ``ConfigurationError`` when it is none, or the driver is not installed."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        # The text itself may hold a password: it is not repeated.
        raise _refusal("it is not a database URL.", "write it like postgresql://user:password@host/name.") from None
    parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
    if parsed.get_backend_name() not in {"sqlite", "postgresql", "mysql", "mariadb"}:
        raise _refusal(
            f"the database {parsed.get_backend_name()!r} is not supported.", "use PostgreSQL, MariaDB or SQLite."
        )
    driver = parsed.drivername.partition("+")[2]
    extra = _EXTRAS.get(driver)
    try:
        dialect = parsed.get_dialect()
        if extra is not None:
            importlib.import_module(driver)
        dialect.import_dbapi()
    except NoSuchModuleError:
        raise _refusal(
            f"the driver {parsed.drivername!r} is unknown.", f"use one of {', '.join(sorted(_EXTRAS))}."
        ) from None
    except ImportError:
        wanted = f"pip install 'jit-middleware[{extra}]'" if extra else f"pip install {driver}"
        raise _refusal(f"the driver {driver!r} is not installed.", f"{wanted}.") from None
    return parsed


class Database:
    """One engine, sync or async, behind one way to use a connection.

    Connections never cross a fork, and those of an async driver never cross an event loop: either has its own pool.
    Nobody is kept waiting for longer than ``waits`` says.
    """

    def __init__(self, url: str, *, pool_size: int, waits: Waits = PROMPT) -> None:
        self.url = parse_url(url)
        self._given = url
        self.waits = waits
        self._async_engine: AsyncEngine | None = None
        is_async = bool(self.url.get_dialect().is_async)
        options = _options(self.url, pool_size=pool_size, waits=waits)
        if is_async:
            # Here, not above: what it brings weighs eight megabytes, which a sync driver has no use for.
            from sqlalchemy.ext.asyncio import create_async_engine

            from jit_middleware_sqlalchemy.pools import LoopPool

            self._async_engine = create_async_engine(self.url, poolclass=LoopPool, **options)
            self.engine: Engine = self._async_engine.sync_engine
        else:
            self.engine = create_engine(self.url, poolclass=QueuePool, **options)
        self.kind = "mariadb" if self.engine.dialect.name == "mysql" else self.engine.dialect.name
        self.connect_errors = _connect_errors(self.url)
        self._pid = os.getpid()
        _listen(self.engine, self.url, waits)

    @property
    def is_async(self) -> bool:
        """Whether coroutines that use it need an event loop."""
        return self._async_engine is not None

    async def use(self, body: Callable[[Connection], T]) -> T:
        """Run ``body`` on a connection; finishes in one step with a sync driver."""
        if self._pid != os.getpid():
            self.engine.dispose(close=False)
            self._pid = os.getpid()
        if self._async_engine is None:
            with self.engine.connect() as connection:
                return self._on(connection, body)
        return await self._use_later(self._async_engine, body)

    async def use_patiently(self, body: Callable[[Connection], T]) -> T:
        """Run ``body``, which may take long, on a connection of its own."""
        if self.kind == "sqlite" or self.waits == PATIENT:
            return await self.use(body)
        other = Database(self._given, pool_size=1, waits=PATIENT)
        try:
            return await other.use(body)
        finally:
            await other.close()

    async def _use_later(self, engine: AsyncEngine, body: Callable[[Connection], T]) -> T:
        import asyncio

        # SQLite waits for locks only, and has a limit for those.
        limit = asyncio.timeout(None if self.kind == "sqlite" else self.waits.use)
        try:
            async with limit, engine.connect() as later:
                return await later.run_sync(lambda connection: self._on(connection, body))
        except TimeoutError as error:
            if not limit.expired():
                raise
            # What happened to this connection has happened to the others.
            cast("LoopPool", self.engine.pool).distrust()
            raise StoreUnavailable("no_answer", type(error).__name__) from None

    def _on(self, connection: Connection, body: Callable[[Connection], T]) -> T:
        pool = self._pool()
        try:
            return body(connection)
        except BaseException:
            if not (connection.closed or connection.invalidated) and self._is_in_transaction(connection):
                # In the pool, it would fail whoever gets it next, or commit their work with its own.
                connection.invalidate()
            raise
        finally:
            # Closed meanwhile: in the pool it would go back to, nobody would ever close it.
            if self._pool() is not pool and not (connection.closed or connection.invalidated):
                connection.detach()

    def _pool(self) -> Pool:
        pool = self.engine.pool
        return pool if self._async_engine is None else cast("LoopPool", pool).here()

    def _is_in_transaction(self, connection: Connection) -> bool:
        """What the driver knows of it, without asking the server."""
        driver = cast("_Transactional", connection.connection.driver_connection)
        match self.engine.dialect.driver:
            case "psycopg" | "psycopg_async":
                return int(driver.pgconn.transaction_status) != 0
            case "asyncpg":
                return driver.is_in_transaction()
            case "pymysql" | "aiomysql":
                return bool(driver.server_status & 1)
            case _:
                return driver.in_transaction

    async def close(self) -> None:
        """Close every pooled connection; with an async driver, every one of the running event loop."""
        if self._async_engine is None:
            self.engine.dispose()
        else:
            from sqlalchemy.util import greenlet_spawn

            # Not the engine's own way, which puts another pool in its place.
            await greenlet_spawn(self.engine.pool.dispose)


def step(awaitable: Awaitable[T]) -> T:
    """The result of work that awaits nothing but this transaction.

    Raises ``RuntimeError`` when it awaits anything else: an open transaction must not wait for the outside.
    """
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as done:
        value: T = done.value
        return value
    steps.close()
    raise RuntimeError("a unit of work on the ledger may await nothing but its own transaction")


def _refusal(problem: str, fix: str) -> ConfigurationError:
    return ConfigurationError([Fault(SETTING, problem, fix)])


def _options(url: URL, *, pool_size: int, waits: Waits) -> dict[str, object]:
    arguments = connect_arguments(url, waits)
    options: dict[str, object] = {
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_reset_on_return": None,
        "hide_parameters": True,
        # Its check does not understand outer joins on MariaDB; the queries are few and tested.
        "enable_from_linting": False,
        "pool_size": pool_size,
        "max_overflow": pool_size,
        "pool_timeout": 10.0,
    }
    if url.get_backend_name() == "sqlite":
        arguments |= {"check_same_thread": False, "timeout": LOCK_SECONDS}
        if _in_memory(url):
            # A database in memory lives in its one connection, which everybody takes in turn.
            options |= {"pool_size": 1, "max_overflow": 0}
    else:
        options["pool_recycle"] = 1800
    if url.get_backend_name() in {"mysql", "mariadb"} and "charset" not in url.query:
        arguments["charset"] = "utf8mb4"
    options["connect_args"] = arguments
    return options


def _in_memory(url: URL) -> bool:
    return url.database in {None, "", ":memory:"} or url.query.get("mode") == "memory"


def _connect_errors(url: URL) -> tuple[type[Exception], ...]:
    """What a driver raises outside SQLAlchemy's tree when it cannot connect."""
    if not url.drivername.endswith("+asyncpg"):
        return (OSError,)
    asyncpg = importlib.import_module("asyncpg")
    found: list[object] = [asyncpg.PostgresError, asyncpg.InterfaceError]
    return (OSError, *(kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception)))


def _listen(engine: Engine, url: URL, waits: Waits) -> None:
    """Have each new connection made and set up as we want it."""
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        return
    statement = session_statement(url, waits)
    if statement is not None:
        event.listen(engine, "connect", _set_up_with(statement))
    if engine.dialect.driver == "psycopg" and not engine.dialect.is_async and waits.answer is not None:
        from jit_middleware_sqlalchemy.prompt import prompt_connection

        event.listen(engine, "do_connect", prompt_connection(waits.answer))


def _set_up_with(statement: str) -> Callable[[_DriverConnection, object], None]:
    def set_up(connection: _DriverConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()

    return set_up


def _set_up_sqlite(connection: _DriverConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={LOCK_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode")
    mode = cursor.fetchone()
    if mode is not None and mode[0] == "delete":
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.fetchone()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    # In kB, and no more than is used: the inner pages of the indices of a million users and sessions.
    cursor.execute("PRAGMA cache_size=-16000")
    cursor.close()
