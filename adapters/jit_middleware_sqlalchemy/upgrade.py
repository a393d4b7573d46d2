"""The schema's version: made, checked and moved on. Alembic is imported only when there is something to do.

A missing schema is made at the first start, by one process while the others wait. An old one is moved on by
``jit-middleware migrate``, because on a shared database that is the operator's decision; on SQLite, which has one
owner, it happens at start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Connection, String, case, column, select, table, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from jit_middleware.errors import ConfigurationError, Fault, StoreUnavailable
from jit_middleware_sqlalchemy.deadlines import PATIENT, PROMPT, Waits
from jit_middleware_sqlalchemy.engine import SETTING, Database, step
from jit_middleware_sqlalchemy.failures import Again, is_missing_table, translate
from jit_middleware_sqlalchemy.schema import PROBE, PROBE_LOOKALIKES, SCHEMA_HEAD, VERSION_TABLE, meta

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

T = TypeVar("T")

_LOCK_NUMBER: Final = 0x6A69745F
_LOCK_NAME: Final = "jit_middleware_schema"
_LOCK_SECONDS: Final = 60
_VERSION: Final = select(column("version_num", String)).select_from(table(VERSION_TABLE))
_PROBE: Final = select(meta.c.name, case((meta.c.name.in_(PROBE_LOOKALIKES), 1), else_=0)).where(
    meta.c.name.in_([PROBE, *PROBE_LOOKALIKES])
)


def migrate(url: str) -> list[str]:
    """Bring the schema at ``url`` up to this version of the code; the steps applied, oldest first.

    Raises ``ConfigurationError`` when the schema is newer than the code, ``StoreUnavailable``.
    """
    return _once(url, _upgrade, PATIENT)


def schema_version(url: str) -> str | None:
    """The version of the schema at ``url``; ``None`` when there is none. Waits no longer than a request would."""
    return _once(url, _read_version, PROMPT)


def is_current(connection: Connection) -> bool:
    """Whether there is nothing to make or to refuse: the schema is that of this code, and equality is exact.

    Raises ``ConfigurationError`` when it is not.
    """
    if _read_version(connection) != SCHEMA_HEAD:
        return False
    _prove_exact(connection)
    return True


def prepare_schema(connection: Connection) -> None:
    """Make a missing schema, refuse one of another version, and prove that equality is exact.

    Raises ``ConfigurationError``.
    """
    version = _read_version(connection)
    if version != SCHEMA_HEAD:
        if version is not None and not _is_older(version):
            raise _newer(version)
        if version is not None and connection.dialect.name != "sqlite":
            _wait_for_head(connection)
        else:
            _upgrade(connection)
    _prove_exact(connection)


def _wait_for_head(connection: Connection) -> None:
    """Let a process that makes the schema come to its end: MariaDB commits each of the steps. Raises
    ``ConfigurationError`` when nobody is making it."""
    with _schema_lock(connection):
        version = _read_version_locked(connection)
    if version != SCHEMA_HEAD:
        problem = f"the schema is version {version}, this code needs {SCHEMA_HEAD}."
        raise ConfigurationError([Fault(SETTING, problem, "run `jit-middleware migrate`.")])


def _prove_exact(connection: Connection) -> None:
    """Ask for names that only a forgiving collation finds (attack: another person's subject equals yours)."""
    if [tuple(row) for row in connection.execute(_PROBE)] != [(PROBE, 0)]:
        fix = "recreate the jit_ tables with a binary collation (MariaDB: utf8mb4_nopad_bin)."
        raise ConfigurationError([Fault(SETTING, "its text comparison confuses different identities.", fix)])


def _read_version(connection: Connection) -> str | None:
    try:
        found = connection.execute(_VERSION).scalar()
    except DBAPIError as error:
        if is_missing_table(error):
            return None
        raise
    return None if found is None else str(found)


def _upgrade(connection: Connection) -> list[str]:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = _config()
    script = ScriptDirectory.from_config(config)
    with _schema_lock(connection):
        version = _read_version_locked(connection)
        if version is not None and version not in _known(script):
            raise _newer(version)
        steps = [f"{step.revision} {step.doc}" for step in script.iterate_revisions(SCHEMA_HEAD, version or "base")]
        if steps:
            config.attributes["connection"] = connection
            command.upgrade(config, SCHEMA_HEAD)
    return steps[::-1]


def _read_version_locked(connection: Connection) -> str | None:
    """The version without an error for a missing table, which on PostgreSQL would spoil the open transaction."""
    if not connection.dialect.has_table(connection, VERSION_TABLE):
        return None
    return _read_version(connection)


@contextmanager
def _schema_lock(connection: Connection) -> Generator[None]:
    """One process at a time; on PostgreSQL and SQLite all steps are one transaction as well.

    Whatever fails leaves no transaction behind on the connection.
    """
    match connection.dialect.name:
        case "postgresql":
            before = ["BEGIN", "SET LOCAL lock_timeout = 0", f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})"]
            # Not earlier: how long to wait for others is the operator's to limit, how long a step takes is not.
            before.append("SET LOCAL statement_timeout = 0")
            after, undo = "COMMIT", "ROLLBACK"
        case "sqlite":
            before, after, undo = ["BEGIN IMMEDIATE"], "COMMIT", "ROLLBACK"
        case _:
            before = []
            after = undo = f"SELECT RELEASE_LOCK('{_LOCK_NAME}')"
            if connection.execute(text(f"SELECT GET_LOCK('{_LOCK_NAME}', {_LOCK_SECONDS})")).scalar() != 1:
                raise StoreUnavailable("schema_locked", "another process is changing the schema")
    try:
        for statement in before:
            connection.exec_driver_sql(statement)
        yield
        connection.exec_driver_sql(after)
    except BaseException as error:
        _leave(connection, undo, interrupted=not isinstance(error, Exception))
        raise


def _leave(connection: Connection, undo: str, *, interrupted: bool) -> None:
    if interrupted:
        # In the middle of a statement: the driver may still be reading the answer.
        connection.invalidate()
    elif not connection.invalidated:
        try:
            connection.exec_driver_sql(undo)
        except DBAPIError:
            connection.invalidate()


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _known(script: ScriptDirectory) -> set[str]:
    return {step.revision for step in script.walk_revisions()}


def _is_older(version: str) -> bool:
    from alembic.script import ScriptDirectory

    return version in _known(ScriptDirectory.from_config(_config()))


def _newer(version: str) -> ConfigurationError:
    problem = f"the schema is version {version}, newer than this code, which knows {SCHEMA_HEAD}."
    return ConfigurationError([Fault(SETTING, problem, "install the version of jit-middleware that wrote it.")])


def _once(url: str, body: Callable[[Connection], T], waits: Waits) -> T:
    """Run ``body`` on a connection of its own, with either kind of driver."""
    database = Database(url, pool_size=1, waits=waits)

    async def use() -> T:
        try:
            return await database.use(body)
        finally:
            await database.close()

    try:
        return asyncio.run(use()) if database.is_async else step(use())
    except SQLAlchemyError as error:
        failure = translate(error, nothing_sent=True)
    except database.connect_errors as error:
        failure = translate(error, nothing_sent=True)
    raise failure.failure if isinstance(failure, Again) else failure
