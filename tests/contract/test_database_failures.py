"""A database that is full, gone, read-only or restarted: a named refusal, nothing half-written, and back by itself."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from jit_middleware.errors import ConfigurationError, Conflict, StoreUnavailable
from jit_middleware.model import AuditEvent, Profile
from jit_middleware.ports import Transaction
from jit_middleware_sqlalchemy import SQLAlchemyLedger, SQLAlchemyUserStore, schema_version
from jit_middleware_sqlalchemy.engine import step
from tests.contract.conftest import FakeClock, Rig, close_rig, open_rig, tokens
from tests.contract.test_ledger_contract import AT, ISSUER, first_login, session, signed_in

pytestmark = pytest.mark.real


@pytest.fixture
def small(tmp_path: Path) -> Generator[Rig]:
    rig = open_rig("sqlite", f"sqlite:///{tmp_path / 'jit.db'}")
    yield rig
    close_rig(rig)


def test_a_full_disk_refuses_by_name_and_leaves_nothing_half_written(small: Rig) -> None:
    user = signed_in(small)

    @event.listens_for(small.ledger.database.engine, "connect")
    def limit(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA max_page_count = 1").fetchone()

    small.run(small.ledger.close())  # the next connection is a limited one

    async def much(tx: Transaction) -> None:
        await tx.add_session(session("s", user.id))
        await tx.append_audit(AuditEvent("small", "user.login", AT))
        await tx.list_sessions(user_id=user.id)  # sends what is held back
        await tx.append_audit(AuditEvent("big", "user.login", AT, data={"x": "y" * 1_000_000}))

    before = small.run(small.ledger.list_audit())
    with pytest.raises(StoreUnavailable) as refused:
        small.run(small.ledger.transaction(much))
    assert refused.value.reason == "disk_full"
    assert "y" not in refused.value.detail.replace("OperationalError", "")
    assert small.run(small.ledger.find_session("s")) is None
    assert small.run(small.ledger.list_audit()) == before


def test_a_read_only_database_refuses_by_name(tmp_path: Path) -> None:
    path = tmp_path / "jit.db"
    close_rig(open_rig("sqlite", f"sqlite:///{path}"))
    ledger = SQLAlchemyLedger(f"sqlite:///file:{path}?mode=ro&uri=true", clock=FakeClock(), tokens=tokens)
    step(ledger.prepare())
    with pytest.raises(StoreUnavailable) as refused:
        step(ledger.transaction(first_login))
    assert refused.value.reason == "read_only"
    step(ledger.close())


def test_a_locked_sqlite_database_is_contention(small: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    @event.listens_for(small.ledger.database.engine, "connect")
    def impatient(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA busy_timeout = 1").fetchone()

    small.run(small.ledger.close())
    path = small.url.removeprefix("sqlite:///")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable) as refused:
        signed_in(small)
    assert refused.value.reason == "contention"
    assert small.run(small.ledger.find_session("s")) is None, "readers go on"
    holder.execute("ROLLBACK")
    holder.close()
    signed_in(small)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@/none?host=/nonexistent",
        "postgresql+asyncpg://nobody@/none?host=/nonexistent",
        "mysql://nobody@localhost/none?unix_socket=/nonexistent",
        "mariadb+aiomysql://nobody@localhost/none?unix_socket=/nonexistent",
        "sqlite:////nonexistent/jit.db",
        "sqlite+aiosqlite:////nonexistent/jit.db",
    ],
)
# The drivers leave a failed connection's socket to the garbage collector, aiosqlite its thread to a loop that is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_unreachable_database_is_store_unavailable(url: str) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        schema_version(url)
    assert refused.value.reason in {"unreachable", "cannot_open"}
    gc.collect()
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            thread.join(10)  # so that it fails in this test and not in the next
    assert "nobody" not in str(refused.value)


def test_a_missing_schema_is_named(empty_url: str) -> None:
    ledger = SQLAlchemyLedger(empty_url, clock=FakeClock(), tokens=tokens)
    rig = Rig(ledger, FakeClock(), empty_url, None)
    if ledger.answers == "later":
        import asyncio

        rig.runner = asyncio.Runner()
    with pytest.raises(StoreUnavailable, match="schema_missing"):
        rig.run(ledger.read_feed(None))
    close_rig(rig)


@pytest.mark.parametrize("idle", [1, 3])
def test_connections_the_server_has_closed_fail_no_request(rig: Rig, idle: int) -> None:
    """A restart of the database is noticed by nobody who asks afterwards."""
    if rig.kind == "sqlite":
        assert signed_in(rig)
        return
    user = signed_in(rig)
    store_reads = [lambda: rig.ledger.read_feed(None)] * idle
    rig.together(store_reads)
    disconnect_everybody(rig)
    assert rig.run(rig.ledger.read_feed(None)).position == 0
    disconnect_everybody(rig)
    assert signed_in(rig) == user
    disconnect_everybody(rig)
    rig.run(rig.ledger.transaction(lambda tx: tx.append_audit(AuditEvent("one write", "t", AT))))
    assert [one.id for one in rig.run(rig.ledger.list_audit(type="t"))] == ["one write"]


def test_a_start_on_connections_that_the_server_has_closed_is_tried_again(rig: Rig) -> None:
    assert signed_in(rig)
    if rig.kind != "sqlite":
        disconnect_everybody(rig)
    rig.run(rig.ledger.prepare())


def test_a_connection_lost_in_the_middle_is_tried_again(rig: Rig) -> None:
    if rig.kind == "sqlite":
        assert signed_in(rig)
        return
    tries = 0

    async def work(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.append_audit(AuditEvent(f"e{tries}", "t", AT))
        await tx.add_session(session("s", "u"))
        await tx.list_sessions()
        if tries == 1:
            disconnect_everybody(rig)
        await tx.find_link("oidc", ISSUER, "alice")

    rig.run(rig.ledger.transaction(work))
    assert tries == 2
    assert [one.id for one in rig.run(rig.ledger.list_audit())] == ["e2"]


def test_a_fork_does_not_share_connections(small: Rig) -> None:
    """gunicorn --preload: parent and child use the ledger, each on connections of its own."""
    script = f"""
