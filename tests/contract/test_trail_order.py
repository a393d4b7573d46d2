"""Whoever goes on after the last event of the trail they have seen misses none, on every database with every driver."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy.event import listens_for

from jit_middleware.errors import StoreUnavailable
from jit_middleware.ports import Transaction
from jit_middleware_sqlalchemy import PATIENT, PROMPT, SQLAlchemyLedger, Waits
from jit_middleware_sqlalchemy.deadlines import CONNECT_SECONDS
from jit_middleware_sqlalchemy.engine import step
from tests.contract.conftest import Rig, close_rig, open_rig, tokens
from tests.contract.test_ledger_contract import do, event
from tests.scenarios.conftest import SYNC_DRIVERS

pytestmark = pytest.mark.real


def _listed(rig: Rig, after: str | None = None) -> list[str]:
    return [one.id for one in rig.run(rig.ledger.list_audit(after=after))]


def test_an_event_that_is_numbered_and_not_committed_is_waited_for(rig: Rig) -> None:
    """Its number is lower than that of one that is committed already: who is shown that one never asks for it again."""
    if rig.kind == "sqlite":  # has one writer at a time
        do(rig, lambda tx: tx.append_audit(event("only")))
        assert _listed(rig) == ["only"]
        return
    driver = rig.url.partition(":")[0]
    url = rig.url.replace(driver, SYNC_DRIVERS.get(driver, driver), 1)
    first, second = (SQLAlchemyLedger(url, clock=rig.clock, tokens=tokens) for _ in range(2))
    at_commit, go_on = threading.Event(), threading.Event()

    @listens_for(first.database.engine, "before_cursor_execute")
    def pause(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement == "COMMIT":
            at_commit.set()
            assert go_on.wait(20)

    async def slow(tx: Transaction) -> None:
        await tx.append_audit(event("slow"))
        await tx.append_feed("session", "s")

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(lambda: step(first.transaction(slow)))
        assert at_commit.wait(20), "it is written, and not committed"
        step(second.transaction(lambda tx: tx.append_audit(event("quick"))))
        reading = pool.submit(lambda: _listed(rig))
        done, _ = wait([reading], timeout=0.5)
        # What begins later holds nobody up who reads already.
        step(second.transaction(lambda tx: tx.append_audit(event("later"))))
        go_on.set()
        writing.result(20)
        shown = reading.result(20)
    assert not done
    assert shown[:2] == ["slow", "quick"]
    assert shown + _listed(rig, after=shown[-1]) == ["slow", "quick", "later"]
    for ledger in (first, second):
        step(ledger.close())


def test_a_writer_that_stays_open_is_contention(rig: Rig) -> None:
    """And not a database that does not answer: the wait for it ends before the whole use of the connection must."""
    do(rig, lambda tx: tx.append_audit(event("e")))
    if rig.kind != "postgresql":  # elsewhere it is a lock like any other
        assert _listed(rig) == ["e"]
        return
    import psycopg

    hasty = open_rig("", rig.url, waits=Waits(answer=4, use=4, idle=10, writers=0.2))
    database = rig.ledger.database.url
    with psycopg.connect(host=str(database.query["host"]), user="postgres", dbname=database.database) as other:
        other.execute("DELETE FROM jit_audit")
        with pytest.raises(StoreUnavailable) as refused:
            _listed(hasty)
        assert refused.value.reason == "contention"
        other.rollback()
    assert _listed(hasty) == ["e"]
    close_rig(hasty)


def test_there_is_time_for_the_wait_for_writers_in_whatever_a_connection_is_used_for() -> None:
    assert PROMPT.use is not None
    assert PROMPT.writers + CONNECT_SECONDS < PROMPT.use
    assert PATIENT.use is None
