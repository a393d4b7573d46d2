"""The schema: made once, by whoever comes first, never guessed at."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection

from jit_middleware.errors import ConfigurationError
from jit_middleware_sqlalchemy import SQLAlchemyLedger, migrate, schema_version
from jit_middleware_sqlalchemy.engine import Database, step
from jit_middleware_sqlalchemy.schema import SCHEMA_HEAD, VERSION_TABLE, metadata
from jit_middleware_sqlalchemy.upgrade import _schema_lock
from tests.contract.conftest import FakeClock, Rig, close_rig, open_rig, tokens

pytestmark = pytest.mark.real

START = """
import sys
sys.path[:0] = sys.argv[2:]
import asyncio, secrets
from jit_middleware_sqlalchemy import SQLAlchemyLedger
class Clock:
    def now(self): return 0
    def monotonic(self): return 0.0
async def main():
    ledger = SQLAlchemyLedger(sys.argv[1], clock=Clock(), tokens=secrets.token_urlsafe)
    await ledger.prepare()
    await ledger.close()
"""
# Forked when most is imported, so that they do come at once.
EIGHT_AT_ONCE = """
import alembic.command
import os
waiting, go = os.pipe()
children = []
for _ in range(8):
    child = os.fork()
    if not child:
        os.close(go)
        os.read(waiting, 1)
        asyncio.run(main())
        sys.exit()
    children.append(child)
os.close(go)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_eight_processes_start_at_once_on_an_empty_database(empty_url: str) -> None:
    ends_well(START + EIGHT_AT_ONCE, empty_url)
    assert schema_version(empty_url) == SCHEMA_HEAD


STEPS = ["0001 first schema", "0002 provisioning as policy, and sessions that end when they should"]


def test_migrate_makes_the_schema_and_says_what_it_did(empty_url: str) -> None:
    assert schema_version(empty_url) is None
    assert migrate(empty_url) == STEPS
    assert migrate(empty_url) == []
    assert schema_version(empty_url) == SCHEMA_HEAD


def test_a_start_that_died_half_way_is_taken_up_again(empty_url: str) -> None:
    """MariaDB commits each table by itself, so tables may be there without a version."""
    migrate(empty_url)
    _run(empty_url, f"DELETE FROM {VERSION_TABLE}")
    assert schema_version(empty_url) is None
    assert migrate(empty_url) == STEPS


def test_the_migrations_build_what_the_code_describes(rig: Rig) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": VERSION_TABLE})
        return list(compare_metadata(context, metadata))

    assert rig.run(rig.ledger.database.use(differences)) == []


def test_a_newer_schema_is_refused(empty_url: str, driver: str) -> None:
    migrate(empty_url)
    _run(empty_url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="newer than this code"):
        open_and_close(driver, empty_url)
    with pytest.raises(ConfigurationError, match="newer than this code"):
        migrate(empty_url)


def test_an_older_schema_names_the_command_but_sqlite_moves_on(
    empty_url: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a head of the future, today's schema is an old one."""
    migrate(empty_url)
    monkeypatch.setattr("jit_middleware_sqlalchemy.upgrade.SCHEMA_HEAD", "9000")
    if driver.startswith("sqlite"):
        # No such step exists yet; that it is looked for is the upgrade.
        from alembic.script.revision import ResolutionError

        with pytest.raises(ResolutionError, match="9000"):
            open_and_close(driver, empty_url)
        return
    with pytest.raises(ConfigurationError, match="jit-middleware migrate"):
        open_and_close(driver, empty_url)


def test_a_start_waits_for_the_process_that_is_making_the_schema(empty_url: str, driver: str) -> None:
    migrate(empty_url)
    if driver.startswith("sqlite"):
        return  # all steps are one transaction, and whoever comes later has waited for it
    _run(empty_url, f"UPDATE {VERSION_TABLE} SET version_num = '0001'")

    def make_the_rest(connection: Connection) -> None:
        with _schema_lock(connection):
            starting.append(pool.submit(open_and_close, driver, empty_url))
            with pytest.raises(TimeoutError):
                starting[0].result(0.5)
            connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{SCHEMA_HEAD}'")

    starting: list[Future[None]] = []
    with ThreadPoolExecutor() as pool:
        _use(empty_url, make_the_rest)
        starting[0].result(30)


def test_a_forgiving_collation_is_refused_at_start(empty_url: str, driver: str) -> None:
    """attack 17: the probe row is found by a name that is not its own."""
    migrate(empty_url)
    kind = driver.partition("+")[0]
    if kind == "mariadb":
        _run(empty_url, "ALTER TABLE jit_meta MODIFY name VARCHAR(64) COLLATE utf8mb4_unicode_ci NOT NULL")
    elif kind == "postgresql":
        # This build has no forgiving collation to offer (no ICU): the probe row itself is what is spoilt.
        _run(empty_url, "UPDATE jit_meta SET name = 'Alice'")
    else:
        _run(empty_url, "DROP TABLE jit_meta")
        _run(empty_url, "CREATE TABLE jit_meta (name VARCHAR(64) PRIMARY KEY COLLATE NOCASE, value VARCHAR(255))")
        _run(empty_url, "INSERT INTO jit_meta VALUES ('alice', '')")
    with pytest.raises(ConfigurationError, match="confuses different identities"):
        open_and_close(driver, empty_url)


def test_a_start_with_a_current_schema_does_not_import_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jit.db'}"
    migrate(url)
    ends_well(f'{START}asyncio.run(main())\nassert "alembic" not in sys.modules', url)


def ends_well(script: str, url: str) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", script, url, str(root), str(root / "adapters")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


def open_and_close(driver: str, url: str) -> None:
    ledger = SQLAlchemyLedger(url, clock=FakeClock(), tokens=tokens)

    async def prepare() -> None:
        try:
            await ledger.prepare()
        finally:
            await ledger.close()

    asyncio.run(prepare())


def _run(url: str, statement: str) -> None:
    _use(url, lambda connection: connection.exec_driver_sql(statement.replace("%", "%%")).close())


def _use(url: str, work: Callable[[Connection], None]) -> None:
    sync = url.replace("+aiosqlite", "").replace("+asyncpg", "+psycopg").replace("+aiomysql", "+pymysql")
    database = Database(sync, pool_size=1)
    step(database.use(work))
    step(database.close())


def test_an_open_ledger_prepares_twice(empty_url: str, driver: str) -> None:
    rig = open_rig(driver, empty_url)
    rig.run(rig.ledger.prepare())
    close_rig(rig)
