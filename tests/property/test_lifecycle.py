"""The lifecycle under any sequence of triggers: nothing leaves the table, and who is not active has no live session."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jit_middleware.bridge import step
from jit_middleware.errors import SeatsFull
from jit_middleware.model import SEATED, Account, Grant, IdentityLink, Profile, SessionRecord, Status
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.by_hand import grant_role, revoke_role
from jit_middleware.provisioning.lifecycle import BY_LOGIN, TRANSITIONS, WAYS_BACK, Trigger, move
from jit_middleware.settings import ProvisioningSettings
from jit_middleware_sqlalchemy import SQLAlchemyLedger
from tests.conftest import FakeClock
from tests.databases import prepared
from tests.fakes import CountedTokens

ISSUER = "https://login.example.org"
NAMES = ("ada", "bob", "cleo")
ROLES = ("staff", "admin")
BY_HAND = (
    Trigger.APPROVE, Trigger.SUSPEND, Trigger.SUSPEND, Trigger.RESUME, Trigger.RESUME, Trigger.IDLE,
    Trigger.DEPROVISION, Trigger.REINSTATE, Trigger.REINSTATE, Trigger.DELETE, Trigger.ERASE,
)  # fmt: skip
people = st.sampled_from(NAMES)


class Lifecycle(RuleBasedStateMachine):
    """Three accounts, two seats, and everybody who may do something to them."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = TemporaryDirectory()
        self._clock = FakeClock()
        url = f"sqlite:///{prepared(Path(self._directory.name) / 'jit.db')}"
        self._ledger = SQLAlchemyLedger(url, clock=self._clock, tokens=CountedTokens())
        step(self._ledger.prepare())
        self._numbers = itertools.count(1)
        self._ids: dict[str, str] = {}
        self._unapproved: set[str] = set()
        self._held: set[str] = set()
        self._policy = ProvisioningSettings(seat_limit=2, privileged_roles=("admin",))

    def teardown(self) -> None:
        step(self._ledger.close())
        self._directory.cleanup()

    @initialize(
        statuses=st.tuples(*[st.sampled_from([Status.INVITED, Status.PENDING, Status.ACTIVE])] * 2),
        full=st.sampled_from(["deny", "pending", "minimal_role"]),
    )
    def begin(self, statuses: tuple[Status, Status], full: str) -> None:
        self._policy = ProvisioningSettings(
            seat_limit=2,
            privileged_roles=("admin",),
            seats_when_full=full,  # type: ignore[arg-type]
            minimal_role="staff",
        )

        async def work(tx: Transaction) -> None:
            assert tx.users is not None
            for name, status in zip(NAMES, (*statuses, Status.PENDING), strict=True):
                user = await tx.users.create(Profile(f"key-{name}", name, status=status))
                await tx.add_link(IdentityLink("oidc", ISSUER, name, f"key-{name}", user.id))
                self._ids[name] = user.id
                if status is Status.PENDING:
                    self._unapproved.add(name)

        step(self._ledger.transaction(work))

    @rule(name=people, trigger=st.sampled_from(BY_HAND))
    def somebody_acts(self, name: str, trigger: Trigger) -> None:
        before = self._account(name)
        try:
            after = self._move(name, trigger)
        except SeatsFull:
            assert self._account(name) == before, "a step that fails leaves nothing behind"
            return
        if after is None:
            assert (before.status, trigger) not in TRANSITIONS
            assert self._account(name) == before
            return
        pair = (before.status, trigger)
        assert after.status in WAYS_BACK.get(pair, {TRANSITIONS[pair]})
        assert after == self._account(name)
        if trigger is Trigger.APPROVE:
            self._unapproved.discard(name)
        if trigger is Trigger.SUSPEND:
            self._held.add(name)
        if trigger is Trigger.RESUME:
            self._held.discard(name)
        if trigger is Trigger.REINSTATE:
            assert all(grant.role != "admin" for grant in after.grants)

    @rule(name=people)
    def somebody_signs_in(self, name: str) -> None:
        """The login, as far as the lifecycle goes: by the identity, in one transaction with the session."""

        async def work(tx: Transaction) -> Status | None:
            found = await tx.find_link("oidc", ISSUER, name)
            if found is None or found[1] is None:
                assert await tx.is_tombstoned("oidc", ISSUER, name)
                return None
            account = found[1]
            trigger = BY_LOGIN.get(account.status)
            if trigger is not None:
                moved = await self._move_in(tx, account, trigger)
                assert moved is not None
                account = moved
            if account.status is Status.ACTIVE:
                now = self._clock.now()
                session_id = f"session-{next(self._numbers)}"
                await tx.add_session(
                    SessionRecord(
                        session_id, account.user_id, "default", "oidc", ISSUER, name, now, now + 9999, now, now
                    )
                )
            return account.status

        before = self._account(name)
        try:
            status = step(self._ledger.transaction(work))
        except SeatsFull:
            assert self._account(name) == before
            return
        if status is Status.ACTIVE:
            assert before.status in {Status.ACTIVE, *BY_LOGIN}
        else:
            assert self._account(name) == before

    @rule(name=people, role=st.sampled_from(ROLES), gives=st.booleans())
    def somebody_gives_or_takes_a_role(self, name: str, role: str, gives: bool) -> None:
        event = f"event-{next(self._numbers)}"

        async def work(tx: Transaction) -> Account | None:
            account = await tx.find_account(self._ids[name])
            assert account is not None
            now = self._clock.now()
            if gives:
                return await grant_role(tx, account, role, settings=self._policy, actor="test", at=now, event_id=event)
            return await revoke_role(tx, account, role, actor="test", at=now, event_id=event)

        after = step(self._ledger.transaction(work))
        if after is not None:
            assert (Grant(role, "manual") in after.grants) is gives

    @rule(seconds=st.integers(1, 100))
    def time_passes(self, seconds: int) -> None:
        self._clock.advance(seconds)

    # --- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def who_is_not_active_has_no_live_session(self) -> None:
        live = {session.user_id for session in step(self._ledger.transaction(lambda tx: tx.list_sessions()))}
        active = {account.user_id for account in self._accounts() if account.status is Status.ACTIVE}
        assert live <= active

    @invariant()
    def seats_are_held_by_those_who_may_and_never_more_than_there_are(self) -> None:
        seated = [account for account in self._accounts() if account.seat]
        assert all(account.status in SEATED for account in seated)
        taken = step(self._ledger.transaction(lambda tx: tx.count_seats("default", since=self._clock.now())))
        assert taken == len(seated)
        assert taken <= 2

    @invariant()
    def nobody_enters_whom_nobody_has_approved_or_who_is_on_hold(self) -> None:
        by_id = {account.user_id: account for account in self._accounts()}
        for name in self._unapproved | self._held:
            assert by_id[self._ids[name]].status is not Status.ACTIVE

    @invariant()
    def whoever_is_gone_cannot_come_back(self) -> None:
        by_id = {account.user_id: account for account in self._accounts()}
        for name, user_id in self._ids.items():
            if by_id[user_id].status in {Status.DELETED, Status.ERASED}:
                assert step(self._ledger.transaction(lambda tx, name=name: tx.is_tombstoned("oidc", ISSUER, name)))  # type: ignore[misc]

    # --- the house -------------------------------------------------------------------------------------------------

    def _accounts(self) -> list[Account]:
        return list(step(self._ledger.list_users()))

    def _account(self, name: str) -> Account:
        found = step(self._ledger.transaction(lambda tx: tx.find_account(self._ids[name])))
        assert found is not None
        return found

    def _move(self, name: str, trigger: Trigger) -> Account | None:
        async def work(tx: Transaction) -> Account | None:
            account = await tx.find_account(self._ids[name])
            assert account is not None
            return await self._move_in(tx, account, trigger)

        return step(self._ledger.transaction(work))

    async def _move_in(self, tx: Transaction, account: Account, trigger: Trigger) -> Account | None:
        event = f"event-{next(self._numbers)}"
        return await move(
            tx, account, trigger, settings=self._policy, actor="test", at=self._clock.now(), event_id=event
        )


TestLifecycle = pytest.mark.slow(Lifecycle.TestCase)
TestLifecycle.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
