"""provisioning as policy, and sessions that end when they should

Every statement may run twice: MariaDB commits each table by itself, so a start that died half way is taken up again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jit_middleware_sqlalchemy.schema import TABLE_OPTIONS, exact, long_text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what 0001 lacks."""
    _accounts()
    _links()
    _sessions()


def downgrade() -> None:
    """Not offered: it would throw away who holds a seat and who may be linked."""
    raise NotImplementedError("this schema has no way back")


def _accounts() -> None:
    _column("jit_users", sa.Column("held_from", exact(32)))
    _column("jit_users", sa.Column("seat", sa.Boolean, nullable=False, server_default=sa.true()))
    op.execute("UPDATE jit_users SET seat = false WHERE status NOT IN ('invited', 'active', 'suspended')")
    _index("jit_users_seat", "jit_users", "tenant_id", "seat")
    _index("jit_users_created", "jit_users", "tenant_id", "created_at")
    _table(
        "jit_tenant_locks",
        sa.Column("tenant_id", exact(64), primary_key=True),
    )


def _links() -> None:
    _table(
        "jit_prelinks",
        sa.Column("prelink_key", exact(64), primary_key=True),
        sa.Column("tenant_id", exact(64), nullable=False),
        sa.Column("connection", exact(128), nullable=False),
        sa.Column("kind", exact(32), nullable=False),
        sa.Column("user_id", exact(255), nullable=False),
        sa.Column("batch", exact(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
    )
    _index("jit_prelinks_batch", "jit_prelinks", "batch")
    _index("jit_prelinks_user", "jit_prelinks", "user_id")


def _sessions() -> None:
    _column("jit_sessions", sa.Column("auth_time", sa.BigInteger))
    _column("jit_sessions", sa.Column("refresh_token", long_text()))
    _column("jit_sessions", sa.Column("probe_at", sa.BigInteger))
    _column("jit_sessions", sa.Column("probe_failing_since", sa.BigInteger))
    _column("jit_sessions", sa.Column("begun_at", sa.BigInteger))
    for name in ("identity", "session", "own_session", "person", "email"):
        _column("jit_sessions", sa.Column(f"{name}_mark", exact(64)))
    _table(
        "jit_marks",
        sa.Column("mark", exact(64), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    _index("jit_marks_until", "jit_marks", "until")


def _table(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(name, *columns, if_not_exists=True, **TABLE_OPTIONS)


def _column(table: str, column: sa.Column[object]) -> None:
    present = {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in present:
        op.add_column(table, column)


def _index(name: str, table: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), if_not_exists=True)
