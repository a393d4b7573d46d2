"""The statements that go to the driver directly behave as if SQLAlchemy had executed them."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections.abc import Generator, Iterator
from functools import partial
from typing import NoReturn

import pytest
from sqlalchemy import Connection, bindparam, event, select
from sqlalchemy.exc import DBAPIError

from jit_middleware.errors import Conflict, StoreUnavailable
from jit_middleware.model import Marks
from jit_middleware_sqlalchemy import SQLAlchemyLedger, queries
from jit_middleware_sqlalchemy.failures import is_missing_table
from jit_middleware_sqlalchemy.lean import Fixed, Lean, Rows
from jit_middleware_sqlalchemy.marks import asked
from jit_middleware_sqlalchemy.schema import metadata
from tests.contract.conftest import FakeClock, Rig, close_rig, tokens
from tests.contract.test_database_failures import disconnect_everybody
from tests.contract.test_ledger_contract import ISSUER, session, signed_in

pytestmark = pytest.mark.real


def _read(rig: Rig, fixed: Fixed, parameters: dict[str, object]) -> Rows:
    lean = Lean(rig.ledger.database.engine)
    return rig.run(rig.ledger.database.use(lambda connection: lean.read(connection, fixed, parameters)))


def _refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("SQLAlchemy was asked to execute something")


def _nothing(*_: object) -> None:
    """Listens to the engine."""


READS: list[tuple[Fixed, dict[str, object]]] = [
    (queries.FIND_SESSION, {"session": "s"}),
    (queries.FIND_SESSION, {"session": "100%"}),
    (queries.FIND_LINK, {"identity": "%s ? $1 :identity", **asked(Marks("%s", "$1", email="?"), 0)}),
    (queries.FIND_ACCOUNT, {"user": "nobody"}),
    (queries.FIND_TAKEN, {"provisioning": "k", "username": "alice", "tenant": "default"}),
    (queries.READ_FEED, {"after": 0, "limit": 10}),
]


@pytest.mark.parametrize(("fixed", "parameters"), READS)
def test_the_rows_are_those_that_sqlalchemy_reads(rig: Rig, fixed: Fixed, parameters: dict[str, object]) -> None:
    user = signed_in(rig)
    rig.run(rig.ledger.transaction(lambda tx: tx.add_session(session("s", user.id))))
    engine = rig.ledger.database.engine
    straight = _read(rig, fixed, parameters)
    event.listen(engine, "before_cursor_execute", _nothing)
    watched = _read(rig, fixed, parameters)
    event.remove(engine, "before_cursor_execute", _nothing)
    assert [tuple(row) for row in straight] == [tuple(row) for row in watched]


def test_a_known_session_and_a_login_are_read_without_sqlalchemys_execution(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = signed_in(rig)
    rig.run(rig.ledger.transaction(lambda tx: tx.add_session(session("s1", user.id))))
    rig.run(rig.ledger.find_session("s1"))
    monkeypatch.setattr(Connection, "execute", _refuse)
    monkeypatch.setattr(Connection, "exec_driver_sql", _refuse)
    view = rig.run(rig.ledger.find_session("s1"))
    found = rig.run(rig.ledger.reading(lambda tx: tx.find_link("oidc", ISSUER, "alice")))
    assert view is not None
    assert found is not None
    assert found[1] == view.account


@pytest.mark.parametrize("driver", ["sqlite"], indirect=True)
def test_an_error_that_somebody_keeps_holds_no_statement_open(rig: Rig) -> None:
    # An open one would be reset by whoever drops the error, who waits for the connection and thus for its new user.
    claim = partial(rig.ledger.transaction, lambda tx: tx.claim_once("test", "key", 2_000_000_000))
    rig.run(claim())
    with pytest.raises(Conflict) as refused:
        rig.run(claim())
    cursors = [cursor for error in _behind(refused.value) for cursor in _cursors(error)]
    assert cursors
    for cursor in cursors:
        with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
            cursor.execute("SELECT 1")


def _behind(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _cursors(error: BaseException) -> Iterator[sqlite3.Cursor]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        found = frame.f_locals.get("cursor")
        raw = getattr(found, "cursor", found)
        if isinstance(raw, sqlite3.Cursor):
            yield raw


@pytest.mark.parametrize("idle", [1, 3])
def test_a_session_is_read_when_the_whole_pool_is_dead(rig: Rig, idle: int) -> None:
    user = signed_in(rig)
    rig.run(rig.ledger.transaction(lambda tx: tx.add_session(session("kept", user.id))))
    rig.together([lambda: rig.ledger.read_feed(None)] * idle)
    if rig.kind != "sqlite":
        disconnect_everybody(rig)
    found = rig.run(rig.ledger.find_session("kept"))
    assert found is not None
    assert found.account.user_id == user.id


def test_a_drivers_error_is_sqlalchemys_and_quotes_no_value(empty_rig: Rig) -> None:
    with pytest.raises(DBAPIError) as failed:
        _read(empty_rig, queries.FIND_SESSION, {"session": "very private"})
    assert is_missing_table(failed.value)
    assert not failed.value.connection_invalidated
    assert "very private" not in str(failed.value)
    with pytest.raises(StoreUnavailable, match="schema_missing"):
        empty_rig.run(empty_rig.ledger.find_session("very private"))


def test_an_interrupted_statement_costs_its_connection(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver may still be reading the answer to it: the next statement would get that one."""
    lean = Lean(rig.ledger.database.engine)
    seen: list[bool] = []

    def body(connection: Connection) -> None:
        def interrupted(_self: Lean, _connection: Connection) -> NoReturn:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Lean, "_cursor", interrupted)
            with pytest.raises(KeyboardInterrupt):
                lean.read(connection, queries.FIND_ACCOUNT, {"user": "u"})
        seen.append(connection.invalidated)

    rig.run(rig.ledger.database.use(body))
    assert seen == [True]


