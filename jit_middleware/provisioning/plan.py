"""What a login is going to change, decided before anything is written: pure functions from claims and records."""

from __future__ import annotations

from dataclasses import dataclass

from jit_middleware.audit import identity_key
from jit_middleware.errors import NotProvisioned
from jit_middleware.model import UNSET, Account, Grant, Profile, ProfileChanges, Status, User, VerifiedIdentity
from jit_middleware.provisioning.birthright import SOURCE, Birthright, owned_changes
from jit_middleware.provisioning.lifecycle import REVIVED_BY_LOGIN
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.settings import ProvisioningSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes of one login. ``roles`` is what the user holds afterwards, for whatever reason."""

    changes: ProfileChanges
    add: tuple[Grant, ...]
    remove: tuple[Grant, ...]
    grants: tuple[Grant, ...]
    roles: tuple[str, ...]
    revive: bool


def plan_returning(
    settings: ProvisioningSettings,
    birthright: Birthright,
    identity: VerifiedIdentity,
    mapped: MappedClaims,
    account: Account | None,
    user: User | None,
) -> tuple[Account, User, Plan]:
    """What the login of a linked identity changes. Raises ``NotProvisioned`` when the account may not be entered."""
    if account is None or user is None:
        # A link without its account is a lost row, or a user deleted behind our back: it never grants access.
        raise NotProvisioned("account_missing", "the linked account does not exist any more")
    for status in (account.status, user.status):  # an app's own store may shut somebody out as well
        if status is not Status.ACTIVE and status not in REVIVED_BY_LOGIN:
            raise NotProvisioned(f"account_{status.value}", "the account is not active")
    changes, desired = ProfileChanges(), None
    if settings.sync == "every_login":
        changes = profile_changes(user, mapped)
        desired = birthright.roles(identity)
    return account, user, _plan(user, account.grants, desired, changes, revive=account.status is not Status.ACTIVE)


def plan_created(birthright: Birthright, identity: VerifiedIdentity, user: User) -> Plan:
    """What the first login of an identity gives its new user, beside the profile."""
    return _plan(user, (), birthright.roles(identity), ProfileChanges(), revive=False)


def plan_adopted(
    settings: ProvisioningSettings,
    birthright: Birthright,
    identity: VerifiedIdentity,
    mapped: MappedClaims,
    user: User,
    held: tuple[Grant, ...],
) -> Plan:
    """What the first login of an identity changes at the account it adopts."""
    changes = ProfileChanges() if settings.sync == "never" else profile_changes(user, mapped)
    return _plan(user, held, birthright.roles(identity), changes, revive=False)


def _plan(
    user: User, held: tuple[Grant, ...], desired: frozenset[str] | None, changes: ProfileChanges, *, revive: bool
) -> Plan:
    add, remove = ([], []) if desired is None else owned_changes(held, desired, SOURCE)
    grants = (*(grant for grant in held if grant not in remove), *add)
    still = {grant.role for grant in grants}
    # An app's own store may know roles that the ledger never granted: those stay.
    roles = (set(user.roles) - {grant.role for grant in remove}) | still
    return Plan(changes, tuple(add), tuple(remove), grants, tuple(sorted(roles)), revive)


def profile_changes(user: User, mapped: MappedClaims) -> ProfileChanges:
    """What the provider says differently today; what it does not say stays as it is.

    The username is given once: the app's own data hangs on it.
    """
    new_email = mapped.email is not None and mapped.email != user.email
    new_name = mapped.display_name is not None and mapped.display_name != user.display_name
    new_attributes = any(user.attributes.get(name) != value for name, value in mapped.attributes.items())
    return ProfileChanges(
        email=mapped.email if new_email else UNSET,
        email_verified=mapped.email_verified if new_email else UNSET,
        display_name=mapped.display_name if new_name else UNSET,
        attributes={**user.attributes, **mapped.attributes} if new_attributes else UNSET,
    )


def new_profile(
    settings: ProvisioningSettings, birthright: Birthright, identity: VerifiedIdentity, mapped: MappedClaims
) -> Profile:
    """The user to create for an identity seen for the first time."""
    return Profile(
        provisioning_key=identity_key(identity),
        username=mapped.username,
        email=mapped.email,
        email_verified=mapped.email_verified,
        display_name=mapped.display_name,
        attributes=mapped.attributes,
        roles=tuple(sorted(birthright.roles(identity))),
        tenant=identity.tenant,
        status=settings.initial_status,
    )
