"""What a login costs the database: statements counted as the driver sees them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from itertools import count

import pytest
from sqlalchemy import event

from jit_middleware.errors import Conflict, StoreUnavailable
from jit_middleware.model import Grant, Profile
from jit_middleware.ports import Transaction
from jit_middleware_sqlalchemy.failures import Again
from tests.contract.conftest import Rig
from tests.contract.test_ledger_contract import AT, ISSUER, first_login, link, session, signed_in, users_of
from tests.contract.test_ledger_contract import event as audit_event

pytestmark = pytest.mark.real

# Round trips of one login, BEGIN and COMMIT counted: (returning, first).
BUDGET = {"postgresql": (2, 2), "mariadb": (6, 9), "sqlite": (6, 9)}


@contextmanager
def counted(rig: Rig) -> Generator[list[str]]:
    """Every statement sent while inside."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    engine = rig.ledger.database.engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_a_login_stays_within_its_round_trips(rig: Rig) -> None:
    returning, first = BUDGET[rig.kind]
    with counted(rig) as seen:
        signed_in(rig)
    assert len(seen) <= first, seen
    with counted(rig) as seen:
        signed_in(rig)
    assert len(seen) <= returning, seen


def test_the_cost_does_not_grow_with_roles_or_repeats(rig: Rig) -> None:
    returning, first = BUDGET[rig.kind]

    async def many_roles(tx: Transaction) -> None:
        await tx.claim_once("state", "s", AT)
        assert await tx.find_link("oidc", ISSUER, "alice") is None
        assert not await tx.is_tombstoned("oidc", ISSUER, "alice")
        user = await users_of(tx).create(Profile("k", "alice", roles=tuple(f"r{number}" for number in range(30))))
        await tx.add_link(link(user_id=user.id))
        await tx.change_grants(user.id, add=[Grant(f"r{number}", "idp:oidc") for number in range(30)], remove=[])
        await tx.mark_first_login(link(), AT)
        await tx.add_session(session("s", user.id))
        for number in range(3):
            await tx.append_audit(audit_event(f"e{number}"))

    with counted(rig) as seen:
        rig.run(rig.ledger.transaction(many_roles))
    assert len(seen) <= first, seen
    for _ in range(3):
        with counted(rig) as seen:
            signed_in(rig)
        assert len(seen) <= returning, seen


def test_a_name_that_was_thought_free_costs_one_more_try(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(lambda tx: users_of(tx).create(Profile("another", "ann"))))
    with counted(rig) as seen, pytest.raises(Conflict, match="username"):
        rig.run(rig.ledger.transaction(lambda tx: users_of(tx).create(Profile("k", "Ann"))))
    assert len([each for each in seen if each.startswith(("INSERT", "WITH"))]) == 1, seen
    with counted(rig) as seen:
        again = rig.run(rig.ledger.transaction(lambda tx: users_of(tx).create(Profile("another", "ann"))))
    assert again.username == "ann"
    assert len([each for each in seen if each.startswith(("INSERT", "WITH"))]) == 1, seen


@pytest.mark.parametrize("failure", [Conflict("status"), Again(StoreUnavailable("contention"))])
def test_whatever_went_wrong_the_next_try_asks_whether_a_name_is_free(rig: Rig, failure: Exception) -> None:
    """Behind the lock of a row with that name the insert would wait as long as before; a question does not."""
    tries: list[int] = []

    async def work(tx: Transaction) -> None:
        with counted(rig) as seen:
            await users_of(tx).create(Profile("k", "ann"))
        tries.append(len(seen))
        if len(tries) == 1:
            raise failure

    rig.run(rig.ledger.transaction(work))
    assert tries == [0, 1]


def test_a_rehearsal_asks_at_once(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(lambda tx: users_of(tx).create(Profile("another", "ann"))))
    with counted(rig) as seen, pytest.raises(Conflict, match="username"):
        rig.run(rig.ledger.transaction(lambda tx: users_of(tx).create(Profile("k", "Ann")), rehearsal=True))
    assert not [each for each in seen if each.startswith(("INSERT", "WITH"))], seen


def test_the_hot_reads_are_one_statement(rig: Rig) -> None:
    rig.run(rig.ledger.transaction(first_login))
    numbers = count()
    for read in (
        lambda: rig.ledger.find_session("s"),
        lambda: rig.ledger.read_feed(0),
        lambda: rig.ledger.read_feed(None),
        lambda: rig.ledger.touch_session("s", AT + next(numbers)),
    ):
        with counted(rig) as seen:
            rig.run(read())
        assert len(seen) == 1, seen
