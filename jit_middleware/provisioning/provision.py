"""A verified identity becomes a local user, in one transaction with its audit row and its session.

1. map the claims, check the gates
2. an identity that is linked already is that user: check the state, sync profile and grants
3. a tombstoned identity is refused
4. an existing account is adopted, where the policy allows it
5. else the user is created, where the policy allows it

When the app keeps its users in a store outside the ledger, the ledger goes first: an open intent with a stable
provisioning key, then the store (idempotent on that key), then link, account, audit and session in one transaction. A
crash in between is resumed by the next login and never makes two users. No call to an outside store is made inside a
transaction: the store may be slow, or async where the ledger is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from jit_middleware.audit import AuditTrail, identity_key
from jit_middleware.errors import Conflict, NotProvisioned
from jit_middleware.model import Account, Grant, IdentityLink, Status, User, VerifiedIdentity
from jit_middleware.ports import Clock, Ledger, Transaction, Users
from jit_middleware.provisioning.birthright import Birthright
from jit_middleware.provisioning.gates import check_gates
from jit_middleware.provisioning.mapping import ClaimMapper, MappedClaims
from jit_middleware.provisioning.matching import find_candidate
from jit_middleware.provisioning.plan import (
    Plan,
    new_profile,
    plan_adopted,
    plan_created,
    plan_returning,
)
from jit_middleware.provisioning.text import domain_of, plain_email
from jit_middleware.settings import ProvisioningSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who has arrived. ``first_login`` is true for exactly one login of this user; ``status`` may be ``PENDING``."""

    user: User
    created: bool
    first_login: bool
    grants: tuple[Grant, ...]


