"""The tables, all prefixed ``jit_``. The rule of this room: text that decides who somebody is compares byte for byte.

``Exact`` columns are ``COLLATE "C"`` on PostgreSQL and ``BINARY`` on SQLite; on MariaDB every text column of every
table is ``utf8mb4_nopad_bin``, the one text collation there that keeps ``alice``, ``ALICE``, ``alicé`` and ``alice ``
(with a space) apart. :func:`jit_middleware_sqlalchemy.upgrade.prepare_schema` proves it at every start with ``PROBE``.

Identities and once-keys come from outside in any length, so their keys are SHA-256 digests of the exact bytes.
The migrations build these tables; a test compares the two.
"""

from __future__ import annotations

from typing import Final, TypedDict

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    true,
)
from sqlalchemy.dialects import mysql

SCHEMA_HEAD: Final = "0002"
VERSION_TABLE: Final = "jit_schema_version"
PROBE: Final = "alice"
PROBE_LOOKALIKES: Final = ("ALICE", "Alice", "alicé", "alice ", "alice\u200b", "ａlice")

TENANT: Final = 64
CONNECTION: Final = 128
USER_ID: Final = 255
SESSION_ID: Final = 128
ISSUER: Final = 1024
SUBJECT: Final = 255
IDP_SESSION: Final = 512
PROVISIONING_KEY: Final = 255
USERNAME: Final = 255
EMAIL: Final = 320
DISPLAY_NAME: Final = 512
ROLE: Final = 255
SOURCE: Final = 200
NAME: Final = 255


class TableOptions(TypedDict):
    """What MariaDB is told about each table; the other databases do not see it."""

    mysql_engine: str
    mysql_charset: str
    mysql_collate: str
    mariadb_engine: str
    mariadb_charset: str
    mariadb_collate: str


TABLE_OPTIONS: Final = TableOptions(
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_nopad_bin",
    mariadb_engine="InnoDB",
    mariadb_charset="utf8mb4",
    mariadb_collate="utf8mb4_nopad_bin",
)


