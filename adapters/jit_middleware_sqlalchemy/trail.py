"""Reading the trail so that going on after the last event misses none.

Events are numbered when they are written and seen when they are committed, so a lower number may appear later. Whoever
reads therefore waits, on each database in its own way, until nothing that is still open can have a number before what
they are shown. Nobody who writes waits for a reader.

MariaDB leaves a gap. InnoDB gives out the numbers of a statement when that begins, and a reader comes upon a row, and
waits for it, only once it stands in the index: microseconds later for one event, and for the further ones of a
statement when those before them are written, which may wait for a lock. Whoever reads to the end just then, and goes on
after an event with a higher number that was committed meanwhile, never sees them. Nothing is lost: reading once more
from an earlier event shows them. With ``innodb_autoinc_lock_mode = 0`` there is no such gap: the server gives out the
numbers of one statement after those of the other are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
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


def read_trail(
    connection: Connection, statement: Select[*tuple[object, ...]], *, seconds: float
) -> Sequence[Sequence[object]]:
    """The rows of ``statement``, which selects events by their number. Waits for those who write so many ``seconds``,
    on MariaDB as long as for any lock.

    Raises ``StoreUnavailable("contention")`` when somebody who writes events does not come to an end.
    """
    match connection.dialect.name:
        case "postgresql":
            last = connection.execute(_LAST).scalar()
            if last is None:
                return []
            _wait_for_writers(connection, monotonic() + seconds)
            return connection.execute(statement.where(audit.c.seq <= last)).all()
        case "sqlite":  # has one writer at a time
            return connection.execute(statement).all()
        case _:
            # A locking read comes upon what is written and not committed, and waits for it.
            return connection.execute(statement.with_for_update(read=True)).all()


def has_event(connection: Connection, event_id: str) -> bool:
    """Whether there is such an event."""
    return connection.execute(select(AUDIT[0]).where(audit.c.id == event_id)).first() is not None


def _wait_for_writers(connection: Connection, end: float) -> None:
    """Return once everybody has ended who may hold a number already; those who begin later get higher ones."""
    open_ones = set(connection.execute(_WRITERS).scalars())
    while open_ones:
        if monotonic() > end:
            raise StoreUnavailable("contention", "a transaction that writes events stays open")
        connection.execute(_PAUSE).close()
        open_ones &= set(connection.execute(_WRITERS).scalars())
