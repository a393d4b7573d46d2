"""The exact checks of SAML Profiles §4.1.4.2 and Core §2: equality with what the configuration and the login say.

Nothing here is optional because a message leaves it out, nothing is compared by prefix or part. Each function is one
part of the message; what passes them all is ``conversation``, ``confirmation``, ``conditions`` and the statement.
"""

from __future__ import annotations

from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.expectations import Expectations
from jit_middleware.sso.saml.instants import instant, is_over, optional_instant
from jit_middleware.sso.saml.names import BEARER, ENTITY, assertion
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.tree import Element

_LONGEST: Final = 86_400  # how far ahead an end may lie; max_age bounds the use of an assertion far below that
_QUALIFIERS: Final = ("NameQualifier", "SPNameQualifier", "SPProvidedID")


def check_message(response: Element, expected: Expectations) -> None:
    """The Response itself: version, age, from whom, to whom, in answer to what."""
    _check_version_and_age(response, expected)
    _check_request(response, expected)
    if response.get("Destination") != expected.acs_url:
        raise VerificationError(Reason.DESTINATION_MISMATCH)
    for issuer in response.iterchildren(assertion("Issuer")):
        _check_issuer(issuer, expected)


def check_assertion(verified: Element, expected: Expectations) -> tuple[int, int]:
    """The assertion, but for who it is about; gives when it was issued, and the moment from which nobody can use it any
    more."""
    issued = _check_version_and_age(verified, expected)
    issuers = list(verified.iterchildren(assertion("Issuer")))
    if len(issuers) != 1:
        raise VerificationError(Reason.ISSUER_MISMATCH, f"{len(issuers)} issuers")
    _check_issuer(issuers[0], expected)
    _check_confirmations(verified, expected)
    _check_conditions(verified, expected)
    # Whatever its confirmations say, no assertion is used when it is older than that.
    return issued, issued + expected.max_age + 2 * expected.clock_skew


def check_authentication(statement: Element, expected: Expectations) -> tuple[int, str | None, int | None]:
    """When and how the person signed in, and until when that holds, of the one AuthnStatement."""
    signed_in = instant(statement, "AuthnInstant")
    if signed_in > expected.now + expected.clock_skew:
        raise VerificationError(Reason.ISSUED_IN_FUTURE, "AuthnInstant")
    ends = optional_instant(statement, "SessionNotOnOrAfter")
    # No skew: by our own clock, a session that ends with it would be over before the browser has its cookie.
    if is_over(ends, expected.now, skew=0):
        raise VerificationError(Reason.SESSION_ENDED)
    contexts = [one.text or "" for one in statement.iter(assertion("AuthnContextClassRef"))]
    # An empty one names nothing (Core §1.3.1).
    context = contexts[0] if contexts and contexts[0].strip() else None
    if len(contexts) > 1 or (expected.requested_contexts and context not in expected.requested_contexts):
        raise VerificationError(Reason.AUTHN_CONTEXT_MISMATCH)
    return signed_in, context, ends


def _check_version_and_age(element: Element, expected: Expectations) -> int:
    if element.get("Version") != "2.0":
        raise VerificationError(Reason.VERSION_UNSUPPORTED)
    issued = instant(element, "IssueInstant")
    if issued > expected.now + expected.clock_skew:
        raise VerificationError(Reason.ISSUED_IN_FUTURE)
    if issued < expected.now - expected.max_age - expected.clock_skew:
        raise VerificationError(Reason.ISSUED_TOO_LONG_AGO)
    return issued


def _check_issuer(issuer: Element, expected: Expectations) -> None:
    if issuer.get("Format", ENTITY) != ENTITY or any(name in issuer.attrib for name in _QUALIFIERS):
        raise VerificationError(Reason.ISSUER_MALFORMED)
    if issuer.text != expected.idp_entity_id:
        raise VerificationError(Reason.ISSUER_MISMATCH)


def _check_request(element: Element, expected: Expectations) -> None:
    """InResponseTo, on the Response and again on the confirmation: without it a stolen assertion, or somebody else's
    login, could be slipped in here (SAML Profiles §4.1.4.2, §4.1.5)."""
    answered = element.get("InResponseTo")
    if expected.request_id is None:
        if answered is not None:
            raise VerificationError(Reason.UNSOLICITED_ANSWERS_REQUEST)
        return
    if answered is None:
        raise VerificationError(Reason.IN_RESPONSE_TO_MISSING)
    if answered != expected.request_id:
        raise VerificationError(Reason.IN_RESPONSE_TO_MISMATCH)


def _check_confirmations(verified: Element, expected: Expectations) -> None:
    """At least one bearer confirmation holds. When none does, the first one says why."""
    refusals: list[VerificationError] = []
    for subject in verified.iterchildren(assertion("Subject")):
        for confirmation in subject.iterchildren(assertion("SubjectConfirmation")):
            if confirmation.get("Method") != BEARER:
                continue
            for data in confirmation:
                try:
                    _check_confirmation(data, expected)
                    return
                except VerificationError as refusal:
                    refusals.append(refusal)
    raise refusals[0] if refusals else VerificationError(Reason.CONFIRMATION_MISSING)


def _check_confirmation(data: Element, expected: Expectations) -> None:
    if data.get("Recipient") != expected.acs_url:
        raise VerificationError(Reason.RECIPIENT_MISMATCH)
    _check_request(data, expected)
    if data.get("NotBefore") is not None:
        raise VerificationError(Reason.CONFIRMATION_NOT_BEFORE)
    ends = optional_instant(data, "NotOnOrAfter")
    if ends is None:
        raise VerificationError(Reason.CONFIRMATION_WITHOUT_END)
    if is_over(ends, expected.now, expected.clock_skew):
        raise VerificationError(Reason.CONFIRMATION_EXPIRED)
    _check_lifetime(ends, expected)


def _check_conditions(verified: Element, expected: Expectations) -> None:
    """Validity, and for us: every AudienceRestriction must name us, since all of them hold (SAML Core §2.5.1.4)."""
    found = list(verified.iterchildren(assertion("Conditions")))
    if len(found) != 1:
        raise VerificationError(Reason.CONDITIONS_MISSING, f"{len(found)} of them")
    begins, ends = optional_instant(found[0], "NotBefore"), optional_instant(found[0], "NotOnOrAfter")
    if begins is not None and begins > expected.now + expected.clock_skew:
        raise VerificationError(Reason.CONDITIONS_NOT_YET_VALID)
    if is_over(ends, expected.now, expected.clock_skew):
        raise VerificationError(Reason.CONDITIONS_EXPIRED)
    if ends is not None:
        _check_lifetime(ends, expected)
    restrictions = list(found[0].iterchildren(assertion("AudienceRestriction")))
    if not restrictions:
        raise VerificationError(Reason.AUDIENCE_MISSING)
    for restriction in restrictions:
        if all(audience.text != expected.sp_entity_id for audience in restriction):
            raise VerificationError(Reason.AUDIENCE_MISMATCH)


def _check_lifetime(ends: int, expected: Expectations) -> None:
    if ends > expected.now + _LONGEST + expected.clock_skew:
        raise VerificationError(Reason.LIFETIME_TOO_LONG)
