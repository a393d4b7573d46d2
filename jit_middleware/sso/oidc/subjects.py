"""Subject identifiers (RFC 9493): whom a security event or a revocation is about.

Three formats name a person here: ``iss_sub``, ``email`` and ``opaque``; ``complex`` (SSF 1.0 §3.1) names one where its
``user`` does. What else it narrows down to, a device or one of their sessions, is not looked at: more ends rather than
less.
"""

from __future__ import annotations

from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.model import JSON
from jit_middleware.sso.oidc.reasons import Reason
from jit_middleware.sso.signals import EmailSubject, IdentitySubject, Subject

_LONGEST: Final = 1024


def read_subject(given: JSON) -> Subject:
    """The person it names. Raises ``VerificationError``: ``claim_malformed``, ``subject_identifier_unsupported``."""
    if not isinstance(given, dict):
        raise VerificationError(Reason.CLAIM_MALFORMED, "sub_id")
    match given.get("format"):
        case "iss_sub":
            return IdentitySubject(_text(given.get("sub")), _text(given.get("iss")))
        case "opaque":
            return IdentitySubject(_text(given.get("id")))
        case "email":
            return EmailSubject(_text(given.get("email")))
        case "complex" if isinstance(user := given.get("user"), dict) and user.get("format") != "complex":
            return read_subject(user)
        case str():
            raise VerificationError(Reason.SUBJECT_IDENTIFIER_UNSUPPORTED)
        case _:
            raise VerificationError(Reason.CLAIM_MALFORMED, "sub_id")


def _text(value: JSON) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise VerificationError(Reason.CLAIM_MALFORMED, "sub_id")
    return value
