"""Which text names a person for good: the one question a provisioning middleware must never answer loosely.

A persistent NameID is made for that (SAML Core §8.3.7). An e-mail or unspecified one may be given to somebody else one
day and counts only where the operator says so; a transient one never does.
"""

from __future__ import annotations

from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.expectations import VerifiedAssertion
from jit_middleware.sso.saml.names import EMAIL_ADDRESS, PERSISTENT, PERSON_FORMATS, TRANSIENT

LONGEST: Final = 255
_FORMATS: Final = {
    "persistent": frozenset({PERSISTENT}),
    "email": frozenset({EMAIL_ADDRESS}),
    "unspecified": PERSON_FORMATS - {PERSISTENT, EMAIL_ADDRESS, TRANSIENT},
}


def subject_of(assertion: VerifiedAssertion, connection: SAMLConnection, sp_entity_id: str) -> str:
    """The subject of the identity. Raises ``VerificationError``."""
    attribute = connection.subject.attribute
    if attribute is not None:
        return _checked(_only_value(assertion, attribute))
    if assertion.name_id_format == TRANSIENT:
        raise VerificationError("subject_transient", "the NameID is another one at each login")
    if assertion.name_id_format not in _FORMATS[connection.subject.kind]:
        detail = f"the NameID is no {connection.subject.kind} one but {assertion.name_id_format}"
        raise VerificationError("subject_format_mismatch", detail)
    return _checked(qualified(assertion, sp_entity_id))


def qualified(assertion: VerifiedAssertion, sp_entity_id: str) -> str:
    """The NameID, with its qualifiers where they are not the ones it has anyway: it is unique only together with them
    (SAML Core §8.3.7)."""
    return qualified_name(
        assertion.name_id,
        assertion.name_qualifier,
        assertion.sp_name_qualifier,
        idp=assertion.issuer,
        sp=sp_entity_id,
    )


def qualified_name(name_id: str, qualifier: str | None, sp_qualifier: str | None, *, idp: str, sp: str) -> str:
    """A NameID and its qualifiers as one text, the same whether the usual ones are written out or not.

    With others it is ``!NameQualifier!SPNameQualifier!NameID``, where a ``!`` in a qualifier is ``%21`` and a ``%`` is
    ``%25``. A bare NameID that begins with ``!`` is written so too: two names never become one text.
    """
    foreign = "" if qualifier in {None, "", idp} else str(qualifier)
    foreign_sp = "" if sp_qualifier in {None, "", sp} else str(sp_qualifier)
    if not foreign and not foreign_sp and not name_id.startswith("!"):
        return name_id
    return f"!{_escaped(foreign)}!{_escaped(foreign_sp)}!{name_id}"


def _escaped(qualifier: str) -> str:
    return qualifier.replace("%", "%25").replace("!", "%21")


def _only_value(assertion: VerifiedAssertion, attribute: str) -> str:
    name = attribute if attribute in assertion.attributes else assertion.friendly_names.get(attribute, attribute)
    values = assertion.attributes.get(name, ())
    if not values:
        raise VerificationError("subject_attribute_missing", f"no attribute {attribute}")
    if len(values) != 1:
        raise VerificationError("subject_attribute_ambiguous", f"{attribute} has {len(values)} values")
    return values[0]


def _checked(subject: str) -> str:
    if not subject.strip() or subject.strip() != subject or len(subject) > LONGEST or not subject.isprintable():
        raise VerificationError("subject_unusable", "blank, too long, or with invisible characters")
    return subject
