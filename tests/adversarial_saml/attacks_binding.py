"""Genuine, well-signed messages that must not be believed here, now, by us: every row of time, audience and address."""

from __future__ import annotations

from jit_middleware.sso.saml.reasons import Reason
from tests.adversarial_saml.attack import Attack, both, drop, put, say, signed_so
from tests.adversarial_saml.mint import ACS, IDP, NS, SP, Element, at, child, clone, one

DATA, CONDITIONS, STATEMENT = "saml:SubjectConfirmationData", "saml:Conditions", "saml:AuthnStatement"
ASSERTION, NAME = "saml:Assertion", "saml:Subject/saml:NameID"
ISSUER = "saml:Assertion/saml:Issuer"


def _audience(root: Element, *audiences: str) -> None:
    restriction = child("saml:AudienceRestriction")
    for audience in audiences:
        restriction.append(child("saml:Audience", audience))
    one(root, CONDITIONS).append(restriction)


def _twice(path: str) -> object:
    def edit(root: Element) -> None:
        element = one(root, path)
        element.addnext(clone(element))

    return edit


def _named(text: str) -> Attack:
    shown = ascii(text if len(text) < 20 else f"{text[:4]}... {len(text)}")
    return signed_so(f"NameID {shown}", say(NAME, text), Reason.NAME_ID_MALFORMED)


def _value(root: Element) -> Element:
    value = child("saml:AttributeValue", "text")
    one(root, "saml:Attribute[@Name='groups']")[:] = [value]
    return value


def _two_names(root: Element) -> None:
    value = _value(root)
    value.text = None
    value.extend([child("saml:NameID", "x"), child("saml:NameID", "y")])


