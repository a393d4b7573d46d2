"""The hourly sweep takes five hundred rows at a time, on every database with every driver."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Table, event, func, insert, select

from jit_middleware.errors import StoreUnavailable
from jit_middleware.model import Marks
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from jit_middleware_sqlalchemy.engine import step
from jit_middleware_sqlalchemy.schema import feed, feed_head, once_keys, prelinks
from jit_middleware_sqlalchemy.sweeping import FeedWalk
from tests.contract.conftest import Rig, tokens
from tests.contract.test_ledger_contract import AT, do, feed_after, session, signed_in
from tests.contract.test_marks import leave, seen
from tests.scenarios.conftest import SYNC_DRIVERS

pytestmark = pytest.mark.real


def fill(rig: Rig, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    def write(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        connection.execute(insert(table), rows)
        connection.exec_driver_sql("COMMIT")

    rig.run(rig.ledger.database.use(write))


def count(rig: Rig, table: Table) -> int:
    return rig.run(
        rig.ledger.database.use(
            lambda connection: connection.execute(select(func.count()).select_from(table)).scalar_one()
        )
    )


def used_keys(rows: int) -> list[dict[str, object]]:
    # Many of one second, as in a rush of logins.
    return [{"once_key": f"{number:064}", "purpose": "state", "until": AT + number // 1_200} for number in range(rows)]


@contextmanager
def deletes(rig: Rig) -> Generator[list[int]]:
    """How many rows each DELETE took that was sent while inside."""
    taken: list[int] = []

    def note(_connection: object, cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("DELETE"):
            taken.append(int(getattr(cursor, "rowcount")))  # noqa: B009

    engine = rig.ledger.database.engine
    event.listen(engine, "after_cursor_execute", note)
    yield taken
    event.remove(engine, "after_cursor_execute", note)


def test_no_statement_takes_more_than_five_hundred_rows(rig: Rig) -> None:
    user = signed_in(rig)

    async def add(tx: object) -> None:
        for number in range(1_100):
            await tx.add_session(session(f"old{number}", user.id, ended_at=AT - 10))  # type: ignore[attr-defined]

    do(rig, add)
    fill(rig, once_keys, used_keys(2_500))
    tie = {"tenant_id": "default", "connection": "oidc", "kind": "subject", "user_id": "u", "batch": "b"}
    times = {"created_at": AT, "until": AT}
    fill(rig, prelinks, [{"prelink_key": f"{number:064}", **tie, **times} for number in range(1_001)])
    fill(rig, feed, [{"position": 1 + number, "kind": "all", "entry_key": "", "at": AT} for number in range(2_100)])
    do(rig, lambda tx: tx.claim_once("state", "new", AT + 1_000))
    with deletes(rig) as taken:
        assert rig.run(rig.ledger.prune(AT + 100)) == 2_500 + 1_100 + 1_001 + 2_100
    assert sorted(taken) == [1, 100, 100, *[500] * 13]
    assert [count(rig, table) for table in (once_keys, prelinks, feed)] == [2, 0, 0], "the login's own, and the new one"
    assert rig.run(rig.ledger.find_session("old0")) is None
    assert rig.run(rig.ledger.prune(AT + 100)) == 0


def test_a_sweep_that_breaks_off_was_not_in_vain(rig: Rig) -> None:
    fill(rig, once_keys, used_keys(2_500))
    sent = 0

    def break_off(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        nonlocal sent
        sent += statement.startswith("DELETE")
        if sent == 2:
            raise StoreUnavailable("unreachable")

    engine = rig.ledger.database.engine
    event.listen(engine, "before_cursor_execute", break_off)
    with pytest.raises(StoreUnavailable):
        rig.run(rig.ledger.prune(AT + 100))
    event.remove(engine, "before_cursor_execute", break_off)
    assert count(rig, once_keys) == 2_000
    assert rig.run(rig.ledger.prune(AT + 100)) == 2_000


def test_what_is_left_when_its_time_is_over_is_for_the_next(rig: Rig) -> None:
    """The browser waits for the sweep."""

    def slow(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        rig.clock.seconds += statement.startswith("DELETE")

    fill(rig, once_keys, used_keys(1_500))
    fill(rig, feed, [{"position": 1 + number, "kind": "all", "entry_key": "", "at": AT} for number in range(1_400)])
    engine = rig.ledger.database.engine
    event.listen(engine, "after_cursor_execute", slow)
    assert [rig.run(rig.ledger.prune(AT + 100)) for _ in range(4)] == [1_000, 900, 1_000, 0]
    event.remove(engine, "after_cursor_execute", slow)


def test_workers_that_sweep_at_once_do_not_fail_each_other(rig: Rig) -> None:
    fill(rig, once_keys, used_keys(2_500))
    fill(rig, feed, [{"position": 1 + number, "kind": "all", "entry_key": "", "at": AT} for number in range(1_400)])
    outcome = rig.together([lambda: rig.ledger.prune(AT + 100)] * 4)
    assert sum(gone for gone in outcome if isinstance(gone, int)) == 3_900, outcome
    assert [count(rig, table) for table in (once_keys, feed)] == [0, 0]


def test_a_mark_that_is_renewed_after_it_was_found_is_kept(rig: Rig) -> None:
    """Its key was on the list, and it is over no more."""
    driver = rig.url.partition(":")[0]
    other = SQLAlchemyLedger(
        rig.url.replace(driver, SYNC_DRIVERS.get(driver, driver), 1), clock=rig.clock, tokens=tokens
    )
    name = "i" * 64
    leave(rig, name, until=AT + 10)

    def renew(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("SELECT jit_marks"):
            step(other.transaction(lambda tx: tx.leave_marks([name], at=AT + 50, until=AT + 1_000)))

    engine = rig.ledger.database.engine
    event.listen(engine, "after_cursor_execute", renew)
    assert rig.run(rig.ledger.prune(AT + 100)) == 0
    event.remove(engine, "after_cursor_execute", renew)
    assert seen(rig, Marks("oidc", name)) == AT + 50
    step(other.close())


def test_the_slower_of_two_sweeps_does_not_take_back_what_is_known_to_be_pruned(rig: Rig) -> None:
    """A reader that missed entries would be told that it has them all."""
    times = [AT] * 700 + [AT + 10] * 600
    rows = [{"position": 1 + place, "kind": "all", "entry_key": "", "at": at} for place, at in enumerate(times)]
    fill(rig, feed, rows)
    rig.run(rig.ledger.database.use(lambda connection: connection.execute(feed_head.update().values(position=1_300))))
    slow = FeedWalk(AT + 5)
    assert rig.run(rig.ledger._again(slow.step)) == 500
    assert rig.run(rig.ledger.prune(AT + 100)) == 800
    assert rig.run(rig.ledger._again(slow.step)) == 0
    assert slow.is_at_its_end
    assert not feed_after(rig, 1_000).complete
    assert feed_after(rig, 1_300).complete
