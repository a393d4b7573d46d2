"""Attributes that an operator has pasted, taken for verified: to find out what would become of such a person.

Nobody is signed in by this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, cast

from jit_middleware.errors import VerificationError
from jit_middleware.model import JSON, VerifiedIdentity
from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.expectations import VerifiedAssertion
from jit_middleware.sso.saml.identity import identity_of
from jit_middleware.sso.saml.names import PERSISTENT
from jit_middleware.sso.saml.reasons import Reason

_KNOWN: Final = frozenset({"issuer", "name_id", "name_id_format", "attributes", "friendly_names"})


def pasted_identity(
    document: Mapping[str, JSON], connection: SAMLConnection, *, idp_entity_id: str | None, sp_entity_id: str
) -> VerifiedIdentity:
    """Who this speaks of: ``{"name_id": …, "attributes": {"<formal name>": ["…"]}}``, with ``name_id_format``
    (default: persistent), ``friendly_names`` and ``issuer`` where they matter.

    ``idp_entity_id`` stands in for a missing ``issuer``. Raises ``VerificationError``.
    """
    unknown = sorted(set(document) - _KNOWN)
    if unknown:
        raise VerificationError(Reason.ATTRIBUTE_MALFORMED, f"{unknown[0]} is no part of an assertion here")
    return identity_of(
        VerifiedAssertion(
            assertion_id="pasted",
            issuer=_text(document, "issuer", idp_entity_id),
            name_id=_text(document, "name_id", ""),
            name_id_format=_text(document, "name_id_format", PERSISTENT),
            name_qualifier=None,
            sp_name_qualifier=None,
            session_index=None,
            session_not_on_or_after=None,
            authn_instant=0,
            authn_context=None,
            attributes=MappingProxyType(
                {name: _values(value) for name, value in _table(document, "attributes").items()}
            ),
            friendly_names=MappingProxyType(
                {name: value for name, value in _table(document, "friendly_names").items() if isinstance(value, str)}
            ),
            not_on_or_after=0,
        ),
        connection,
        sp_entity_id=sp_entity_id,
    )


def _text(document: Mapping[str, JSON], member: str, otherwise: str | None) -> str:
    value = document.get(member, otherwise)
    if value is None and member == "issuer":
        fix = 'add "issuer" with the provider\'s entity ID, or set JIT_SAML_IDP_ENTITY_ID (idp_entity_id)'
        raise VerificationError(Reason.ATTRIBUTE_MALFORMED, f"issuer is missing: {fix}")
    if not isinstance(value, str):
        raise VerificationError(Reason.ATTRIBUTE_MALFORMED, f"{member} is missing, or is no text")
    return value


def _table(document: Mapping[str, JSON], member: str) -> Mapping[str, JSON]:
    value = document.get(member, {})
    if not isinstance(value, Mapping):
        raise VerificationError(Reason.ATTRIBUTE_MALFORMED, f"{member} is no table")
    return value


def _values(value: JSON) -> tuple[str, ...]:
    """An attribute's values; one alone may be pasted as text."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Sequence) and all(isinstance(each, str) for each in value):
        return tuple(cast("Sequence[str]", value))
    raise VerificationError(Reason.ATTRIBUTE_MALFORMED, "the values of an attribute are texts")
