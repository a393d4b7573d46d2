"""Seats and the rate of creation, on every database with every driver: what is counted is still true at the commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from jit_middleware.audit import AuditTrail
from jit_middleware.errors import Conflict, CreationLimited, NotProvisioned, SeatsFull
from jit_middleware.model import SEATED, Account, AuditEvent, Grant, IdentityLink, Profile, Status, User
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.creation import CreationAlarm, check_creation_rate
from jit_middleware.provisioning.lifecycle import Trigger, move
from jit_middleware.provisioning.seats import seat_at_login, take_seat
from jit_middleware.provisioning.steps import Steps
from jit_middleware.settings import ProvisioningSettings, Rate
from jit_middleware_sqlalchemy import migrate
from jit_middleware_sqlalchemy.rows import digest
from tests.contract.conftest import Rig, close_rig, open_rig, tokens
from tests.contract.test_schema import _run as run_sql

pytestmark = pytest.mark.real

AT = 1_800_000_000
ISSUER = "https://idp.example.org"
LIMIT = 10
SEATS = ProvisioningSettings(seat_limit=LIMIT)


def do(rig: Rig, work: Callable[[Transaction], Awaitable[object]]) -> object:
    return rig.run(rig.ledger.transaction(work))


def link(subject: str, user_id: str | None = None, tenant: str = "default") -> IdentityLink:
    return IdentityLink("oidc", ISSUER, subject, f"key {tenant} {subject}", user_id, tenant)


async def arrive(tx: Transaction, name: str, policy: ProvisioningSettings, *, tenant: str = "default") -> User:
    """A first login as the core makes it: rate and seat first, then user and link."""
    assert tx.users is not None
    steps = Steps()
    await check_creation_rate(tx, policy, tenant, steps, at=AT)
    seat = await take_seat(tx, policy, tenant, steps, at=AT)
    status = Status.PENDING if seat == "pending" else Status.ACTIVE
    profile = Profile(f"key {tenant} {name}", name, tenant=tenant, status=status, seat=seat == "seat")
    user = await tx.users.create(profile)
    await tx.add_link(link(name if tenant == "default" else f"{name} of {tenant}", user.id, tenant))
    return user


def arriving(
    rig: Rig, name: str, policy: ProvisioningSettings = SEATS, *, tenant: str = "default"
) -> Callable[[], Awaitable[User]]:
    return lambda: rig.ledger.transaction(lambda tx: arrive(tx, name, policy, tenant=tenant))


def accounts(rig: Rig) -> list[Account]:
    return list(rig.run(rig.ledger.list_users()))


def seats(rig: Rig, tenant: str = "default", **more: object) -> int:
    counted = do(rig, lambda tx: tx.count_seats(tenant, since=AT - 3600, **more))  # type: ignore[arg-type]
    assert isinstance(counted, int)
    return counted


# --- the verbs ------------------------------------------------------------------------------------------------------


def test_seat_and_hold_come_back_as_they_were_written(rig: Rig) -> None:
    async def work(tx: Transaction) -> list[Account | None]:
        await tx.add_account(Account("u1", "acme", Status.ACTIVE, seat=False))
        await tx.add_account(Account("u2", "acme", Status.SUSPENDED, held_from=Status.PENDING))
        return [await tx.find_account("u1"), await tx.find_account("u2")]

    written = [
        Account("u1", "acme", Status.ACTIVE, seat=False),
        Account("u2", "acme", Status.SUSPENDED, held_from=Status.PENDING),
    ]
    assert do(rig, work) == written
    assert accounts(rig) == written
    do(rig, lambda tx: tx.set_seat("u1", True))
    do(rig, lambda tx: tx.set_lifecycle("u2", Status.DORMANT, seat=False, held_from=None))
    assert accounts(rig) == [
        Account("u1", "acme", Status.ACTIVE),
        Account("u2", "acme", Status.DORMANT, seat=False),
    ]
    assert [entry.key for entry in rig.run(rig.ledger.read_feed(0)).entries] == ["u1", "u2"]


@pytest.mark.parametrize("status", list(Status))
def test_only_who_may_be_served_or_is_held_has_a_seat(rig: Rig, status: Status) -> None:
    do(rig, lambda tx: tx.add_account(Account("u1", "default", status)))
    seated = status in {Status.INVITED, Status.ACTIVE, Status.SUSPENDED}
    assert (accounts(rig)[0].seat, seats(rig)) == (seated, int(seated))


@pytest.mark.parametrize("status", [Status.PENDING, Status.DORMANT])
def test_the_default_store_lets_nobody_further_in_than_they_were_when_it_shut_them_out(
    rig: Rig, status: Status
) -> None:
    do(rig, lambda tx: arrive(tx, "ann", SEATS))
    (ann,) = accounts(rig)
    do(rig, lambda tx: tx.set_lifecycle(ann.user_id, status, seat=False, held_from=None))

    async def switch(tx: Transaction, active: bool) -> None:
        assert tx.users is not None
        await tx.users.set_active(ann.user_id, active)

    do(rig, lambda tx: switch(tx, active=False))
    (held,) = accounts(rig)
    assert (held.status, held.held_from, held.seat, seats(rig)) == (Status.SUSPENDED, status, False, 0)
    for _ in range(2):
        do(rig, lambda tx: switch(tx, active=True))
        (back,) = accounts(rig)
        assert (back.status, back.held_from, back.seat, seats(rig)) == (status, None, False, 0)
    told = [(event.type, dict(event.data)) for event in rig.run(rig.ledger.list_audit())]
    assert told == [
        ("user.suspended", {"actor": "user_store", "from": status, "trigger": "suspend", "sessions_ended": 0}),
        (f"user.{status.value}", {"actor": "user_store", "from": "suspended", "trigger": "resume"}),
    ]


@pytest.mark.parametrize("status", [Status.PENDING, Status.DEPROVISIONED, Status.DELETED])
def test_the_default_store_opens_no_account_that_the_lifecycle_keeps_shut(rig: Rig, status: Status) -> None:
    do(rig, lambda tx: arrive(tx, "ann", SEATS))
    (ann,) = accounts(rig)
    do(rig, lambda tx: tx.set_lifecycle(ann.user_id, status, seat=False, held_from=None))

    async def let_in(tx: Transaction) -> None:
        assert tx.users is not None
        await tx.users.set_active(ann.user_id, True)

    do(rig, let_in)
    assert [(one.status, one.seat) for one in accounts(rig)] == [(status, False)]


def test_unknown_account_takes_no_seat_and_is_not_moved(rig: Rig) -> None:
    for work in (
        lambda tx: tx.set_seat("nobody", True),
        lambda tx: tx.set_lifecycle("nobody", Status.ACTIVE, seat=True, held_from=None),
        lambda tx: tx.erase_account("nobody"),
    ):
        with pytest.raises(NotProvisioned, match="user_unknown"):
            do(rig, work)


def test_count_includes_what_this_very_unit_has_written(rig: Rig) -> None:
    async def work(tx: Transaction) -> list[int]:
        counted = []
        for number in range(3):
            await tx.add_account(Account(f"u{number}", "default", Status.ACTIVE))
            await tx.hold_tenant("default")
            counted.append(await tx.count_seats("default", since=AT))
        await tx.set_status("u0", Status.DORMANT)
        counted.append(await tx.count_seats("default", since=AT))
        counted.append(await tx.count_created("default", since=AT))
        return counted

    assert do(rig, work) == [1, 2, 3, 2, 3]


def test_users_being_made_elsewhere_count_until_they_are_made_or_forgotten(rig: Rig) -> None:
    do(rig, lambda tx: tx.add_link(link("a")))
    do(rig, lambda tx: tx.add_link(link("b", tenant="acme")))
    assert seats(rig) == 1
    assert seats(rig, besides=link("a")) == 0, "a login that is taken up again does not count itself"
    assert do(rig, lambda tx: tx.count_created("default", since=AT, besides=link("a"))) == 0
    assert do(rig, lambda tx: tx.count_seats("default", since=AT + 1)) == 0, "an intent that a crash left behind"

    async def settle(tx: Transaction) -> None:
        await tx.add_account(Account("u1", "default", Status.ACTIVE))
        assert await tx.settle_link(link("a"), "u1")

    do(rig, settle)
    assert seats(rig) == 1


def test_tenants_have_their_own_seats(rig: Rig) -> None:
    one = ProvisioningSettings(seat_limit=1)
    assert isinstance(do(rig, lambda tx: arrive(tx, "ann", one)), User)
    assert isinstance(do(rig, lambda tx: arrive(tx, "ann", one, tenant="acme")), User)
    with pytest.raises(SeatsFull):
        do(rig, lambda tx: arrive(tx, "bob", one))


def test_created_users_are_counted_from_a_time_on(rig: Rig) -> None:
    do(rig, lambda tx: tx.add_account(Account("u1", "default", Status.ACTIVE)))
    rig.clock.seconds += 60
    do(rig, lambda tx: tx.add_account(Account("u2", "default", Status.PENDING)))

    async def work(tx: Transaction) -> list[int]:
        return [await tx.count_created("default", since=since) for since in (0, AT, AT + 1, AT + 60, AT + 61)]

    assert do(rig, work) == [2, 2, 1, 1, 0]


def test_erased_account_keeps_its_id_and_nothing_else(rig: Rig) -> None:
    user = do(rig, lambda tx: arrive(tx, "ann", SEATS))
    assert isinstance(user, User)

    async def erase(tx: Transaction) -> object:
        await tx.change_grants(user.id, add=[Grant("staff", "manual")], remove=[])
        await tx.set_status(user.id, Status.ERASED)
        await tx.erase_account(user.id)
        return await tx.find_account(user.id)

    gone = Account(user.id, "default", Status.ERASED, seat=False)
    assert do(rig, erase) == gone
    assert accounts(rig) == [gone]

    async def look(tx: Transaction) -> object:
        return await tx.find_link("oidc", ISSUER, "ann"), await tx.list_links(user.id)

    assert do(rig, look) == (None, [])
    again = do(rig, lambda tx: arrive(tx, "ann", SEATS))
    assert isinstance(again, User)
    assert again.id != user.id


def test_accounts_are_listed_by_status(rig: Rig) -> None:
    for name, status in (("a", Status.ACTIVE), ("b", Status.PENDING), ("c", Status.PENDING), ("d", Status.DORMANT)):
        do(rig, lambda tx, name=name, status=status: tx.add_account(Account(name, "default", status)))  # type: ignore[misc]
    listed = [account.user_id for account in rig.run(rig.ledger.list_users(status=Status.PENDING))]
    assert listed == ["b", "c"]
    assert [one.user_id for one in rig.run(rig.ledger.list_users(status=Status.PENDING, after="b", limit=1))] == ["c"]


# --- many at once ---------------------------------------------------------------------------------------------------


def test_sixty_simultaneous_logins_take_exactly_ten_seats(rig: Rig) -> None:
    """Attack 60: mass provisioning."""
    outcomes = rig.together([arriving(rig, f"user{number}") for number in range(60)])
    assert len([one for one in outcomes if isinstance(one, User)]) == LIMIT
    assert {type(one) for one in outcomes} <= {User, SeatsFull, Conflict}
    assert (len(accounts(rig)), seats(rig)) == (LIMIT, LIMIT)


@pytest.mark.parametrize(("when_full", "status"), [("pending", Status.PENDING), ("minimal_role", Status.ACTIVE)])
def test_who_finds_no_seat_waits_or_has_the_minimal_role(rig: Rig, when_full: str, status: Status) -> None:
    policy = ProvisioningSettings(seat_limit=LIMIT, seats_when_full=when_full, minimal_role="guest")  # type: ignore[arg-type]
    outcomes = rig.together([arriving(rig, f"user{number}", policy) for number in range(30)])
    assert [one for one in outcomes if not isinstance(one, User)] == []
    found = accounts(rig)
    assert len([one for one in found if one.seat and one.status is Status.ACTIVE]) == LIMIT
    assert len([one for one in found if not one.seat and one.status is status]) == 30 - LIMIT


def test_simultaneous_approvals_do_not_overrun_the_seats(rig: Rig) -> None:
    for number in range(20):
        do(rig, lambda tx, number=number: tx.add_account(Account(f"u{number:02}", "default", Status.PENDING)))  # type: ignore[misc]

    def approval(number: int) -> Callable[[], Awaitable[Account | None]]:
        async def work(tx: Transaction) -> Account | None:
            account = await tx.find_account(f"u{number:02}")
            assert account is not None
            return await move(
                tx, account, Trigger.APPROVE, settings=SEATS, actor="test", at=AT, event_id=f"event-{number}"
            )

        return lambda: rig.ledger.transaction(work)

    outcomes = rig.together([approval(number) for number in range(20)])
    assert len([one for one in outcomes if isinstance(one, Account)]) == LIMIT
    assert seats(rig) == LIMIT
    assert len([one for one in accounts(rig) if one.status is Status.ACTIVE]) == LIMIT


def stepping_beside(rig: Rig, trigger: Trigger, policy: ProvisioningSettings, meanwhile: str) -> list[Account | None]:
    """What each try to move ``u1`` comes to, when somebody else changes the account after the first one has read it.

    On SQLite they change it before: a unit of work has the one write lock from its beginning.
    """
    change = f"UPDATE jit_users SET {meanwhile} WHERE id = 'u1'"
    outcomes: list[Account | None] = []

    async def work(tx: Transaction) -> None:
        account = await tx.find_account("u1")
        assert account is not None
        outcomes.append(None)
        if len(outcomes) == 1 and rig.kind != "sqlite":
            run_sql(rig.url, change)
        outcomes[-1] = await move(tx, account, trigger, settings=policy, actor="test", at=AT, event_id="event")

    if rig.kind == "sqlite":
        run_sql(rig.url, change)
    do(rig, work)
    return outcomes


def test_a_step_that_was_judged_before_a_hold_does_not_lift_it(rig: Rig) -> None:
    """Moved away and back: the status is the one that was read, and what it goes back to is not."""
    do(rig, lambda tx: tx.add_account(Account("u1", "default", Status.DEPROVISIONED, seat=False)))
    outcomes = stepping_beside(rig, Trigger.REINSTATE, SEATS, "held_from = 'active'")
    assert len(outcomes) == (1 if rig.kind == "sqlite" else 2)
    (back,) = accounts(rig)
    assert (back.status, back.held_from) == (Status.SUSPENDED, Status.ACTIVE)


def test_of_two_who_approve_one_person_nobody_is_told_that_the_seats_are_taken(rig: Rig) -> None:
    """The seat that the quicker of them has given is this very person's."""
    do(rig, lambda tx: tx.add_account(Account("u1", "default", Status.PENDING)))
    policy = ProvisioningSettings(seat_limit=1)
    outcomes = stepping_beside(rig, Trigger.APPROVE, policy, "status = 'active', seat = true")
    assert set(outcomes) == {None}, "judged again, there is nothing left to do"
    assert [(one.status, one.seat) for one in accounts(rig)] == [(Status.ACTIVE, True)]
    assert seats(rig) == 1


