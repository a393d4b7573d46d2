"""From a database URL to an engine. The rule: the driver never opens a transaction by itself, we say ``BEGIN``.

Every connection is in driver autocommit; :class:`~jit_middleware_sqlalchemy.transaction.Tx` begins, commits and rolls
back in plain SQL. A read costs one round trip then, and a login's one combined write commits itself.
"""

from __future__ import annotations

import importlib
import os
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from jit_middleware.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    import asyncio

    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

SETTING: Final = "JIT_DATABASE_URL"
LOCK_SECONDS: Final = 5
CONNECT_SECONDS: Final = 5

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
_CONNECT_ARGUMENTS: Final[dict[str, dict[str, object]]] = {
    "psycopg": {"connect_timeout": CONNECT_SECONDS},
    "asyncpg": {"timeout": CONNECT_SECONDS},
    "pymysql": {"connect_timeout": CONNECT_SECONDS},
    "aiomysql": {"connect_timeout": CONNECT_SECONDS},
}


class _Cursor(Protocol):
    def execute(self, statement: str, /) -> object: ...
    def fetchone(self) -> tuple[object, ...] | None: ...
    def close(self) -> None: ...


class _DriverConnection(Protocol):
    def cursor(self) -> _Cursor: ...


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

    Connections never cross a fork, and those of an async driver never cross an event loop: either starts a new pool.
    """

    def __init__(self, url: str, *, pool_size: int) -> None:
        self.url = parse_url(url)
        self._async_engine: AsyncEngine | None = None
        is_async = bool(self.url.get_dialect().is_async)
        options = _options(self.url, pool_size=pool_size, is_async=is_async)
        if is_async:
            # Here, not above: what it brings weighs eight megabytes, which a sync driver has no use for.
            from sqlalchemy.ext.asyncio import create_async_engine

            self._async_engine = create_async_engine(self.url, **options)
            self.engine: Engine = self._async_engine.sync_engine
        else:
            self.engine = create_engine(self.url, **options)
        self.kind = "mariadb" if self.engine.dialect.name == "mysql" else self.engine.dialect.name
        self.connect_errors = _connect_errors(self.url)
        self._pid = os.getpid()
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        event.listen(self.engine, "connect", _SET_UP[self.kind])

    @property
    def is_async(self) -> bool:
        """Whether coroutines that use it need an event loop."""
        return self._async_engine is not None

    async def use(self, body: Callable[[Connection], T]) -> T:
        """Run ``body`` on a connection; finishes in one step with a sync driver."""
        if self._pid != os.getpid():
            self._forget()
            self._pid = os.getpid()
        if self._async_engine is None:
            with self.engine.connect() as connection:
                return self._on(connection, body)
        import asyncio

        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop() is not loop:
            if self._loop is not None:
                self._forget()
            self._loop = weakref.ref(loop)
        async with self._async_engine.connect() as later:
            return await later.run_sync(lambda connection: self._on(connection, body))

    def _on(self, connection: Connection, body: Callable[[Connection], T]) -> T:
        pool = self.engine.pool
        try:
            return body(connection)
        finally:
            # Closed meanwhile: in the pool it would go back to, nobody would ever close it.
            if self.engine.pool is not pool and not (connection.closed or connection.invalidated):
                connection.detach()

    async def close(self) -> None:
        """Close every pooled connection."""
        if self._async_engine is None:
            self.engine.dispose()
        else:
            await self._async_engine.dispose()

    def _forget(self) -> None:
        self.engine.dispose(close=False)


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


def _options(url: URL, *, pool_size: int, is_async: bool) -> dict[str, object]:
    driver = url.drivername.partition("+")[2]
    given = set(url.query)
    arguments = {key: value for key, value in _CONNECT_ARGUMENTS.get(driver, {}).items() if key not in given}
    options: dict[str, object] = {
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "pool_reset_on_return": None,
        "hide_parameters": True,
        # Its check does not understand outer joins on MariaDB; the queries are few and tested.
        "enable_from_linting": False,
        "poolclass": AsyncAdaptedQueuePool if is_async else QueuePool,
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
    if url.get_backend_name() in {"mysql", "mariadb"} and "charset" not in given:
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
    cursor.close()


def _set_up_postgresql(connection: _DriverConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    cursor.close()


def _set_up_mariadb(connection: _DriverConnection, _record: object) -> None:
    cursor = connection.cursor()
    # Strict: too long is an error, never a shorter name that is somebody else's.
    cursor.execute(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ENGINE_SUBSTITUTION',"
        f" innodb_lock_wait_timeout = {LOCK_SECONDS}, tx_isolation = 'READ-COMMITTED'"
    )
    cursor.close()


_SET_UP: Final = {"sqlite": _set_up_sqlite, "postgresql": _set_up_postgresql, "mariadb": _set_up_mariadb}
