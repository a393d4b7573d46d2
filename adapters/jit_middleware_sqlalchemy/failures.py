"""What a database's error means for us. The rule: its text never travels on, because it quotes the values sent.

::

    a unique key is taken         Conflict(name of the key)          the work is run again
    deadlock, lock, lost early    Again(what to say in the end)      the work is run again
    everything else               StoreUnavailable(what is wrong)
"""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jit_middleware.errors import AdapterError, Conflict, StoreUnavailable

# A constraint's name (PostgreSQL, MariaDB) or the table and first column it names (SQLite).
_KEYS: Final = {
    "jit_users_provisioning_key": "provisioning_key",
    "jit_users.provisioning_key": "provisioning_key",
    "jit_users_username": "username",
    "jit_users.username_key": "username",
    "jit_users_pkey": "user",
    "jit_users.id": "user",
    "jit_identity_links_pkey": "identity_link",
    "jit_identity_links.identity_key": "identity_link",
    "jit_grants_pkey": "grant",
    "jit_grants.user_id": "grant",
    "jit_sessions_pkey": "session",
    "jit_sessions.id": "session",
    "jit_once_keys_pkey": "once_key",
    "jit_once_keys.once_key": "once_key",
    "jit_tombstones_pkey": "tombstone",
    "jit_tombstones.identity_key": "tombstone",
    "jit_prelinks_pkey": "prelink",
    "jit_prelinks.prelink_key": "prelink",
    "jit_audit_id": "audit",
    "jit_audit.id": "audit",
    "jit_audit_once": "audit_once",
    "jit_audit.once": "audit_once",
}
# MariaDB calls every primary key PRIMARY: the statement's table says which.
_PRIMARY_KEYS: Final = {
    "jit_users": "user",
    "jit_identity_links": "identity_link",
    "jit_grants": "grant",
    "jit_sessions": "session",
    "jit_once_keys": "once_key",
    "jit_tombstones": "tombstone",
    "jit_prelinks": "prelink",
}
_BUSY: Final = frozenset({"40001", "40P01", "55P03", 1205, 1213, 1020, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_MISSING_TABLE: Final = frozenset({"42P01", 1146})
# A guarded row was not there any more (see writes.py); PostgreSQL's "division by zero".
_GUARD: Final = "22012"
_REASONS: Final[dict[str | int, str]] = {
    "53100": "disk_full",
    1021: "disk_full",
    1114: "disk_full",
    sqlite3.SQLITE_FULL: "disk_full",
    "25006": "read_only",
    1036: "read_only",
    1290: "read_only",
    1792: "read_only",
    sqlite3.SQLITE_READONLY: "read_only",
    "53300": "too_many_connections",
    1040: "too_many_connections",
    # The server has ended the statement, as it was told to.
    "57014": "no_answer",
    1969: "no_answer",
    "28P01": "login_refused",
    "28000": "login_refused",
    1044: "login_refused",
    1045: "login_refused",
    "3D000": "database_missing",
    1049: "database_missing",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    "42P01": "schema_missing",
    1146: "schema_missing",
    "22001": "value_too_long",
    1406: "value_too_long",
}


class Again(Exception):
    """Nothing was written, and the same work may succeed now; ``failure`` is what to raise when it does not."""

    def __init__(self, failure: AdapterError) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def translate(error: Exception, *, nothing_sent: bool) -> AdapterError | Again:
    """What to raise instead of the database's error.

    ``nothing_sent``: no write can have been committed, so a lost connection is worth another try.
    """
    if isinstance(error, PoolTimeout):
        return StoreUnavailable("pool_exhausted", "no database connection became free in time")
    if not isinstance(error, DBAPIError):
        kind = "database_error" if isinstance(error, SQLAlchemyError) else "unreachable"
        return StoreUnavailable(kind, type(error).__name__)
    code = _code(error)
    if code in {"23505", 1062} or _is_sqlite_unique(error):
        return Conflict(_key(error))
    if code == _GUARD:
        return Conflict("status")
    detail = f"{type(error.orig).__name__} {code}"
    if code in _BUSY:
        return Again(StoreUnavailable("contention", detail))
    if error.connection_invalidated:
        if _is_silent(error):
            # Not again: whoever asks has waited long enough, and what is slow would only have more to do.
            return StoreUnavailable("no_answer", detail)
        lost = StoreUnavailable("connection_lost", detail)
        return Again(lost) if nothing_sent else lost
    if is_missing_table(error):
        return StoreUnavailable("schema_missing", detail)
    fallback = "unreachable" if _is_unreachable(error, code) else "database_error"
    return StoreUnavailable(_REASONS.get(code, fallback), detail)


def is_missing_table(error: DBAPIError) -> bool:
    """Whether the statement names a table that does not exist."""
    return _code(error) in _MISSING_TABLE or (
        isinstance(error.orig, sqlite3.OperationalError) and str(error.orig).startswith("no such table")
    )


def _code(error: DBAPIError) -> str | int:
    """SQLSTATE on PostgreSQL, error number on MariaDB, primary result code on SQLite."""
    number = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(number, int):
        return number & 0xFF
    arguments = error.orig.args if error.orig is not None else ()
    if arguments and isinstance(arguments[0], int):
        return arguments[0]
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else ""


def _is_sqlite_unique(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlite_errorcode", None) in {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    }


def _is_unreachable(error: DBAPIError, code: str | int) -> bool:
    """No answer from a server at all: psycopg gives no SQLSTATE, MariaDB's drivers numbers from 2000 on."""
    if isinstance(error.orig, sqlite3.Error) or not isinstance(error, OperationalError | InterfaceError):
        return False
    return code == "" or (isinstance(code, int) and 2000 <= code < 3000)


def _is_silent(error: DBAPIError) -> bool:
    """Our own deadline was over, so the connection was closed on our side."""
    cause = None if error.orig is None else error.orig.__cause__ or error.orig.__context__
    return isinstance(cause, TimeoutError)


def _key(error: DBAPIError) -> str:
    named = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or getattr(
        error.orig.__cause__ if error.orig is not None else None, "constraint_name", None
    )
    if isinstance(named, str):
        return _KEYS.get(named, "unique_key")
    text = str(error.orig)
    if _is_sqlite_unique(error):
        columns = text.partition("constraint failed: ")[2]
        return _KEYS.get(columns.partition(",")[0].strip(), "unique_key")
    key = text.rpartition("for key '")[2].partition("'")[0].rpartition(".")[2]
    if key == "PRIMARY":
        table = (error.statement or "").partition("INTO ")[2].split(" ", 1)[0].strip("`")
        return _PRIMARY_KEYS.get(table, "unique_key")
    return _KEYS.get(key, "unique_key")
