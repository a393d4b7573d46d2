"""Claims to fields, by JMESPath: what the provider says becomes what the app calls a user.

A missing claim is not an empty one: ``groups`` is ``None`` when the provider says nothing about groups. Claims that no
expression names are never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

import jmespath
from jmespath.exceptions import JMESPathError

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, NO_CLAIMS, Claims, VerifiedIdentity
from jit_middleware.provisioning.standard import well_formed
from jit_middleware.provisioning.text import is_unambiguous, plain_email, plain_username, shown_text
from jit_middleware.settings import ClaimMapping

MOST_GROUPS = 2_000
LONGEST_GROUP = 255
LARGEST_ATTRIBUTE = 4_096


class Expression(Protocol):
    """A compiled JMESPath expression, searched in plain JSON."""

    def __call__(self, claims: Claims, /) -> JSON: ...


@dataclass(frozen=True, slots=True)
class MappedClaims:
    """What the mapping made of the claims. ``groups`` is ``None`` when the claim is absent or is no list of names."""

    username: str
    email: str | None
    email_verified: bool
    display_name: str | None
    groups: tuple[str, ...] | None
    attributes: Claims = field(default_factory=lambda: NO_CLAIMS)


class ClaimMapper:
    """One connection's mapping, compiled once."""

    def __init__(self, mapping: ClaimMapping) -> None:
        self._username = compiled(mapping.username)
        self._email = compiled(mapping.email)
        self._display_name = compiled(mapping.display_name)
        self._groups = compiled(mapping.groups)
        self._fields = mapping.fields
        self._sources = {name: compiled(source) for name, source in mapping.fields.items()}

    def map(self, identity: VerifiedIdentity) -> MappedClaims:
        """The fields of this identity. Raises ``NotProvisioned("username_unusable")`` when no username can be made."""
        claims = identity.claims
        username = self._username(claims)
        plain = plain_username(username) if isinstance(username, str) else None
        if plain is None:
            raise NotProvisioned("username_unusable", "the username claim is missing or cannot be a username")
        email = self._email(claims)
        address = plain_email(email) if isinstance(email, str) else None
        name = self._display_name(claims)
        return MappedClaims(
            username=plain,
            email=address,
            # The provider's word covers the address it names, not another one that the mapping picked.
            email_verified=identity.email_verified is True and email is not None and email == identity.email,
            display_name=shown_text(name) if isinstance(name, str) else None,
            groups=group_names(self._groups(claims)),
            attributes={
                name: value
                for name, source in self._fields.items()
                if (value := _storable(source, self._sources[name](claims))) is not None
            },
        )


def compiled(source: str) -> Expression:
    """The expression, or one that always answers ``None`` for an empty source.

    The settings have checked that it compiles. An expression that meets a type it cannot work on answers ``None``.
    """
    if not source:
        return lambda _claims: None
    search = cast("Callable[[object], JSON]", jmespath.compile(source).search)

    def expression(claims: Claims) -> JSON:
        try:
            return search(claims)
        except (JMESPathError, RecursionError):
            return None

    return expression


def group_names(value: JSON) -> tuple[str, ...] | None:
    """The groups, sorted and without duplicates; ``None`` for anything but a list of plain names.

    A string is not split (letters, or a comma in a name, would become groups) and a mixed list is not sifted: a
    provider that sends one has told us nothing to rely on.
    """
    if not isinstance(value, (list, tuple)) or len(value) > MOST_GROUPS:
        return None
    names: set[str] = set()
    for item in value:
        if not isinstance(item, str) or not 0 < len(item) <= LONGEST_GROUP or not _plain_group(item):
            return None
        names.add(item)
    return tuple(sorted(names))


def _plain_group(name: str) -> bool:
    # A semicolon separates groups in too many systems; look-alikes of a name are not that name (Unicode TR 39 §5).
    return shown_text(name) == name and ";" not in name and is_unambiguous(name)


def _storable(source: str, value: JSON) -> JSON:
    return _small(value) if well_formed(source, value) else None


def _small(value: JSON, depth: int = 4) -> JSON:
    """A value that may be stored: text is cleaned, and what is deep or large is dropped whole."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return shown_text(value, LARGEST_ATTRIBUTE)
    if depth == 0 or len(value) > 100:
        return None
    if isinstance(value, Mapping):
        return {key: _small(inner, depth - 1) for key, inner in value.items()}
    return [_small(inner, depth - 1) for inner in value]
