"""Who owns which field of the user: what a login writes when it makes one, and what it changes later.

Pure functions. A login writes what is the provider's (``idp``) whenever it differs, what belongs to the first who
writes it (``first_write``) while it is empty, and what belongs to the app or to SCIM never.
"""

from __future__ import annotations

from dataclasses import field
from typing import TypeVar

from jit_middleware.model import JSON, NO_CLAIMS, UNSET, Claims, ProfileChanges, Unset, User
from jit_middleware.provisioning.mapping import MappedClaims
from jit_middleware.records import dataclass
from jit_middleware.settings import ClaimMapping, FieldPolicy
from jit_middleware.settings.claims import field_name, field_policy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewFields:
    """The fields of a user about to be created, as far as a login may fill them."""

    username: str
    email: str | None = None
    email_verified: bool = False
    display_name: str | None = None
    attributes: Claims = field(default_factory=lambda: NO_CLAIMS)


def new_fields(mapped: MappedClaims, mapping: ClaimMapping) -> NewFields:
    """What a login fills of a new user: everything but what belongs to the app or to SCIM."""
    has_email = mapped.email is not None and _fills(field_policy(mapping, "email"))
    return NewFields(
        username=mapped.username,
        email=mapped.email if has_email else None,
        email_verified=mapped.email_verified if has_email else False,
        display_name=mapped.display_name if _fills(field_policy(mapping, "display_name")) else None,
        attributes={
            name: value for name, value in mapped.attributes.items() if _fills(field_policy(mapping, field_name(name)))
        },
    )


def profile_changes(user: User, mapped: MappedClaims, mapping: ClaimMapping) -> ProfileChanges:
    """What a later login changes. What the provider does not say stays, unless the field is to be cleared then.

    A new address takes with it whether somebody vouches for it. One that stays is vouched for as soon as somebody does,
    until the provider says ``false``; its silence changes nothing. A new username in the form of an address is taken
    only when it is the one that somebody vouches for: apps send mail to it, or log in by it.
    """
    policy = field_policy(mapping, "email")
    email = _written(policy, user.email, mapped.email)
    return ProfileChanges(
        username=_username(field_policy(mapping, "username"), user.username, mapped),
        email=email,
        email_verified=_vouched(policy, user, mapped)
        if email is UNSET
        else email is not None and mapped.email_verified,
        display_name=_display_name(field_policy(mapping, "display_name"), user, mapped),
        attributes=_attributes(user, mapped, mapping),
    )


def _fills(policy: FieldPolicy) -> bool:
    return policy.authority in {"idp", "first_write"}


def _stands_back(name: str, policy: FieldPolicy, held: object, mapped: MappedClaims) -> bool:
    """Whether what is mapped is only a default, and something is held that is to be kept when its claim is missing."""
    return name in mapped.defaulted and policy.on_missing == "keep" and held is not None and held != ""


def _written(policy: FieldPolicy, held: T | None, said: T | None) -> T | Unset | None:
    """The new value of one field: ``None`` clears it, ``UNSET`` leaves it alone."""
    if policy.authority == "idp" and said is None:
        return None if policy.on_missing == "clear" and held is not None else UNSET
    if policy.authority == "idp":
        return UNSET if said == held else said
    if policy.authority == "first_write" and said is not None and (held is None or held == ""):
        return said
    return UNSET


def _display_name(policy: FieldPolicy, user: User, mapped: MappedClaims) -> str | Unset | None:
    if _stands_back("display_name", policy, user.display_name, mapped):
        return UNSET
    return _written(policy, user.display_name, mapped.display_name)


def _vouched(policy: FieldPolicy, user: User, mapped: MappedClaims) -> bool | Unset:
    """Whether the address that stays is vouched for, when that changes."""
    if policy.authority != "idp" or mapped.email is None or mapped.email != user.email:
        return UNSET
    if user.email_verified:
        return False if mapped.email_disowned else UNSET
    return True if mapped.email_verified else UNSET


def _username(policy: FieldPolicy, held: str, mapped: MappedClaims) -> str | Unset:
    said = mapped.username
    vouched = "@" not in said or (mapped.email_verified and said == mapped.email)
    return said if policy.authority == "idp" and said != held and vouched else UNSET


def _attributes(user: User, mapped: MappedClaims, mapping: ClaimMapping) -> Claims | Unset:
    """All attributes as they are to be, when one of the mapped ones changes: those of the app's own stay among them."""
    attributes = dict(user.attributes)
    for name in mapping.fields:
        held: JSON = user.attributes.get(name)
        policy = field_policy(mapping, field_name(name))
        if _stands_back(field_name(name), policy, held, mapped):
            continue
        said = mapped.attributes.get(name)
        written: JSON | Unset = _written(policy, held, said)
        if written is None:
            del attributes[name]
        elif not isinstance(written, Unset):
            attributes[name] = written
    return UNSET if attributes == user.attributes else attributes
