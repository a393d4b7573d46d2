"""From a verified assertion to a :class:`~jit_middleware.model.VerifiedIdentity`; the last step, after every check."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Final

from jit_middleware.model import Claims, OnceKey, VerifiedIdentity
from jit_middleware.records import dataclass
from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.attributes import claims_of, searched
from jit_middleware.sso.saml.expectations import VerifiedAssertion
from jit_middleware.sso.saml.subject import qualified, subject_of

_LONGEST_EMAIL: Final = 320


@dataclass(frozen=True, slots=True)
class KnownName:
    """The NameID as the provider gave it, kept for the logout: it wants to see exactly this again (Core §3.7.1)."""

    name_id: str
    format: str
    qualifier: str | None
    sp_qualifier: str | None
    session_index: str | None


def identity_of(assertion: VerifiedAssertion, connection: SAMLConnection, *, sp_entity_id: str) -> VerifiedIdentity:
    """Who signed in. Raises ``VerificationError`` when nothing in the assertion names a person for good."""
    subject = subject_of(assertion, connection, sp_entity_id)
    claims = claims_of(assertion, subject, connection.claims.groups)
    email = _email(claims, connection)
    return VerifiedIdentity(
        connection=connection.name,
        issuer=assertion.issuer,
        subject=subject,
        claims=claims,
        tenant=connection.tenant,
        email=email,
        email_verified=_email_verified(email, connection),
        idp_session=session_name(qualified(assertion, sp_entity_id), assertion.session_index),
        auth_time=assertion.authn_instant,
        acr=assertion.authn_context,
        session_ceiling=assertion.session_not_on_or_after,
        logout_hint=_hint(assertion),
        once=(
            OnceKey(
                "saml_assertion",
                sha256(f"{assertion.issuer}\0{assertion.assertion_id}".encode()).hexdigest(),
                assertion.not_on_or_after + connection.clock_skew,
            ),
        ),
    )


def person_name(name: str) -> str:
    """How the sessions of one NameID begin; says nothing to a reader of the database."""
    return sha256(name.encode()).hexdigest()[:32] + "."


def session_name(name: str, session_index: str | None) -> str:
    """One session of one NameID. A SessionIndex alone would not do: several people may have the same."""
    index = "-" if session_index is None else sha256(session_index.encode()).hexdigest()[:32]
    return person_name(name) + index


def known_name(hint: str | None) -> KnownName | None:
    """What ``logout_hint`` holds; ``None`` when there is none, as for a session of another protocol."""
    try:
        return None if hint is None else KnownName(**json.loads(hint))
    except (ValueError, TypeError):
        return None


def _hint(assertion: VerifiedAssertion) -> str:
    return json.dumps(
        {
            "name_id": assertion.name_id,
            "format": assertion.name_id_format,
            "qualifier": assertion.name_qualifier,
            "sp_qualifier": assertion.sp_name_qualifier,
            "session_index": assertion.session_index,
        }
    )


def _email(claims: Claims, connection: SAMLConnection) -> str | None:
    """The address that the mapping picks, where it picks one."""
    email = searched(connection.claims.email, claims)
    return email if isinstance(email, str) and 0 < len(email) <= _LONGEST_EMAIL and email.isprintable() else None


def _email_verified(email: str | None, connection: SAMLConnection) -> bool | None:
    """SAML has no word for it: the provider is believed about the domains that the operator named for it."""
    domain = "" if email is None else email.rpartition("@")[2].lower()
    return True if domain and domain in connection.verified_domains else None
