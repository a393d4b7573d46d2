"""Claims to fields, by JMESPath: what the provider says becomes what the app calls a user.

A missing claim is not an empty one: ``groups`` is ``None`` when the provider says nothing about groups. Claims that no
expression names are never stored. What a value of another shape than its field means, and what is done about a claim
that is not there, stands in one table in ``docs/provisioning.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final, NoReturn, TypeAlias

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, NO_CLAIMS, Claims, VerifiedIdentity
from jit_middleware.provisioning.expressions import compiled
from jit_middleware.provisioning.groups import GroupsState, groups_state
from jit_middleware.provisioning.limits import LARGEST_ATTRIBUTE, LONGEST_GROUP, MOST_GROUPS, check_claims
from jit_middleware.provisioning.normalise import normalised
from jit_middleware.provisioning.standard import well_formed
from jit_middleware.provisioning.steps import Steps
from jit_middleware.provisioning.text import domain_of, is_unambiguous, plain_email, plain_username, shown_text
from jit_middleware.records import record
from jit_middleware.settings import ClaimMapping
from jit_middleware.settings.claims import FIELDS, field_name, field_policy
from jit_middleware.settings.expressions import claims_mentioned

__all__ = ["ClaimMapper", "MappedClaims", "compiled", "group_names"]

_Form: TypeAlias = Callable[[str], str | None]
_NO_FIELDS: Final[frozenset[str]] = frozenset()


@record(frozen=True, slots=True)
class MappedClaims:
    """What the mapping made of the claims.

    ``groups`` and ``roles`` are ``None`` when the claims say nothing of them, or nothing that can be read;
    ``groups_state`` tells why there are no groups, and is not ``given`` where there are more than we were told.
    ``missing`` names the fields that have no value, further fields as ``fields.<name>``; ``defaulted`` those whose
    value is the default.

    ``email_verified`` means that somebody vouches for the address: the provider by saying ``true``, or the operator,
    who has named its domain as this connection's (``verified_domains``) while the provider says nothing. A ``false`` of
    the provider stands: ``email_disowned`` tells it from silence.
    """

    username: str
    email: str | None
    email_verified: bool
    display_name: str | None
    groups: tuple[str, ...] | None
    attributes: Claims = field(default_factory=lambda: NO_CLAIMS)
    roles: tuple[str, ...] | None = None
    groups_state: GroupsState = "absent"
    missing: frozenset[str] = _NO_FIELDS
    defaulted: frozenset[str] = _NO_FIELDS
    email_disowned: bool = False


class ClaimMapper:
    """One connection's mapping, compiled once."""

    def __init__(self, mapping: ClaimMapping, verified_domains: tuple[str, ...] = ()) -> None:
        self._verified_domains = frozenset(verified_domains)
        self._policies = {name: field_policy(mapping, name) for name in FIELDS} | {
            field_name(name): field_policy(mapping, field_name(name)) for name in mapping.fields
        }
        self._username = compiled(mapping.username)
        self._email = compiled(mapping.email)
        self._display_name = compiled(mapping.display_name)
        self._groups = compiled(mapping.groups)
        self._groups_claims = claims_mentioned(mapping.groups) if mapping.groups else frozenset[str]()
        self._roles = compiled(mapping.roles)
        self._has_roles = bool(mapping.roles)
        self._fields = mapping.fields
        self._sources = {name: compiled(source) for name, source in mapping.fields.items()}

    def map(self, identity: VerifiedIdentity, steps: Steps | None = None) -> MappedClaims:
        """The fields of this identity.

        Raises ``NotProvisioned``: ``claims_too_large`` before any expression is asked, ``expression_too_costly``,
        ``username_unusable`` when no username can be made, ``claim_required`` with the name of a required field that
        has no value. ``steps`` notes fields that are not simply there.
        """
        steps = Steps() if steps is None else steps
        claims = identity.claims
        try:
            check_claims(claims)
            return self._mapped(identity, claims, steps)
        except NotProvisioned as refusal:
            steps.note("claims", "refused", refusal.reason)
            raise

    def _mapped(self, identity: VerifiedIdentity, claims: Claims, steps: Steps) -> MappedClaims:
        missing = _Missing(steps)
        username = self._username_in(claims)
        named, shown = _single(self._email(claims)), _single(self._display_name(claims))
        address = self._text("email", named, _ascii(named), plain_email, missing)
        display_name = self._text("display_name", shown, shown, shown_text, missing)
        groups, state = self._groups_in(claims, missing)
        roles = self._roles_in(claims, missing) if self._has_roles else None
        attributes = {
            name: value for name in self._fields if (value := self._attribute(name, claims, missing)) is not None
        }
        for name in sorted(missing.fields):
            if self._policies[name].required:
                _refuse_without(name)
        return MappedClaims(
            username=username,
            email=address,
            email_verified=address is not None and self._is_vouched(address, named == identity.email, identity),
            display_name=display_name,
            groups=groups,
            attributes=attributes,
            roles=roles,
            groups_state=state,
            missing=frozenset(missing.fields),
            defaulted=frozenset(missing.defaulted),
            email_disowned=address is not None and named == identity.email and identity.email_verified is False,
        )

    # --- one field each -------------------------------------------------------------------------------------------

    def _username_in(self, claims: Claims) -> str:
        found = _single(self._username(claims))
        if found is None and self._policies["username"].required:
            _refuse_without("username")
        text = normalised(found, self._policies["username"].normalise)
        plain = plain_username(text) if isinstance(text, str) else None
        if plain is None:
            raise NotProvisioned("username_unusable", "the username claim is missing or cannot be a username")
        return plain

    def _text(self, name: str, found: JSON, value: JSON, form: _Form, missing: _Missing) -> str | None:
        """A field that is one text, in its form; else its default."""
        policy = self._policies[name]
        text = normalised(value, policy.normalise)
        plain = form(text) if isinstance(text, str) else None
        if plain is not None:
            return plain
        default = form(policy.default) if isinstance(policy.default, str) else None
        missing.note(name, found, default=default is not None)
        return default

    def _groups_in(self, claims: Claims, missing: _Missing) -> tuple[tuple[str, ...] | None, GroupsState]:
        policy, found = self._policies["groups"], self._groups(claims)
        groups = group_names(normalised(found, policy.normalise))
        state = groups_state(claims, groups, self._groups_claims)
        if groups is None and state == "absent" and policy.default is not None:
            missing.note("groups", found, default=True)
            return _texts(policy.default), "given"
        if groups is None:
            missing.note("groups", found)
        return groups, state

    def _roles_in(self, claims: Claims, missing: _Missing) -> tuple[str, ...] | None:
        policy, found = self._policies["roles"], self._roles(claims)
        roles = _texts(normalised(found, policy.normalise))
        if roles is None and policy.default is not None:
            missing.note("roles", found, default=True)
            return _texts(policy.default)
        if roles is None:
            missing.note("roles", found)
        return roles

    def _attribute(self, name: str, claims: Claims, missing: _Missing) -> JSON:
        policy, found = self._policies[field_name(name)], self._sources[name](claims)
        value = normalised(found, policy.normalise)
        kept = _small(value) if well_formed(self._fields[name], value) else None
        if kept is not None:
            return kept
        missing.note(field_name(name), found, default=policy.default is not None)
        return policy.default

    def _is_vouched(self, address: str, is_the_providers: bool, identity: VerifiedIdentity) -> bool:
        # The provider's word covers the address it names, not another one that the mapping picked.
        if is_the_providers and identity.email_verified is not None:
            return identity.email_verified
        return domain_of(address) in self._verified_domains