class _FailsLater:
    """A cursor whose statement fails while its rows are fetched, as SQLite's may."""

    rowcount = -1

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def execute(self, _statement: str, _parameters: object, /) -> object:
        return None

    def fetchall(self) -> NoReturn:
        raise self._error

    def close(self) -> None:
        """Nothing is open."""


def test_an_error_while_rows_are_fetched_is_judged_like_any_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    error = rig.ledger.database.engine.dialect.loaded_dbapi.OperationalError("very private")
    monkeypatch.setattr(Lean, "_cursor", lambda *_: _FailsLater(error))
    with pytest.raises(StoreUnavailable) as failed:
        rig.run(rig.ledger.find_session("s"))
    assert "very private" not in str(failed.value)


def test_an_interruption_while_rows_are_fetched_costs_the_connection(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    lean = Lean(rig.ledger.database.engine)
    seen: list[bool] = []

    def body(connection: Connection) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Lean, "_cursor", lambda *_: _FailsLater(KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                lean.read(connection, queries.FIND_ACCOUNT, {"user": "u"})
        seen.append(connection.invalidated)

    rig.run(rig.ledger.database.use(body))
    assert seen == [True]


@pytest.mark.parametrize("listened_to", ["before_cursor_execute", "after_cursor_execute"])
def test_who_listens_to_the_engine_is_shown_every_statement(rig: Rig, listened_to: str) -> None:
    shown: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        shown.append(statement)

    engine = rig.ledger.database.engine
    event.listen(engine, listened_to, note)
    rig.run(rig.ledger.find_session("s"))
    event.remove(engine, listened_to, note)
    rig.run(rig.ledger.find_session("s"))
    assert len(shown) == 1
    assert "jit_sessions" in shown[0]


def test_a_percent_sign_in_a_statement_stays_one(rig: Rig) -> None:
    users = metadata.tables["jit_users"]
    odd = Fixed(select(users.c.id).where(users.c.id.like("100%") | (users.c.id == bindparam("user"))))
    assert list(_read(rig, odd, {"user": "%"})) == []


@pytest.fixture
def empty_rig(empty_url: str) -> Generator[Rig]:
    """A ledger on a database without tables."""
    ledger = SQLAlchemyLedger(empty_url, clock=FakeClock(), tokens=tokens)
    made = Rig(ledger, FakeClock(), empty_url, asyncio.Runner() if ledger.answers == "later" else None)
    yield made
    close_rig(made)
