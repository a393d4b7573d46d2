"""The table of the lifecycle, and what each step takes with it, against a real database file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.errors import AccountClosed, AccountPending, AccountSuspended, NotProvisioned, SeatsFull
from jit_middleware.model import Account, AuditEvent, Grant, IdentityLink, Prelink, Profile, SessionRecord, Status
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.by_hand import grant_role, revoke_role
from jit_middleware.provisioning.lifecycle import TRANSITIONS, Trigger, destination, move, refusal
from jit_middleware.settings import ProvisioningSettings
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from jit_middleware_sqlalchemy.schema import metadata
from tests.conftest import FakeClock
from tests.databases import prepared
from tests.fakes import CountedTokens

POLICY = ProvisioningSettings()
ISSUER = "https://login.example.org"


class House:
    """A ledger with accounts in it, and the steps they are made to take."""

    def __init__(self, ledger: SQLAlchemyLedger, clock: FakeClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self._numbers = itertools.count(1)

    def user(self, name: str, status: Status = Status.ACTIVE, *, roles: tuple[Grant, ...] = ()) -> str:
        """A user with one identity, and a live session if they may have one."""

        async def work(tx: Transaction) -> str:
            assert tx.users is not None
            user = await tx.users.create(Profile(f"key-{name}", name, f"{name}@example.org", status=status))
            await tx.add_link(IdentityLink("oidc", ISSUER, name, f"key-{name}", user.id))
            await tx.change_grants(user.id, add=roles, remove=())
            return user.id

        user_id = step(self.ledger.transaction(work))
        if status is Status.ACTIVE:
            self.session(user_id)
        return user_id

    def session(self, user_id: str) -> None:
        now = self.clock.now()
        session = SessionRecord(
            f"session-{next(self._numbers)}", user_id, "default", "oidc", ISSUER, "s", now, now + 3600, now, now
        )
        step(self.ledger.transaction(lambda tx: tx.add_session(session)))

    def move(self, user_id: str, *triggers: Trigger, policy: ProvisioningSettings = POLICY) -> Account | None:
        moved = None
        for trigger in triggers:
            event = f"event-{next(self._numbers)}"

            async def work(tx: Transaction, trigger: Trigger = trigger, event: str = event) -> Account | None:
                account = await tx.find_account(user_id)
                assert account is not None
                return await move(
                    tx,
                    account,
                    trigger,
                    settings=policy,
                    actor="test",
                    at=self.clock.now(),
                    event_id=event,
                    cause="why",
                )

            moved = step(self.ledger.transaction(work))
        return moved

    def account(self, user_id: str) -> Account:
        found = step(self.ledger.transaction(lambda tx: tx.find_account(user_id)))
        assert found is not None
        return found

    def live(self, user_id: str) -> int:
        return len(step(self.ledger.transaction(lambda tx: tx.list_sessions(user_id=user_id))))

    def events(self, *types: str) -> list[AuditEvent]:
        return [event for event in step(self.ledger.list_audit()) if event.type in types]

    def told(self) -> list[tuple[str, str]]:
        return [(entry.kind, entry.key) for entry in step(self.ledger.read_feed(0)).entries]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    clock = FakeClock()
    ledger = SQLAlchemyLedger(f"sqlite:///{prepared(tmp_path / 'jit.db')}", clock=clock, tokens=CountedTokens())
    step(ledger.prepare())
    yield House(ledger, clock)
    step(ledger.close())


def account(status: Status, held_from: Status | None = None) -> Account:
    return Account("u", "default", status, held_from=held_from)


# --- the table ------------------------------------------------------------------------------------------------------


def test_only_these_steps_open_an_account() -> None:
    opening = {pair for pair, to in TRANSITIONS.items() if to is Status.ACTIVE}
    assert opening == {
        (Status.INVITED, Trigger.FIRST_LOGIN),
        (Status.DORMANT, Trigger.LOGIN),
        (Status.PENDING, Trigger.APPROVE),
        (Status.SUSPENDED, Trigger.RESUME),
        (Status.DEPROVISIONED, Trigger.REINSTATE),
    }


def test_nothing_leads_out_of_deleted_but_to_be_forgotten() -> None:
    assert {pair[1]: to for pair, to in TRANSITIONS.items() if pair[0] is Status.DELETED} == {
        Trigger.ERASE: Status.ERASED
    }
    assert not [pair for pair in TRANSITIONS if pair[0] is Status.ERASED]


@pytest.mark.parametrize("status", [Status.INVITED, Status.PENDING, Status.ACTIVE, Status.DORMANT])
def test_a_hold_goes_back_to_where_it_was(status: Status) -> None:
    held = destination(account(status), Trigger.SUSPEND)
    assert held == (Status.SUSPENDED, status)
    assert destination(account(*held), Trigger.RESUME) == (status, None)


@pytest.mark.parametrize("status", [Status.INVITED, Status.PENDING, Status.ACTIVE, Status.DORMANT])
def test_a_hold_outlives_being_deprovisioned(status: Status) -> None:
    """Attack 61: what an administrator has shut is not opened by a provider that says active again."""
    held = destination(account(status), Trigger.SUSPEND)
    assert held is not None
    gone = destination(account(*held), Trigger.DEPROVISION)
    assert gone is not None
    assert gone[0] is Status.DEPROVISIONED
    back = destination(account(*gone), Trigger.REINSTATE)
    assert back == (Status.SUSPENDED, status)
    assert destination(account(*back), Trigger.RESUME) == (status, None)


@pytest.mark.parametrize(
    ("status", "back"),
    [
        (Status.PENDING, Status.PENDING),
        (Status.ACTIVE, Status.ACTIVE),
        (Status.DORMANT, Status.ACTIVE),
        (Status.INVITED, Status.ACTIVE),
    ],
)
def test_nobody_is_approved_by_being_shut_out_and_let_in(status: Status, back: Status) -> None:
    gone = destination(account(status), Trigger.DEPROVISION)
    assert gone is not None
    assert destination(account(*gone), Trigger.REINSTATE) == (back, None)


def test_suspended_without_a_memory_resumes_active() -> None:
    assert destination(account(Status.SUSPENDED), Trigger.RESUME) == (Status.ACTIVE, None)


# --- what a step takes with it --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trigger", "status"),
    [
        (Trigger.SUSPEND, Status.SUSPENDED),
        (Trigger.IDLE, Status.DORMANT),
        (Trigger.DEPROVISION, Status.DEPROVISIONED),
        (Trigger.DELETE, Status.DELETED),
    ],
)
def test_leaving_active_ends_sessions_tells_workers_and_is_audited(
    house: House, trigger: Trigger, status: Status
) -> None:
    """Attack 65: each way out kills the live sessions in the same transaction."""
    user = house.user("ada", roles=(Grant("staff", "manual"),))
    other = house.user("eve")
    house.session(user)
    moved = house.move(user, trigger)
    assert moved is not None
    assert (moved.status, house.live(user), house.live(other)) == (status, 0, 1)
    assert moved == house.account(user)
    assert house.told() == [("user", user)]
    (event,) = house.events(f"user.{status.value}")
    expected = {"actor": "test", "from": "active", "trigger": trigger.value, "cause": "why", "sessions_ended": 2}
    assert {**event.data, **expected} == event.data
    ended = house.events("session.ended")
    assert [(one.user_id, one.reason, one.data["actor"]) for one in ended] == [
        (user, f"user_{status.value}", "test")
    ] * 2
    assert moved.grants == (Grant("staff", "manual"),), "frozen, not taken"


def test_a_step_that_is_not_in_the_table_writes_nothing(house: House) -> None:
    user = house.user("ada")
    before = house.account(user)
    for trigger in (Trigger.APPROVE, Trigger.RESUME, Trigger.REINSTATE, Trigger.ERASE, Trigger.LOGIN):
        assert house.move(user, trigger) is None
    assert house.account(user) == before
    assert house.live(user) == 1
    assert house.told() == []
    assert house.events("user.active") == []


def test_seats_follow_the_account(house: House) -> None:
    user = house.user("ada")
    seats = []
    for trigger in (
        Trigger.SUSPEND,
        Trigger.RESUME,
        Trigger.IDLE,
        Trigger.LOGIN,
        Trigger.DEPROVISION,
        Trigger.REINSTATE,
        Trigger.DELETE,
    ):
        moved = house.move(user, trigger)
        assert moved is not None
        seats.append((moved.status.value, moved.seat))
    assert seats == [
        ("suspended", True),
        ("active", True),
        ("dormant", False),
        ("active", True),
        ("deprovisioned", False),
        ("active", True),
        ("deleted", False),
    ]


@pytest.mark.parametrize(
    ("status", "triggers"),
    [
        (Status.PENDING, (Trigger.APPROVE,)),
        (Status.DORMANT, (Trigger.LOGIN,)),
        (Status.ACTIVE, (Trigger.DEPROVISION, Trigger.REINSTATE)),
        (Status.ACTIVE, (Trigger.SUSPEND, Trigger.DEPROVISION, Trigger.REINSTATE)),
    ],
)
def test_no_step_overruns_the_seats(house: House, status: Status, triggers: tuple[Trigger, ...]) -> None:
    """Attack 60: letting somebody back in needs a seat like coming in."""
    limited = ProvisioningSettings(seat_limit=1)
    user = house.user("ada", status)
    house.move(user, *triggers[:-1], policy=limited)
    house.user("eve")
    before = house.account(user)
    with pytest.raises(SeatsFull, match="seats_full"):
        house.move(user, triggers[-1], policy=limited)
    assert house.account(user) == before
    assert house.move(user, triggers[-1], policy=ProvisioningSettings(seat_limit=2)) is not None


def test_dormant_wakes_without_a_seat_where_there_is_a_minimal_role(house: House) -> None:
    policy = ProvisioningSettings(seat_limit=1, seats_when_full="minimal_role", minimal_role="guest")
    user = house.user("ada", Status.DORMANT)
    house.user("eve")
    moved = house.move(user, Trigger.LOGIN, policy=policy)
    assert moved is not None
    assert (moved.status, moved.seat) == (Status.ACTIVE, False)
    held = house.move(user, Trigger.SUSPEND, Trigger.RESUME, policy=policy)
    assert held is not None
    assert (held.status, held.seat) == (Status.ACTIVE, False), "a hold gives nobody a seat"


def test_reinstated_person_comes_back_without_privileged_roles_whatever_their_source(house: House) -> None:
    policy = ProvisioningSettings(privileged_roles=("admin", "root"))
    grants = tuple(Grant(role, source) for role in ("admin", "root", "staff") for source in ("idp:oidc", "manual"))
    user = house.user("ada", roles=grants)
    gone = house.move(user, Trigger.DEPROVISION, policy=policy)
    assert gone is not None
    assert set(gone.grants) == set(grants)
    back = house.move(user, Trigger.REINSTATE, policy=policy)
    assert back is not None
    assert back.grants == (Grant("staff", "idp:oidc"), Grant("staff", "manual"))
    assert back.user is not None
    assert back.user.roles == ("staff",)
    (event,) = house.events("user.active")
    assert event.data["roles_dropped"] == [
        {"role": role, "source": source} for role in ("admin", "root") for source in ("idp:oidc", "manual")
    ]


def test_privileged_role_that_only_the_store_knows_of_does_not_come_back_either(house: House) -> None:
    policy = ProvisioningSettings(privileged_roles=("admin",))
    user = house.user("ada")

    async def work(tx: Transaction) -> None:
        assert tx.users is not None
        await tx.users.set_roles(user, ("admin", "staff"))

    step(house.ledger.transaction(work))
    back = house.move(user, Trigger.DEPROVISION, Trigger.REINSTATE, policy=policy)
    assert back is not None
    assert back.user is not None
    assert back.user.roles == ("staff",)


def test_deleted_person_leaves_tombstones_and_erased_one_nothing_but_them(house: House) -> None:
    user = house.user("ada", roles=(Grant("staff", "manual"),))
    house.move(user, Trigger.DELETE)
    assert house.account(user).user is not None, "deleted, and not yet forgotten"
    (event,) = house.events("user.deleted")
    assert event.data["identities_tombstoned"] == 1
    erased = house.move(user, Trigger.ERASE)
    assert erased is not None
    assert (erased.status, erased.user, erased.grants) == (Status.ERASED, None, ())

    async def look(tx: Transaction) -> tuple[object, bool, object]:
        assert tx.users is not None
        link = await tx.find_link("oidc", ISSUER, "ada")
        return link, await tx.is_tombstoned("oidc", ISSUER, "ada"), await tx.users.find(email="ada@example.org")

    assert step(house.ledger.transaction(look)) == (None, True, [])
    with house.ledger.database.engine.connect() as connection:
        rows = [repr(row) for table in metadata.sorted_tables for row in connection.execute(table.select())]
    assert not [row for row in rows if "ada" in row]


def test_prelinks_to_a_deleted_account_are_forgotten(house: House) -> None:
    user, other = house.user("ada"), house.user("eve")

    def prelink(key: str, user_id: str) -> Prelink:
        return Prelink(key, "subject", "oidc", user_id, "batch", house.clock.now(), house.clock.now() + 60)

    wanted = [prelink("one", user), prelink("two", other)]
    step(house.ledger.transaction(lambda tx: tx.add_prelinks(wanted)))
    house.move(user, Trigger.DELETE)
    assert step(house.ledger.transaction(lambda tx: tx.list_prelinks())) == wanted[1:]


def test_username_of_an_erased_person_is_free(house: House) -> None:
    house.move(house.user("ada"), Trigger.DELETE, Trigger.ERASE)

    async def work(tx: Transaction) -> str:
        assert tx.users is not None
        return (await tx.users.create(Profile("another key", "ada"))).username

    assert step(house.ledger.transaction(work)) == "ada"


# --- what people are told -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.PENDING, AccountPending),
        (Status.SUSPENDED, AccountSuspended),
        (Status.DEPROVISIONED, AccountClosed),
        (Status.DELETED, AccountClosed),
        (Status.ERASED, AccountClosed),
        (Status.DORMANT, NotProvisioned),
        (Status.INVITED, NotProvisioned),
    ],
)
def test_refusal_names_the_state_in_its_reason(status: Status, kind: type[NotProvisioned]) -> None:
    error = refusal(status)
    assert type(error) is kind
    assert error.reason == f"account_{status.value}"


# --- roles by hand --------------------------------------------------------------------------------------------------


def by_hand(house: House, user: str, role: str, policy: ProvisioningSettings) -> Account | None:
    async def work(tx: Transaction) -> Account | None:
        account = await tx.find_account(user)
        assert account is not None
        return await grant_role(tx, account, role, settings=policy, actor="test", at=house.clock.now(), event_id=role)

    return step(house.ledger.transaction(work))


def test_a_rise_to_a_privileged_role_ends_the_sessions(house: House) -> None:
    policy = ProvisioningSettings(privileged_roles=("admin",))
    user = house.user("ada")
    assert by_hand(house, user, "staff", policy) is not None
    assert house.live(user) == 1
    risen = by_hand(house, user, "admin", policy)
    assert risen is not None
    assert {grant.role for grant in risen.grants} == {"admin", "staff"}
    assert house.live(user) == 0
    (ended,) = house.events("session.ended")
    assert ended.reason == "role_granted"
    assert [event.data["sessions_ended"] for event in house.events("role.granted")] == [0, 1]
    house.session(user)
    assert by_hand(house, user, "admin", policy) == house.account(user)
    assert (house.live(user), len(house.events("role.granted"))) == (1, 2), "a repeat changes nothing"


def test_a_privileged_role_that_is_held_already_is_no_rise(house: House) -> None:
    policy = ProvisioningSettings(privileged_roles=("admin",))
    user = house.user("ada", roles=(Grant("admin", "idp:oidc"),))
    assert by_hand(house, user, "admin", policy) is not None
    assert house.live(user) == 1


@pytest.mark.parametrize("role", ["staff", "member"])
def test_where_every_role_is_privileged_any_rise_ends_the_sessions(house: House, role: str) -> None:
    """Also one that others have from birth: the session was made without it."""
    policy = ProvisioningSettings(privileged_roles=("*",), default_roles=("member",))
    user = house.user("ada", roles=(Grant("held", "idp:oidc"),))
    assert by_hand(house, user, "held", policy) is not None
    assert house.live(user) == 1, "no rise"
    assert by_hand(house, user, role, policy) is not None
    assert house.live(user) == 0
    assert [event.reason for event in house.events("session.ended")] == ["role_granted"]


def test_where_every_role_is_privileged_a_reinstated_person_has_what_everybody_has(house: House) -> None:
    policy = ProvisioningSettings(privileged_roles=("*",), default_roles=("member",))
    user = house.user("ada", roles=(Grant("member", "birthright"), Grant("staff", "manual")))
    back = house.move(user, Trigger.DEPROVISION, Trigger.REINSTATE, policy=policy)
    assert back is not None
    assert back.grants == (Grant("member", "birthright"),)
    assert back.user is not None
    assert back.user.roles == ("member",)


def test_whoever_is_gone_is_given_nothing(house: House) -> None:
    user = house.user("ada")
    house.move(user, Trigger.DELETE)
    assert by_hand(house, user, "staff", POLICY) is None
    assert house.account(user).grants == ()


def test_a_role_by_hand_is_taken_back_and_others_stay(house: House) -> None:
    user = house.user("ada", roles=(Grant("staff", "manual"), Grant("staff", "birthright")))

    async def work(tx: Transaction) -> Account | None:
        account = await tx.find_account(user)
        assert account is not None
        return await revoke_role(tx, account, "staff", actor="test", at=house.clock.now(), event_id="e")

    left = step(house.ledger.transaction(work))
    assert left is not None
    assert left.grants == (Grant("staff", "birthright"),)
    assert ("user", user) in house.told()
    assert step(house.ledger.transaction(work)) is None
    assert len(house.events("role.revoked")) == 1