class _Missing:
    """The fields without a value of the provider's, noted as they are found."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.fields: set[str] = set()
        self.defaulted: set[str] = set()

    def note(self, name: str, found: JSON, *, default: bool = False) -> None:
        """``found`` is what the expression found; a default stands in for it, or nothing does."""
        (self.defaulted if default else self.fields).add(name)
        absent = found is None or found in ("", [])
        self._steps.note(f"field:{name}", "default" if default else "missing" if absent else "unusable")


def _refuse_without(name: str) -> NoReturn:
    raise NotProvisioned("claim_required", f"there is no usable value for {name}")


# --- shapes -------------------------------------------------------------------------------------------------------


def _single(value: JSON) -> JSON:
    """The value of a field that has one: a list of one is that one, and an empty text or list is nothing."""
    if isinstance(value, (list, tuple)) and len(value) < 2:
        value = value[0] if value else None
    return None if value == "" else value


def _ascii(value: JSON) -> JSON:
    """An address, judged before anything is done to it: canonical forms make plain letters of others (the Kelvin sign
    is a K), and another person's address of this one."""
    return value if isinstance(value, str) and value.isascii() else None


def group_names(value: JSON) -> tuple[str, ...] | None:
    """The groups, sorted and without duplicates; ``None`` for anything but plain names.

    One text is one group. It is not split (letters, or what stands beside a comma in a name, would become groups) and a
    mixed list is not sifted: a provider that sends one has told us nothing to rely on.
    """
    names = _texts(value)
    return names if names is not None and all(_plain_group(name) for name in names) else None


def _texts(value: JSON) -> tuple[str, ...] | None:
    """The texts of a list, or one text as a list of one; ``None`` for anything else."""
    listed: Sequence[JSON] | JSON = [value] if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)) or len(listed) > MOST_GROUPS:
        return None
    texts = [text for text in listed if isinstance(text, str) and 0 < len(text) <= LONGEST_GROUP]
    return tuple(sorted(set(texts))) if len(texts) == len(listed) else None


def _plain_group(name: str) -> bool:
    # A semicolon separates groups in too many systems; look-alikes of a name are not that name (Unicode TR 39 §5).
    return shown_text(name, LONGEST_GROUP) == name and ";" not in name and is_unambiguous(name)


def _small(value: JSON, depth: int = 4) -> JSON:
    """A value that may be stored: text is cleaned, and what is deep or large is dropped whole."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return shown_text(value, LARGEST_ATTRIBUTE)
    if depth == 0 or len(value) > 100:
        return None
    if isinstance(value, Mapping):
        return {name: _small(inner, depth - 1) for key, inner in value.items() if (name := shown_text(key)) is not None}
    return [_small(inner, depth - 1) for inner in value]