def exact(length: int) -> String:
    """Text compared byte for byte (on MariaDB by the collation of the whole table)."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def long_text() -> Text:
    """Text that is only stored and shown, never compared."""
    return Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def counter() -> BigInteger:
    """A 64-bit number that may count by itself; SQLite counts only in ``INTEGER``."""
    return BigInteger().with_variant(Integer(), "sqlite")


metadata = MetaData()

# The account of every user, and the profile of those kept here: ``username`` is null for a user of an outside store.
users = Table(
    "jit_users",
    metadata,
    Column("id", exact(USER_ID), primary_key=True),
    Column("tenant_id", exact(TENANT), nullable=False),
    Column("status", exact(32), nullable=False),
    Column("held_from", exact(32)),
    Column("seat", Boolean, nullable=False, server_default=true()),
    Column("username", exact(USERNAME)),
    Column("username_key", exact(USERNAME)),
    Column("email", exact(EMAIL)),
    Column("email_key", exact(EMAIL)),
    Column("email_verified", Boolean, nullable=False),
    Column("display_name", String(DISPLAY_NAME)),
    Column("attributes", long_text(), nullable=False),
    Column("roles", long_text(), nullable=False),
    Column("provisioning_key", exact(PROVISIONING_KEY)),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    UniqueConstraint("provisioning_key", name="jit_users_provisioning_key"),
    UniqueConstraint("username_key", "tenant_id", name="jit_users_username"),
    Index("jit_users_email", "email_key"),
    Index("jit_users_seat", "tenant_id", "seat"),
    Index("jit_users_created", "tenant_id", "created_at"),
    **TABLE_OPTIONS,
)

identity_links = Table(
    "jit_identity_links",
    metadata,
    Column("identity_key", exact(64), primary_key=True),
    Column("tenant_id", exact(TENANT), nullable=False),
    Column("connection", exact(CONNECTION), nullable=False),
    Column("issuer", exact(ISSUER), nullable=False),
    Column("subject", exact(SUBJECT), nullable=False),
    Column("provisioning_key", exact(PROVISIONING_KEY), nullable=False),
    Column("user_id", exact(USER_ID)),
    Column("first_login_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Index("jit_identity_links_user", "user_id"),
    **TABLE_OPTIONS,
)

grants = Table(
    "jit_grants",
    metadata,
    Column("user_id", exact(USER_ID), ForeignKey("jit_users.id", name="jit_grants_user"), primary_key=True),
    Column("role", exact(ROLE), primary_key=True),
    Column("source", exact(SOURCE), primary_key=True),
    Column("tenant_id", exact(TENANT), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    **TABLE_OPTIONS,
)

sessions = Table(
    "jit_sessions",
    metadata,
    Column("id", exact(SESSION_ID), primary_key=True),
    Column("user_id", exact(USER_ID), nullable=False),
    Column("tenant_id", exact(TENANT), nullable=False),
    Column("connection", exact(CONNECTION), nullable=False),
    Column("issuer", exact(ISSUER), nullable=False),
    Column("subject", exact(SUBJECT), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger, nullable=False),
    Column("authenticated_at", BigInteger, nullable=False),
    Column("idp_session", exact(IDP_SESSION)),
    Column("acr", long_text()),
    Column("amr", long_text(), nullable=False),
    Column("logout_hint", long_text()),
    Column("ended_at", BigInteger),
    Column("auth_time", BigInteger),
    Column("refresh_token", long_text()),
    Column("probe_at", BigInteger),
    Column("probe_failing_since", BigInteger),
    Column("begun_at", BigInteger),
    Column("identity_mark", exact(64)),
    Column("session_mark", exact(64)),
    Column("own_session_mark", exact(64)),
    Column("person_mark", exact(64)),
    Column("email_mark", exact(64)),
    Index("jit_sessions_user", "user_id"),
    Index("jit_sessions_idp_session", "connection", "idp_session"),
    Index("jit_sessions_expires", "expires_at"),
    **TABLE_OPTIONS,
)

once_keys = Table(
    "jit_once_keys",
    metadata,
    Column("once_key", exact(64), primary_key=True),
    Column("purpose", exact(64), nullable=False),
    Column("until", BigInteger, nullable=False),
    Index("jit_once_keys_until", "until"),
    **TABLE_OPTIONS,
)

# What revocations have left for logins on their way. A connection's mark is its name, all others are digests.
marks = Table(
    "jit_marks",
    metadata,
    Column("mark", exact(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Index("jit_marks_until", "until"),
    **TABLE_OPTIONS,
)

tombstones = Table(
    "jit_tombstones",
    metadata,
    Column("identity_key", exact(64), primary_key=True),
    Column("connection", exact(CONNECTION), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    **TABLE_OPTIONS,
)

# Whom an operator has tied to an account before the first login: by subject, or by an address to be vouched for.
prelinks = Table(
    "jit_prelinks",
    metadata,
    Column("prelink_key", exact(64), primary_key=True),
    Column("tenant_id", exact(TENANT), nullable=False),
    Column("connection", exact(CONNECTION), nullable=False),
    Column("kind", exact(32), nullable=False),
    Column("user_id", exact(USER_ID), nullable=False),
    Column("batch", exact(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Index("jit_prelinks_batch", "batch"),
    Index("jit_prelinks_user", "user_id"),
    **TABLE_OPTIONS,
)

# A row to hold while the seats of a tenant are counted.
tenant_locks = Table(
    "jit_tenant_locks",
    metadata,
    Column("tenant_id", exact(TENANT), primary_key=True),
    **TABLE_OPTIONS,
)

feed_head = Table(
    "jit_feed_head",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("pruned", BigInteger, nullable=False),
    **TABLE_OPTIONS,
)

feed = Table(
    "jit_feed",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", exact(32), nullable=False),
    Column("entry_key", exact(USER_ID), nullable=False),
    Column("at", BigInteger, nullable=False),
    **TABLE_OPTIONS,
)

audit = Table(
    "jit_audit",
    metadata,
    Column("seq", counter(), primary_key=True, autoincrement=True),
    Column("id", exact(64), nullable=False),
    Column("type", exact(NAME), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("tenant_id", exact(TENANT), nullable=False),
    Column("user_id", exact(USER_ID)),
    Column("connection", exact(CONNECTION)),
    Column("outcome", exact(NAME), nullable=False),
    Column("reason", exact(NAME)),
    Column("reference", exact(NAME)),
    Column("session", exact(SESSION_ID)),
    Column("data", long_text(), nullable=False),
    Column("once", exact(NAME)),
    UniqueConstraint("id", name="jit_audit_id"),
    UniqueConstraint("once", name="jit_audit_once"),
    Index("jit_audit_user", "user_id"),
    **TABLE_OPTIONS,
)

meta = Table(
    "jit_meta",
    metadata,
    Column("name", exact(64), primary_key=True),
    Column("value", exact(NAME), nullable=False),
    **TABLE_OPTIONS,
)
