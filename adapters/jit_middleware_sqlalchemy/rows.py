"""Between rows and the model, and the canonical forms that keys are made of."""

from __future__ import annotations

import hashlib
import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final, cast

from jit_middleware.errors import NotProvisioned
from jit_middleware.model import (
    NO_CLAIMS,
    SEATED,
    Account,
    AuditEvent,
    Claims,
    Grant,
    IdentityLink,
    SessionRecord,
    Status,
    User,
)
from jit_middleware_sqlalchemy.schema import IDP_SESSION, ISSUER, SUBJECT, TENANT, USER_ID

_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_STATUS: Final = {status.value: status for status in Status}
_INVISIBLE: Final = frozenset({"Cf", "Cc"})


# --- keys -----------------------------------------------------------------------------------------------------------


def digest(*parts: str) -> str:
    """One short key for several exact texts of any length; where one ends and the next begins is part of it."""
    hasher = hashlib.sha256()
    for part in parts:
        # A lone surrogate cannot come from a verified identity; it must still not be a crash.
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(b"%d:" % len(data))
        hasher.update(data)
    return hasher.hexdigest()


def ascii_lower(text: str) -> str:
    """Without ASCII case; every other character stays as it is (``K``, the Kelvin sign, never becomes ``k``)."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def username_key(username: str) -> str:
    """The canonical form no two users of one tenant may share: NFKC, casefolded, without invisible characters.

    Idempotent: folding goes on until nothing changes, so a name cannot fold into another's key in a second round.
    """
    folded = username
    while True:
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
        text = "".join(character for character in text if unicodedata.category(character) not in _INVISIBLE).strip()
        if text == folded:
            return text
        folded = text


def storable(field: str, text: str, limit: int) -> str:
    """The text itself. Raises ``NotProvisioned`` when it would have to be cut or cannot be written: never truncated."""
    if len(text) > limit:
        raise NotProvisioned(f"{field}_too_long", f"{len(text)} characters, at most {limit} are kept")
    if "\x00" in text or not _is_utf8(text):
        raise NotProvisioned(f"{field}_not_storable", "it holds NUL or a lone surrogate")
    return text


def is_plain(text: str, limit: int) -> bool:
    """Whether a key that is looked up could have been stored at all."""
    return len(text) <= limit and "\x00" not in text and _is_utf8(text)


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- to the database ------------------------------------------------------------------------------------------------


def claims_text(field: str, claims: Claims) -> str:
    """JSON, ASCII only. Raises ``NotProvisioned`` for what JSON cannot say (NaN, foreign objects)."""
    if not claims:
        return "{}"
    try:
        return _CLAIMS.encode(dict(claims))
    except (TypeError, ValueError):
        raise NotProvisioned(f"{field}_not_storable", "it holds something that is not JSON") from None


def names_text(names: Sequence[str]) -> str:
    """A JSON list of the names in the order given."""
    return _NAMES.encode(list(names)) if names else "[]"


def sorted_names(names: Sequence[str]) -> tuple[str, ...]:
    """Sorted and free of duplicates, as ``User.roles`` promises."""
    return tuple(sorted(set(names)))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    if isinstance(value, Sequence):
        return list(cast("Sequence[object]", value))
    raise TypeError(type(value).__name__)


_CLAIMS: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain)
_NAMES: Final = json.JSONEncoder(separators=(",", ":"))


def session_row(session: SessionRecord) -> dict[str, object]:
    """All columns of ``jit_sessions``."""
    marks = session.marks
    return {
        "id": session.id,
        "user_id": storable("user_id", session.user_id, USER_ID),
        "tenant_id": session.tenant,
        "connection": session.connection,
        "issuer": storable("issuer", session.issuer, ISSUER),
        "subject": storable("subject", session.subject, SUBJECT),
        "created_at": session.created_at,
        "expires_at": session.expires_at,
        "last_seen_at": session.last_seen_at,
        "authenticated_at": session.authenticated_at,
        "idp_session": None
        if session.idp_session is None
        else storable("idp_session", session.idp_session, IDP_SESSION),
        "acr": session.acr,
        "amr": names_text(session.amr),
        "logout_hint": session.logout_hint,
        "ended_at": session.ended_at,
        "auth_time": session.auth_time,
        "refresh_token": session.refresh_token,
        "probe_at": session.probe_at,
        "probe_failing_since": session.probe_failing_since,
        "begun_at": session.begun_at,
        "identity_mark": None if marks is None else marks.identity,
        "session_mark": None if marks is None else marks.session,
        "own_session_mark": None if marks is None else marks.own_session,
        "person_mark": None if marks is None else marks.person,
        "email_mark": None if marks is None else marks.email,
    }


def event_row(event: AuditEvent) -> dict[str, object]:
    """All columns of ``jit_audit`` but the counted one."""
    return {
        "id": event.id,
        "type": event.type,
        "at": event.at,
        "tenant_id": event.tenant,
        "user_id": event.user_id,
        "connection": event.connection,
        "outcome": event.outcome,
        "reason": event.reason,
        "reference": event.reference,
        "session": event.session,
        "data": claims_text("audit_data", event.data),
        "once": event.once,
    }


def account_row(account: Account, now: int) -> dict[str, object]:
    """All columns of ``jit_users`` for a user whose profile an outside store keeps."""
    return {
        "id": storable("user_id", account.user_id, USER_ID),
        "tenant_id": storable("tenant", account.tenant, TENANT),
        "status": account.status.value,
        "held_from": None if account.held_from is None else account.held_from.value,
        "seat": account.seat and account.status in SEATED,
        "username": None,
        "username_key": None,
        "email": None,
        "email_key": None,
        "email_verified": False,
        "display_name": None,
        "attributes": "{}",
        "roles": "[]",
        "provisioning_key": None,
        "created_at": now,
        "updated_at": now,
    }


# --- from the database ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=1_024)
def read_names(text: str) -> tuple[str, ...]:
    """What ``names_text`` wrote; one object for equal lists, since thousands of cached sessions hold the same few."""
    return () if text == "[]" else tuple(sys.intern(str(name)) for name in json.loads(text))


def read_claims(text: str) -> Claims:
    """What ``claims_text`` wrote."""
    return NO_CLAIMS if text == "{}" else MappingProxyType(json.loads(text))


_USER_COLUMNS: Final = 9
_ACCOUNT_COLUMNS: Final = 11


def read_user(row: Sequence[object]) -> User | None:
    """The profile from the columns ``queries.ACCOUNT``; ``None`` when an outside store keeps it."""
    user_id, tenant, status, username, email, display_name, attributes, roles, email_verified = row[:_USER_COLUMNS]
    if username is None:
        return None
    return User(
        id=str(user_id),
        username=str(username),
        email=None if email is None else str(email),
        display_name=None if display_name is None else str(display_name),
        roles=read_names(str(roles)),
        attributes=read_claims(str(attributes)),
        tenant=sys.intern(str(tenant)),
        status=_STATUS[str(status)],
        email_verified=bool(email_verified),
    )


def read_account(rows: Sequence[Sequence[object]], at: int) -> Account | None:
    """The account whose columns ``queries.ACCOUNT`` begin at ``at``, one row per grant, which follows them."""
    first = rows[0]
    if first[at] is None:
        return None
    held = at + _ACCOUNT_COLUMNS
    grants = sorted((Grant(str(row[held]), str(row[held + 1])) for row in rows if row[held] is not None), key=_by)
    return Account(
        user_id=str(first[at]),
        tenant=str(first[at + 1]),
        status=_STATUS[str(first[at + 2])],
        grants=tuple(grants),
        user=read_user(first[at:held]),
        seat=bool(first[at + 9]),
        held_from=None if first[at + 10] is None else _STATUS[str(first[at + 10])],
    )


def read_link(row: Sequence[object]) -> IdentityLink:
    """A link from the columns ``queries.LINK``."""
    connection, issuer, subject, provisioning_key, user_id, tenant, first_login_at = row
    return IdentityLink(
        connection=str(connection),
        issuer=str(issuer),
        subject=str(subject),
        provisioning_key=str(provisioning_key),
        user_id=None if user_id is None else str(user_id),
        tenant=str(tenant),
        first_login_at=_number(first_login_at),
    )


def read_session(row: Sequence[object]) -> SessionRecord:
    """A session from the columns ``queries.SESSION``."""
    return SessionRecord(
        id=str(row[0]),
        user_id=str(row[1]),
        tenant=str(row[2]),
        connection=sys.intern(str(row[3])),
        issuer=str(row[4]),
        subject=str(row[5]),
        created_at=number(row[6]),
        expires_at=number(row[7]),
        last_seen_at=number(row[8]),
        authenticated_at=number(row[9]),
        idp_session=_text(row[10]),
        acr=_text(row[11]),
        amr=read_names(str(row[12])),
        logout_hint=_text(row[13]),
        ended_at=_number(row[14]),
        auth_time=_number(row[15]),
        refresh_token=_text(row[16]),
        probe_at=_number(row[17]),
        probe_failing_since=_number(row[18]),
        begun_at=_number(row[19]),
    )


def read_event(row: Sequence[object]) -> AuditEvent:
    """An audit event from the columns ``queries.AUDIT``."""
    return AuditEvent(
        id=str(row[0]),
        type=str(row[1]),
        at=number(row[2]),
        tenant=str(row[3]),
        user_id=_text(row[4]),
        connection=_text(row[5]),
        outcome=str(row[6]),
        reason=_text(row[7]),
        reference=_text(row[8]),
        session=_text(row[9]),
        data=read_claims(str(row[10])),
        once=_text(row[11]),
    )


def number(value: object) -> int:
    """A whole number of the database, whatever its driver calls it."""
    return value if isinstance(value, int) else int(str(value))


def _by(grant: Grant) -> tuple[str, str]:
    return grant.role, grant.source


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> int | None:
    return None if value is None else number(value)
