"""Marks that revocations leave for logins on their way, on every database with every driver."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

import pytest
from sqlalchemy import event

from jit_middleware.model import Marks
from jit_middleware.overtaking import is_view_overtaken
from jit_middleware.ports import Transaction
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from jit_middleware_sqlalchemy.engine import step
from tests.contract.conftest import Rig, tokens
from tests.contract.test_ledger_contract import AT, ISSUER, do, session, signed_in
from tests.contract.test_login_cost import counted
from tests.scenarios.conftest import SYNC_DRIVERS

pytestmark = pytest.mark.real

MINE = Marks("oidc", "i" * 64, "s" * 64, "o" * 64, "p" * 64, "e" * 64)
NAMES = ("connection", "identity", "session", "own_session", "person", "email")
NOBODYS = Marks("saml", "I" * 64)


def leave(rig: Rig, *marks: str | None, at: int = AT, until: int = AT + 100) -> None:
    do(rig, lambda tx: tx.leave_marks([str(mark) for mark in marks], at=at, until=until))


def seen(rig: Rig, marks: Marks) -> int | None:
    async def look(tx: Transaction) -> int | None:
        return (await tx.find_login("oidc", ISSUER, "nobody", marks))[1]

    return rig.run(rig.ledger.transaction(look))


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_is_seen_by_the_login_and_the_session_that_answer_to_it(rig: Rig, name: str) -> None:
    user = signed_in(rig)
    begun = session("s1", user.id, begun_at=AT, marks=MINE)
    do(rig, lambda tx: tx.add_session(begun))
    do(rig, lambda tx: tx.add_session(replace(begun, id="s2", connection="saml", marks=NOBODYS)))
    do(rig, lambda tx: tx.add_session(replace(begun, id="s3", connection="other", marks=None)))
    assert seen(rig, MINE) is None
    leave(rig, getattr(MINE, name))
    assert (seen(rig, MINE), seen(rig, NOBODYS)) == (AT, None)
    views = [rig.run(rig.ledger.find_session(each)) for each in ("s1", "s2", "s3")]
    assert [view.marked_at for view in views if view is not None] == [AT, None, None]
    assert [is_view_overtaken(view) for view in views if view is not None] == [True, False, False]


def test_the_latest_of_several_marks_counts_and_none_goes_back(rig: Rig) -> None:
    leave(rig, MINE.session, at=AT + 5)
    leave(rig, MINE.identity, MINE.session, at=AT)
    assert seen(rig, MINE) == AT + 5
    leave(rig, MINE.session, at=AT + 9)
    assert seen(rig, MINE) == AT + 9
    assert seen(rig, replace(MINE, session=None)) == AT


def test_a_known_person_is_found_together_with_the_mark(rig: Rig) -> None:
    user = signed_in(rig)
    leave(rig, MINE.email)

    async def look(tx: Transaction) -> None:
        found, marked_at = await tx.find_login("oidc", ISSUER, "alice", MINE)
        assert found is not None
        assert found[0].user_id == user.id
        assert found == await tx.find_link("oidc", ISSUER, "alice")
        assert marked_at == AT

    do(rig, look)


def test_neither_the_login_nor_the_session_costs_another_statement(rig: Rig) -> None:
    user = signed_in(rig)
    do(rig, lambda tx: tx.add_session(session("s1", user.id, begun_at=AT, marks=MINE)))
    leave(rig, *(getattr(MINE, name) for name in NAMES))
    with counted(rig) as sent:
        view = rig.run(rig.ledger.find_session("s1"))
    assert view is not None
    assert len(sent) == 1, sent
    with counted(rig) as sent:
        seen(rig, MINE)
    assert len([statement for statement in sent if "SELECT" in statement]) == 1, sent


def test_many_marks_at_once_by_many(rig: Rig) -> None:
    marks = [f"{number:064}" for number in range(130)]

    async def work(tx: Transaction) -> None:
        await tx.leave_marks(marks, at=AT, until=AT + 100)

    outcome = rig.together([lambda: rig.ledger.transaction(work)] * 6)
    assert outcome == [None] * 6
    assert {seen(rig, replace(NOBODYS, session=mark)) for mark in marks} == {AT}


def test_marks_are_left_in_one_statement(rig: Rig) -> None:
    """Between two, a mark that is over could be swept away, and would be missing then."""
    for at in (AT, AT + 1):
        with counted(rig) as sent:
            leave(rig, *(getattr(MINE, name) for name in NAMES), at=at)
        assert len([statement for statement in sent if "jit_marks" in statement]) == 1, sent
    assert seen(rig, MINE) == AT + 1


def test_a_mark_that_is_renewed_while_it_is_swept_away_is_there(rig: Rig) -> None:
    """It was over already, so the sweep wants it; whichever of the two comes first, the mark is there afterwards."""
    driver = rig.url.partition(":")[0]
    url = rig.url.replace(driver, SYNC_DRIVERS.get(driver, driver), 1)
    other = SQLAlchemyLedger(url, clock=rig.clock, tokens=tokens)
    leave(rig, MINE.identity, MINE.session, at=AT, until=AT + 10)
    is_left = threading.Event()
    with ThreadPoolExecutor(1) as pool:

        def sweep(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
            if statement.startswith("INSERT INTO jit_marks") and not is_left.is_set():
                is_left.set()
                sweeping.append(pool.submit(lambda: step(other.prune(AT + 100))))
                wait(sweeping, timeout=0.5)  # it waits for us, or is done

        sweeping: list[Future[int]] = []
        event.listen(rig.ledger.database.engine, "after_cursor_execute", sweep)
        leave(rig, MINE.identity, MINE.session, at=AT + 90, until=AT + 1_000)
        event.remove(rig.ledger.database.engine, "after_cursor_execute", sweep)
    assert is_left.is_set()
    assert seen(rig, replace(MINE, session=None)) == AT + 90
    assert seen(rig, replace(MINE, identity="")) == AT + 90
    step(other.close())


def test_many_leave_marks_while_many_sweep(rig: Rig) -> None:
    marks = [f"{number:064}" for number in range(60)]
    leave(rig, *marks, at=AT, until=AT + 10)

    async def again(tx: Transaction) -> None:
        await tx.leave_marks(marks, at=AT + 90, until=AT + 1_000)

    async def renew() -> int:
        await rig.ledger.transaction(again)
        return 0

    outcome = rig.together([renew, lambda: rig.ledger.prune(AT + 100)] * 3)
    assert all(isinstance(each, int) for each in outcome), outcome
    assert {seen(rig, replace(NOBODYS, session=mark)) for mark in marks} == {AT + 90}


def test_a_mark_is_kept_as_long_as_whoever_wants_it_longest(rig: Rig) -> None:
    leave(rig, MINE.identity, at=AT, until=AT + 500)
    leave(rig, MINE.identity, at=AT + 9, until=AT + 100)
    assert rig.run(rig.ledger.prune(AT + 101)) == 0
    assert seen(rig, MINE) == AT + 9


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_from_more_than_an_hour_ahead_keeps_nobody_out(rig: Rig, name: str) -> None:
    """No clock that is right was there; within the hour it may be ours that is behind."""
    user = signed_in(rig)
    do(rig, lambda tx: tx.add_session(session("s1", user.id, begun_at=AT, marks=MINE)))
    leave(rig, getattr(MINE, name), at=AT + 3_601, until=AT + 9_000)

    def both() -> list[int | None]:
        view = rig.run(rig.ledger.find_session("s1"))
        assert view is not None
        return [seen(rig, MINE), view.marked_at]

    assert both() == [None, None]
    rig.clock.seconds = AT + 1
    assert both() == [AT + 3_601] * 2


def test_a_mark_from_far_ahead_does_not_hide_the_others(rig: Rig) -> None:
    user = signed_in(rig)
    do(rig, lambda tx: tx.add_session(session("s1", user.id, begun_at=AT, marks=MINE)))
    leave(rig, MINE.session, at=AT + 90_000)
    leave(rig, MINE.identity)
    view = rig.run(rig.ledger.find_session("s1"))
    assert view is not None
    assert [seen(rig, MINE), view.marked_at] == [AT, AT]


def test_a_right_mark_takes_the_place_of_one_from_more_than_an_hour_after_it(rig: Rig) -> None:
    leave(rig, MINE.identity, at=AT + 3_600, until=AT + 9_000)
    leave(rig, MINE.session, at=AT + 3_601, until=AT + 9_000)
    leave(rig, MINE.identity, MINE.session, at=AT, until=AT + 100)
    assert seen(rig, replace(MINE, session=None)) == AT + 3_600
    assert seen(rig, replace(MINE, identity="")) == AT
    assert rig.run(rig.ledger.prune(AT + 101)) == 1, "nor is it kept for as long"


def test_a_mark_is_forgotten_after_its_time(rig: Rig) -> None:
    leave(rig, MINE.identity)
    assert rig.run(rig.ledger.prune(AT + 100)) == 0
    assert rig.run(rig.ledger.prune(AT + 101)) == 1
    assert seen(rig, MINE) is None
    leave(rig)
    leave(rig, "x" * 65, "nul\x00")
    assert rig.run(rig.ledger.prune(AT + 1000)) == 0
