"""Reading the trail so that going on after the last event misses none.

Events are numbered when they are written and seen when they are committed, so a lower number may appear later. Whoever
reads therefore waits, on each database in its own way, until nothing that is still open can have a number before what
they are shown. Nobody who writes waits for a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Select, func, select, text

from jit_middleware.errors import StoreUnavailable
from jit_middleware_sqlalchemy.queries import AUDIT
from jit_middleware_sqlalchemy.schema import audit

_LAST: Final = select(func.max(audit.c.seq))
#: Who has begun to write events: this lock is taken before the number, and let go after the commit is seen.
_WRITERS: Final = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted"
    " AND relation = 'jit_audit'::regclass"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_PAUSE: Final = text("SELECT pg_sleep(0.05)")
#: A second is twenty.
_PAUSES: Final = 20 * 30


def read_trail(connection: Connection, statement: Select[*tuple[object, ...]]) -> Sequence[Sequence[object]]:
    """The rows of ``statement``, which selects events by their number.

    Raises ``StoreUnavailable("contention")`` when somebody who writes events does not come to an end.
    """
    match connection.dialect.name:
        case "postgresql":
            last = connection.execute(_LAST).scalar()
            if last is None:
                return []
            _wait_for_writers(connection)
            return connection.execute(statement.where(audit.c.seq <= last)).all()
        case "sqlite":  # has one writer at a time
            return connection.execute(statement).all()
        case _:
            # A locking read comes upon what is written and not committed, and waits for it.
            return connection.execute(statement.with_for_update(read=True)).all()


def has_event(connection: Connection, event_id: str) -> bool:
    """Whether there is such an event."""
    return connection.execute(select(AUDIT[0]).where(audit.c.id == event_id)).first() is not None


def _wait_for_writers(connection: Connection) -> None:
    """Return once everybody has ended who may hold a number already; those who begin later get higher ones."""
    open_ones = set(connection.execute(_WRITERS).scalars())
    for _ in range(_PAUSES):
        if not open_ones:
            return
        connection.execute(_PAUSE).close()
        open_ones &= set(connection.execute(_WRITERS).scalars())
    raise StoreUnavailable("contention", "a transaction that writes events stays open")
