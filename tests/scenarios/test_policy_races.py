"""Many logins at the same moment, on every edge and database: seats, revivals, names, and stores of the app's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from jit_middleware import Status
from jit_middleware.bridge import step
from jit_middleware.ports import Transaction
from tests.client import Client
from tests.scenarios.conftest import Stage, StageBuilder
from tests.scenarios.linking import refusals
from tests.scenarios.test_linking_races import on_the_way
from tests.worlds import Answer

MANY = 40
FEW = 12
SEATS = 3


def race(stage: Stage, people: Sequence[str]) -> list[tuple[Client, Answer]]:
    """Everybody's callback at once; each browser has kept its cookies. No answer is ours to be ashamed of."""
    ready = on_the_way(stage, people)
    answers = stage.client.together(*(request for _, request in ready))
    assert all(answer.status < 500 for answer in answers), [(a.status, a.text) for a in answers if a.status >= 500]
    for (client, _), answer in zip(ready, answers, strict=True):
        client.jar.store(answer.url, answer.all("set-cookie"))
    return [(client, answer) for (client, _), answer in zip(ready, answers, strict=True)]


def users_seen(outcome: Sequence[tuple[Client, Answer]]) -> list[dict[str, object]]:
    """The user that the app sees in each browser that was let in."""
    return [client.get("/").json()["user"] for client, answer in outcome if answer.status == 303]


def once_each(stage: Stage, kind: str) -> bool:
    """Whether nobody has two events of this kind."""
    return all(count == 1 for count in Counter(event.user_id for event in stage.events(kind)).values())


def idle(stage: Stage) -> None:
    """Everybody has been away for so long that they are dormant, and has no seat any more."""

    async def work(tx: Transaction) -> None:
        for account in stage.accounts():
            await tx.find_account(account.user_id)
            await tx.set_lifecycle(account.user_id, Status.DORMANT, seat=False, held_from=None)

    step(stage.ledger.transaction(work))


# --- seats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("full", "many"), [("deny", MANY), ("pending", FEW), ("minimal_role", FEW)])
def test_new_people_at_once_take_exactly_the_seats_there_are(full: str, many: int, racing_world: StageBuilder) -> None:
    how = {"JIT_SEAT_LIMIT": str(SEATS), "JIT_SEATS_WHEN_FULL": full, "JIT_DEFAULT_ROLES": "member"}
    if full == "minimal_role":
        how["JIT_MINIMAL_ROLE"] = "guest"
    stage = racing_world(**how)
    outcome = race(stage, [stage.person(f"p{number}") for number in range(many)])
    entered = many if full == "minimal_role" else SEATS
    assert Counter(answer.status for _, answer in outcome) == Counter({303: entered}) + Counter({403: many - entered})
    accounts = stage.accounts()
    assert sum(account.seat for account in accounts) == SEATS
    assert len(stage.events("user.created")) == len(accounts) == (SEATS if full == "deny" else many)
    assert len(stage.events("user.first_login")) == len(stage.events("login.succeeded")) == entered
    assert once_each(stage, "user.created")
    assert once_each(stage, "user.first_login")
    reasons: dict[str, set[str]] = {"deny": {"seats_full"}, "pending": {"account_pending"}, "minimal_role": set()}
    assert set(refusals(stage)) == reasons[full]
    waiting = [account for account in accounts if account.status is Status.PENDING]
    assert len(waiting) == (many - SEATS if full == "pending" else 0)
    assert Counter(grant.role for account in accounts for grant in account.grants if account.seat) == {"member": SEATS}
    if full == "minimal_role":
        without = [grant.role for account in accounts for grant in account.grants if not account.seat]
        assert Counter(without) == {"guest": many - SEATS}


def test_forty_logins_of_one_sleeper_take_one_seat_and_all_come_in(racing_world: StageBuilder) -> None:
    """Whoever waits for the tenant meanwhile has the seat that the first of these logins has taken."""
    stage = racing_world(JIT_SEAT_LIMIT="1")
    alice = stage.person("alice")
    assert stage.sign_in(alice).status == 200
    idle(stage)
    outcome = race(stage, [alice] * MANY)
    assert Counter(answer.status for _, answer in outcome) == {303: MANY}
    [account] = stage.accounts()
    assert (account.status, account.seat) == (Status.ACTIVE, True)
    assert len(stage.events("user.active")) == 1


def test_forty_logins_of_one_guest_take_the_last_seat_once(racing_world: StageBuilder) -> None:
    stage = racing_world(
        JIT_SEAT_LIMIT="1", JIT_SEATS_WHEN_FULL="minimal_role", JIT_MINIMAL_ROLE="guest", JIT_DEFAULT_ROLES="member"
    )
    first, guest = stage.person("first"), stage.person("guest")
    assert stage.sign_in(first).status == 200
    assert stage.sign_in(guest, client=stage.client.another()).json()["user"]["roles"] == ["guest"]
    [seated] = [account for account in stage.accounts() if account.seat]

    async def leave(tx: Transaction) -> None:
        await tx.find_account(seated.user_id)
        await tx.set_lifecycle(seated.user_id, Status.DEPROVISIONED, seat=False, held_from=None)

    step(stage.ledger.transaction(leave))
    outcome = race(stage, [guest] * MANY)
    assert Counter(answer.status for _, answer in outcome) == {303: MANY}
    assert {tuple(user["roles"]) for user in users_seen(outcome)} == {("member",)}  # type: ignore[arg-type]
    assert len(stage.events("roles.changed")) == 1


# --- names ----------------------------------------------------------------------------------------------------------


def test_many_people_who_want_one_name_at_once_have_one_winner(racing_world: StageBuilder) -> None:
    stage = racing_world()
    people = [stage.person(f"p{number}", preferred_username="boss") for number in range(FEW)]
    outcome = race(stage, people)
    assert Counter(answer.status for _, answer in outcome) == {303: 1, 403: FEW - 1}
    assert set(refusals(stage)) == {"username_taken"}
    assert len(stage.accounts()) == len(stage.events("user.created")) == len(stage.events("user.first_login")) == 1
