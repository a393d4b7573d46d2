"""Who an assertion is about and what it says of them: read from the signed bytes, if it can be read in one way only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jit_middleware.errors import VerificationError
from jit_middleware.records import dataclass
from jit_middleware.sso.saml.expectations import Expectations
from jit_middleware.sso.saml.names import PERSISTENT, PERSON_FORMATS, UNSPECIFIED, assertion
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.tree import Element

_LONGEST_NAME: Final = 1024
# Control, format (bidi, zero-width), surrogate, private, unassigned, line and paragraph separators: two such names can
# look alike and be different, or be cut by what stores or prints them.
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SESSION_INDEX: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,1022}[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class Name:
    """A NameID whose text is fit to be a key."""

    text: str
    format: str
    qualifier: str | None
    sp_qualifier: str | None


def read_name(name_id: Element, expected: Expectations) -> Name:
    """The name of a person (SAML Core §2.2.2, §8.3). Raises ``VerificationError``."""
    text = name_id.text or ""
    if not 1 <= len(text) <= _LONGEST_NAME or text != text.strip() or is_invisible(text):
        raise VerificationError(Reason.NAME_ID_MALFORMED)
    form = name_id.get("Format", UNSPECIFIED)
    if form not in PERSON_FORMATS:
        raise VerificationError(Reason.NAME_ID_FORMAT)
    qualifier, sp_qualifier = name_id.get("NameQualifier"), name_id.get("SPNameQualifier")
    if sp_qualifier not in {None, "", expected.sp_entity_id}:
        raise VerificationError(Reason.NAME_ID_QUALIFIER, "SPNameQualifier")
    # SAML Core §8.3.7: the qualifiers are part of a persistent name; another provider's names are not this one's.
    if form == PERSISTENT and qualifier not in {None, "", expected.idp_entity_id}:
        raise VerificationError(Reason.NAME_ID_QUALIFIER, "NameQualifier")
    return Name(text, form, qualifier, sp_qualifier)


def read_session_index(statement: Element) -> str | None:
    """The provider's name of its own session, printable and short. Raises ``VerificationError``."""
    index = statement.get("SessionIndex")
    if index is not None and not _SESSION_INDEX.fullmatch(index):
        raise VerificationError(Reason.SESSION_INDEX_MALFORMED)
    return index


def read_attributes(verified: Element) -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, str]]:
    """All attributes by formal name, and the way from friendly names to formal ones.

    Some providers send one attribute for each value: those that agree in name, format and friendly name are one
    attribute with all the values, so that nobody can read the first and somebody else the last. Any other repetition is
    refused. A friendly name that is another attribute's formal name leads nowhere: the formal name counts.
    """
    values: dict[str, tuple[str, ...]] = {}
    forms: dict[str, tuple[str | None, str | None]] = {}
    friendly: dict[str, str] = {}
    for statement in verified.iterchildren(assertion("AttributeStatement")):
        for attribute in statement:
            name, friend = attribute.get("Name", ""), attribute.get("FriendlyName")
            if not name or name != name.strip() or is_invisible(name):
                raise VerificationError(Reason.ATTRIBUTE_MALFORMED, "Name")
            form = (attribute.get("NameFormat"), friend)
            if forms.setdefault(name, form) != form or (friend and friendly.get(friend, name) != name):
                raise VerificationError(Reason.ATTRIBUTE_DUPLICATE)
            values[name] = (*values.get(name, ()), *(text for value in attribute if (text := _value(value))))
            if friend:
                friendly[friend] = name
    shown = {friend: name for friend, name in friendly.items() if friend == name or friend not in values}
    return MappingProxyType(values), MappingProxyType(shown)


def is_invisible(text: str) -> bool:
    """Whether the text holds a character that cannot be seen."""
    return not (text.isascii() and text.isprintable()) and any(
        unicodedata.category(character) in _INVISIBLE for character in text
    )


def _value(value: Element) -> str:
    """The text of a value, without the blanks of indentation; a NameID inside (eduPersonTargetedID) is its text."""
    if len(value) > 1:
        raise VerificationError(Reason.ATTRIBUTE_MALFORMED, "several names in one value")
    holder = value[0] if len(value) else value
    return (holder.text or "").strip(" \t\r\n")
