"""Single Logout (SAML Core §3.7, Profiles §4.4): messages both ways, always signed and always verified.

A message is judged like a login: its signature first, then from the verified bytes alone who sent it, to which of our
URLs, when, and whether it was seen before. Nothing in it is acted on before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import unquote_plus

from lxml import etree

from jit_middleware.errors import VerificationError
from jit_middleware.model import OnceKey
from jit_middleware.records import dataclass
from jit_middleware.sso.saml.decryption import open_encrypted
from jit_middleware.sso.saml.identity import KnownName, person_name, session_name
from jit_middleware.sso.saml.instants import instant as time_of
from jit_middleware.sso.saml.instants import is_over, optional_instant
from jit_middleware.sso.saml.keys import SPKey
from jit_middleware.sso.saml.names import SUCCESS, UNSPECIFIED
from jit_middleware.sso.saml.names import assertion as saml
from jit_middleware.sso.saml.names import protocol as samlp
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.request import derived_id, instant, message
from jit_middleware.sso.saml.signature import verify_enveloped, verify_redirect
from jit_middleware.sso.saml.subject import qualified_name
from jit_middleware.sso.saml.tree import Element, decode_base64, read_xml
from jit_middleware.sso.strategy import LogoutAnswered, LogoutMessage, LogoutRequested

Kind = Literal["SAMLRequest", "SAMLResponse"]

MOST_AGE: Final = 600  # seconds from IssueInstant
ASKED_FOR: Final = 300  # seconds that a request of ours is good for
_LARGEST: Final = 65_536
_MOST_SESSIONS: Final = 100
_LONGEST_RELAY_STATE: Final = 1024


@dataclass(frozen=True, slots=True)
class LogoutExpectations:
    """What a logout message is compared with; all from configuration and metadata."""

    idp_entity_id: str
    idp_certificates: tuple[str, ...]
    sp_entity_id: str
    sls_url: str
    now: int
    clock_skew: int
    decryption_keys: tuple[SPKey, ...] = field(default=(), repr=False)


# --- what we say --------------------------------------------------------------------------------------------------


def logout_request(name: KnownName, message_id: str, *, sp_entity_id: str, destination: str, now: int) -> bytes:
    """Our request to end the provider's session of this person too, not yet signed."""
    root = message("LogoutRequest", message_id, issuer=sp_entity_id, destination=destination, now=now)
    root.set("NotOnOrAfter", instant(now + ASKED_FOR))
    name_id = etree.SubElement(root, saml("NameID"))
    name_id.text = name.name_id
    if name.format != UNSPECIFIED:
        name_id.set("Format", name.format)
    if name.qualifier:
        name_id.set("NameQualifier", name.qualifier)
    if name.sp_qualifier:
        name_id.set("SPNameQualifier", name.sp_qualifier)
    if name.session_index is not None:
        etree.SubElement(root, samlp("SessionIndex")).text = name.session_index
    return etree.tostring(root)


def logout_response(in_response_to: str, message_id: str, *, sp_entity_id: str, destination: str, now: int) -> bytes:
    """Our answer that the sessions have ended, not yet signed."""
    root = message("LogoutResponse", message_id, issuer=sp_entity_id, destination=destination, now=now)
    root.set("InResponseTo", in_response_to)
    status = etree.SubElement(root, samlp("Status"))
    etree.SubElement(status, samlp("StatusCode"), Value=SUCCESS)
    return etree.tostring(root)


# --- what the provider says ---------------------------------------------------------------------------------------


def read_logout(given: LogoutMessage, expected: LogoutExpectations) -> LogoutRequested | LogoutAnswered:
    """The verified message. Raises ``VerificationError``."""
    kind, root, relay_state = _verified(given, expected.idp_certificates)
    if relay_state is not None and len(relay_state) > _LONGEST_RELAY_STATE:
        raise VerificationError("relay_state_too_long")
    issued = _judge_message(root, kind, expected)
    if kind == "SAMLRequest":
        return _request(root, issued, relay_state, expected)
    return _answer(root, relay_state)


def _verified(given: LogoutMessage, certificates: tuple[str, ...]) -> tuple[Kind, Element, str | None]:
    """Which message it is, and its root, read from the bytes that the signature covers."""
    if given.query is not None:
        kind = _kind([unquote_plus(part.partition("=")[0]) for part in given.query.split("&")])
        found = verify_redirect(given.query, message=kind, certificates=certificates)
        return kind, read_xml(found.xml), found.relay_state
    form: Mapping[str, str] = given.form or {}
    kind = _kind(list(form))
    encoded = form[kind]
    if len(encoded) > _LARGEST * 3 // 2:
        raise VerificationError(Reason.MESSAGE_TOO_LARGE)
    data = decode_base64(encoded)
    read_xml(data)  # refuses what must not reach a verifier: DTDs, floods of elements
    return kind, read_xml(verify_enveloped(data, certificates)), form.get("RelayState")


