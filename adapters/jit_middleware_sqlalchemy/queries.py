"""The reads, built once: SQLAlchemy compiles each a single time per engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Integer,
    ScalarSelect,
    bindparam,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)

from jit_middleware.model import SessionChoice
from jit_middleware_sqlalchemy.lean import Fixed
from jit_middleware_sqlalchemy.rows import is_plain
from jit_middleware_sqlalchemy.schema import (
    IDP_SESSION,
    ISSUER,
    audit,
    feed,
    feed_head,
    grants,
    identity_links,
    marks,
    prelinks,
    sessions,
    tenant_locks,
    tombstones,
    users,
)

ACCOUNT: Final[tuple[ColumnElement[object], ...]] = (
    users.c.id,
    users.c.tenant_id,
    users.c.status,
    users.c.username,
    users.c.email,
    users.c.display_name,
    users.c.attributes,
    users.c.roles,
    users.c.email_verified,
    users.c.seat,
    users.c.held_from,
)
GRANT: Final[tuple[ColumnElement[object], ...]] = (grants.c.role, grants.c.source)
LINK: Final[tuple[ColumnElement[object], ...]] = (
    identity_links.c.connection,
    identity_links.c.issuer,
    identity_links.c.subject,
    identity_links.c.provisioning_key,
    identity_links.c.user_id,
    identity_links.c.tenant_id,
    identity_links.c.first_login_at,
)
SESSION: Final[tuple[ColumnElement[object], ...]] = (
    sessions.c.id,
    sessions.c.user_id,
    sessions.c.tenant_id,
    sessions.c.connection,
    sessions.c.issuer,
    sessions.c.subject,
    sessions.c.created_at,
    sessions.c.expires_at,
    sessions.c.last_seen_at,
    sessions.c.authenticated_at,
    sessions.c.idp_session,
    sessions.c.acr,
    sessions.c.amr,
    sessions.c.logout_hint,
    sessions.c.ended_at,
    sessions.c.auth_time,
    sessions.c.refresh_token,
    sessions.c.probe_at,
    sessions.c.probe_failing_since,
    sessions.c.begun_at,
)
#: The same of sessions that end now, at the time ``ended_at``.
ENDED_SESSION: Final[tuple[ColumnElement[object], ...]] = tuple(
    bindparam("ended_at", type_=column.type).label("ends_at") if column is sessions.c.ended_at else column
    for column in SESSION
)
AUDIT: Final[tuple[ColumnElement[object], ...]] = (
    audit.c.id,
    audit.c.type,
    audit.c.at,
    audit.c.tenant_id,
    audit.c.user_id,
    audit.c.connection,
    audit.c.outcome,
    audit.c.reason,
    audit.c.reference,
    audit.c.session,
    audit.c.data,
    audit.c.once,
)

_one = select(literal_column("1", Integer).label("one")).subquery("one")

#: Seconds ahead of our clock at which no clock that is right can have been.
FAR_AHEAD: Final = 3600
_MARKS: Final = ("identity_mark", "session_mark", "own_session_mark", "person_mark", "email_mark")
# None from far ahead: its clock was wrong, and it would keep everybody out until that time.
_marked_at = (
    select(func.max(marks.c.at))
    .where(
        marks.c.mark.in_([bindparam(name) for name in ("connection_mark", *_MARKS)]),
        marks.c.at <= bindparam("latest"),
    )
    .scalar_subquery()
)

# One row at least: the tombstone is answered even when there is no link, whether anybody at all is prelinked, so a
# first login need not ask again, and when a mark was left that this login answers to.
FIND_LINK: Final = Fixed(
    select(tombstones.c.identity_key, *LINK, *ACCOUNT, *GRANT, exists().select_from(prelinks), _marked_at).select_from(
        _one.outerjoin(tombstones, tombstones.c.identity_key == bindparam("identity"))
        .outerjoin(identity_links, identity_links.c.identity_key == bindparam("identity"))
        .outerjoin(users, users.c.id == identity_links.c.user_id)
        .outerjoin(grants, grants.c.user_id == users.c.id)
    )
)
FIND_ACCOUNT: Final = Fixed(
    select(*ACCOUNT, *GRANT)
    .select_from(users.outerjoin(grants, grants.c.user_id == users.c.id))
    .where(users.c.id == bindparam("user"))
)
LOCK_ACCOUNT: Final = select(users.c.id).where(users.c.id == bindparam("user")).with_for_update()
HOLD_TENANT: Final = (
    select(tenant_locks.c.tenant_id).where(tenant_locks.c.tenant_id == bindparam("tenant")).with_for_update()
)
# Users being made in an outside store have a link already, and no account yet.
_BEING_MADE: Final = (
    select(func.count())
    .select_from(identity_links)
    .where(
        identity_links.c.user_id.is_(None),
        identity_links.c.tenant_id == bindparam("tenant"),
        identity_links.c.created_at >= bindparam("since"),
        identity_links.c.identity_key != bindparam("besides"),
    )
    .scalar_subquery()
)
COUNT_SEATS: Final = select(
    select(func.count())
    .select_from(users)
    .where(users.c.tenant_id == bindparam("tenant"), users.c.seat == true())
    .scalar_subquery()
    + _BEING_MADE
)
COUNT_CREATED: Final = select(
    select(func.count())
    .select_from(users)
    .where(users.c.tenant_id == bindparam("tenant"), users.c.created_at >= bindparam("since"))
    .scalar_subquery()
    + _BEING_MADE
)


def _mark_left(column: ColumnElement[str | None]) -> ScalarSelect[int]:
    """When this mark of the session was left: each by the key, since not every database looks up several so."""
    return select(marks.c.at).where(marks.c.mark == column).correlate(sessions).scalar_subquery()


_marks_left = [_mark_left(column) for column in (sessions.c.connection, *(sessions.c[name] for name in _MARKS))]
#: How many columns at the end of ``FIND_SESSION`` are times of marks.
MARKED: Final = len(_marks_left)
FIND_SESSION: Final = Fixed(
    select(*SESSION, *ACCOUNT, *GRANT, *_marks_left)
    .select_from(
        sessions.outerjoin(users, users.c.id == sessions.c.user_id).outerjoin(grants, grants.c.user_id == users.c.id)
    )
    .where(sessions.c.id == bindparam("session"))
)
PROVIDER_SESSION: Final = Fixed(
    select(sessions.c.id)
    .where(
        sessions.c.connection == bindparam("connection"),
        sessions.c.idp_session == bindparam("name"),
        sessions.c.ended_at.is_(None),
        sessions.c.expires_at > bindparam("now"),
    )
    .limit(1)
)
LIVE_AMONG: Final = select(sessions.c.id).where(
    sessions.c.id.in_(bindparam("ids", expanding=True)), sessions.c.ended_at.is_(None)
)
FIND_TOMBSTONE: Final = select(tombstones.c.identity_key).where(tombstones.c.identity_key == bindparam("identity"))
LIST_LINKS: Final = (
    select(*LINK)
    .where(identity_links.c.user_id == bindparam("user"))
    .order_by(identity_links.c.created_at, identity_links.c.identity_key)
)
# Candidates only: the exact comparison is made on what comes back.
FIND_BY_EMAIL: Final = select(*ACCOUNT).where(users.c.email_key == bindparam("email")).order_by(users.c.id)
FIND_BY_USERNAME: Final = select(*ACCOUNT).where(users.c.username_key == bindparam("username")).order_by(users.c.id)
FIND_TAKEN: Final = Fixed(
    select(users.c.provisioning_key, *ACCOUNT, *GRANT)
    .select_from(users.outerjoin(grants, grants.c.user_id == users.c.id))
    .where(
        or_(
            users.c.provisioning_key == bindparam("provisioning"),
            (users.c.username_key == bindparam("username")) & (users.c.tenant_id == bindparam("tenant")),
        )
    )
)
# Backwards only from far ahead.
TOUCH_SESSION: Final = (
    update(sessions)
    .where(
        sessions.c.id == bindparam("session"),
        or_(sessions.c.last_seen_at < bindparam("at"), sessions.c.last_seen_at - FAR_AHEAD > bindparam("at")),
        sessions.c.ended_at.is_(None),
    )
    .values(last_seen_at=bindparam("at"))
)
# Who finds the probe as it was read takes it: everybody else finds another time there.
CLAIM_PROBE: Final = (
    update(sessions)
    .where(
        sessions.c.id == bindparam("session"), sessions.c.probe_at == bindparam("due"), sessions.c.ended_at.is_(None)
    )
    .values(probe_at=bindparam("lease"))
)
SETTLE_PROBE: Final = (
    update(sessions)
    .where(
        sessions.c.id == bindparam("session"), sessions.c.probe_at == bindparam("lease"), sessions.c.ended_at.is_(None)
    )
    .values(
        probe_at=bindparam("next"),
        probe_failing_since=bindparam("failing"),
        refresh_token=bindparam("token"),
    )
)
SETTLE_LINK: Final = (
    update(identity_links)
    .where(identity_links.c.identity_key == bindparam("identity"), identity_links.c.user_id.is_(None))
    .values(user_id=bindparam("user"))
)
FEED_POSITION: Final = select(feed_head.c.position)
# Head and entries in one statement, so in one snapshot: nothing can slip in between.
READ_FEED: Final = Fixed(
    select(feed_head.c.position, feed_head.c.pruned, feed.c.position, feed.c.kind, feed.c.entry_key)
    .select_from(feed_head.outerjoin(feed, feed.c.position > bindparam("after")))
    .order_by(feed.c.position)
    .limit(bindparam("limit"))
)
ADVANCE_FEED: Final = update(feed_head).values(position=feed_head.c.position + bindparam("count"))


_SESSION_KEYS: Final[Mapping[str, ColumnElement[str] | ColumnElement[str | None]]] = {
    "session_id": sessions.c.id,
    "user_id": sessions.c.user_id,
    "connection": sessions.c.connection,
    "issuer": sessions.c.issuer,
    "subject": sessions.c.subject,
    "idp_session": sessions.c.idp_session,
}
_LAST: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)


def given(which: SessionChoice) -> Mapping[str, object]:
    """What the choice names, without what is as good as not given."""
    return {name: value for name, value in which.items() if value not in {None, False}}


def chosen(given: Mapping[str, object]) -> list[ColumnElement[bool]] | None:
    """What rows of these sessions are like; ``None`` when there can be none."""
    where: list[ColumnElement[bool]] = []
    for name, value in given.items():
        if name == "nameless":
            where.append(sessions.c.idp_session.is_(None))
            continue
        text = str(value)
        if not is_plain(text, ISSUER if name == "issuer" else IDP_SESSION):
            return None
        if name == "idp_session_prefix":
            where += _beginning_so(text)
        else:
            where.append(_SESSION_KEYS[name] == text)
    return where


def _beginning_so(prefix: str) -> list[ColumnElement[bool]]:
    if not prefix:
        return [false()]
    # A range, which the index answers; LIKE would read wildcards, and on some databases no case. The columns are
    # compared by code point everywhere, so all texts that begin so stand next to each other.
    end = after_all(prefix)
    name = sessions.c.idp_session
    return [name >= prefix] if end is None else [name >= prefix, name < end]


def after_all(prefix: str) -> str | None:
    """The first text by code points behind all that begin with ``prefix``; ``None`` when there is none."""
    kept = prefix.rstrip(chr(_LAST))
    if not kept:
        return None
    code = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if code in _SURROGATES else code)
