"""Subject identifiers (RFC 9493): whom a security event or a revocation is about.

Three formats name a person here: ``iss_sub``, ``email`` and ``opaque``; ``aliases`` names one by several of these, and
identifiers of other formats among them are passed over. ``complex`` (SSF 1.0 §3.1) names one where its ``user`` does.
What else it narrows down to, a device or one of their sessions, is not looked at then: more ends rather than less. A
``session`` without a ``user`` names that session.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.model import JSON
from jit_middleware.sso.oidc.reasons import Reason
from jit_middleware.sso.signals import (
    AliasSubjects,
    EmailSubject,
    IdentitySubject,
    NamedSubject,
    SessionSubject,
    Subject,
)

_LONGEST: Final = 1024


def read_subject(given: JSON) -> NamedSubject:
    """Whom, or which session, it names. Raises ``VerificationError``: ``claim_malformed``,
    ``subject_identifier_unsupported``."""
    match _format(given):
        case "complex", {"user": user} if _format(user)[0] != "complex":
            return read_subject(user)
        case "complex", {"session": session, **rest} if "user" not in rest:
            return _session(session)
        case "aliases", members:
            return _aliases(members.get("identifiers"))
        case _:
            person = _person(given)
    if person is None:
        raise VerificationError(Reason.SUBJECT_IDENTIFIER_UNSUPPORTED)
    return person


def _person(given: JSON) -> Subject | None:
    """The person whom one identifier names; ``None`` for a format that names nobody here."""
    match _format(given):
        case "iss_sub", members:
            return IdentitySubject(_text(members.get("sub")), _text(members.get("iss")))
        case "opaque", members:
            return IdentitySubject(_text(members.get("id")))
        case "email", members:
            return EmailSubject(_text(members.get("email")))
        case _:
            return None


def _aliases(given: JSON) -> Subject | AliasSubjects:
    """§3.2.8: one or more identifiers of the same subject, and no further aliases among them."""
    if not isinstance(given, list) or not given or any(_format(each)[0] == "aliases" for each in given):
        raise VerificationError(Reason.CLAIM_MALFORMED, "sub_id")
    people = dict.fromkeys(person for person in map(_person, given) if person is not None)
    if not people:
        raise VerificationError(Reason.SUBJECT_IDENTIFIER_UNSUPPORTED)
    first, *others = people
    return AliasSubjects(first, tuple(others)) if others else first


def _session(given: JSON) -> SessionSubject:
    form, members = _format(given)
    return SessionSubject(_text(members.get("id")) if form == "opaque" else None)


def _format(given: JSON) -> tuple[str, Mapping[str, JSON]]:
    form = given.get("format") if isinstance(given, dict) else None
    if not isinstance(form, str) or not isinstance(given, dict):
        raise VerificationError(Reason.CLAIM_MALFORMED, "sub_id")
    return form, given


def _text(value: JSON) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise VerificationError(Reason.CLAIM_MALFORMED, "sub_id")
    return value