def _kind(names: list[str]) -> Kind:
    there = [name for name in names if name in {"SAMLRequest", "SAMLResponse"}]
    match there:
        case ["SAMLRequest"]:
            return "SAMLRequest"
        case ["SAMLResponse"]:
            return "SAMLResponse"
        case []:
            raise VerificationError(Reason.MESSAGE_MISSING)
        case _:
            raise VerificationError(Reason.QUERY_MALFORMED, "more than one message")


def _judge_message(root: Element, kind: Kind, expected: LogoutExpectations) -> int:
    """What both messages have in common; answers when it was issued."""
    if root.tag != samlp("LogoutRequest" if kind == "SAMLRequest" else "LogoutResponse"):
        raise VerificationError("not_a_logout_message")
    if root.get("Version") != "2.0":
        raise VerificationError(Reason.VERSION_UNSUPPORTED)
    if not root.get("ID"):
        raise VerificationError(Reason.ID_MALFORMED)
    if _text(_only(root, saml("Issuer"), Reason.ISSUER_MISMATCH)) != expected.idp_entity_id:
        raise VerificationError(Reason.ISSUER_MISMATCH)
    if root.get("Destination") != expected.sls_url:
        raise VerificationError("logout_destination_mismatch")
    issued = time_of(root, "IssueInstant")
    if issued > expected.now + expected.clock_skew:
        raise VerificationError(Reason.ISSUED_IN_FUTURE)
    if is_over(issued + MOST_AGE, expected.now, expected.clock_skew):
        raise VerificationError(Reason.ISSUED_TOO_LONG_AGO)
    return issued


def _request(root: Element, issued: int, relay_state: str | None, expected: LogoutExpectations) -> LogoutRequested:
    if is_over(optional_instant(root, "NotOnOrAfter"), expected.now, expected.clock_skew):
        raise VerificationError("logout_expired", "its NotOnOrAfter has passed")
    name = _name_id(root, expected.decryption_keys)
    text = _text(name)
    if not text:
        raise VerificationError(Reason.NAME_ID_MALFORMED)
    kept = qualified_name(
        text,
        name.get("NameQualifier"),
        name.get("SPNameQualifier"),
        idp=expected.idp_entity_id,
        sp=expected.sp_entity_id,
    )
    message_id = root.get("ID", "")
    return LogoutRequested(
        message_id=message_id,
        idp_sessions=_sessions(root, kept),
        idp_session_prefix=person_name(kept),
        relay_state=relay_state,
        once=OnceKey(
            "saml_logout",
            sha256(f"{expected.idp_entity_id}\0{message_id}".encode()).hexdigest(),
            issued + MOST_AGE + 2 * expected.clock_skew,
        ),
    )


def _sessions(root: Element, kept: str) -> tuple[str, ...]:
    """The sessions of this name that are meant; none stands for all of them.

    With any that has a SessionIndex goes the one whose assertion had none: there are providers that tell it in logout
    messages alone, and nobody could say which session that was. An empty index names nothing (Core §1.3.1).
    """
    found = root.findall(samlp("SessionIndex"))
    if len(found) > _MOST_SESSIONS:
        raise VerificationError(Reason.XML_TOO_COMPLEX, "session indexes")
    indexes = [index for each in found if (index := _text(each))]
    return tuple(session_name(kept, index) for index in (*indexes, None)) if indexes else ()


def _answer(root: Element, relay_state: str | None) -> LogoutAnswered:
    """The answer is to ours when its InResponseTo is the ID that follows from the state it brings back; whether that
    state is this browser's is for the page it leads to."""
    if relay_state is not None and root.get("InResponseTo") != derived_id(relay_state):
        raise VerificationError(Reason.IN_RESPONSE_TO_MISMATCH)
    status = _only(root, samlp("Status"), Reason.STATUS_MALFORMED)
    codes = status.findall(samlp("StatusCode"))
    if len(codes) != 1:
        raise VerificationError(Reason.STATUS_MALFORMED)
    # A second-level code says that some other service did not take part (Core §3.2.2.2: PartialLogout).
    complete = codes[0].get("Value") == SUCCESS and codes[0].find(samlp("StatusCode")) is None
    return LogoutAnswered(relay_state, complete)


def _name_id(root: Element, keys: tuple[SPKey, ...]) -> Element:
    """The one name, opened if it is encrypted: the signature over the message covers it."""
    names = [child for child in root if child.tag in {saml("NameID"), saml("EncryptedID"), saml("BaseID")}]
    if len(names) != 1 or names[0].tag == saml("BaseID"):
        raise VerificationError(Reason.SUBJECT_MISSING)
    if names[0].tag == saml("NameID"):
        return names[0]
    opened = open_encrypted(names[0], keys, signed_outside=True)
    if opened.tag != saml("NameID"):
        raise VerificationError(Reason.SUBJECT_MISSING)
    return opened


def _only(root: Element, tag: str, reason: Reason) -> Element:
    found = root.findall(tag)
    if len(found) != 1:
        raise VerificationError(reason)
    return found[0]


def _text(element: Element) -> str:
    """The text of an element that has no children."""
    if len(element):
        raise VerificationError(Reason.ELEMENT_NOT_ALLOWED)
    return (element.text or "").strip()
