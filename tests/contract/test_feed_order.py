"""The feed's positions are gap-free in the order of the commits, on every database with every driver."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy.event import listens_for

from jit_middleware.errors import Conflict
from jit_middleware.model import FeedPage
from jit_middleware.ports import Transaction
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from jit_middleware_sqlalchemy.engine import step
from tests.contract.conftest import Rig, tokens
from tests.contract.test_ledger_contract import do, event, feed_after
from tests.scenarios.conftest import SYNC_DRIVERS

pytestmark = pytest.mark.real


def test_a_commit_that_is_under_way_holds_back_the_next_position(rig: Rig) -> None:
    """The later position never commits first: who reads in between is not led past the earlier one."""
    driver = rig.url.partition(":")[0]
    url = rig.url.replace(driver, SYNC_DRIVERS.get(driver, driver), 1)
    first, second = (SQLAlchemyLedger(url, clock=rig.clock, tokens=tokens) for _ in range(2))
    at_commit, go_on = threading.Event(), threading.Event()

    @listens_for(first.database.engine, "before_cursor_execute")
    def pause(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement == "COMMIT":
            at_commit.set()
            assert go_on.wait(20)

    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(lambda: step(first.transaction(lambda tx: tx.append_feed("session", "slow"))))
        assert at_commit.wait(20), "its entry is written, and not committed"
        quick = pool.submit(lambda: step(second.transaction(lambda tx: tx.append_feed("session", "quick"))))
        done, _ = wait([quick], timeout=0.3)
        page = feed_after(rig, 0)
        go_on.set()
        slow.result(20)
        quick.result(20)
    assert not done, "it overtook"
    assert page == FeedPage(0, ())
    assert [(entry.position, entry.key) for entry in feed_after(rig, 0).entries] == [(1, "slow"), (2, "quick")]
    for ledger in (first, second):
        step(ledger.close())


def test_an_entry_that_is_rolled_back_leaves_no_gap(rig: Rig) -> None:
    async def fail(tx: Transaction) -> None:
        await tx.append_feed("session", "never")
        await tx.append_audit(event("twice"))

    do(rig, lambda tx: tx.append_audit(event("twice")))
    with pytest.raises(Conflict):
        do(rig, fail)
    do(rig, lambda tx: tx.append_feed("session", "s"))
    assert [(entry.position, entry.key) for entry in feed_after(rig, 0).entries] == [(1, "s")]