Finish = Callable[[Transaction, Arrival], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class _Login:
    """What is known of one login on its way through the steps."""

    identity: VerifiedIdentity
    mapped: MappedClaims
    reference: str


class Provisioner:
    """Maps and persists."""

    def __init__(
        self,
        settings: ProvisioningSettings,
        *,
        mappers: Mapping[str, ClaimMapper],
        verified_domains: Mapping[str, tuple[str, ...]],
        ledger: Ledger,
        users: Users | None,
        audit: AuditTrail,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._mappers = mappers
        self._verified_domains = verified_domains
        self._birthright = Birthright(settings)
        self._ledger = ledger
        self._users = users
        self._audit = audit
        self._clock = clock

    async def provision(self, identity: VerifiedIdentity, finish: Finish[T], *, reference: str) -> T:
        """Make or update the user of this identity, ``finish`` (session, login audit) in the same transaction, and
        return what it returns.

        Raises ``NotProvisioned`` (nothing is written), ``Conflict("once_key")`` from ``finish``, ``StoreUnavailable``.
        """
        mapped = self._mappers[identity.connection].map(identity)
        check_gates(self._settings, mapped)
        login = _Login(identity, mapped, reference)
        try:
            if self._users is None:
                return await self._ledger.transaction(lambda tx: self._in_ledger(tx, login, finish))
            return await self._outside(self._users, login, finish)
        except Conflict as conflict:
            if conflict.reason == "username":
                # The name belongs to another identity: a label, never a reason to log in as that user.
                raise NotProvisioned("username_taken", "another user has this username") from conflict
            raise

    # --- users in the ledger's own database -----------------------------------------------------------------------

    async def _in_ledger(self, tx: Transaction, login: _Login, finish: Finish[T]) -> T:
        users = tx.users
        if users is None:
            raise TypeError("this ledger keeps no users: a user store is needed")
        identity = login.identity
        found = await tx.find_link(identity.connection, identity.issuer, identity.subject)
        if found is not None:
            link, record = found
            account, user, plan = self._plan_returning(login, record, None if record is None else record.user)
            user = await _write_user(users, user, plan)
            return await finish(tx, await self._returned(tx, link, account, user, plan))
        candidate = await self._candidate(users, login)
        adopted = await self._may_enter(tx, login, candidate)
        if adopted is None:
            self._check_name(login)
        user = adopted or await users.create(new_profile(self._settings, self._birthright, identity, login.mapped))
        plan = self._plan_arriving(login, user, await _grants_of(tx, adopted), adopted=adopted is not None)
        link = self._link(identity, user.id)
        await tx.add_link(link)
        user = await _write_user(users, user, plan)
        return await finish(tx, await self._arrived(tx, login, link, user, plan, adopted=adopted is not None))

    # --- users in a store of the app ------------------------------------------------------------------------------

    async def _outside(self, users: Users, login: _Login, finish: Finish[T]) -> T:
        identity = login.identity
        found = await self._ledger.transaction(
            lambda tx: tx.find_link(identity.connection, identity.issuer, identity.subject)
        )
        if found is not None and found[0].user_id is not None:
            return await self._returning_outside(users, login, found[1], found[0].user_id, finish)

        candidate = await self._candidate(users, login)
        link, adopted, held = await self._ledger.transaction(lambda tx: self._open_intent(tx, login, candidate))
        if link.user_id is not None:  # another login of the same person was quicker
            return await self._outside(users, login, finish)
        if adopted is None:
            self._check_name(login)
        user = adopted or await users.create(new_profile(self._settings, self._birthright, identity, login.mapped))
        plan = self._plan_arriving(login, user, held, adopted=adopted is not None)
        user = await _write_user(users, user, plan)

        async def settle(tx: Transaction) -> T:
            if await tx.settle_link(link, user.id):
                return await finish(tx, await self._arrived(tx, login, link, user, plan, adopted=adopted is not None))
            return await finish(tx, await self._again(tx, login, user))  # another login of this person was quicker

        return await self._ledger.transaction(settle)

    async def _returning_outside(
        self,
        users: Users,
        login: _Login,
        record: Account | None,
        user_id: str,
        finish: Finish[T],
    ) -> T:
        _, user, plan = self._plan_returning(login, record, await users.get(user_id))
        written = await _write_user(users, user, plan)

        async def work(tx: Transaction) -> T:
            return await finish(tx, await self._again(tx, login, written))

        return await self._ledger.transaction(work)

    async def _again(self, tx: Transaction, login: _Login, user: User) -> Arrival:
        """The login of a linked identity, judged by what the ledger says in this very transaction.

        While the outside store was asked, the account may have been suspended, revived or deleted.
        """
        identity = login.identity
        found = await tx.find_link(identity.connection, identity.issuer, identity.subject)
        if found is None:
            raise NotProvisioned("account_missing", "the identity was unlinked while the user store was asked")
        account, _, plan = self._plan_returning(login, found[1], user)
        return await self._returned(tx, found[0], account, user, plan)

    async def _open_intent(
        self, tx: Transaction, login: _Login, candidate: User | None
    ) -> tuple[IdentityLink, User | None, tuple[Grant, ...]]:
        identity = login.identity
        found = await tx.find_link(identity.connection, identity.issuer, identity.subject)
        if found is not None and found[0].user_id is not None:
            return found[0], None, ()
        adopted = await self._may_enter(tx, login, candidate)
        held = await _grants_of(tx, adopted)
        if found is not None:  # an intent that a crash left open
            return found[0], adopted, held
        intent = self._link(identity, None)
        await tx.add_link(intent)
        return intent, adopted, held

    # --- the steps ------------------------------------------------------------------------------------------------

    def _plan_returning(self, login: _Login, account: Account | None, user: User | None) -> tuple[Account, User, Plan]:
        return plan_returning(self._settings, self._birthright, login.identity, login.mapped, account, user)

    def _plan_arriving(self, login: _Login, user: User, held: tuple[Grant, ...], *, adopted: bool) -> Plan:
        if not adopted:
            return plan_created(self._birthright, login.identity, user)
        return plan_adopted(self._settings, self._birthright, login.identity, login.mapped, user, held)

    async def _returned(self, tx: Transaction, link: IdentityLink, account: Account, user: User, plan: Plan) -> Arrival:
        if plan.revive:
            await tx.set_status(account.user_id, Status.ACTIVE)
        if plan.add or plan.remove:
            await tx.change_grants(account.user_id, add=plan.add, remove=plan.remove)
        first = link.first_login_at is None
        if first:
            await tx.mark_first_login(link, self._clock.now())
        user = replace(user, roles=plan.roles, status=Status.ACTIVE)
        return Arrival(user, created=False, first_login=first, grants=plan.grants)

    async def _arrived(
        self, tx: Transaction, login: _Login, link: IdentityLink, user: User, plan: Plan, *, adopted: bool
    ) -> Arrival:
        identity = login.identity
        user = replace(user, roles=plan.roles)
        if not adopted and user.status is Status.ACTIVE:  # an outside store need not know what pending is
            user = replace(user, status=self._settings.initial_status)
        if adopted:
            await tx.add_account(Account(user.id, identity.tenant, user.status))
            await tx.change_grants(user.id, add=plan.add, remove=plan.remove)
            # Whoever was logged in before the proof was given need not be the one who gave it.
            for ended in await tx.end_sessions(self._clock.now(), user_id=user.id):
                await tx.append_audit(self._audit.session_ended(ended, cause="linked", reference=login.reference))
            event = self._audit.identity_linked(identity, user.id, proof="verified_email", reference=login.reference)
        else:
            await tx.add_account(Account(user.id, identity.tenant, user.status, plan.grants))
            named = [(grant.role, grant.source) for grant in plan.grants]
            event = self._audit.user_created(identity, user, grants=named, reference=login.reference)
        await tx.append_audit(event)
        first = user.status is Status.ACTIVE
        if first:
            await tx.mark_first_login(link, self._clock.now())
        return Arrival(user, created=not adopted, first_login=first, grants=plan.grants)

    async def _candidate(self, users: Users, login: _Login) -> User | None:
        if self._settings.link_policy != "auto" or self._settings.mode == "off":
            return None
        domains = self._verified_domains.get(login.identity.connection, ())
        return await find_candidate(users, login.identity, login.mapped, domains)

    async def _may_enter(self, tx: Transaction, login: _Login, candidate: User | None) -> User | None:
        """The account to adopt, or ``None`` to create one. Raises ``NotProvisioned`` when neither is allowed."""
        identity = login.identity
        if await tx.is_tombstoned(identity.connection, identity.issuer, identity.subject):
            raise NotProvisioned("identity_tombstoned", "this identity was deleted here")
        if candidate is not None and not await tx.list_links(candidate.id):
            return candidate
        if self._settings.mode != "create":
            raise NotProvisioned("creation_off", f"JIT_PROVISIONING is {self._settings.mode}")
        return None

    def _check_name(self, login: _Login) -> None:
        """A new username in the form of an address must be a vouched one: apps send mail to it, or log in by it."""
        mapped = login.mapped
        if "@" not in mapped.username or (mapped.email_verified and mapped.username == mapped.email):
            return
        address = plain_email(mapped.username)
        domains = self._verified_domains.get(login.identity.connection, ())
        if address is None or domain_of(address) not in domains:
            detail = "an address nobody vouches for: see JIT_OIDC_VERIFIED_DOMAINS (JIT_SAML_…), JIT_CLAIMS_USERNAME"
            raise NotProvisioned("username_not_vouched", detail)

    def _link(self, identity: VerifiedIdentity, user_id: str | None) -> IdentityLink:
        return IdentityLink(
            connection=identity.connection,
            issuer=identity.issuer,
            subject=identity.subject,
            provisioning_key=identity_key(identity),
            user_id=user_id,
            tenant=identity.tenant,
        )


async def _write_user(users: Users, user: User, plan: Plan) -> User:
    if plan.changes:
        user = await users.update(user.id, plan.changes)
    if plan.roles != user.roles:
        await users.set_roles(user.id, plan.roles)
    return user


async def _grants_of(tx: Transaction, adopted: User | None) -> tuple[Grant, ...]:
    account = None if adopted is None else await tx.find_account(adopted.id)
    return () if account is None else account.grants