import os, sys, secrets
sys.path[:0] = {[str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "adapters")]!r}
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from jit_middleware_sqlalchemy.engine import step
class Clock:
    def now(self): return 0
    def monotonic(self): return 0.0
ledger = SQLAlchemyLedger({small.url!r}, clock=Clock(), tokens=secrets.token_urlsafe)
step(ledger.prepare())
made = set()
pool = ledger.database.engine.pool
for turn in range(3):
    child = os.fork()
    if child == 0:
        step(ledger.transaction(lambda tx: tx.append_feed("session", str(turn))))
        os._exit(0 if ledger.database.engine.pool is not pool else 9)
    step(ledger.transaction(lambda tx: tx.append_feed("session", "parent")))
    assert os.waitpid(child, 0)[1] == 0
assert ledger.database.engine.pool is pool
print(step(ledger.read_feed(None)).position)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "6"), done.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url", ["not a database URL"]),
        ("oracle://u:secret@h/d", ["not supported", "PostgreSQL, MariaDB or SQLite"]),
        ("postgresql+nonsense://u:secret@h/d", ["unknown"]),
    ],
)
def test_a_url_that_cannot_be_used_is_a_fault_of_its_setting(url: str, words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SQLAlchemyLedger(url, clock=FakeClock(), tokens=tokens)
    text = str(refused.value)
    assert all(word in text for word in ["JIT_DATABASE_URL", "Fix:", *words])
    assert "secret" not in text


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("postgresql://h/d", "psycopg", "postgresql"),
        ("postgresql+asyncpg://h/d", "asyncpg", "postgresql-async"),
        ("mysql://h/d", "pymysql", "mariadb"),
        ("mariadb+aiomysql://h/d", "aiomysql", "mariadb-async"),
        ("sqlite+aiosqlite:///x.db", "aiosqlite", "sqlite-async"),
    ],
)
def test_a_missing_driver_names_its_extra(url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as refused:
        SQLAlchemyLedger(url, clock=FakeClock(), tokens=tokens)
    assert f"pip install 'jit-middleware[{extra}]'" in str(refused.value)
    assert "JIT_DATABASE_URL" in str(refused.value)


def test_a_database_in_memory_serves_many_threads() -> None:
    rig = open_rig("sqlite", "sqlite://")
    users = rig.together([lambda: rig.ledger.transaction(first_login)] * 20)
    assert len({getattr(user, "id", user) for user in users}) == 1
    close_rig(rig)


def test_a_ledger_without_users_keeps_only_accounts(tmp_path: Path) -> None:
    rig = open_rig("sqlite", f"sqlite:///{tmp_path / 'jit.db'}", keep_users=False)
    assert not rig.ledger.keeps_users

    async def look(tx: Transaction) -> object:
        return tx.users

    assert rig.run(rig.ledger.transaction(look)) is None
    with pytest.raises(StoreUnavailable, match="no_users"):
        SQLAlchemyUserStore(rig.ledger).create(Profile("k", "ann"))
    close_rig(rig)


def test_a_refusal_quotes_no_value_of_the_database(rig: Rig) -> None:
    """The driver's text ("Key (username)=(ann) already exists") never travels on, not even as a cause."""
    rig.run(rig.ledger.transaction(lambda tx: tx.append_audit(AuditEvent("very private", "t", AT))))
    with pytest.raises(Conflict) as refused:
        rig.run(rig.ledger.transaction(lambda tx: tx.append_audit(AuditEvent("very private", "t", AT))))
    assert refused.value.reason == "audit"
    assert "private" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def disconnect_everybody(rig: Rig) -> None:
    """What a restart does to a pool: every connection in it is dead, and the pool does not know."""
    import psycopg
    import pymysql

    url = rig.ledger.database.url
    if rig.kind == "postgresql":
        with psycopg.connect(host=str(url.query["host"]), user="postgres", dbname="postgres", autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [url.database]
            )
        return
    with (
        pymysql.connect(unix_socket=str(url.query["unix_socket"]), user="root", autocommit=True) as admin,
        admin.cursor() as cursor,
    ):
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [url.database])
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")


def test_a_connection_in_use_when_the_ledger_is_closed_goes_with_it(rig: Rig) -> None:
    """What has begun ends; no connection is left in a pool that nobody has any more."""
    database = rig.ledger.database
    used: list[DBAPIConnection] = []

    def body(connection: Connection) -> int:
        if not database.is_async:  # an async pool is closed in its own loop only
            used.append(connection.connection.driver_connection)
            database.engine.dispose()
        return int(connection.exec_driver_sql("SELECT 1").scalar_one())

    assert rig.run(database.use(body)) == 1
    assert len(used) == (0 if database.is_async else 1)
    for each in used:
        with pytest.raises(Exception, match=r"(?i)closed|already|interface|^\(0, ''\)$"):
            each.cursor().execute("SELECT 1")
