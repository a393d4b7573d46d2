"""The reads, built once: SQLAlchemy compiles each a single time per engine."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, bindparam, literal, or_, select, update

from jit_middleware_sqlalchemy.schema import audit, feed, feed_head, grants, identity_links, sessions, tombstones, users

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

_one = select(literal(1).label("one")).subquery("one")

# One row at least: the tombstone is answered even when there is no link, so a first login need not ask again.
FIND_LINK: Final = select(tombstones.c.identity_key, *LINK, *ACCOUNT, *GRANT).select_from(
    _one.outerjoin(tombstones, tombstones.c.identity_key == bindparam("identity"))
    .outerjoin(identity_links, identity_links.c.identity_key == bindparam("identity"))
    .outerjoin(users, users.c.id == identity_links.c.user_id)
    .outerjoin(grants, grants.c.user_id == users.c.id)
)
FIND_ACCOUNT: Final = (
    select(*ACCOUNT, *GRANT)
    .select_from(users.outerjoin(grants, grants.c.user_id == users.c.id))
    .where(users.c.id == bindparam("user"))
)
LOCK_ACCOUNT: Final = select(users.c.id).where(users.c.id == bindparam("user")).with_for_update()
FIND_SESSION: Final = (
    select(*SESSION, *ACCOUNT, *GRANT)
    .select_from(
        sessions.outerjoin(users, users.c.id == sessions.c.user_id).outerjoin(grants, grants.c.user_id == users.c.id)
    )
    .where(sessions.c.id == bindparam("session"))
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
FIND_TAKEN: Final = (
    select(users.c.provisioning_key, *ACCOUNT, *GRANT)
    .select_from(users.outerjoin(grants, grants.c.user_id == users.c.id))
    .where(
        or_(
            users.c.provisioning_key == bindparam("provisioning"),
            (users.c.username_key == bindparam("username")) & (users.c.tenant_id == bindparam("tenant")),
        )
    )
)
TOUCH_SESSION: Final = (
    update(sessions)
    .where(
        sessions.c.id == bindparam("session"), sessions.c.last_seen_at < bindparam("at"), sessions.c.ended_at.is_(None)
    )
    .values(last_seen_at=bindparam("at"))
)
SETTLE_LINK: Final = (
    update(identity_links)
    .where(identity_links.c.identity_key == bindparam("identity"), identity_links.c.user_id.is_(None))
    .values(user_id=bindparam("user"))
)
FEED_POSITION: Final = select(feed_head.c.position)
# Head and entries in one statement, so in one snapshot: nothing can slip in between.
READ_FEED: Final = (
    select(feed_head.c.position, feed_head.c.pruned, feed.c.position, feed.c.kind, feed.c.entry_key)
    .select_from(feed_head.outerjoin(feed, feed.c.position > bindparam("after")))
    .order_by(feed.c.position)
    .limit(bindparam("limit"))
)
ADVANCE_FEED: Final = update(feed_head).values(position=feed_head.c.position + bindparam("count"))
