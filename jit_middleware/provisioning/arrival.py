"""How somebody comes in, once it is known who they are: what the ledger writes of it, in one transaction.

A returning person is let in at their account. Somebody new comes in at an account that was there (:class:`Adopted`) or
as a new user (:class:`Creation`). Nothing here decides whose account it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeAlias

from jit_middleware.audit import AuditTrail, first_login_once, identity_key
from jit_middleware.errors import NotProvisioned, SeatsFull
from jit_middleware.model import (
    UNSET,
    Account,
    IdentityLink,
    LinkProof,
    Marks,
    Profile,
    ProfileChanges,
    Status,
    User,
    VerifiedIdentity,
)
from jit_middleware.overtaking import with_email
from jit_middleware.ports import Clock, Transaction, Users
from jit_middleware.provisioning.creation import check_creation_rate
from jit_middleware.provisioning.lifecycle import BY_LOGIN, move, refusal
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.matching import Adoption, Newcomer
from jit_middleware.provisioning.plan import Plan, new_profile, plan_adopted, plan_created, plan_returning
from jit_middleware.provisioning.policy import Policy
from jit_middleware.provisioning.roles import Desired
from jit_middleware.provisioning.seats import Seat, has_free_seat, seat_at_login, take_seat
from jit_middleware.provisioning.steps import Step, Steps
from jit_middleware.provisioning.text import domain_of, plain_email
from jit_middleware.records import dataclass, record

_BY_LOGIN = "login"


@record(frozen=True, slots=True)
class Login:
    """What is known of one login on its way; ``judged`` counts the steps that were taken before the ledger was asked.

    ``marks`` is what it answers to when somebody is revoked. ``proof`` shows that the person holds a certain account.
    """

    identity: VerifiedIdentity
    policy: Policy
    mapped: MappedClaims
    marks: Marks
    steps: Steps
    judged: int
    reference: str
    proof: LinkProof | None = None

    def begin(self) -> None:
        """A transaction begins, perhaps not for the first time."""
        self.steps.rewind(self.judged)

    def so_far(self) -> Login:
        """This login, with the steps taken until now counted as taken."""
        return replace(self, judged=len(self.steps.taken))

    def newcomer(self, at: int) -> Newcomer:
        """This person as somebody who has no account yet, at a time in seconds."""
        return Newcomer(self.identity, self.mapped, self.proof, at)

    def link(self, user_id: str | None) -> IdentityLink:
        """The tie between this identity and a user; ``None`` while the user is being made."""
        identity = self.identity
        return IdentityLink(
            connection=identity.connection,
            issuer=identity.issuer,
            subject=identity.subject,
            provisioning_key=identity_key(identity),
            user_id=user_id,
            tenant=identity.tenant,
        )


@dataclass(frozen=True, slots=True)
class Adopted:
    """A new identity comes in at an account that was there; ``seat`` is what it gets if the ledger did not know it."""

    adoption: Adoption
    seat: Seat = "seat"


@dataclass(frozen=True, slots=True)
class Creation:
    """A new identity comes in as a new user; ``desired`` is ``None`` when there is no seat for more than the minimal
    role."""

    profile: Profile
    desired: Desired | None


Entry: TypeAlias = Adopted | Creation


@record(frozen=True, slots=True)
class Arrival:
    """Who has arrived. ``first_login`` is true for exactly one login of this user; ``status`` may be ``PENDING``.

    ``marks`` is what this login answers to when somebody is revoked, ``plan`` what it changes, ``proof`` why an account
    that was there is theirs, ``steps`` what was asked on the way.
    """

    user: User
    marks: Marks
    created: bool
    first_login: bool
    plan: Plan
    proof: str | None = None
    steps: tuple[Step, ...] = ()


class Arrivals:
    """Writes arrivals down."""

    def __init__(self, audit: AuditTrail, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock

    # --- somebody known -------------------------------------------------------------------------------------------

    async def returning(
        self, tx: Transaction, login: Login, link: IdentityLink, account: Account, user: User, users: Users | None
    ) -> Arrival:
        """The arrival of a linked identity. ``users`` is the store inside this transaction, where it is one."""
        login.steps.note("match", "linked")
        account = await self._let_in(tx, login, await self._as_it_stands(tx, login, account))
        user = account.user or user
        plan = plan_returning(login.policy, login.identity, login.mapped, account, user, login.steps)
        if users is not None and plan.changes:
            user = await users.update(user.id, plan.changes)
        await self._write_changes(tx, login, account, plan)
        if users is not None:
            await self._write_roles(tx, users, user, plan)
        first = link.first_login_at is None
        if first:
            await tx.mark_first_login(link, self._clock.now())
        if user.roles != plan.roles or user.status is not Status.ACTIVE:
            user = replace(user, roles=plan.roles, status=Status.ACTIVE)
        return _arrival(user, plan, login, first_login=first)

    # --- somebody new ---------------------------------------------------------------------------------------------

    async def creation(self, tx: Transaction, login: Login, *, besides: IdentityLink | None = None) -> Creation:
        """The user to create. Raises ``NotProvisioned`` when there is to be none: ``creation_off``,
        ``username_not_vouched``, ``creation_rate``, ``seats_full``, ``groups_unavailable``.

        ``besides`` is the open intent of this very login.
        """
        policy, identity, steps = login.policy, login.identity, login.steps
        settings, at = policy.settings, self._clock.now()
        if settings.mode != "create":
            steps.note("creation", "refused", settings.mode)
            raise NotProvisioned("creation_off", f"JIT_PROVISIONING is {settings.mode}")
        _check_name(login)
        await check_creation_rate(tx, settings, identity.tenant, steps, at=at, besides=besides)
        seat: Seat = "pending"
        if settings.initial_status is Status.ACTIVE:
            seat = await take_seat(tx, settings, identity.tenant, steps, at=at, besides=besides)
        desired = None
        if seat != "minimal":
            desired = policy.roles.desired(identity, login.mapped, (), steps)
        steps.note("creation", "allowed", seat if seat != "seat" else "")
        return Creation(new_profile(policy, identity, login.mapped, seat, desired), desired)

    async def check_promise(self, tx: Transaction, login: Login, entry: Creation) -> None:
        """Raises ``SeatsFull`` when the seat of a user made in an outside store has gone to somebody else meanwhile: an
        intent that a crash left open is not counted for ever."""
        settings, at = login.policy.settings, self._clock.now()
        if entry.profile.seat and not await has_free_seat(
            tx, settings, login.identity.tenant, at=at, besides=login.link(None)
        ):
            raise SeatsFull("seats_full", f"all {settings.seat_limit} seats are taken")

    async def adopted(
        self, tx: Transaction, login: Login, adoption: Adoption, *, besides: IdentityLink | None = None
    ) -> Adopted:
        """The account that this identity comes in at. Raises ``SeatsFull`` for one that the ledger did not know."""
        if adoption.account is not None:
            return Adopted(adoption)
        settings, tenant, at = login.policy.settings, login.identity.tenant, self._clock.now()
        return Adopted(adoption, await take_seat(tx, settings, tenant, login.steps, at=at, besides=besides))

    async def arriving(
        self, tx: Transaction, login: Login, link: IdentityLink, user: User, entry: Entry, users: Users | None
    ) -> Arrival:
        """The first arrival of an identity, at ``user``. ``users`` is the store inside this transaction, where it is
        one."""
        if isinstance(entry, Adopted):
            entry = await self._taken_over(tx, login, entry)
        plan = _plan(login, user, entry)
        if users is not None and plan.changes:
            user = await users.update(user.id, plan.changes)
        before, user = user, replace(user, roles=plan.roles, status=_status_of(user, entry))
        if isinstance(entry, Creation):
            await self._write_created(tx, login, user, entry, plan, is_outside=users is None)
        else:
            await self._write_adopted(tx, login, user, entry, plan)
            if users is not None:
                await self._write_roles(tx, users, before, plan)
        first = user.status is Status.ACTIVE
        if first:
            await tx.mark_first_login(link, self._clock.now())
        if first and isinstance(entry, Adopted):
            # Its holder may have signed in before, by another identity or by one that was untied.
            first = not await tx.has_event(first_login_once(user.id))
        return _arrival(user, plan, login, first_login=first, entry=entry)

    async def _taken_over(self, tx: Transaction, login: Login, entry: Adopted) -> Adopted:
        """The account as it is for its new identity; what serves once has served."""
        adoption = entry.adoption
        await login.policy.matcher.consume(tx, adoption, self._clock.now())
        if adoption.account is None:
            return entry
        account = await self._let_in(tx, login, adoption.account)
        return replace(entry, adoption=replace(adoption, account=account))

    async def _write_created(
        self, tx: Transaction, login: Login, user: User, entry: Creation, plan: Plan, *, is_outside: bool
    ) -> None:
        seat = entry.profile.seat
        if is_outside and await tx.find_account(user.id) is not None:
            # A store that answers with somebody's user instead of a conflict must not hand that user over.
            raise NotProvisioned("subject_changed", "the store made no new user: this one has an identity already")
        await tx.add_account(Account(user.id, user.tenant, user.status, plan.grants, seat=seat))
        event = self._audit.user_created(
            login.identity,
            user,
            grants=plan.grants,
            path=login.steps.lines(),
            seat=seat,
            reference=login.reference,
        )
        await tx.append_audit(event)

    async def _write_adopted(self, tx: Transaction, login: Login, user: User, entry: Adopted, plan: Plan) -> None:
        if entry.adoption.account is None:
            seat = entry.seat == "seat"
            await tx.add_account(Account(user.id, user.tenant, user.status, seat=seat))
        await tx.change_grants(user.id, add=plan.add, remove=plan.remove)
        # Whoever was logged in before the proof was given need not be the one who gave it.
        for ended in await tx.end_sessions(self._clock.now(), user_id=user.id):
            await tx.append_audit(self._audit.session_ended(ended, cause="linked", reference=login.reference))
        event = self._audit.identity_linked(
            login.identity, user.id, proof=entry.adoption.proof, path=login.steps.lines(), reference=login.reference
        )
        await tx.append_audit(event)

    # --- both -----------------------------------------------------------------------------------------------------

    async def _as_it_stands(self, tx: Transaction, login: Login, account: Account) -> Account:
        """The account of a linked identity after waiting for its tenant, where it has no seat.

        Of many logins of one person the first takes the seat; the others must not count it as somebody else's.
        """
        if account.seat or login.policy.settings.seat_limit is None:
            return account
        await tx.hold_tenant(account.tenant)
        identity = login.identity
        found = await tx.find_link(identity.connection, identity.issuer, identity.subject)
        if found is None or found[1] is None or found[1].user_id != account.user_id:
            raise NotProvisioned("account_missing", "the identity was unlinked meanwhile")
        return found[1]

    async def _write_roles(self, tx: Transaction, users: Users, user: User, plan: Plan) -> None:
        """The roles that the app sees, from the grants as they are now that they were changed: what somebody else took
        away while this login was judged must not come back."""
        account = await tx.find_account(user.id)
        if account is None or account.user is None:
            return
        dropped = set(user.roles) - set(plan.roles)
        held = {grant.role for grant in account.grants}
        roles = tuple(sorted(held | (set(account.user.roles) - dropped)))
        if roles != account.user.roles:
            await users.set_roles(user.id, roles)

    async def _end_if_raised(self, tx: Transaction, login: Login, account: Account, plan: Plan) -> None:
        """End the sessions of before when this login brings a privileged role: it is for whoever has just signed in."""
        new = {grant.role for grant in plan.add} - {grant.role for grant in account.grants}
        if not login.policy.settings.needs_new_login(new):
            return
        for ended in await tx.end_sessions(self._clock.now(), user_id=account.user_id):
            await tx.append_audit(self._audit.session_ended(ended, cause="role_granted", reference=login.reference))

    async def _let_in(self, tx: Transaction, login: Login, account: Account) -> Account:
        """The account as it is for somebody who signs in: revived, seated. Raises ``NotProvisioned``."""
        settings, at = login.policy.settings, self._clock.now()
        if account.status is Status.ACTIVE:
            seat = await seat_at_login(tx, settings, account, login.steps, at=at)
            return account if seat is account.seat else replace(account, seat=seat)
        trigger = BY_LOGIN.get(account.status)
        if trigger is None:
            raise refusal(account.status)
        moved = await move(
            tx,
            account,
            trigger,
            settings=settings,
            actor=_BY_LOGIN,
            at=at,
            event_id=self._audit.new_id(),
            reference=login.reference,
        )
        if moved is None or moved.status is not Status.ACTIVE:
            raise refusal(account.status)
        login.steps.note("lifecycle", "active", f"was {account.status.value}")
        return moved

    async def _write_changes(self, tx: Transaction, login: Login, account: Account, plan: Plan) -> None:
        identity, reference, groups = login.identity, login.reference, login.mapped.groups_state
        user_id = account.user_id
        if plan.changes:
            names = _changed(plan.changes)
            await tx.append_audit(self._audit.user_updated(identity, user_id, fields=names, reference=reference))
        if plan.add or plan.remove:
            await tx.change_grants(user_id, add=plan.add, remove=plan.remove)
            event = self._audit.roles_changed(
                identity,
                user_id,
                added=plan.add,
                removed=plan.remove,
                groups=groups,
                path=login.steps.lines(),
                reference=reference,
            )
            await tx.append_audit(event)
            await self._end_if_raised(tx, login, account, plan)
        if plan.unavailable and (plan.kept or plan.remove):
            event = self._audit.groups_unavailable(
                identity, user_id, groups=groups, kept=plan.kept, reference=reference
            )
            await tx.append_audit(event)


def _plan(login: Login, user: User, entry: Entry) -> Plan:
    """What the first login of an identity changes at its user."""
    if isinstance(entry, Creation):
        return plan_created(login.policy, user, entry.desired)
    account = entry.adoption.account
    held = () if account is None else account.grants
    has_seat = entry.seat != "minimal" if account is None else account.seat
    return plan_adopted(login.policy, login.identity, login.mapped, user, held, login.steps, has_seat=has_seat)


async def write_user(users: Users, user: User, plan: Plan) -> User:
    """The user with the changes of the plan written to the store."""
    if plan.changes:
        user = await users.update(user.id, plan.changes)
    if plan.roles != user.roles:
        await users.set_roles(user.id, plan.roles)
    return user


def _status_of(user: User, entry: Entry) -> Status:
    """The status that the account begins with; an outside store need not know what pending is."""
    if isinstance(entry, Creation):
        return entry.profile.status if user.status is Status.ACTIVE else user.status
    if entry.adoption.account is not None:
        return entry.adoption.account.status
    return Status.PENDING if entry.seat == "pending" and user.status is Status.ACTIVE else user.status


def _arrival(user: User, plan: Plan, login: Login, *, first_login: bool, entry: Entry | None = None) -> Arrival:
    # The user may have another address than the provider has for them.
    marks = login.marks if user.email == login.mapped.email else with_email(login.marks, user.email)
    return Arrival(
        user,
        marks,
        created=isinstance(entry, Creation),
        first_login=first_login,
        plan=plan,
        proof=entry.adoption.proof if isinstance(entry, Adopted) else None,
        steps=login.steps.taken,
    )


def _check_name(login: Login) -> None:
    """A new username in the form of an address must be a vouched one: apps send mail to it, or log in by it."""
    mapped = login.mapped
    if "@" not in mapped.username or (mapped.email_verified and mapped.username == mapped.email):
        return
    address = plain_email(mapped.username)
    if address is None or domain_of(address) not in login.policy.verified_domains:
        login.steps.note("username", "refused", "an address that nobody vouches for")
        detail = "an address nobody vouches for: see JIT_OIDC_VERIFIED_DOMAINS (JIT_SAML_…), JIT_CLAIMS_USERNAME"
        raise NotProvisioned("username_not_vouched", detail)


def _changed(changes: ProfileChanges) -> Sequence[str]:
    return [each.name for each in fields(changes) if getattr(changes, each.name) is not UNSET]
