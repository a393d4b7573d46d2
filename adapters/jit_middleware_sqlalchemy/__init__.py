"""jit_middleware's ledger and default user store on PostgreSQL, MariaDB and SQLite, through SQLAlchemy.

The rule: SQLAlchemy Core only, one body for sync and async drivers, few round trips, nothing half-written.
"""

from __future__ import annotations

from jit_middleware_sqlalchemy.deadlines import PATIENT, PROMPT, Waits
from jit_middleware_sqlalchemy.ledger import SQLAlchemyLedger
from jit_middleware_sqlalchemy.upgrade import migrate, schema_version
from jit_middleware_sqlalchemy.users import AsyncSQLAlchemyUserStore, SQLAlchemyUserStore

__all__ = [
    "PATIENT",
    "PROMPT",
    "AsyncSQLAlchemyUserStore",
    "SQLAlchemyLedger",
    "SQLAlchemyUserStore",
    "Waits",
    "migrate",
    "schema_version",
]