ADDRESS = [
    signed_so("Recipient missing", put(DATA, Recipient=None), Reason.RECIPIENT_MISMATCH),
    signed_so("Recipient contains ours", put(DATA, Recipient=f"https://evil/?u={ACS}"), Reason.RECIPIENT_MISMATCH),
    signed_so("Recipient continues ours", put(DATA, Recipient=f"{ACS}-evil"), Reason.RECIPIENT_MISMATCH),
    signed_so("Recipient in another case", put(DATA, Recipient=ACS.upper()), Reason.RECIPIENT_MISMATCH),
    signed_so("Recipient with a slash", put(DATA, Recipient=f"{ACS}/"), Reason.RECIPIENT_MISMATCH),
    signed_so("Recipient of another connection", put(DATA, Recipient=f"{ACS}2"), Reason.RECIPIENT_MISMATCH),
    *(
        attack
        for sign in ("assertion", "response")
        for attack in (
            signed_so(
                f"Destination missing, {sign} signed",
                put(".", Destination=None),
                Reason.DESTINATION_MISMATCH,
                sign=sign,
            ),
            signed_so(
                f"Destination empty, {sign} signed", put(".", Destination=""), Reason.DESTINATION_MISMATCH, sign=sign
            ),
            signed_so(
                f"Destination continues ours, {sign} signed",
                put(".", Destination=f"{ACS}-evil"),
                Reason.DESTINATION_MISMATCH,
                sign=sign,
            ),
            signed_so(
                f"Destination of another host, {sign} signed",
                put(".", Destination=ACS.replace("app", "other")),
                Reason.DESTINATION_MISMATCH,
                sign=sign,
            ),
        )
    ),
]
REQUESTS = [
    signed_so(
        "InResponseTo missing everywhere",
        both(put(".", InResponseTo=None), put(DATA, InResponseTo=None)),
        Reason.IN_RESPONSE_TO_MISSING,
    ),
    signed_so("InResponseTo missing on the Response", put(".", InResponseTo=None), Reason.IN_RESPONSE_TO_MISSING),
    signed_so("InResponseTo missing on the confirmation", put(DATA, InResponseTo=None), Reason.IN_RESPONSE_TO_MISSING),
    signed_so(
        "InResponseTo of another request on the Response",
        put(".", InResponseTo="_request-2"),
        Reason.IN_RESPONSE_TO_MISMATCH,
    ),
    signed_so(
        "InResponseTo of another request on the confirmation",
        put(DATA, InResponseTo="_request-2"),
        Reason.IN_RESPONSE_TO_MISMATCH,
    ),
    signed_so(
        "InResponseTo of a request where none was made",
        lambda _: None,
        Reason.UNSOLICITED_ANSWERS_REQUEST,
        request_id=None,
    ),
    signed_so(
        "InResponseTo only on the confirmation, unsolicited",
        put(".", InResponseTo=None),
        Reason.UNSOLICITED_ANSWERS_REQUEST,
        request_id=None,
    ),
]
AUDIENCES = [
    signed_so("Audience of another service", say("saml:Audience", "https://other.example/"), Reason.AUDIENCE_MISMATCH),
    signed_so("Audience begins like ours", say("saml:Audience", f"{SP}2"), Reason.AUDIENCE_MISMATCH),
    signed_so("Audience empty", say("saml:Audience", ""), Reason.AUDIENCE_MISMATCH),
    signed_so("Audience missing", drop("saml:AudienceRestriction"), Reason.AUDIENCE_MISSING),
    signed_so(
        "a second AudienceRestriction without us",
        lambda root: _audience(root, "https://other.example/"),
        Reason.AUDIENCE_MISMATCH,
    ),
    signed_so("Conditions missing", drop(CONDITIONS), Reason.CONDITIONS_MISSING),
]
TIMES = [
    signed_so("Conditions not yet valid", put(CONDITIONS, NotBefore=at(61)), Reason.CONDITIONS_NOT_YET_VALID),
    signed_so("Conditions over", put(CONDITIONS, NotOnOrAfter=at(-60)), Reason.CONDITIONS_EXPIRED),
    signed_so("Conditions for ten years", put(CONDITIONS, NotOnOrAfter=at(315_360_000)), Reason.LIFETIME_TOO_LONG),
    signed_so("confirmation over", put(DATA, NotOnOrAfter=at(-60)), Reason.CONFIRMATION_EXPIRED),
    signed_so("confirmation over for four minutes", put(DATA, NotOnOrAfter=at(-240)), Reason.CONFIRMATION_EXPIRED),
    signed_so("confirmation without end", put(DATA, NotOnOrAfter=None), Reason.CONFIRMATION_WITHOUT_END),
    signed_so("confirmation for ten years", put(DATA, NotOnOrAfter=at(315_360_000)), Reason.LIFETIME_TOO_LONG),
    signed_so("confirmation with NotBefore", put(DATA, NotBefore=at(-60)), Reason.CONFIRMATION_NOT_BEFORE),
    signed_so("assertion from the future", put(ASSERTION, IssueInstant=at(61)), Reason.ISSUED_IN_FUTURE),
    signed_so("assertion too old", put(ASSERTION, IssueInstant=at(-661)), Reason.ISSUED_TOO_LONG_AGO),
    signed_so("assertion never issued", put(ASSERTION, IssueInstant=None), Reason.TIME_MALFORMED),
    signed_so("Response from the future", put(".", IssueInstant=at(61)), Reason.ISSUED_IN_FUTURE),
    signed_so("Response too old", put(".", IssueInstant=at(-661)), Reason.ISSUED_TOO_LONG_AGO),
    signed_so("signed in in the future", put(STATEMENT, AuthnInstant=at(61)), Reason.ISSUED_IN_FUTURE),
    signed_so("session over", put(STATEMENT, SessionNotOnOrAfter=at(-60)), Reason.SESSION_ENDED),
    signed_so("session over just now", put(STATEMENT, SessionNotOnOrAfter=at(0)), Reason.SESSION_ENDED),
    *(
        signed_so(f"time written as {written!r}", put(DATA, NotOnOrAfter=written), Reason.TIME_MALFORMED)
        for written in (
            at(300).removesuffix("Z"), at(300).replace("Z", "+00:00"), at(300).replace("T", " "), "", "tomorrow", "2027-13-01T00:00:00Z",
            "2027-02-30T00:00:00Z", "-2027-01-01T00:00:00Z", "12027-01-01T00:00:00Z", "2027-01-01T24:00:00Z", f" {at(300)}", "٢٠٢٧-٠١-٠١T٠٠:٠٠:٠٠Z",
        )
    ),
]  # fmt: skip
PARTIES = [
    signed_so("assertion of another provider", say(ISSUER, "https://evil.example/"), Reason.ISSUER_MISMATCH),
    signed_so("Issuer with a slash", say(ISSUER, f"{IDP}/"), Reason.ISSUER_MISMATCH),
    signed_so("Issuer empty", say(ISSUER, ""), Reason.ISSUER_MISMATCH),
    signed_so("Issuer missing", drop(ISSUER), Reason.ISSUER_MISMATCH, sign="response"),
    signed_so("Issuer twice", _twice(ISSUER), Reason.ISSUER_MISMATCH, sign="response"),  # type: ignore[arg-type]
    signed_so("Issuer of another format", put(ISSUER, Format=f"{NS['saml']}:other"), Reason.ISSUER_MALFORMED),
    signed_so("Issuer with a qualifier", put(ISSUER, NameQualifier="x"), Reason.ISSUER_MALFORMED),
    signed_so(
        "Response of another provider",
        lambda root: setattr(root[0], "text", "https://evil.example/"),
        Reason.ISSUER_MISMATCH,
    ),
    signed_so("Response version 1.1", put(".", Version="1.1"), Reason.VERSION_UNSUPPORTED),
    signed_so("assertion version 1.1", put(ASSERTION, Version="1.1"), Reason.VERSION_UNSUPPORTED),
    signed_so("status without a code", drop("samlp:StatusCode"), Reason.STATUS_MALFORMED),
    signed_so("status with an empty code", put("samlp:StatusCode", Value=""), Reason.STATUS_MALFORMED),
    signed_so("status missing", drop("samlp:Status"), Reason.STATUS_MALFORMED),
]
SUBJECTS = [
    *map(
        _named,
        (
            "",
            " ",
            "\t",
            "a\nb",
            " alice",
            "alice ",
            "a\u202eb",
            "a\u200bb",
            "a\ufeffb",
            "\u00ad",
            "a\u2028b",
            "a\ue000",
            "x" * 1025,
            "x" * 150_000,
        ),
    ),
    signed_so("NameID missing", drop(NAME), Reason.SUBJECT_MISSING),
    signed_so("NameID twice", _twice(NAME), Reason.SUBJECT_MISSING),  # type: ignore[arg-type]
    signed_so("Subject missing", drop("saml:Subject"), Reason.CONFIRMATION_MISSING),
    signed_so(
        "NameID of a service",
        put(NAME, Format="urn:oasis:names:tc:SAML:2.0:nameid-format:entity"),
        Reason.NAME_ID_FORMAT,
    ),
    signed_so("NameID of an unknown format", put(NAME, Format="urn:x"), Reason.NAME_ID_FORMAT),
    signed_so("NameID of an empty format", put(NAME, Format=""), Reason.NAME_ID_FORMAT),
    signed_so(
        "NameID for another service", put(NAME, SPNameQualifier="https://other.example/"), Reason.NAME_ID_QUALIFIER
    ),
    signed_so(
        "NameID of another provider", put(NAME, NameQualifier="https://other.example/"), Reason.NAME_ID_QUALIFIER
    ),
    signed_so("no confirmation", drop("saml:SubjectConfirmation"), Reason.CONFIRMATION_MISSING),
    signed_so("confirmation without data", drop(DATA), Reason.CONFIRMATION_MISSING),
    signed_so(
        "confirmation by another method",
        put("saml:SubjectConfirmation", Method="urn:oasis:names:tc:SAML:2.0:cm:sender-vouches"),
        Reason.CONFIRMATION_MISSING,
    ),
]
STATEMENTS = [
    signed_so("no AuthnStatement", drop(STATEMENT), Reason.AUTHN_STATEMENT_COUNT),
    signed_so("two AuthnStatements", _twice(STATEMENT), Reason.AUTHN_STATEMENT_COUNT),  # type: ignore[arg-type]
    signed_so("a context not asked for", lambda _: None, Reason.AUTHN_CONTEXT_MISMATCH, requested_contexts=("urn:mfa",)),
    signed_so("no context where one is asked for", drop("saml:AuthnContextClassRef"), Reason.AUTHN_CONTEXT_MISMATCH, requested_contexts=("urn:mfa",)),
    signed_so("two contexts", _twice("saml:AuthnContextClassRef"), Reason.AUTHN_CONTEXT_MISMATCH),  # type: ignore[arg-type]
    *(
        signed_so(f"SessionIndex {index[:6]!r}", put(STATEMENT, SessionIndex=index), Reason.SESSION_INDEX_MALFORMED)
        for index in ("", " ", "a\nb", "é", "x" * 1025)
    ),
    signed_so("two attributes of one name", put("saml:Attribute[@Name='groups']", Name="urn:oid:0.9.2342.19200300.100.1.3"), Reason.ATTRIBUTE_DUPLICATE),
    signed_so("two attributes of one friendly name", put("saml:Attribute[@Name='groups']", FriendlyName="mail"), Reason.ATTRIBUTE_DUPLICATE),
    signed_so("attribute without a name", put("saml:Attribute[@Name='groups']", Name=None), Reason.ATTRIBUTE_MALFORMED),
    signed_so("attribute with an invisible name", put("saml:Attribute[@Name='groups']", Name="gro\u200bups"), Reason.ATTRIBUTE_MALFORMED),
    signed_so("attribute value of text and a name", lambda root: _value(root).append(child("saml:NameID", "x")), Reason.TEXT_NOT_ALLOWED),
    signed_so("attribute value of two names", _two_names, Reason.ATTRIBUTE_MALFORMED),
]  # fmt: skip

BINDING = [*ADDRESS, *REQUESTS, *AUDIENCES, *TIMES, *PARTIES, *SUBJECTS, *STATEMENTS]
