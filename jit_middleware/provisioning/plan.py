"""What a login is going to change, decided before anything is written: pure functions from claims and records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from jit_middleware.audit import identity_key
from jit_middleware.errors import NotProvisioned
from jit_middleware.model import Account, Grant, Profile, ProfileChanges, Status, User, VerifiedIdentity
from jit_middleware.provisioning.fields import new_fields, profile_changes
from jit_middleware.provisioning.lifecycle import REVIVED_BY_LOGIN, refusal
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.provisioning.policy import Policy
from jit_middleware.provisioning.roles import BIRTHRIGHT, SEATLESS, Desired
from jit_middleware.provisioning.seats import Seat
from jit_middleware.provisioning.steps import Steps
from jit_middleware.records import record


@record(frozen=True, slots=True)
class Plan:
    """The changes of one login. ``grants`` and ``roles`` are what the user holds afterwards, for whatever reason;
    ``unavailable`` says that roles hang on groups which the provider did not tell, ``kept`` which of them stay."""

    changes: ProfileChanges
    add: tuple[Grant, ...]
    remove: tuple[Grant, ...]
    grants: tuple[Grant, ...]
    roles: tuple[str, ...]
    unavailable: bool = False
    kept: tuple[Grant, ...] = ()


def enterable(account: Account | None, user: User | None) -> tuple[Account, User]:
    """The account and its user, when a login may enter it. Raises ``NotProvisioned``."""
    if account is None or user is None:
        # A link without its account is a lost row, or a user deleted behind our back: it never grants access.
        raise NotProvisioned("account_missing", "the linked account does not exist any more")
    for status in (account.status, user.status):  # an app's own store may shut somebody out as well
        if status is not Status.ACTIVE and status not in REVIVED_BY_LOGIN:
            raise refusal(status)
    return account, user


def plan_returning(
    policy: Policy, identity: VerifiedIdentity, mapped: MappedClaims, account: Account, user: User, steps: Steps
) -> Plan:
    """What the login of a linked identity changes; ``account`` is as it is after the login has been let in.

    Raises ``NotProvisioned("groups_unavailable")``.
    """
    if not account.seat:
        return _plan_seatless(policy, user, account.grants)
    is_due = policy.settings.sync == "every_login"
    changes = profile_changes(user, mapped, policy.mapping) if is_due else ProfileChanges()
    # The roles of somebody who had no seat are due whatever the sync says.
    if not is_due and not _seatless_grants(account.grants):
        steps.note("sync", "off", policy.settings.sync)
        return _plan(user, account.grants, [], [], changes)
    desired = policy.roles.desired(identity, mapped, account.grants, steps)
    return _plan_roles(policy, user, account.grants, desired, changes)


def plan_created(policy: Policy, user: User, desired: Desired | None) -> Plan:
    """What the first login of an identity gives its new user, beside the profile; ``None``: no seat, so next to
    nothing."""
    if desired is None:
        return _plan_seatless(policy, user, ())
    return _plan_roles(policy, user, (), desired, ProfileChanges())


def plan_adopted(
    policy: Policy,
    identity: VerifiedIdentity,
    mapped: MappedClaims,
    user: User,
    held: tuple[Grant, ...],
    steps: Steps,
    *,
    has_seat: bool,
) -> Plan:
    """What the first login of an identity changes at the account it adopts, with the grants ``held`` there."""
    if not has_seat:
        return _plan_seatless(policy, user, held)
    changes = ProfileChanges()
    if policy.settings.sync != "never":
        changes = profile_changes(user, mapped, policy.mapping)
    return _plan_roles(policy, user, held, policy.roles.desired(identity, mapped, held, steps), changes)


def new_profile(
    policy: Policy, identity: VerifiedIdentity, mapped: MappedClaims, seat: Seat, desired: Desired | None
) -> Profile:
    """The user to create for an identity seen for the first time."""
    fields = new_fields(mapped, policy.mapping)
    status = Status.PENDING if seat == "pending" else policy.settings.initial_status
    roles = _minimal(policy) if desired is None else desired.birthright | desired.idp
    return Profile(
        provisioning_key=identity_key(identity),
        username=mapped.username,
        email=fields.email,
        email_verified=fields.email_verified,
        display_name=fields.display_name,
        attributes=fields.attributes,
        roles=tuple(sorted(roles)),
        tenant=identity.tenant,
        status=status,
        seat=seat == "seat" and status is Status.ACTIVE,
    )


# --- grants -------------------------------------------------------------------------------------------------------


def _plan_roles(policy: Policy, user: User, held: tuple[Grant, ...], desired: Desired, changes: ProfileChanges) -> Plan:
    add, remove = policy.roles.changes(held, desired)
    remove += [grant for grant in _seatless_grants(held) if grant not in remove]
    kept = tuple(Grant(role, policy.roles.source) for role in sorted(desired.kept))
    plan = _plan(user, held, add, remove, changes, unavailable=desired.unavailable, kept=kept)
    if policy.settings.role_sync == "exclusive":
        # The provider decides alone: what only the app's own store knows goes as well.
        plan = replace(plan, roles=tuple(sorted({grant.role for grant in plan.grants})))
    return plan


def _plan_seatless(policy: Policy, user: User, held: tuple[Grant, ...]) -> Plan:
    """Somebody without a seat keeps what was given by hand and has the minimal role beside it."""
    minimal = {Grant(role, SEATLESS) for role in _minimal(policy)}
    ours = {grant for grant in held if grant.source in {BIRTHRIGHT, SEATLESS, policy.roles.source}}
    return _plan(user, held, _sorted(minimal - ours), _sorted(ours - minimal), ProfileChanges())


def _seatless_grants(held: Iterable[Grant]) -> list[Grant]:
    return [grant for grant in held if grant.source == SEATLESS]


def _minimal(policy: Policy) -> frozenset[str]:
    role = policy.settings.minimal_role
    return frozenset() if role is None else frozenset({role})


def _plan(
    user: User,
    held: tuple[Grant, ...],
    add: Sequence[Grant],
    remove: Sequence[Grant],
    changes: ProfileChanges,
    *,
    unavailable: bool = False,
    kept: tuple[Grant, ...] = (),
) -> Plan:
    grants = (*(grant for grant in held if grant not in remove), *add)
    still = {grant.role for grant in grants}
    # An app's own store may know roles that the ledger never granted: those stay.
    roles = (set(user.roles) - {grant.role for grant in remove}) | still
    return Plan(changes, tuple(add), tuple(remove), grants, tuple(sorted(roles)), unavailable, kept)


def _sorted(grants: Iterable[Grant]) -> list[Grant]:
    return sorted(grants, key=lambda grant: (grant.source, grant.role))