def test_of_two_who_revive_one_person_both_come_in(rig: Rig) -> None:
    do(rig, lambda tx: tx.add_account(Account("u1", "default", Status.DORMANT)))
    policy = ProvisioningSettings(seat_limit=1, seats_when_full="minimal_role", minimal_role="guest")
    stepping_beside(rig, Trigger.LOGIN, policy, "status = 'active', seat = true")
    assert [(one.status, one.seat) for one in accounts(rig)] == [(Status.ACTIVE, True)]


def test_simultaneous_logins_do_not_overrun_the_rate(rig: Rig) -> None:
    policy = ProvisioningSettings(creation_rate=Rate(5, 60))
    outcomes = rig.together([arriving(rig, f"user{number}", policy) for number in range(30)])
    assert len([one for one in outcomes if isinstance(one, User)]) == 5
    assert {type(one) for one in outcomes} <= {User, CreationLimited, Conflict}
    rig.clock.seconds += 60
    do(rig, lambda tx: check_creation_rate(tx, policy, "default", Steps(), at=rig.clock.now()))


def test_person_without_a_seat_gets_the_next_one_that_is_free(rig: Rig) -> None:
    policy = ProvisioningSettings(seat_limit=1, seats_when_full="minimal_role", minimal_role="guest")
    first, second = (do(rig, lambda tx, name=name: arrive(tx, name, policy)) for name in ("ann", "bob"))  # type: ignore[misc]
    assert isinstance(first, User)
    assert isinstance(second, User)

    async def come_back(tx: Transaction) -> bool:
        account = await tx.find_account(second.id)
        assert account is not None
        return await seat_at_login(tx, policy, account, Steps(), at=AT)

    assert do(rig, come_back) is False
    do(rig, lambda tx: tx.set_status(first.id, Status.DORMANT))
    assert do(rig, come_back) is True
    assert seats(rig) == 1


