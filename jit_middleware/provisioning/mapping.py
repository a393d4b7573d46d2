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
from jmespath.functions import Functions, signature

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import JSON, NO_CLAIMS, Claims, VerifiedIdentity
from jit_middleware.provisioning.standard import well_formed
from jit_middleware.provisioning.text import domain_of, is_unambiguous, plain_email, plain_username, shown_text
from jit_middleware.settings import ClaimMapping

MOST_GROUPS = 2_000
LONGEST_GROUP = 255
LARGEST_ATTRIBUTE = 4_096


class Expression(Protocol):
    """A compiled JMESPath expression, searched in plain JSON."""

    def __call__(self, claims: Claims, /) -> JSON: ...


@dataclass(frozen=True, slots=True)
class MappedClaims:
    """What the mapping made of the claims. ``groups`` is ``None`` when the claim is absent or is no list of names.

    ``email_verified`` means that somebody vouches for the address: the provider by saying ``true``, or the operator,
    who has named its domain as this connection's (``verified_domains``) while the provider says nothing. A ``false`` of
    the provider stands.
    """

    username: str
    email: str | None
    email_verified: bool
    display_name: str | None
    groups: tuple[str, ...] | None
    attributes: Claims = field(default_factory=lambda: NO_CLAIMS)


class ClaimMapper:
    """One connection's mapping, compiled once."""

    def __init__(self, mapping: ClaimMapping, verified_domains: tuple[str, ...] = ()) -> None:
        self._verified_domains = frozenset(verified_domains)
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
            email_verified=address is not None and self._is_vouched(address, email == identity.email, identity),
            display_name=shown_text(name) if isinstance(name, str) else None,
            groups=group_names(self._groups(claims)),
            attributes={
                name: value
                for name, source in self._fields.items()
                if (value := _storable(source, self._sources[name](claims))) is not None
            },
        )

    def _is_vouched(self, address: str, is_the_providers: bool, identity: VerifiedIdentity) -> bool:
        # The provider's word covers the address it names, not another one that the mapping picked.
        if is_the_providers and identity.email_verified is not None:
            return identity.email_verified
        return domain_of(address) in self._verified_domains


def compiled(source: str) -> Expression:
    """The expression, or one that always answers ``None`` for an empty source.

    The settings have checked that it compiles. An expression that meets a type it cannot work on answers ``None``.
    """
    if not source:
        return lambda _claims: None
    parsed = jmespath.compile(source)
    if parsed.parsed["type"] == "field":
        name: str = parsed.parsed["value"]
        return lambda claims: claims.get(name)  # most are the mere name of a claim
    search = cast("Callable[[object, jmespath.Options], JSON]", parsed.search)
    options = jmespath.Options(custom_functions=_Functions())

    def expression(claims: Claims) -> JSON:
        try:
            return search(claims, options)
        except (JMESPathError, RecursionError):
            return None

    return expression


class _Functions(Functions):  # type: ignore[misc]
    """JMESPath's own functions, but ``contains`` looks for an element of a list and never for a part of a text.

    ``contains(groups, 'admin')`` is how rules are written, and a provider that sends one text instead of a list, such
    as ``not-admin,guest``, must not fire it.
    """

    @signature({"types": ["array", "string", "null"]}, {"types": []})  # type: ignore[untyped-decorator]
    def _func_contains(self, subject: JSON, search: JSON) -> bool:
        return isinstance(subject, list) and search in subject


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
        return {name: _small(inner, depth - 1) for key, inner in value.items() if (name := shown_text(key)) is not None}
    return [_small(inner, depth - 1) for inner in value]
