"""first schema

Every statement may run twice: MariaDB commits each table by itself, so a start that died half way is taken up again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jit_middleware_sqlalchemy.schema import PROBE, TABLE_OPTIONS, counter, exact, long_text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    _people()
    _records()
    _seed()


def downgrade() -> None:
    """Not offered: it would throw away who may sign in and the audit trail."""
    raise NotImplementedError("the first schema has no way back")


def _people() -> None:
    _table(
        "jit_users",
        sa.Column("id", exact(255), primary_key=True),
        sa.Column("tenant_id", exact(64), nullable=False),
        sa.Column("status", exact(32), nullable=False),
        sa.Column("username", exact(255)),
        sa.Column("username_key", exact(255)),
        sa.Column("email", exact(320)),
        sa.Column("email_key", exact(320)),
        sa.Column("email_verified", sa.Boolean(), nullable=False),
        sa.Column("display_name", sa.String(512)),
        sa.Column("attributes", long_text(), nullable=False),
        sa.Column("roles", long_text(), nullable=False),
        sa.Column("provisioning_key", exact(255)),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("provisioning_key", name="jit_users_provisioning_key"),
        sa.UniqueConstraint("username_key", "tenant_id", name="jit_users_username"),
    )
    _index("jit_users_email", "jit_users", "email_key")
    _table(
        "jit_identity_links",
        sa.Column("identity_key", exact(64), primary_key=True),
        sa.Column("tenant_id", exact(64), nullable=False),
        sa.Column("connection", exact(128), nullable=False),
        sa.Column("issuer", exact(1024), nullable=False),
        sa.Column("subject", exact(255), nullable=False),
        sa.Column("provisioning_key", exact(255), nullable=False),
        sa.Column("user_id", exact(255)),
        sa.Column("first_login_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    _index("jit_identity_links_user", "jit_identity_links", "user_id")
    _table(
        "jit_grants",
        sa.Column("user_id", exact(255), sa.ForeignKey("jit_users.id", name="jit_grants_user"), primary_key=True),
        sa.Column("role", exact(255), primary_key=True),
        sa.Column("source", exact(200), primary_key=True),
        sa.Column("tenant_id", exact(64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )


def _records() -> None:
    _table(
        "jit_sessions",
        sa.Column("id", exact(128), primary_key=True),
        sa.Column("user_id", exact(255), nullable=False),
        sa.Column("tenant_id", exact(64), nullable=False),
        sa.Column("connection", exact(128), nullable=False),
        sa.Column("issuer", exact(1024), nullable=False),
        sa.Column("subject", exact(255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("idp_session", exact(512)),
        sa.Column("acr", long_text()),
        sa.Column("amr", long_text(), nullable=False),
        sa.Column("logout_hint", long_text()),
        sa.Column("ended_at", sa.BigInteger()),
    )
    _index("jit_sessions_user", "jit_sessions", "user_id")
    _index("jit_sessions_idp_session", "jit_sessions", "connection", "idp_session")
    _index("jit_sessions_expires", "jit_sessions", "expires_at")
    _table(
        "jit_once_keys",
        sa.Column("once_key", exact(64), primary_key=True),
        sa.Column("purpose", exact(64), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
    )
    _index("jit_once_keys_until", "jit_once_keys", "until")
    _table(
        "jit_tombstones",
        sa.Column("identity_key", exact(64), primary_key=True),
        sa.Column("connection", exact(128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
    )
    _table(
        "jit_feed_head",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("pruned", sa.BigInteger(), nullable=False),
    )
    _table(
        "jit_feed",
        sa.Column("position", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("kind", exact(32), nullable=False),
        sa.Column("entry_key", exact(255), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
    )
    _table(
        "jit_audit",
        sa.Column("seq", counter(), primary_key=True, autoincrement=True),
        sa.Column("id", exact(64), nullable=False),
        sa.Column("type", exact(255), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", exact(64), nullable=False),
        sa.Column("user_id", exact(255)),
        sa.Column("connection", exact(128)),
        sa.Column("outcome", exact(255), nullable=False),
        sa.Column("reason", exact(255)),
        sa.Column("reference", exact(255)),
        sa.Column("session", exact(128)),
        sa.Column("data", long_text(), nullable=False),
        sa.Column("once", exact(255)),
        sa.UniqueConstraint("id", name="jit_audit_id"),
        sa.UniqueConstraint("once", name="jit_audit_once"),
    )
    _index("jit_audit_user", "jit_audit", "user_id")
    _table(
        "jit_meta",
        sa.Column("name", exact(64), primary_key=True),
        sa.Column("value", exact(255), nullable=False),
    )


def _seed() -> None:
    head = sa.table("jit_feed_head", sa.column("id"), sa.column("position"), sa.column("pruned"))
    meta = sa.table("jit_meta", sa.column("name"), sa.column("value"))
    connection = op.get_bind()
    if connection.execute(sa.select(head.c.id)).first() is None:
        connection.execute(sa.insert(head).values(id=1, position=0, pruned=0))
    if connection.execute(sa.select(meta.c.name).where(meta.c.name == PROBE)).first() is None:
        connection.execute(sa.insert(meta).values(name=PROBE, value="what the collation is proved with"))


def _table(name: str, *parts: sa.schema.SchemaItem) -> None:
    op.create_table(name, *parts, if_not_exists=True, **TABLE_OPTIONS)


def _index(name: str, table: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), if_not_exists=True)