# --- the alarm ------------------------------------------------------------------------------------------------------


def alarms(rig: Rig) -> list[AuditEvent]:
    return [event for event in rig.run(rig.ledger.list_audit()) if event.type == "provisioning.alarm"]


def test_alarm_is_raised_once_in_its_window_by_whichever_worker_notices(rig: Rig) -> None:
    policy = ProvisioningSettings(creation_alarm=Rate(3, 3600))
    trail = AuditTrail(clock=rig.clock, tokens=tokens)
    workers = [CreationAlarm(policy, ledger=rig.ledger, audit=trail, clock=rig.clock) for _ in range(5)]
    for number in range(2):
        do(rig, lambda tx, number=number: arrive(tx, f"user{number}", policy))  # type: ignore[misc]
    rig.run(workers[0].look("default"))
    assert alarms(rig) == []
    do(rig, lambda tx: arrive(tx, "user2", policy))
    rig.run(workers[0].look("default"))
    assert alarms(rig) == [], "it has just looked"
    rig.clock.seconds += 30
    rig.together([lambda worker=worker: worker.look("default") for worker in workers])  # type: ignore[misc]
    (alarm,) = alarms(rig)
    assert (alarm.tenant, dict(alarm.data)) == ("default", {"created": 3, "rate": "3/3600s"})
    rig.clock.seconds += 30
    rig.run(workers[0].look("default"))
    assert len(alarms(rig)) == 1


def test_alarm_that_is_off_looks_at_nothing(rig: Rig) -> None:
    trail = AuditTrail(clock=rig.clock, tokens=tokens)
    off = CreationAlarm(ProvisioningSettings(creation_alarm=None), ledger=rig.ledger, audit=trail, clock=rig.clock)
    do(rig, lambda tx: arrive(tx, "ann", SEATS))
    rig.run(off.look("default"))
    assert alarms(rig) == []


# --- accounts from before -------------------------------------------------------------------------------------------


def test_accounts_of_an_older_schema_hold_the_seats_that_they_would_hold_today(
    empty_url: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("jit_middleware_sqlalchemy.upgrade.SCHEMA_HEAD", "0001")
        migrate(empty_url)
    for status in Status:
        run_sql(
            empty_url,
            "INSERT INTO jit_users (id, tenant_id, status, email_verified, attributes, roles, created_at, updated_at)"
            f" VALUES ('{status.value}', 'default', '{status.value}', false, '{{}}', '[]', 0, 0)",
        )
    migrate(empty_url)
    rig = open_rig(driver, empty_url)
    try:
        found = {account.status: account.seat for account in accounts(rig)}
    finally:
        close_rig(rig)
    assert found == {status: status in SEATED for status in Status}


def test_people_of_an_older_schema_stay_who_they_are_and_stay_signed_in(
    empty_url: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("jit_middleware_sqlalchemy.upgrade.SCHEMA_HEAD", "0001")
        migrate(empty_url)
    names = "id, tenant_id, status, username, username_key, email, email_key, email_verified, attributes, roles"
    person = "'u1', 'default', 'active', 'Ann', 'ann', 'ann@example.org', 'ann@example.org', true, '{}', '[\"staff\"]'"
    run_sql(
        empty_url,
        f"INSERT INTO jit_users ({names}, provisioning_key, created_at, updated_at) VALUES ({person}, 'k', {AT}, {AT})",
    )
    run_sql(
        empty_url,
        "INSERT INTO jit_identity_links VALUES"
        f" ('{digest('oidc', ISSUER, 'ann')}', 'default', 'oidc', '{ISSUER}', 'ann', 'k', 'u1', {AT}, {AT})",
    )
    run_sql(empty_url, f"INSERT INTO jit_grants VALUES ('u1', 'staff', 'idp:oidc', 'default', {AT})")
    run_sql(
        empty_url,
        f"INSERT INTO jit_sessions VALUES ('s1', 'u1', 'default', 'oidc', '{ISSUER}', 'ann', {AT}, {AT + 3600}, {AT},"
        f" {AT}, 'idp-1', NULL, '[\"pwd\"]', 'hint', NULL)",
    )
    assert migrate(empty_url)
    assert migrate(empty_url) == []
    rig = open_rig(driver, empty_url)
    try:
        found = do(rig, lambda tx: tx.find_link("oidc", ISSUER, "ann"))
        (account,) = accounts(rig)
        seen = rig.run(rig.ledger.find_session("s1"))
        ended = do(rig, lambda tx: tx.end_sessions(AT + 1, user_id="u1"))
    finally:
        close_rig(rig)
    assert account.user is not None
    assert (account.user.username, account.user.email_verified, account.user.roles) == ("Ann", True, ("staff",))
    assert (account.grants, account.seat, account.held_from) == ((Grant("staff", "idp:oidc"),), True, None)
    assert found == (IdentityLink("oidc", ISSUER, "ann", "k", "u1", first_login_at=AT), account)
    assert seen is not None
    assert (seen.account, seen.session.amr, seen.session.auth_time, seen.session.refresh_token) == (
        account, ("pwd",), None, None
    )  # fmt: skip
    assert ended == [replace(seen.session, ended_at=AT + 1)]
